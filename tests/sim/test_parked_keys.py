"""Planted bugs of parked keys: each is caught in worlds with an operator (`test_worlds` plays them whole)."""

from __future__ import annotations

import pytest

from tests.sim.mutants import hunt
from tests.sim.parking_bugs import PARKING_BUGS
from tests.sim.planting import planted

FAST_BUGS = (
    "record in the lot before its key stands",
    "new owner does not load parked keys",
    "key released before its last record is through",
)
"""Those that the others do not contain; `make sim-mutants` hunts all."""


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("name", FAST_BUGS)
def test_a_planted_bug_of_parked_keys_is_caught(name: str) -> None:
    """Each is caught within its budget."""
    caught = hunt(name)
    assert caught.by, f"{name} was not caught in {caught.cpu_s:.0f} CPU s"


@pytest.mark.parametrize("name", PARKING_BUGS)
def test_every_planted_bug_of_parked_keys_still_has_its_target(name: str) -> None:
    """A planted bug whose target was renamed or removed fails here, loudly."""
    with planted(PARKING_BUGS[name]):
        assert PARKING_BUGS[name].worlds
