"""The worker, unmodified, in virtual time: fleets, reshards, crashes, failing handlers, graceful stops."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.errors import Closed, InvalidInput
from shardline.common.ports.lease_store import TableSpec
from shardline.common.records import LATEST, SHARD_END, TRIM_HORIZON
from shardline.consumer.config import DeliveryConfig, WorkerConfig
from shardline.consumer.events import HandlerFailed, LeaseAcquired, LeasesCreated, PositionTrimmed, ShardEnded
from shardline.consumer.fleet.startup import Fleet
from shardline.consumer.worker import Worker
from shardline.local.sim.runtime import SimRuntime
from shardline.local.sim.simulation import Simulation, run
from shardline.local.sim.threads import sleep_blocking

from tests.consumer.world import QUICK, World

if TYPE_CHECKING:
    from shardline.consumer.handler import Batch, Record


async def fleet(sim: Simulation, mode: Fleet = Fleet.AUTO) -> World:
    """Run three workers through a split, a merge, a crash, a late joiner and a graceful leaving, under load."""
    world = World(sim)
    await world.create()
    leases = replace(QUICK, fleet=mode)
    for name in ("w0", "w1", "w2"):
        world.start(name, leases=leases)
    await world.load(15, per_aggregate=3)
    world.split(0)
    await world.load(10, per_aggregate=3)
    world.merge(0)
    await world.load(5, per_aggregate=3)
    world.crash("w1")
    await world.load(10, per_aggregate=3)
    world.start("w3", leases=leases)
    await world.load(5, per_aggregate=3)
    await world.stop("w0")
    await world.load(15, per_aggregate=3)
    await world.drained()
    await world.stop()
    return world


@pytest.mark.parametrize("mode", [Fleet.AUTO, Fleet.KCL2])
@pytest.mark.parametrize("seed", range(3))
def test_a_fleet_loses_nothing_and_keeps_order(seed: int, mode: Fleet) -> None:
    """Whatever the interleaving: no record lost, first deliveries in order per key, every finished shard at its end."""
    world = run(partial(fleet, mode=mode), seed=seed, until=3600)
    assert world.lost == []
    assert world.disorder == []
    rows = world.rows()
    open_shards = {shard.shard_id for shard in world.open_shards()}
    assert {key for key, row in rows.items() if row.checkpoint != SHARD_END} == open_shards
    assert all(row.owner is None or row.owner == "w1" for row in rows.values())
    assert world.duplicates < len(world.acknowledged) / 4


def test_one_seed_is_one_run() -> None:
    """The driver is deterministic: the same seed gives the same events in the same order (I22)."""
    first, second = (run(fleet, seed=3, until=3600) for _ in range(2))
    assert [repr(event) for event in first.events] == [repr(event) for event in second.events]


def test_a_graceful_restart_redelivers_nothing() -> None:
    """Everything done is checkpointed and given back: the next worker begins right behind it (I6, I13)."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        for turn in range(4):
            world.start(f"w{turn}")
            await world.load(7, per_aggregate=5)
            await world.stop()
            assert all(row.owner is None for row in world.rows().values())
        world.start("last")
        await world.drained()
        await world.stop()
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])

    run(main, until=600)


