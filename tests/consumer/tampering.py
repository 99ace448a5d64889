"""What the tests of tampered tables begin with: a worker that has handled some records, and what its events said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.consumer.world import World

if TYPE_CHECKING:
    from shardline.local.sim.simulation import Simulation

__all__ = ["FIRST", "SECOND", "settled", "told"]

FIRST, SECOND = "shardId-000000000000", "shardId-000000000001"


def told(world: World, kind: Any, field: str) -> set[Any]:
    """Return what events of a kind said."""
    return {event.as_fields()[field] for event in world.named(kind)}


async def settled(sim: Simulation) -> World:
    """Return a world whose worker w0 has handled some records of both shards."""
    world = World(sim)
    await world.create()
    world.start("w0")
    await world.load(20)
    await world.drained()
    return world
