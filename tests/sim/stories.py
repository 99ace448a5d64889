"""Stories: worlds in which a script makes the trouble, instead of chance, before the same oracle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.sim.chaos import Chaos
from tests.sim.knobs import Knobs
from tests.sim.world import STREAM, Result, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shardline.common.ports.lease_store import Item
    from shardline.local.sim.hosts import Host

    from tests.sim.fleet import Slot

__all__ = ["Script", "kill_task", "leader", "lease_rows", "merge", "split", "tell"]

Script: TypeAlias = "Callable[[World], Awaitable[None]]"


class _Scripted(Chaos):
    """Plays a script, and then lets the knobs' time of trouble pass."""

    def __init__(self, world: World, script: Script) -> None:
        super().__init__(world)
        self._told = world
        self._script = script

    async def run(self, seconds: float) -> None:
        """Play the script."""
        self.on = True
        begin = self._told.sim.now
        await self._script(self._told)
        await asyncio.sleep(max(0.0, begin + seconds - self._told.sim.now))


def tell(script: Script, **knobs: Any) -> Result:
    """Play a world of three workers and four shards (unless told otherwise) by a script; nothing may break."""
    chosen = {"seed": 1, "profile": "story", "workers": 3, "shards": 4, "chaos_s": 60.0, "settle_s": 20.0, **knobs}
    world = World(Knobs(**chosen))
    world.chaos = _Scripted(world, script)
    result = world.run()
    assert not result.violations, result.violations[0]
    assert not result.error, result.error
    assert result.lost == 0
    return result


def leader(world: World) -> Slot | None:
    """Return where the leader lives."""
    for slot in world.fleet.slots:
        if slot.alive and slot.worker is not None and slot.worker.health().leads:
            return slot
    return None


def split(world: World, index: int = 0) -> None:
    """Split the open shard of that place in the middle."""
    shards = sorted(world.state.streams[STREAM.name].open, key=lambda shard: shard.hash_range.start)
    shard = shards[index % len(shards)]
    middle = (shard.hash_range.start + shard.hash_range.end) // 2
    world.state.split_shard(STREAM, shard.shard_id, str(middle), now=world.sim.wall_s)
    world.note_ranges()


def merge(world: World, index: int = 0) -> None:
    """Merge the open shard of that place with the next one."""
    shards = sorted(world.state.streams[STREAM.name].open, key=lambda shard: shard.hash_range.start)
    left = index % (len(shards) - 1)
    world.state.merge_shards(STREAM, shards[left].shard_id, shards[left + 1].shard_id, now=world.sim.wall_s)
    world.note_ranges()


def lease_rows(world: World) -> list[Item]:
    """Return the lease table's rows of shards, as they stand."""
    page = world.tables.scan_page("billing", world.sim.wall_s, consistent=True)
    return [item for item in page.items if "checkpoint" in item]


def kill_task(host: Host, name: str, error: type[Exception] = MemoryError) -> bool:
    """Make a task of a host die of an unexpected error at the await where it stands; False if none can be.

    `name` is how the task's name begins; of several the oldest one dies.
    """
    for task in host.loop.tasks_of(host):
        waits_for = getattr(task, "_fut_waiter", None)
        if task.get_name().startswith(name) and waits_for is not None and not isinstance(waits_for, asyncio.Task):
            waits_for.set_exception(error("killed by the story"))
            return True
    return False