def test_a_crash_redelivers_only_what_follows_the_checkpoint() -> None:
    """Between sub-records of an aggregate: the next owner begins behind the stored sub-sequence number (story 15)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()

        async def slow(record: Record) -> None:
            await asyncio.sleep(0.5)
            world.saw(record)

        world.put(40, per_aggregate=40)
        world.start("w0", slow)
        await asyncio.sleep(12)
        stored = world.rows()["shardId-000000000000"].checkpoint
        assert 0 < stored.sub_sequence_number < 39
        world.crash("w0")
        before = dict(world.seen)
        world.start("w1", slow)
        await world.drained()
        redelivered = sorted(number for number in before if world.seen[number] > 1)
        assert redelivered == list(range(stored.sub_sequence_number + 1, len(before)))
        assert world.lost == []
        await world.stop()

    run(main, until=600)


@pytest.mark.parametrize("mode", ["record", "batch", "blocking record", "blocking batch"])
def test_a_failing_handler_is_retried_in_place(mode: str) -> None:
    """Nothing is skipped because the handler failed: the same record comes again, and order holds (P2, story 1)."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        failed: set[int] = set()

        def handle(record: Record) -> None:
            number = int(record.data)
            if number % 7 == 0 and number not in failed:
                failed.add(number)
                raise RuntimeError("not yet")
            world.saw(record)

        async def one(record: Record) -> None:
            handle(record)

        async def many(batch: Batch) -> None:
            for record in batch:
                handle(record)

        def blocking(batch: Batch) -> None:
            for record in batch:
                handle(record)

        handlers = {"record": one, "batch": many, "blocking record": handle, "blocking batch": blocking}
        world.start("w0", handlers[mode], batch="batch" in mode)  # type: ignore[arg-type]  # One of four kinds.
        await world.load(10, per_aggregate=4)
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])
        assert len(failed) == len(world.named(HandlerFailed)) == 29
        if "batch" not in mode:
            assert world.duplicates == 0

    run(main, until=600)


def test_a_handler_that_never_succeeds_holds_its_shard_and_its_lease() -> None:
    """The poison record's shard waits at it, renewed; the other shard goes on; no checkpoint passes it (I3)."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        poison: list[Record] = []

        async def handle(record: Record) -> None:
            if record.data == b"25":
                poison.append(record)
                raise ValueError("poison")
            world.saw(record)

        world.start("w0", handle)
        await world.load(60)
        (shard,) = {record.shard_id for record in poison}
        assert len(poison) < 30
        row = world.rows()[shard]
        assert row.owner == "w0"
        assert row.checkpoint < poison[0].position
        assert {record.position for record in poison} == {poison[0].position}
        assert len(world.named(LeaseAcquired)) == 2
        await world.stop()

    run(main, until=600)


def test_a_slow_handler_outlives_its_iterator() -> None:
    """An iterator that expires while the handler is busy is replaced behind what was fetched (story 13)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        state = world.services.state
        state.options = replace(state.options, iterator_lifetime_s=2.0)
        await world.create()

        async def slow(record: Record) -> None:
            await asyncio.sleep(1)
            world.saw(record)

        config = WorkerConfig()
        assert config.polling.prefetch_records > 10
        world.start("w0", slow)
        await world.load(20, per_second=2)
        await world.drained(200)
        await world.stop()
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])

    run(main, until=600)


def test_a_shard_end_without_child_list_is_looked_up() -> None:
    """When GetRecords names no children, ListShards does; nothing is finished blindly (F16)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        state = world.services.state
        state.options = replace(state.options, hide_child_shards=True)
        await world.create()
        world.start("w0")
        await world.load(5)
        world.split()
        await world.load(15)
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])
        assert len(world.named(ShardEnded)) == 1

    run(main, until=600)


def test_a_start_at_latest_is_pinned() -> None:
    """What was written between the first start and a crash before any checkpoint is not jumped over (F19)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(10)
        await asyncio.sleep(30)
        world.start("w0", start="LATEST")
        await asyncio.sleep(1)
        world.crash("w0")
        assert world.rows()["shardId-000000000000"].checkpoint == LATEST
        world.acknowledged.clear()
        world.put(10)
        await asyncio.sleep(60)
        world.start("w1", start="LATEST")
        await world.drained()
        await world.stop()
        assert world.lost == []
        assert min(world.seen) == 10

    run(main, until=600)


def test_a_deleted_child_lease_is_found_and_created_again() -> None:
    """The audit repairs a hole at the parent's rule, and says so (F38, I9)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.start("w0")
        await world.load(5)
        world.split()
        await world.load(10)
        victim = next(key for key, row in sorted(world.rows().items()) if row.parents)
        tables = world.services.tables
        tables.write(world.deletion(victim), world.wall())
        await world.load(60)
        await world.drained()
        assert world.rows()[victim].checkpoint > TRIM_HORIZON
        repairs = [event for event in world.named(LeasesCreated) if event.as_fields()["reason"] == "repair"]
        assert [event.as_fields()["leases"] for event in repairs] == [(victim,)]
        await world.stop()
        assert world.lost == []

    run(main, until=600)


def test_a_trimmed_checkpoint_is_reported() -> None:
    """Reading that resumes behind a checkpoint whose record is gone says so, loudly (F18)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.start("w0")
        await world.load(3)
        await world.stop()
        await world.load(3)
        await asyncio.sleep(25 * 3600)
        world.put(5)
        world.start("w1")
        await asyncio.sleep(20)
        await world.stop()
        assert len(world.named(PositionTrimmed)) == 1

    run(main, until=30 * 3600)


