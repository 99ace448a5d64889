"""Faults of other clients that no other test of ours is about; tests/tidy/test_peers.py holds the whole table."""

from __future__ import annotations

import asyncio
import threading
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.errors import InvalidInput
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.consumer import blocking
from shardline.consumer.identity import unique_worker_id
from shardline.consumer.kclpy import adapt
from shardline.consumer.lineage import Start
from shardline.consumer.processor import ShardProcessor
from shardline.consumer.retrieval.polling import PollingSettings
from shardline.consumer.worker import Worker
from shardline.local.doors.services import LocalServices
from shardline.local.sim.simulation import Simulation, run
from shardline.local.state.options import KinesisOptions

from tests.consumer.world import World

if TYPE_CHECKING:
    from shardline.consumer.handler import Record


def test_idle_shards_do_not_delay_a_busy_one() -> None:
    """Of ten shards nine are idle: a record is handled within one pause, not after everybody else's."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=10)
        await world.create()
        took: list[float] = []

        async def note(record: Record) -> None:
            took.append(world.wall() - float(record.data))

        world.start("w0", note)
        await asyncio.sleep(60)
        for _ in range(20):
            entry = PutEntry(str(world.wall()).encode(), "k")
            world.services.state.put_records(Stream.of("orders"), [entry], now=world.wall())
            await asyncio.sleep(5)
        assert len(took) == 20
        assert max(took) <= PollingSettings().idle_s_max + 0.5

    run(main, until=300)


def test_every_shard_of_many_is_read() -> None:
    """ListShards comes in pages: of 60 shards none is left out, and each gives its record."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=60)
        world.services.state.options = KinesisOptions(list_shards_page_max=25)
        await world.create()
        seen: set[str] = set()

        async def note(record: Record) -> None:
            seen.add(record.shard_id)

        for number in range(60):
            entry = PutEntry(b"x", "k", str((2 * number + 1) * 2**128 // 120))
            world.services.state.put_records(Stream.of("orders"), [entry], now=world.wall())
        world.start("w0", note)
        await asyncio.sleep(30)
        assert len(seen) == 60

    run(main, until=600)


def test_worker_ids_are_unique_where_host_and_process_are_not() -> None:
    """In containers every worker is process 1 of the same image: the id does not rest on that."""
    ids = {unique_worker_id(Random(seed)) for seed in range(1000)}
    assert len(ids) == 1000
    assert all(not worker_id.isdigit() for worker_id in ids)


def test_a_restart_at_latest_long_after_reads_on() -> None:
    """Checkpoints do not expire: after a weekend (here within retention) the worker goes on behind the last one."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.start("w0", start=Start.of("LATEST"))
        await asyncio.sleep(30)
        world.put(10)
        await world.drained()
        await world.stop()
        world.put(10)
        await asyncio.sleep(20 * 3600)
        world.start("w1", start=Start.of("LATEST"))
        await world.drained()
        await world.stop()
        assert world.lost == []
        assert max(world.seen.values()) == 1

    run(main, until=30 * 3600)


class FromAnotherThread:
    """A KCLPy processor that checkpoints from a thread of its own."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.errors: list[Exception] = []

    def process_records(self, given: Any) -> None:
        """Hand the checkpointer to another thread, and to this one, at once."""
        both = [threading.Thread(target=self._checkpoint, args=(given,)) for _ in range(2)]
        for one in both:
            one.start()
        for one in both:
            one.join(60)
        self.done.set()

    def _checkpoint(self, given: Any) -> None:
        try:
            given.checkpointer.checkpoint()
        except Exception as error:  # noqa: BLE001 - any error would be the fault.
            self.errors.append(error)


@pytest.mark.slow
def test_checkpoints_may_come_from_any_thread() -> None:
    """KCLPy's conversation breaks when another thread checkpoints; ours has none."""
    services = LocalServices()
    services.state.create_stream("orders", 1, now=services.clock())
    services.state.put_records(Stream.of("orders"), [PutEntry(b"x", "k")], now=services.clock())
    processor = FromAnotherThread()
    worker = Worker("billing", streams="orders", start="TRIM_HORIZON", connection=services)
    worker.add_processor(adapt(lambda: processor))

    async def main() -> None:
        async with worker:
            await asyncio.to_thread(processor.done.wait, 60)

    asyncio.run(main())
    assert processor.done.is_set()
    assert processor.errors == []


class Empty:
    """A KCLPy processor without methods, as an abstract base that is none lets through."""


class Halfway(ShardProcessor):
    """A processor that forgot its one method."""


def test_a_processor_without_its_method_is_refused_at_registration() -> None:
    """KCLPy's base class is no abstract one on Python 3: what lacks `process_records` fails at its first record."""
    worker = Worker("billing", streams="orders", start="LATEST", connection=LocalServices())
    with pytest.raises(InvalidInput, match="process_records"):
        adapt(Empty)
    with pytest.raises(InvalidInput, match="process"):
        worker.add_processor(Halfway)
    with pytest.raises(InvalidInput, match="process"):
        blocking.Worker("billing", streams="orders", connection=LocalServices()).add_processor(blocking.ShardProcessor)
