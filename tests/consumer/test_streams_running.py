"""Streams added, removed, deleted and created again while workers run: others go on, nothing is lost in silence."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import pytest

from shardline.common.errors import Closed, InvalidInput, NotFound
from shardline.common.metrics.measure import Measuring
from shardline.common.records import SHARD_END, TRIM_HORIZON
from shardline.consumer.config import Fleet
from shardline.consumer.events import CallFailed, PositionTrimmed, RetrievalChosen, TaskFailed
from shardline.consumer.stream_events import (
    FormerLeasesDeleted,
    RowsBegunAgain,
    StreamAdded,
    StreamBack,
    StreamGone,
    StreamRecreated,
    StreamRemoved,
    StreamsNotListed,
    StreamUntracked,
)
from shardline.consumer.streams import FormerStreams, StreamConfig, TrackingConfig
from shardline.local.sim.simulation import run

from tests.consumer.ledger import Ledger
from tests.consumer.world import QUICK, World

if TYPE_CHECKING:
    from shardline.local.sim.simulation import Simulation
    from shardline.local.tables.core import LeaseTables

SEVERAL = ("orders", "refunds")
SEEDS = [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]


def streams_of(world: World) -> set[str]:
    """Return the names of the streams that have leases."""
    return {key.split(":")[1] for key in world.rows() if ":" in key}


def watched(sim: Simulation) -> World:
    """Return a world whose lease table is watched (I3, I4)."""
    world = World(sim)
    ledgers[world.services.tables] = Ledger(world)
    return world


ledgers: WeakKeyDictionary[LeaseTables, Ledger] = WeakKeyDictionary()


def unharmed(world: World) -> bool:
    """Say whether no record was lost, order held, checkpoints stayed right, and no background task failed."""
    ledger = ledgers[world.services.tables]
    assert ledger.checkpoints
    return (world.lost, world.disorder, world.named(TaskFailed), ledger.breaches) == ([], [], [], [])


async def load(world: World, seconds: int, *streams: str) -> None:
    """Put records into several streams for some seconds; a stream's records have keys of their own."""
    for _ in range(seconds):
        for stream in streams:
            world.put(5, stream=stream, keys=1000)
        await asyncio.sleep(1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_is_added_under_load(seed: int) -> None:
    """Two workers are told of a third stream: one set of leases, both read, nothing lost or delivered twice."""

    async def main(sim: Simulation) -> None:
        world = watched(sim)
        for stream in (*SEVERAL, "returns"):
            await world.create(stream)
        for name in ("w0", "w1"):
            world.start(name, streams=SEVERAL)
        await load(world, 10, *SEVERAL)
        world.put(10, stream="returns")
        await asyncio.gather(*(world.workers[name].add_stream("returns") for name in ("w0", "w1")))
        assert streams_of(world) == {*SEVERAL, "returns"}
        await world.workers["w0"].add_stream("returns")  # Known already: nothing happens.
        await load(world, 20, *SEVERAL, "returns")
        await world.drained()
        await world.stop()
        assert unharmed(world)
        assert world.duplicates == 0
        assert len(world.rows()) == 6
        assert len(world.named(StreamAdded)) == 2

    run(main, seed=seed, until=900)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_is_removed_under_load(seed: int) -> None:
    """Its leases are given back, checkpointed, and kept; its records are read on by whoever reads it; others go on."""

    async def main(sim: Simulation) -> None:
        world = watched(sim)
        for stream in SEVERAL:
            await world.create(stream)
        for name in ("w0", "w1"):
            world.start(name, streams=SEVERAL)
        await load(world, 20, *SEVERAL)
        await world.workers["w0"].remove_stream("refunds")
        await load(world, 30, *SEVERAL)
        await world.drained()
        assert unharmed(world)
        await world.workers["w1"].remove_stream("refunds")
        world.put(10, stream="refunds")
        unread = set(world.acknowledged) - set(world.seen)
        await load(world, 20, "orders")
        # Also what w1, still reading the stream, assigned to w0 a moment before: nobody's, a fail-over time later.
        assert {row.owner for key, row in world.rows().items() if ":refunds:" in key} == {None}
        await asyncio.sleep(5)
        assert set(world.lost) == unread
        assert len(unread) == 10
        await world.workers["w1"].add_stream("refunds")
        await world.drained()
        await world.stop()
        assert unharmed(world)
        assert world.duplicates == 0
        removed = [(event.as_fields()["stream"], event.as_fields()["unclean"]) for event in world.named(StreamRemoved)]
        assert removed == [("refunds", 0)] * 2

    run(main, seed=seed, until=900)


def test_a_function_lists_the_streams() -> None:
    """It is asked again and again; what it lists is read, the rest is left; its failures change nothing."""

    async def main(sim: Simulation) -> None:
        world = watched(sim)
        for stream in (*SEVERAL, "returns"):
            await world.create(stream)
        listed: list[object] = ["orders", "not-yet"]

        def lister() -> list[object]:
            if not listed:
                raise LookupError("no list today")
            return listed

        worker = world.start("w0", streams=lister)
        await load(world, 10, "orders")
        listed[:] = ["orders", StreamConfig.of("refunds"), "returns", "nowhere"]
        await load(world, 20, *SEVERAL, "returns")
        await world.drained()
        assert (streams_of(world), unharmed(world)) == ({*SEVERAL, "returns"}, True)
        assert {event.as_fields()["call"] for event in world.named(CallFailed)} == {"stream.add"}
        listed.clear()
        await load(world, 20, *SEVERAL)
        listed[:] = ["refunds"]
        await asyncio.sleep(20)
        await load(world, 10, "refunds")
        await world.drained()
        with pytest.raises(InvalidInput, match="not listed by a function"):
            await worker.add_stream("orders")
        await world.stop()
        assert unharmed(world)
        assert {event.as_fields()["reason"] for event in world.named(StreamsNotListed)} == {"LookupError"}
        removed = [event.as_fields()["stream"] for event in world.named(StreamRemoved)]
        assert sorted(map(str, removed)) == ["orders", "returns"]

    run(main, until=900)


def test_changes_need_the_right_worker() -> None:
    """Single-stream mode, a worker that does not run, an unknown stream, no start: typed errors, nothing changed."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        for stream in SEVERAL:
            await world.create(stream)
        single = world.start("single")
        await asyncio.sleep(5)
        with pytest.raises(InvalidInput, match="multi_stream=True"):
            await single.add_stream("refunds")
        await world.stop()
        late = world.worker("late", streams=["orders"], multi_stream=True, start={"orders": "TRIM_HORIZON"})
        with pytest.raises(Closed):
            await late.add_stream("refunds")
        world.leaving["late"] = world.hosts["late"].spawn(late.serve())
        await asyncio.sleep(5)
        for wrong, error in (
            (late.add_stream("refunds"), InvalidInput),
            (late.add_stream("nowhere", start="LATEST"), NotFound),
            (late.add_stream("orders"), None),
            (late.remove_stream("refunds"), InvalidInput),
        ):
            if error is None:
                await wrong
                continue
            with pytest.raises(error):
                await wrong
        assert streams_of(world) == {"orders"}
        await world.stop()

    run(main, until=600)


@pytest.mark.parametrize("mode", [Fleet.AUTO, pytest.param(Fleet.KCL2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("strategy", "provided", "deleted"),
    [
        (FormerStreams.KEEP, (), False),
        (FormerStreams.DETECT, (), True),
        (FormerStreams.PROVIDED, ("orders",), False),
        (FormerStreams.PROVIDED, ("refunds",), True),
    ],
)
def test_former_leases_are_deleted_by_strategy(
    strategy: FormerStreams, provided: tuple[str, ...], deleted: bool, mode: Fleet
) -> None:
    """After the waiting period and by the strategy only: all of a former stream's rows, none of another's."""

    async def main(sim: Simulation) -> None:
        world = watched(sim)
        for stream in SEVERAL:
            await world.create(stream)
        tracking = TrackingConfig(poll_s=5.0, former=strategy, former_wait_s=60.0, provided=provided)
        worker = world.start("w0", streams=SEVERAL, tracking=tracking, leases=replace(QUICK, fleet=mode))
        await load(world, 20, *SEVERAL)
        await world.drained()
        await worker.remove_stream("refunds")
        await load(world, 50, "orders")
        assert streams_of(world) == set(SEVERAL)
        await load(world, 40, "orders")
        assert streams_of(world) == ({"orders"} if deleted else set(SEVERAL))
        await world.drained()
        await world.stop()
        assert unharmed(world)
        told = [(event.as_fields()["kept"], event.as_fields()["stream"]) for event in world.named(FormerLeasesDeleted)]
        assert [(kept, str(stream).split(":")[1]) for kept, stream in told] == ([(0, "refunds")] if deleted else [])

    run(main, until=900)


def test_a_stream_that_comes_back_keeps_its_leases() -> None:
    """Tracked again before the waiting period is over, and removed again later, it waits a whole period anew."""

    async def main(sim: Simulation) -> None:
        world = watched(sim)
        for stream in SEVERAL:
            await world.create(stream)
        tracking = TrackingConfig(poll_s=5.0, former=FormerStreams.DETECT, former_wait_s=60.0)
        worker = world.start("w0", streams=SEVERAL, tracking=tracking)
        await load(world, 10, *SEVERAL)
        await worker.remove_stream("refunds")
        await load(world, 40, "orders")
        await worker.add_stream("refunds")
        await load(world, 40, *SEVERAL)
        await worker.remove_stream("refunds")
        await load(world, 40, "orders")
        assert streams_of(world) == set(SEVERAL)
        await worker.add_stream("refunds")
        await world.drained()
        await world.stop()
        assert unharmed(world)
        assert world.duplicates == 0

    run(main, until=900)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_deleted_stream_does_not_harm_the_others(seed: int) -> None:
    """In multi-stream mode: said once per worker, no call after that but the look for it; the others go on."""

    async def main(sim: Simulation) -> None:
        world = watched(sim)
        for stream in SEVERAL:
            await world.create(stream)
        for name in ("w0", "w1"):
            world.start(name, streams=SEVERAL)
        await load(world, 20, *SEVERAL)
        await world.drained()
        await world.delete("refunds")
        await load(world, 60, "orders")
        await world.drained()
        holders = {row.owner for key, row in world.rows().items() if ":refunds:" in key}
        assert len(holders) <= len(world.named(StreamGone)) <= 2
        failed = len(world.named(CallFailed))
        await load(world, 300, "orders")
        await world.drained()
        assert len(world.named(CallFailed)) == failed
        world.start("w2", streams=SEVERAL)  # A restart of the fleet with a stream that is gone.
        await load(world, 20, "orders")
        await world.stop()
        assert unharmed(world)
        assert {row.checkpoint == SHARD_END for row in world.rows().values()} == {False}

    run(main, seed=seed, until=1500)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("pause_s", [0, 120])
def test_a_recreated_stream_is_read_whole_in_multi_stream_mode(seed: int, pause_s: int) -> None:
    """Under its new identity, from its beginning although the start is LATEST; the old rows stay as they are."""

    async def main(sim: Simulation) -> None:
        world = watched(sim)
        for stream in SEVERAL:
            await world.create(stream)
        for name in ("w0", "w1"):
            world.start(name, streams=SEVERAL, start="LATEST")
        await asyncio.sleep(10)
        await load(world, 20, *SEVERAL)
        await world.drained()
        before = {key for key in world.rows() if ":refunds:" in key}
        await world.delete("refunds")
        await asyncio.sleep(pause_s)
        await world.create("refunds", shards=3)
        await load(world, 60, *SEVERAL)
        await world.drained(120)
        await world.stop()
        assert unharmed(world)
        after = {key for key in world.rows() if ":refunds:" in key}
        assert before < after
        assert len(after - before) == 3
        assert world.named(StreamRecreated)

    run(main, seed=seed, until=1500)


def test_a_stream_recreated_while_nobody_ran_is_read_whole() -> None:
    """In multi-stream mode, at a start with LATEST: the table's rows tell that its name was read before."""

    async def main(sim: Simulation) -> None:
        world = watched(sim)
        for stream in SEVERAL:
            await world.create(stream)
        world.start("w0", streams=SEVERAL, start="LATEST")
        await asyncio.sleep(10)
        await load(world, 10, *SEVERAL)
        await world.drained()
        await world.stop()
        await world.delete("refunds")
        await world.create("refunds")
        await load(world, 5, *SEVERAL)
        world.start("w1", streams=SEVERAL, start="LATEST")
        await world.drained()
        await world.stop()
        assert unharmed(world)
        (told,) = world.named(StreamRecreated)
        assert told.as_fields()["stream"] == "refunds"

    run(main, until=900)


def test_a_stream_that_never_was_stops_the_start() -> None:
    """A typing error is no deleted stream: without any lease of it, starting raises what Kinesis says."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        with pytest.raises(NotFound):
            await world.worker("w0", streams=["orders", "oders"]).serve()
        assert world.rows() == {}

    run(main, until=600)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shards", [1, pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("pause_s", [0, 120])
def test_a_recreated_stream_is_read_whole_in_single_stream_mode(seed: int, shards: int, pause_s: int) -> None:
    """The old rows meet the new shards: set back in place, counters going on; superfluous ones go; nothing is lost."""

    async def main(sim: Simulation) -> None:
        world = watched(sim)
        await world.create()
        for name in ("w0", "w1"):
            world.start(name)
        await load(world, 20, "orders")
        await world.drained()
        counters = {key: row.counter for key, row in world.rows().items()}
        await world.delete()
        await asyncio.sleep(pause_s)
        await world.create(shards=shards)
        await load(world, 60, "orders")
        await world.drained(120)
        rows = world.rows()
        await world.stop()
        assert (world.lost, world.disorder, world.duplicates) == ([], [], 0)
        assert len(rows) == shards
        assert all(row.counter > counters.get(key, -1) for key, row in rows.items())
        assert world.named(StreamRecreated)
        assert bool(world.named(StreamGone)) == (pause_s > 60)

    run(main, seed=seed, until=1500)


def unmark(world: World) -> None:
    """Take our private note off every row, as if a Java worker had made them."""
    for key in world.rows():
        world.overwrite(key, "shardlineStream", "shardlineLatestPinMillis")


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("split", [False, True])
def test_rows_of_an_older_stream_are_found_at_the_next_start(split: bool, marked: bool) -> None:
    """Created again while nobody ran: checkpoints of no shard that is there, and SHARD_END of one that is open."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.start("w0")
        await load(world, 10, "orders")
        if split:
            world.split()
        await load(world, 10, "orders")
        await world.drained()
        await world.stop()
        ended = [key for key, row in world.rows().items() if row.checkpoint == SHARD_END]
        assert bool(ended) == split
        if not marked:
            unmark(world)
        await world.delete()
        await world.create(shards=1)
        await load(world, 5, "orders")
        world.start("w1", start="LATEST")
        await load(world, 60, "orders")
        await world.drained(120)
        await world.stop()
        assert (world.lost, world.disorder, world.duplicates) == ([], [], 0)
        assert list(world.rows()) == ["shardId-000000000000"]

    run(main, until=1500)


def test_finished_rows_of_an_older_stream_are_found_by_the_audit() -> None:
    """A Java fleet ends every shard of a deleted stream; whoever reads the next one must not believe these rows."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("w0")
        await asyncio.sleep(10)
        await world.stop()
        unmark(world)
        for key, row in world.rows().items():
            assert row.checkpoint == TRIM_HORIZON
            world.overwrite(key, checkpoint="SHARD_END")
        await load(world, 5, "orders")
        world.start("w1")
        await load(world, 120, "orders")
        await world.drained(60)
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])
        assert world.named(RowsBegunAgain)
        assert not world.named(PositionTrimmed)

    run(main, until=1500)


def test_a_stream_missing_for_a_moment_is_read_on() -> None:
    """Answers of "not found" for a minute, and the same stream again: no row changes hands, nothing is read twice."""

    async def main(sim: Simulation) -> None:
        world = watched(sim)
        await world.create()
        world.start("w0")
        await load(world, 10, "orders")
        await world.drained()
        hidden = world.services.state.streams.pop("orders")
        await asyncio.sleep(60)
        world.services.state.streams["orders"] = hidden
        await load(world, 30, "orders")
        await world.drained()
        await world.stop()
        assert unharmed(world)
        assert world.duplicates == 0
        assert (len(world.named(StreamGone)), len(world.named(StreamBack))) == (1, 1)

    run(main, until=900)


@pytest.mark.parametrize("tracked_again_s", [None, 1.0])
def test_a_lease_assigned_after_its_stream_was_removed_is_given_back(tracked_again_s: float | None) -> None:
    """A leader's list may lag behind: nobody renews such a lease; one that is tracked again in time is just read."""

    async def main(sim: Simulation) -> None:
        world = watched(sim)
        for stream in SEVERAL:
            await world.create(stream)
        worker = world.start("w0", streams=SEVERAL)
        await load(world, 10, *SEVERAL)
        await world.drained()
        await worker.remove_stream("refunds")
        strays = [key for key in world.rows() if ":refunds:" in key]
        for key in strays:
            row = world.rows()[key]
            assert row.owner is None
            world.overwrite(key, leaseOwner="w0", leaseCounter=row.counter + 1)
        if tracked_again_s is not None:
            await asyncio.sleep(tracked_again_s)
            await worker.add_stream("refunds")
        await load(world, 20, "orders")
        owner = None if tracked_again_s is None else "w0"
        assert [world.rows()[key].owner for key in strays] == [owner] * len(strays)
        await world.drained()
        await world.stop()
        assert unharmed(world)

    run(main, until=600)


def test_leases_of_the_other_mode_are_reported() -> None:
    """An application that changes between single- and multi-stream mode leaves its leases behind: said loudly."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("w0")
        await load(world, 5, "orders")
        await world.drained()
        await world.stop()
        world.start("w1", streams=["orders"], multi_stream=True)
        await asyncio.sleep(20)
        await world.stop()
        told = world.named(StreamUntracked)
        assert told
        assert told[0].as_fields()["stream"] == ""

    run(main, until=600)


ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"


def test_a_stream_is_read_by_its_arn_and_a_consumer_of_others() -> None:
    """In multi-stream mode, as across accounts: a given consumer is used as it is, none is registered."""

    async def main(sim: Simulation) -> None:
        world = watched(sim)
        for stream in SEVERAL:
            await world.create(stream)
        state = world.services.state
        consumer = state.register_consumer(ARN, "theirs", now=world.wall())
        await asyncio.sleep(10)
        world.start("w0", streams=[StreamConfig.of(ARN, consumer_arn=consumer.arn), "refunds"])
        await load(world, 10, *SEVERAL)
        await world.drained()
        await world.stop()
        assert unharmed(world)
        assert streams_of(world) == set(SEVERAL)
        assert [one.name for one in state.consumers.values()] == ["theirs"]
        chosen = {(e.as_fields()["stream"], e.as_fields()["retrieval"]) for e in world.named(RetrievalChosen)}
        assert chosen == {("orders", "fanout")}

    run(main, until=600)


def test_an_arn_of_another_region_is_refused() -> None:
    """The clients' region is the only one: a typed error before anything is sent, at start and when added."""
    other = ARN.replace("us-east-1", "eu-central-1")

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        with pytest.raises(InvalidInput, match="region, us-east-1"):
            await world.worker("w0", streams=other).serve()
        worker = world.start("w1", streams=["orders"], multi_stream=True)
        await asyncio.sleep(5)
        with pytest.raises(InvalidInput, match="region, us-east-1"):
            await worker.add_stream(other)
        await world.stop()

    run(main, until=600)


def test_the_kcls_metrics_of_streams_are_measured() -> None:
    """Streams read and streams that wait for deletion, by the leader; deleted, gone and created again."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        for stream in (*SEVERAL, "returns"):
            await world.create(stream)
        tracking = TrackingConfig(poll_s=5.0, former=FormerStreams.DETECT, former_wait_s=60.0)
        worker = world.start("w0", streams=(*SEVERAL, "returns"), tracking=tracking)
        await load(world, 10, *SEVERAL, "returns")
        await worker.remove_stream("refunds")
        await asyncio.sleep(40)
        await world.delete("returns")
        await asyncio.sleep(100)
        await world.create("returns")
        await asyncio.sleep(30)
        await world.stop()
        found = {
            (one.metric.name, int(one.sum))
            for _, event in world.events
            if isinstance(event, Measuring)
            for one in event.measurements()
            if "Stream" in one.metric.name
        }
        assert found >= {
            ("ActiveStreams.Count", 3),
            ("ActiveStreams.Count", 2),
            ("StreamsPendingDeletion.Count", 1),
            ("DeletedStreams.Count", 1),
            ("StreamsGone", 1),
            ("StreamsRecreated", 1),
        }

    run(main, until=600)
