"""The lock files: one resolution with subsets, every line hashed, no host named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tools.rings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)(?P<marker> ; [^\\]+)?(?P<more> \\)?$")


def pins(text: str) -> dict[str, set[str]]:
    """Return package -> pinned versions (more than one where markers tell Pythons apart)."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if match := PIN.match(line):
            found.setdefault(match["name"], set()).add(match["version"])
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_lock_has_pins_and_hashes_only(lock: Path) -> None:
    """Each line is a pin that goes on, or a hash: no option, host, path or comment."""
    text = lock.read_text()
    strange = [
        line
        for line in text.splitlines()
        if not re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?", line)
        and not ((match := PIN.match(line)) and match["more"])
    ]
    assert strange == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_lock_is_a_subset_of_the_one_resolution(lock: Path) -> None:
    """What a target installs is what the others install: every pin stands in all.txt."""
    everything = pins((ROOT / "requirements" / "all.txt").read_text())
    mine = pins(lock.read_text())
    assert mine
    assert {name: versions for name, versions in mine.items() if not versions <= everything.get(name, set())} == {}


def test_demo_installs_no_test_tools() -> None:
    """`make demo` installs what the demo needs, and neither the tests' tools nor the benches' peers."""
    demo = pins((ROOT / "requirements" / "demo.txt").read_text())
    assert {"aiobotocore", "moto", "typer", "hatchling"} <= set(demo)
    assert {"pytest", "hypothesis", "mypy", "pyright", "ruff", "aws-kinesis-agg", "async-kinesis"}.isdisjoint(demo)
