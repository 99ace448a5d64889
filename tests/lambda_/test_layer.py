"""The layer: everything a handler needs, nothing else, and it works from the zip alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

from tools.layer import build_layer, needed

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from shardline.common.compat import RecordAggregator
from shardline.consumer.aws_lambda import BatchStopped, Tally, Window, deaggregate, stream_handler
aggregator = RecordAggregator()
for data in (b"1", b"2"):
    aggregator.add_user_record("k", data)
import base64
blob = base64.b64encode(aggregator.clear_and_get().get_contents()[2]).decode()
seen = []
handler = stream_handler(model=int)(seen.append)
record = {"kinesis": {"data": blob, "sequenceNumber": "7", "partitionKey": "a"}, "eventSource": "aws:kinesis"}
assert handler({"Records": [record]}) == {"batchItemFailures": []}
assert seen == [1, 2]
assert len(deaggregate({"Records": [record]})) == 2
assert all(one.__file__.startswith(sys.argv[1]) for name, one in sys.modules.items() if name.startswith("shardline."))
"""


def test_it_works_from_the_zip_alone(tmp_path: Path) -> None:
    """A handler, the drop-in and deaggregation run from the unpacked layer, without site-packages."""
    with zipfile.ZipFile(build_layer(tmp_path / "layer.zip")) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(tmp_path / "python")]
    assert subprocess.run(command, check=False).returncode == 0


def test_it_holds_nothing_of_the_worker() -> None:
    """No driver, no adapter, no SDK: those would be dead weight in a Lambda."""
    names = set(needed())
    assert {"shardline.consumer.aws_lambda.handlers", "shardline.common.deaggregation"} <= names
    assert not [name for name in names if name.startswith(("shardline.common.aws", "shardline.consumer.worker"))]
    assert not [name for name in names if name.startswith(("shardline.consumer.leases", "shardline.common.ports"))]


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    """The zip can be built again from a tag."""
    assert build_layer(tmp_path / "a.zip").read_bytes() == build_layer(tmp_path / "b.zip").read_bytes()
