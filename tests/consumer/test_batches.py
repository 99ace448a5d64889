"""Batches that the program pulls: what acknowledges them, what brings them again, what several tasks may do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import Closed, InvalidInput
from shardline.consumer.config import DeliveryConfig
from shardline.consumer.events import HandlerFailed, LeaseLost
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shardline.consumer.driver.pulling import PulledBatch
    from shardline.consumer.worker import Worker

FIRST = "shardId-000000000000"


def test_a_clean_exit_acknowledges_and_leaving_redelivers_nothing() -> None:
    """What was left cleanly is checkpointed; the next worker begins right behind it (P4, I6)."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        for turn in range(3):
            world.put(40, per_aggregate=4)
            async with world.worker(f"w{turn}", pull=True) as worker:
                async for batch in worker.batches(max_records=7):
                    assert 0 < len(batch) <= 7
                    async with batch:
                        for record in batch:
                            world.saw(record)
                    if not world.lost:
                        break
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])
        assert all(row.owner is None for row in world.rows().values())

    run(main, until=600)


def test_an_exception_brings_the_same_records_again() -> None:
    """It stays inside the `async with`, is reported, and holds the shard at the batch (P2, story 1)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(10)
        tried: list[str] = []
        async with world.worker("w0", pull=True) as worker:
            async for batch in worker.batches(max_records=4):
                async with batch:
                    first = next(iter(batch))
                    tried.append(first.sequence_number)
                    if len(tried) <= 3:
                        raise RuntimeError("not yet")
                    for record in batch:
                        world.saw(record)
                if not world.lost:
                    break
        assert len(set(tried[:4])) == 1
        assert len(world.named(HandlerFailed)) == 3
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])

    run(main, until=600)


def test_batches_of_several_shards_are_open_at_once() -> None:
    """Several tasks share the iterator; one shard's open batch does not hold the other's, and order holds in each."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=4)
        await world.create()
        world.put(200)
        open_now: set[str] = set()
        most = 0

        async def pull(batches: AsyncIterator[PulledBatch]) -> None:
            nonlocal most
            async for batch in batches:
                async with batch:
                    assert batch.shard_id not in open_now
                    open_now.add(batch.shard_id)
                    most = max(most, len(open_now))
                    await asyncio.sleep(0.2)
                    for record in batch:
                        world.saw(record)
                    open_now.discard(batch.shard_id)

        async with world.worker("w0", pull=True) as worker, asyncio.TaskGroup() as group:
            batches = worker.batches(max_records=5)
            for number in range(4):
                sim.runtime.spawn(group, pull(batches), name=f"puller {number}")
            await world.drained()
            worker.stop()
        assert most == 4
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])

    run(main, until=600)


def test_an_open_batch_is_not_acknowledged_by_leaving() -> None:
    """Neither a batch never entered nor one whose block was cancelled is covered; the next worker gets them again."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(10)
        before = sim.now
        async with world.worker("w0", pull=True, delivery=DeliveryConfig(stop_timeout_s=20)) as worker:
            batch = await anext(worker.batches(max_records=4))
            assert [record.data for record in batch] == [b"0", b"1", b"2", b"3"]
            before = sim.now
        assert sim.now - before < 5  # It was not waited for: nobody worked on it.
        assert batch.is_over
        with pytest.raises(Closed):
            await batch.__aenter__()
        assert world.rows()[FIRST].checkpoint.is_sentinel

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work_too_long(world.worker("w1", pull=True)), 30)
        assert world.rows()[FIRST].checkpoint.is_sentinel
        world.start("w2")
        await world.drained()
        await world.stop()
        assert (world.lost, world.duplicates) == ([], 0)

    run(main, until=600)


async def work_too_long(worker: Worker) -> None:
    """Begin to work on a batch, and do not come to its end."""
    async with worker:
        async for batch in worker.batches():
            async with batch:
                await asyncio.sleep(100)


def test_a_cancelled_block_offers_its_batch_again() -> None:
    """One of several tasks is cancelled at work: another one gets the same records, and the shard goes on."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(5)
        async with world.worker("w0", pull=True) as worker:
            batches = worker.batches()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(work_on(batches), 10)
            async with await anext(batches) as batch:
                for record in batch:
                    world.saw(record)
        assert (world.lost, world.duplicates, world.named(HandlerFailed)) == ([], 0, [])

    run(main, until=600)


async def work_on(batches: AsyncIterator[PulledBatch]) -> None:
    """Take a batch and do not come to its end."""
    async with await anext(batches):
        await asyncio.sleep(100)


async def fail(worker: Worker) -> None:
    """Pull wrongly, then raise an error of one's own."""
    async with worker:
        with pytest.raises(InvalidInput, match="max_records"):
            worker.batches(max_records=0)
        with pytest.raises(InvalidInput, match="max_wait_s"):
            worker.batches(max_wait_s=-1)
        worker.batches()
        with pytest.raises(Closed):
            worker.batches()
        raise KeyError("mine")


def test_a_lost_lease_takes_its_batch_along() -> None:
    """Settling a batch whose lease is gone changes nothing: its next owner has the records."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(5)
        async with world.worker("w0", pull=True) as worker:
            batches = worker.batches()
            batch = await anext(batches)
            async with batch:
                tables = world.services.tables
                tables.write(world.deletion(FIRST), world.wall())
                while not world.named(LeaseLost):  # noqa: ASYNC110 - virtual time costs nothing.
                    await asyncio.sleep(0.5)
                assert batch.is_over
            again = await anext(batches)
            assert [record.data for record in again] == [record.data for record in batch]
            async with again:
                pass

    run(main, until=600)


def test_a_batch_waits_for_more() -> None:
    """With `max_wait_s` a batch grows until it is full or its time is over, and never beyond `max_records`."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        sizes: list[int] = []

        async with world.worker("w0", pull=True) as worker, asyncio.TaskGroup() as group:

            async def pull() -> None:
                async for batch in worker.batches(max_records=50, max_wait_s=10):
                    async with batch:
                        sizes.append(len(batch))
                        for record in batch:
                            world.saw(record)

            sim.runtime.spawn(group, pull(), name="puller")
            await world.load(60, per_second=2)
            await world.drained()
            worker.stop()
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])
        assert max(sizes) <= 50
        assert len(sizes) <= 8

    run(main, until=600)


def test_pulling_is_checked() -> None:
    """Outside the worker, twice, with wrong sizes, or beside handlers: a typed error; an own error leaves as it is."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        with pytest.raises(Closed):
            world.worker("w0", pull=True).batches()
        async with world.worker("w1") as worker:
            with pytest.raises(InvalidInput, match="handler"):
                worker.batches()
        with pytest.raises(KeyError, match="mine"):
            await fail(world.worker("w2", pull=True))
        with pytest.raises(InvalidInput, match="handler"):
            await world.worker("w3", pull=True).serve()

    run(main, until=600)
