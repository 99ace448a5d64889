"""What a Lambda pays for at a cold start, held to a list."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
bare = set(sys.modules)
from shardline.consumer.aws_lambda import Record, deaggregate, stream_handler
handler = stream_handler(lambda record: None)
print("\\n".join(sorted(set(sys.modules) - bare)))
"""

ASKED_FOR = {"__future__", "array", "binascii", "hashlib", "importlib", "itertools", "types"}
BEHIND_STRUCT = {"_struct", "struct"}  # Loaded before us in a Lambda: its runtime imports base64, which needs it.
BEHIND_ARRAY = {"_collections", "_collections_abc", "_operator", "collections", "keyword", "operator", "reprlib"}
BEHIND_HASHLIB = {"_blake2", "_hashlib"}
BEHIND_IMPORTLIB = {"_warnings", "warnings"}


def test_only_what_is_needed_is_imported() -> None:
    """Deaggregation and a handler import a few modules of the standard library, no dataclasses, typing or asyncio."""
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _with_paths()], check=True, capture_output=True, text=True
    )
    loaded = {name for name in answer.stdout.split() if not name.startswith("shardline")}
    top = {name.partition(".")[0] for name in loaded}
    assert top <= ASKED_FOR | BEHIND_STRUCT | BEHIND_ARRAY | BEHIND_HASHLIB | BEHIND_IMPORTLIB, sorted(top)


def _with_paths() -> str:
    """Return the program with this environment's path in front: -S skips what site would import."""
    return f"import sys; sys.path[:0] = {[one for one in sys.path if one]!r}\n" + PROGRAM
