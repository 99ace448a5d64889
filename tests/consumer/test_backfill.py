"""Replay and backfill: bounded runs end by themselves, with all that lies within their bounds and nothing beyond."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.errors import HandlerGaveUp, InvalidInput
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.common.ports.lease_store import Delete, Key
from shardline.common.records import SHARD_END, TRIM_HORIZON, KinesisRecord, Position
from shardline.consumer.backfilling import BackfillSummary, backfill
from shardline.consumer.bounds import Bounds, Pace, PaceKeeper, unfinished
from shardline.consumer.config import DeliveryConfig, Retrieval, WorkerConfig
from shardline.consumer.policy import park_record, per_key, stop_worker
from shardline.consumer.worker import Worker
from shardline.local.sim.runtime import SimRuntime
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.rows import lease
from tests.consumer.world import QUICK, World

if TYPE_CHECKING:
    from shardline.consumer.handler import Record
    from shardline.consumer.policy import Parked

FIRST = "shardId-000000000000"


def begin(world: World, name: str = "b0", handler: Any = None, **more: Any) -> asyncio.Task[BackfillSummary]:
    """Start a run on a host of its own."""
    host = world.hosts[name] = world.sim.host(name)
    settings = {name: more.pop(name) for name in ("retrieval",) if name in more}
    leases = QUICK if more.pop("audits", True) else replace(QUICK, audit_s=86_400.0)
    config = WorkerConfig(worker_id=name, leases=leases, delivery=more.pop("delivery", DeliveryConfig()), **settings)
    events = [lambda event: world.events.append((name, event))]
    more.setdefault("application", "again")
    application = more.pop("application")
    running = backfill(
        application,
        handler or world.see,
        streams=world.stream,
        connection=world.services,
        config=config,
        listeners=events,
        runtime=SimRuntime(host),
        **more,
    )
    return host.spawn(running)


async def filled(sim: Simulation, shards: int, records: int) -> tuple[World, float]:
    """Return a world whose stream holds some records, and when it did."""
    world = World(sim, shards=shards)
    await world.create()
    world.put(records)
    await asyncio.sleep(5)
    return world, world.wall()


@pytest.mark.parametrize("retrieval", [Retrieval.POLLING, Retrieval.FANOUT])
def test_a_run_ends_by_itself(retrieval: Retrieval) -> None:
    """Everything that was there when it began is handled once, and what comes later is not; the summary counts it."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=3)
        await world.create()
        world.put(120, per_aggregate=4)
        await asyncio.sleep(1)
        running = begin(world, retrieval=retrieval)
        await asyncio.sleep(3)
        world.put(40)
        summary = await running
        assert sorted(world.seen) == list(range(120))
        assert (world.duplicates, world.disorder) == (0, [])
        assert (summary.records, summary.kinesis_records, summary.parked) == (120, 30, 0)
        assert len(summary.left) == 3
        assert set(summary.positions) <= set(summary.left)
        assert 2 < summary.seconds < 60
        assert world.services.tables.scan_page("again", world.wall(), consistent=True).items

    run(main, until=600)


def test_from_and_to_a_time_across_reshards() -> None:
    """Children follow their parents in order while they begin before the end; the live application is not touched."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("live")
        world.put(30)
        await asyncio.sleep(30)
        since = world.wall()
        world.put(60, per_aggregate=3)
        await asyncio.sleep(10)
        world.split()
        await asyncio.sleep(10)
        world.put(60)
        await asyncio.sleep(10)
        world.merge(1)
        await asyncio.sleep(10)
        world.put(60)
        await asyncio.sleep(5)
        until = world.wall()
        await asyncio.sleep(5)
        world.put(30)
        world.split()
        await asyncio.sleep(10)
        world.put(30)
        await world.drained()
        await asyncio.sleep(5)
        live = world.rows()
        seen = dict(world.seen)
        world.seen.clear()
        world._highest.clear()
        summary = await begin(world, start=since, until=until)
        assert sorted(world.seen) == list(range(30, 210))
        assert (summary.records, world.duplicates, world.disorder) == (180, 0, [])
        assert {key: row.checkpoint for key, row in world.rows().items()} == {
            key: row.checkpoint for key, row in live.items()
        }
        assert len(seen) == 270
        await world.stop()

    run(main, until=1200)


def test_positions_of_named_shards() -> None:
    """From one record up to another one, exclusive, in the shards named and no others; a child can be named, too."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=2)
        await world.create()
        world.put(40)
        world.split()
        await asyncio.sleep(10)
        world.put(60)
        shards = world.services.state.streams["orders"]
        by_shard = {shard.shard_id: [one.sequence_number for one in shard._records] for shard in shards.shards.values()}
        assert len(by_shard) == 4
        child = max(by_shard)
        numbers = by_shard[child]
        assert len(numbers) > 6
        summary = await begin(world, start={child: numbers[2]}, until={child: numbers[6]})
        assert (summary.records, summary.left) == (4, tuple(sorted(s.shard_id for s in world.open_shards())))
        assert summary.positions == {child: f"{numbers[5]}/0"}
        closed = next(shard for shard in by_shard if shard not in summary.left)
        world.seen.clear()
        whole = await begin(world, "b1", application="other", until={closed: Position(int(by_shard[closed][-1]))})
        assert whole.records == len(by_shard[closed]) - 1

    run(main, until=600)


