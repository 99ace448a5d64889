"""Two applications on one shard, throttled as the service does it: one that catches up leaves the other its reads."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from shardline.consumer.retrieval.polling import PollingSettings
from shardline.local.sim.simulation import Simulation, run
from shardline.local.state.options import Limits

from tests.consumer.world import World

if TYPE_CHECKING:
    from shardline.consumer.handler import Record

pytestmark = pytest.mark.slow

BACKLOG = 2000


def test_who_catches_up_does_not_starve_who_is_at_the_head() -> None:
    """Two applications read a backlog, by pages of three records for minutes; a third one's records come in seconds."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        world.services.state.options = replace(world.services.state.options, limits=Limits.SERVICE)
        await world.create()
        late: list[float] = []
        caught_up: dict[str, list[int]] = {"b": [], "c": []}

        async def at_the_head(record: Record) -> None:
            late.append(world.wall() - record.arrival_time_s)

        async def take(name: str, record: Record) -> None:
            caught_up[name].append(int(record.data))

        for _ in range(4):
            world.put(BACKLOG // 4)
            await asyncio.sleep(1)
        await asyncio.sleep(60)
        world.start("a", at_the_head, application="app-a", start="LATEST")
        await asyncio.sleep(10)
        for name in caught_up:
            polling = PollingSettings(page_records=3)
            world.start(name, partial(take, name), application=f"app-{name}", polling=polling)
        await world.load(150, per_second=3)
        behind = {name: BACKLOG - len(done) for name, done in caught_up.items()}
        assert min(behind.values()) > 0  # They were at it all the time.
        await asyncio.sleep(400)
        await world.stop()
        assert all(sorted(done) == world.acknowledged for done in caught_up.values())
        late.sort()
        assert len(late) == 150 * 3
        assert late[len(late) // 2] < 2.0
        assert late[len(late) * 95 // 100] < 5.0

    run(main, until=1200)
