"""Hostile blobs of 10 MiB cost bounded memory (`reliability.md`, invariant I8), measured in fresh processes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.common.hostile import HOSTILE

if TYPE_CHECKING:
    from pathlib import Path

MIB = 2**20
# The service's largest record for what the table names, less for variants that take seconds of CPU.
LENGTHS = dict.fromkeys(HOSTILE, 2 * MIB) | dict.fromkeys(
    ("records", "empty keys", "keys", "long keys", "tags", "unknown fields"), 10 * MIB
)
# Read a blob, decode it, walk every record twice; print the peak of resident memory beyond what stood before.
MEASURE = """
import sys
from shardline.common.deaggregation import deaggregate

def kib(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

def walk(path):
    with open(path, "rb") as file:
        found = deaggregate(file.read(), "k", hash_range=(0, 5))
    found.notes()
    return sum(1 for _ in found)

walk(sys.argv[2])
before = kib("VmRSS")
print(walk(sys.argv[1]), (kib("VmHWM") - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_memory_is_bounded(name: str, tmp_path: Path) -> None:
    """The peak stays within 8 x input + 4 MiB, input included, for decoding and for walking every record."""
    big, small = tmp_path / "big", tmp_path / "small"
    big.write_bytes(HOSTILE[name].build(LENGTHS[name]))
    small.write_bytes(HOSTILE[name].build(1000))
    arguments = [sys.executable, "-c", MEASURE, str(big), str(small)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    number, peak = map(int, done.stdout.split())
    assert number >= 1
    assert LENGTHS[name] // 2 <= peak <= 8 * LENGTHS[name] + 4 * MIB