def test_a_run_that_was_cut_goes_on() -> None:
    """A crash in the middle: the next run of that name handles what is left; a third one finds nothing to do."""

    async def main(sim: Simulation) -> None:
        world, until = await filled(sim, 2, 400)
        world.hosts["b0"] = host = sim.host("b0")
        first = Worker(
            "again",
            streams="orders",
            start="TRIM_HORIZON",
            connection=world.services,
            runtime=SimRuntime(host),
            config=WorkerConfig(worker_id="b0", leases=QUICK),
            bounds=Bounds.of(until, None, wall_s=0.0),
        )
        first.add_handler(world.see_slowly)
        host.spawn(first.serve())
        await asyncio.sleep(15)
        world.hosts["b0"].crash()
        half = len(world.seen)
        assert 50 < half < 390
        second = await begin(world, "b1", world.see_slowly, until=until)
        assert sorted(world.seen) == list(range(400))
        assert 400 - half <= second.records < 400 - half + 100
        third = await begin(world, "b2", world.see_slowly, until=until)
        assert (third.records, third.left) == (0, ())
        assert third.seconds < 5
        world.put(10)
        await asyncio.sleep(2)
        fourth = await begin(world, "b3", world.see_slowly, until=world.wall())
        assert fourth.records == 10

    run(main, until=1200)


def test_two_processes_share_a_run() -> None:
    """Both end when all is done, whoever did it; together they did it once."""

    async def main(sim: Simulation) -> None:
        world, until = await filled(sim, 6, 600)
        both = await asyncio.gather(*(begin(world, name, world.see_slowly, until=until) for name in ("b0", "b1")))
        assert sum(one.records for one in both) == 600
        assert min(one.records for one in both) > 0
        assert (world.lost, world.duplicates) == ([], 0)

    run(main, until=1200)


@pytest.mark.parametrize("concurrency", [None, per_key(4)])
def test_the_pace_holds(concurrency: Any) -> None:
    """Twenty records a second, all shards together, from the first to the last."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=3)
        await world.create()
        world.put(400)
        await asyncio.sleep(1)
        times: list[float] = []

        async def note(record: Record) -> None:
            times.append(sim.now)
            world.saw(record)

        summary = await begin(world, handler=note, pace=Pace(records_per_s=20), concurrency=concurrency)
        assert summary.records == 400
        for first in range(0, 400 - 60, 10):
            assert times[first + 60] - times[first] >= 1.9
        assert 400 / 20 - 2 <= times[-1] - times[0] <= 400 / 20 + 5

    run(main, until=600)


def test_a_failing_record_is_parked_or_ends_the_run() -> None:
    """The policies are those of handlers: the summary counts what was parked; `stop_worker` raises."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(20)
        await asyncio.sleep(1)
        lot: list[Parked] = []

        async def park(parked: Parked) -> None:
            lot.append(parked)

        async def handle(record: Record) -> None:
            if record.data == b"7":
                raise ValueError("no")
            world.saw(record)

        summary = await begin(world, handler=handle, on_failure=park_record(park, attempts=2))
        assert (summary.parked, len(lot), world.lost) == (1, 1, [7])
        with pytest.raises(HandlerGaveUp):
            await begin(world, "b1", handle, application="other", on_failure=stop_worker(attempts=2))

    run(main, until=600)


def test_what_is_no_bound_is_refused() -> None:
    """Times, positions, rates: before anything is sent."""
    for until, since in (
        (float("nan"), None),
        (-1, None),
        (True, None),
        ({}, None),
        ({FIRST: "LATEST"}, None),
        ({FIRST: Position(5, 1)}, None),
        ({FIRST: "5"}, {FIRST: "5"}),
        (None, {FIRST: "x"}),
        ("tomorrow", None),
    ):
        with pytest.raises(InvalidInput):
            Bounds.of(until, since, wall_s=1.0)  # type: ignore[arg-type]  # what an untyped caller may give
    for rates in ({"records_per_s": 0}, {"bytes_per_s": -1}, {"records_per_s": float("nan")}, {"bytes_per_s": True}):
        with pytest.raises(InvalidInput):
            Pace(**rates)


