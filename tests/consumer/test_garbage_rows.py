"""Garbage in lease rows (F39): what it is in decides who stops for it; no other lease is affected."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from shardline.consumer.events import LeaseLost, RowQuarantined, TaskFailed
from shardline.local.sim.simulation import run

from tests.consumer.tampering import FIRST, SECOND, settled, told

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Item
    from shardline.local.sim.simulation import Simulation

    from tests.consumer.world import World

FENCES: list[dict[str, Any]] = [{"leaseCounter": "many"}, {"leaseCounter": 10**40}, {"checkpointOwner": 7}]
"""What a holder's next write is conditional on."""
PLACES: list[dict[str, Any]] = [{"checkpoint": "somewhere"}, {"checkpoint": 7}, {"pendingCheckpoint": "x"}]
"""What a holder's next checkpoint replaces."""
FACTS: list[dict[str, Any]] = [{"parentShardId": "shardId-000000000009"}, {"startingHashKey": "9" * 60}]
"""What is written once, when the lease is created."""


def _first(garbage: dict[str, Any]) -> str:
    return next(iter(garbage))


async def overwritten(world: World, garbage: dict[str, Any], *, held: bool) -> Item:
    """Write garbage into the first lease's row, load both shards, and return the row as it was written.

    The other lease is read on as if nothing had happened.
    """
    if not held:
        await world.stop()
    world.overwrite(FIRST, **garbage)
    seen = len(world.events)
    if not held:
        world.start("w1")
    item = world.item(FIRST)
    await world.load(30)
    await asyncio.sleep(10)
    placed = world.placed["orders", SECOND]
    assert world.rows()[SECOND].checkpoint.sequence_number == placed[-1][0]
    assert not {number for _, number in placed}.intersection(world.lost)
    assert SECOND not in {lost.as_fields()["lease"] for _, lost in world.events[seen:] if isinstance(lost, LeaseLost)}
    assert (world.named(TaskFailed), world.duplicates) == ([], 0)
    return item


@pytest.mark.parametrize("garbage", [*FENCES, *PLACES, *FACTS], ids=_first)
def test_a_garbage_row_that_nobody_holds_is_quarantined(garbage: dict[str, Any]) -> None:
    """Said with its key and reason, not taken, not written."""

    async def main(sim: Simulation) -> None:
        world = await settled(sim)
        item = await overwritten(world, garbage, held=False)
        assert world.item(FIRST) == item
        assert told(world, RowQuarantined, "lease") == {FIRST}
        await world.stop()

    run(main, until=900)


@pytest.mark.parametrize("garbage", FENCES, ids=_first)
def test_a_holder_whose_fence_is_garbage_lets_go(garbage: dict[str, Any]) -> None:
    """Its write would be conditional on what no longer stands there: the lease is lost, and the row quarantined."""

    async def main(sim: Simulation) -> None:
        world = await settled(sim)
        item = await overwritten(world, garbage, held=True)
        assert world.item(FIRST) == item
        assert [one.as_fields()["reason"] for one in world.named(LeaseLost)] == ["malformed"]
        assert told(world, RowQuarantined, "lease") == {FIRST}
        await world.stop()

    run(main, until=900)


@pytest.mark.parametrize("garbage", [*PLACES, *FACTS], ids=_first)
def test_a_holder_whose_fence_stands_reads_on(garbage: dict[str, Any]) -> None:
    """It knows its place by itself and stores that over whatever stands there; other garbage stays, quarantined."""

    async def main(sim: Simulation) -> None:
        world = await settled(sim)
        before = world.item(FIRST)
        await overwritten(world, garbage, held=True)
        after = world.item(FIRST)
        assert (world.lost, world.duplicates, world.named(LeaseLost)) == ([], 0, [])
        assert after["leaseCounter"] > before["leaseCounter"]  # type: ignore[operator]  # They are numbers.
        assert int(str(after["checkpoint"])) == world.placed["orders", FIRST][-1][0]
        if garbage in FACTS:
            assert {name: after[name] for name in garbage} == garbage
            assert told(world, RowQuarantined, "lease") == {FIRST}
        else:
            assert "pendingCheckpoint" not in after
            assert FIRST in world.rows()
        await world.stop()

    run(main, until=900)
