"""What must not grow with the size of a fleet: calls made twice, leases moved twice, one thing waiting for another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sim.scale_stage import Stage

if TYPE_CHECKING:
    from shardline.local.sim import Simulation

pytestmark = pytest.mark.untraced
SHARDS, WORKERS, BUNCH = 350, 5, 100


def test_a_fleet_that_starts_at_once_creates_its_leases_once() -> None:
    """Five workers, one of which creates: no other asks for more than a bunch; hardly a lease is assigned twice."""
    stage = Stage(1, SHARDS, idle_s=60.0, record_s=60.0)

    async def main(_: Simulation) -> None:
        stage.start(WORKERS)
        owned_s = await stage.until(lambda: stage.all_owned, within_s=60)
        assert owned_s is not None
        assert owned_s <= 12
        created = sum(count for (_, operation), count in stage.calls.items() if operation == "Put")
        assert created <= SHARDS + WORKERS * (BUNCH + 5)  # And the lock, the migration item.
        assert stage.moves <= SHARDS * 1.2

    with stage.sim:
        stage.sim.run(main)


def test_whoever_creates_the_leases_may_die_in_the_middle() -> None:
    """The others notice that no further lease appears, and go on where it stopped."""
    stage = Stage(2, SHARDS, idle_s=60.0, record_s=60.0)

    async def main(_: Simulation) -> None:
        stage.start(WORKERS)
        await stage.until(lambda: len(stage.owner) > BUNCH, within_s=60)
        assert len(stage.owner) < SHARDS
        busiest = max(stage.members, key=lambda name: stage.calls[name, "Put"])
        stage.kill(stage.members[busiest])
        assert await stage.until(lambda: stage.all_owned, within_s=90) is not None

    with stage.sim:
        stage.sim.run(main)