@pytest.mark.parametrize("bound", [{"checkpoint_records": 2}, {"checkpoint_s": 0.1}])
@pytest.mark.parametrize("blocking", [False, True])
def test_checkpoints_can_be_bounded_by_count_or_time(blocking: bool, bound: dict[str, Any]) -> None:
    """A crash redelivers at most what the bound allows, and what one write takes; on a thread in a long batch, too."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()

        async def slow(record: Record) -> None:
            await asyncio.sleep(0.05)
            world.saw(record)

        def slow_blocking(record: Record) -> None:
            sleep_blocking(0.05)
            world.saw(record)

        handle = slow_blocking if blocking else slow
        worker = world.worker("w0", handle, delivery=DeliveryConfig(**bound))
        host = world.hosts["w0"]
        worker._runtime = SimRuntime(host, threads=sim.threads)
        world.leaving["w0"] = host.spawn(worker.serve())
        world.put(100)
        await asyncio.sleep(3.6)
        world.crash("w0")
        done = len(world.seen)
        world.start("w1", slow)
        await world.drained()
        assert world.lost == []
        assert done > 20
        assert world.duplicates <= 3
        await world.stop()

    run(main, until=600)


def test_many_streams_share_one_table() -> None:
    """In multi-stream mode each stream has its own leases under its serialised identity."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        await world.create("refunds")
        world.start("w0", streams=["orders", "refunds"])
        for _ in range(5):
            world.put(10)
            world.put(10, stream="refunds")
            await asyncio.sleep(1)
        await world.drained()
        await world.stop()
        assert world.lost == []
        prefixes = {key.rpartition(":")[0].split(":")[1] for key in world.rows()}
        assert (prefixes, len(world.rows())) == ({"orders", "refunds"}, 4)

    run(main, until=600)


def test_what_cannot_start_says_why() -> None:
    """No start position, no handler, a table of another kind: a typed error before any record is read."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        with pytest.raises(InvalidInput, match="TRIM_HORIZON, LATEST, or a time"):
            await world.worker("w0", start=None).serve()
        table = TableSpec(name="taken", key_attribute="id")
        world.services.tables.create_table(table, world.wall())
        other = Worker("taken", streams="orders", start="LATEST", connection=world.services, runtime=sim.runtime)
        with pytest.raises(InvalidInput, match="handler"):
            await other.serve()
        with pytest.raises(Closed):
            await other.serve()
        other = Worker("taken", streams="orders", start="LATEST", connection=world.services, runtime=sim.runtime)
        other.add_handler(world.see)
        with pytest.raises(InvalidInput, match="leaseKey"):
            await other.serve()

    run(main, until=600)


def test_registration_is_checked_at_once() -> None:
    """Handlers for other streams, twice, or not callable: refused where they are written."""
    worker = Worker("app", streams=["orders", "refunds"])

    @worker.handler("orders")
    async def orders(record: Record) -> None:
        del record

    @worker.handler
    async def rest(record: Record) -> None:
        del record

    assert callable(orders)
    assert callable(rest)
    for wrong in (
        lambda: worker.add_handler(orders, "orders"),
        lambda: worker.add_handler(orders, "other"),
        lambda: worker.add_handler(orders),
        lambda: Worker("app", streams=[]),
        lambda: Worker("app", streams=["a", "a"]),
        lambda: Worker("", streams="a"),
        lambda: Worker("app", streams="a", start="earliest"),
        lambda: Worker("app", streams="a", start={"b": "LATEST"}),
    ):
        with pytest.raises(InvalidInput):
            wrong()
    assert repr(worker).startswith("Worker('app', ")
    assert QUICK.failover_s == 3.0
