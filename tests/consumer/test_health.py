"""Health: hanging handlers cost the lease, stuck threads are named, finished leases are cleaned up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from shardline.consumer.config import DeliveryConfig
from shardline.consumer.events import HandlerHung, LeasesCleanedUp
from shardline.consumer.lineage import FINISHED_KEPT_S
from shardline.local.sim.runtime import SimRuntime
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.world import QUICK, World

if TYPE_CHECKING:
    from shardline.consumer.handler import Record

IMPATIENT = DeliveryConfig(handler_timeout_s=5.0, stop_timeout_s=2.0)


def test_a_hung_handler_costs_the_lease_and_another_worker_goes_on() -> None:
    """One call longer than the limit: the lease is given up, somebody else delivers the record (P11, story 6)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()

        async def hangs(record: Record) -> None:
            if record.data == b"30":
                await asyncio.sleep(10_000)
            world.saw(record)

        world.start("w0", hangs, delivery=IMPATIENT)
        await asyncio.sleep(3)
        world.start("w1", delivery=IMPATIENT)
        await world.load(40, per_second=5)
        await world.drained()
        (hung,) = world.named(HandlerHung)
        assert not hung.as_fields()["holds"]
        assert 5.0 <= hung.as_fields()["seconds"] <= 6.0
        assert {row.owner for row in world.rows().values()} == {"w1"}
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])

    run(main, until=600)


def test_a_record_that_hangs_everywhere_is_held_in_the_end() -> None:
    """After three owners at one position the shard is kept: passing it on would only spread the trouble."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()

        async def hangs(record: Record) -> None:
            if record.data == b"3":
                await asyncio.sleep(1_000_000)
            world.saw(record)

        for turn in range(3):
            world.start(f"w{turn}", hangs, delivery=IMPATIENT)
        world.put(10)
        await asyncio.sleep(400)
        hung = [event.as_fields()["holds"] for event in world.named(HandlerHung)]
        assert hung == [False, False, False, True]
        owner = next(iter(world.rows().values())).owner
        assert owner is not None
        health = world.workers[owner].health()
        assert not health.healthy
        assert health.leases[0].hung
        assert health.leases[0].busy_s > 100
        await world.stop()

    run(main, until=1000)


def test_a_thread_that_cannot_be_cancelled_is_listed_and_its_lease_left_alone() -> None:
    """A blocking handler that hangs is abandoned; while its thread lives this worker does not take the lease again."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()

        def blocks(record: Record) -> None:
            world.saw(record)

        worker = world.start("w0", blocks, delivery=IMPATIENT)
        runtime = worker._runtime
        assert isinstance(runtime, SimRuntime)
        await asyncio.sleep(3)
        runtime.blocking_s_max = 2000.0  # From now on a thread takes up to so long for a batch.
        world.put(10)
        await asyncio.sleep(4)
        (holding,) = worker._holdings.all() if worker._holdings else []
        assert holding.consumer is not None
        threads, call = holding.consumer._threads, object()
        threads._running.add(call)  # In virtual time a function runs at one moment: say that it has begun.
        await asyncio.sleep(20)
        assert [lease.stuck_thread for lease in worker.health().leases] == [True]
        assert not worker.health().healthy
        runtime.blocking_s_max = 0.0
        await asyncio.sleep(200)
        assert [lease.stuck_thread for lease in worker.health().leases] == [True]
        threads._running.discard(call)
        await asyncio.sleep(60)
        assert [lease.stuck_thread for lease in worker.health().leases] == [False]
        assert worker.health().healthy
        await world.drained()
        await world.stop()
        assert world.lost == []
        assert not worker.health().running

    run(main, until=600)


def test_finished_leases_are_cleaned_up_parents_first() -> None:
    """Generations of finished shards disappear from the oldest on, once their children have begun; nothing is lost."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        leases = replace(QUICK, clean_up_s=5.0)
        world.start("w0", leases=leases)
        world.start("w1", leases=leases)
        for _ in range(3):
            await world.load(10)
            world.split()
        await world.load(60)
        assert len(world.rows()) > len(world.open_shards())  # They are proof for a while.
        await world.load(int(FINISHED_KEPT_S))
        await world.drained()
        assert set(world.rows()) == {shard.shard_id for shard in world.open_shards()}
        assert world.named(LeasesCleanedUp)
        await world.stop()
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])

    run(main, until=600)