def records(*arrivals: float) -> list[KinesisRecord]:
    """Return records numbered from 1, with these arrival times."""
    return [KinesisRecord(str(number), b"", None, at) for number, at in enumerate(arrivals, 1)]


def test_the_first_record_beyond() -> None:
    """By time, or by the position of the shard; the bound itself lies beyond."""
    bounds = Bounds.of(5.0, None, wall_s=99.0)
    assert bounds.first_beyond(FIRST, records(1, 2, 4.99)) is None
    assert bounds.first_beyond(FIRST, records(1, 5, 6)) == 1
    placed = Bounds.of({FIRST: "2"}, {"shardId-000000000001": "1"}, wall_s=99.0)
    assert placed.first_beyond(FIRST, records(1, 1000, 1)) == 1
    assert [placed.reads(shard) for shard in (FIRST, "shardId-000000000001", "shardId-000000000002")] == [
        True,
        True,
        False,
    ]
    assert (bounds.text, placed.text) == ("5.0", f"{FIRST}=2/0")
    assert [bounds.is_quiet(*how) for how in ((0, 9.9), (0, 10.0), (1, 99.0), (None, 99.0))] == [
        False,
        True,
        False,
        False,
    ]


def test_what_is_left_to_do() -> None:
    """Shards at their end or bound are done, and so is what descends from a bound; everything else is not."""
    rows = [
        lease(0, checkpoint=SHARD_END),
        lease(1, parents=("shardId-000000000000",)),
        lease(2),
        lease(3, parents=("shardId-000000000002",)),
        lease(4, parents=("shardId-000000000003",), checkpoint=TRIM_HORIZON),
    ]
    assert [row.key[-1] for row in unfinished(rows, ())] == ["1", "2", "3", "4"]
    assert [row.key[-1] for row in unfinished(rows, {rows[2].key})] == ["1"]
    assert unfinished(rows, {rows[1].key, rows[2].key}) == []
    assert unfinished([], ()) == []


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 5000)), min_size=1, max_size=40))
def test_no_span_of_time_takes_more_than_its_pace(batches: list[tuple[int, int]]) -> None:
    """Whatever the batches: rate times seconds, one second's burst, and one batch, in records and in bytes."""
    pace = PaceKeeper(Pace(records_per_s=10, bytes_per_s=1000), 0.0)
    now, taken = 0.0, list[tuple[float, int, int]]()
    for count, size in batches:
        for _ in range(5):
            wait = pace.take(now, count, size)
            if not wait:
                break
            now += wait
        taken.append((now, count, size))
    for at, (start, *_) in enumerate(taken):
        span = now - start
        assert sum(count for _, count, _ in taken[at:]) <= 10 * (span + 1) + 50 + 1
        assert sum(size for _, _, size in taken[at:]) <= 1000 * (span + 1) + 5000 + 1


def test_a_bounded_worker_can_be_pulled() -> None:
    """`batches` end where the bounds do."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(20)
        worker = Worker(
            "again",
            streams="orders",
            start="TRIM_HORIZON",
            connection=world.services,
            runtime=sim.runtime,
            config=WorkerConfig(leases=QUICK),
            bounds=Bounds.of(None, None, wall_s=world.wall() + 1),
        )
        async with worker:
            async for batch in worker.batches(max_records=3):
                async with batch:
                    for record in batch:
                        world.saw(record)
        assert (world.lost, world.duplicates) == ([], 0)

    run(main, until=600)


def test_a_run_ends_where_an_empty_shard_merges_with_what_lies_beyond() -> None:
    """Its child would wait for a parent that this run never reads: the shard is left as at its bound."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=2)
        await world.create()
        first = [PutEntry(b"7", "k", "1")]  # Of the first of the two shards.
        world.services.state.put_records(Stream(world.stream), first, now=world.wall())
        await asyncio.sleep(5)
        until = world.wall()
        await asyncio.sleep(5)
        world.services.state.put_records(Stream(world.stream), first, now=world.wall())
        world.split(0)
        world.merge(1)
        run_ = begin(world, until=until)
        async with asyncio.timeout(120):
            summary = await run_
        assert dict(world.seen) == {7: 1}
        assert summary.left == (FIRST, "shardId-000000000001")

    run(main, until=600)


def test_a_run_reads_what_an_operator_deleted_the_row_of() -> None:
    """A shard without a lease is none that was read: the last look repairs what is missing, and the run goes on."""

    async def main(sim: Simulation) -> None:
        world, until = await filled(sim, 2, 40)
        run_ = begin(world, handler=world.stuck, until=until, audits=False)
        await asyncio.sleep(5)
        world.services.tables.write(Delete("again", Key("leaseKey", FIRST)), world.wall())
        await asyncio.sleep(5)
        world.unstick()
        await run_
        assert sorted(world.seen) == list(range(40))

    run(main, until=600)
