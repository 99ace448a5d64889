"""Steering a running worker: pauses and seeks in every level, by polling and fan-out; a sink's own positions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.errors import InvalidInput, SeekAhead
from shardline.common.records import Position
from shardline.consumer.config import DeliveryConfig, Retrieval
from shardline.consumer.driver.delivery import Delivery
from shardline.consumer.events import (
    BatchProcessed,
    CallFailed,
    HandlerFailed,
    LeaseLost,
    PositionTrimmed,
)
from shardline.consumer.policy import per_key
from shardline.consumer.processor import Checkpointer, ShardProcessor
from shardline.consumer.rounds import PageRead
from shardline.consumer.sought import RecordsSkipped, SeekRefused, ShardSought
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.consumer.handler import Batch, Record

FIRST = "shardId-000000000000"
MODES: dict[str, dict[str, Any]] = {
    "record": {},
    "per key": {"concurrency": per_key(4)},
    "batch": {"batch": True},
    "blocking": {"blocking": True},
    "fan-out": {"retrieval": Retrieval.FANOUT},
    "processor": {"processor": True},
}


class Porter(ShardProcessor):
    """Counts what it gets and checkpoints each batch."""

    def __init__(self, world: World, began: list[str]) -> None:
        self.world = world
        began.append("initialize")

    async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
        """Count, and checkpoint."""
        for record in batch:
            self.world.saw(record)
        await checkpointer.checkpoint()


def start(world: World, mode: str, name: str = "w0", **more: Any) -> list[str]:
    """Start a worker in a mode; returns where its processors note that they begin."""
    settings, began = {**MODES[mode], **more}, list[str]()
    handler: Callable[..., Any] | None = None
    if settings.get("batch"):

        async def take(batch: Batch) -> None:
            for record in batch:
                await world.see(record)

        handler = take
    if settings.pop("blocking", False):

        def block(record: Record) -> None:
            world.saw(record)

        handler = block
    if settings.pop("processor", False):
        settings["processor"] = lambda: Porter(world, began)
    world.start(name, handler, **settings)
    return began


def sequence_numbers(world: World) -> list[str]:
    """Return those of the first shard's Kinesis records."""
    shard = world.services.state.streams["orders"].get(FIRST)
    assert shard is not None
    return [record.sequence_number for record in shard._records]


def stored(world: World, shard: str = FIRST) -> Position:
    """Return the checkpoint in the table."""
    return world.rows()[shard].checkpoint


@pytest.mark.parametrize("mode", MODES)
def test_a_paused_worker_keeps_its_leases_and_reads_nothing(mode: str) -> None:
    """In every mode: no page, no record, leases renewed; resumed, it goes on with nothing lost and nothing twice."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        began = start(world, mode)
        world.put(60, per_aggregate=3)
        await world.drained()
        worker = world.workers["w0"]
        worker.pause()
        await asyncio.sleep(2)
        assert {one.state for one in worker.shards()} == {"paused"}
        pages, seen = len(world.named(PageRead)), sum(world.seen.values())
        world.put(60, per_aggregate=3)
        await asyncio.sleep(30)
        assert (len(world.named(PageRead)), sum(world.seen.values())) == (pages, seen)
        assert (world.named(LeaseLost), len(worker.shards())) == ([], 2)
        worker.resume()
        await world.drained()
        assert all(one.state == "processing" for one in worker.shards())
        await world.stop()
        assert (world.lost, world.duplicates, world.disorder, world.named(PositionTrimmed)) == ([], 0, [], [])
        assert len(began) in (0, 2)

    run(main, until=600)


@pytest.mark.parametrize("mode", MODES)
def test_back_delivers_again_and_the_checkpoint_stays(mode: str) -> None:
    """In every mode: each record comes once more, the stored checkpoint neither moves back nor ahead of its due."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        start(world, mode)
        world.put(40, per_aggregate=4)
        await world.drained()
        await asyncio.sleep(5)
        before = stored(world)
        assert not before.is_sentinel
        assert world.workers["w0"].seek("TRIM_HORIZON", stream="orders") == (FIRST,)
        await asyncio.sleep(15)
        assert set(world.seen.values()) == {2}
        assert stored(world) == before
        (sought,) = world.named(ShardSought)
        assert sought.as_fields()["mark"] == str(before)
        world.put(4, per_aggregate=4)
        await world.drained()
        await world.stop()
        assert stored(world) > before
        assert (world.lost, world.named(RecordsSkipped), world.named(HandlerFailed)) == ([], [], [])

    run(main, until=600)


@pytest.mark.parametrize("mode", MODES)
def test_forward_skips_only_when_told_and_says_what(mode: str) -> None:
    """LATEST without `skip` is an error; with it the range is told, and the checkpoint moves with what comes after."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        start(world, mode)
        world.put(10)
        await world.drained()
        worker = world.workers["w0"]
        worker.pause(shard=FIRST)
        await asyncio.sleep(2)
        world.put(10)
        with pytest.raises(SeekAhead):
            worker.seek("LATEST")
        assert worker.seek("LATEST", skip=True) == (FIRST,)
        worker.resume(shard=FIRST)
        await asyncio.sleep(10)  # A subscription that ended a moment ago is only replaced after the service's pause.
        world.put(10)
        await asyncio.sleep(10)
        assert world.lost == list(range(10, 20))
        (skipped,) = world.named(RecordsSkipped)
        numbers = sequence_numbers(world)
        told = skipped.as_fields()
        assert (told["after"], told["before"]) == (f"{numbers[9]}/0", f"{numbers[20]}/0")
        await world.stop()
        assert stored(world) == Position(int(numbers[29]))

    run(main, until=600)


def test_a_record_can_be_sought_and_a_position_inside_an_aggregate() -> None:
    """The record given comes next, with everything behind it, its own aggregate's beginning left out."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        records: dict[int, Record] = {}

        async def keep(record: Record) -> None:
            records[int(record.data)] = record
            world.saw(record)

        worker = world.start("w0", keep)
        world.put(12, per_aggregate=4)
        await world.drained()
        assert worker.seek(records[6]) == (FIRST,)
        await asyncio.sleep(5)
        assert [number for number, times in sorted(world.seen.items()) if times == 2] == [6, 7, 8, 9, 10, 11]
        assert worker.seek(records[11].sequence_number, shard=FIRST) == (FIRST,)
        await asyncio.sleep(5)
        assert [number for number, times in sorted(world.seen.items()) if times == 3] == [8, 9, 10, 11]
        (one,) = worker.shards()
        assert (one.position, one.shard_id, one.stream) == (str(records[11].position), FIRST, "orders")
        await world.stop()

    run(main, until=600)


@pytest.mark.parametrize("retrieval", [Retrieval.POLLING, Retrieval.FANOUT])
def test_a_seek_that_leads_ahead_or_nowhere_is_not_followed(retrieval: Retrieval) -> None:
    """A time behind what was done without `skip`, and a number that the service refuses: reading stays where it was."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        worker = world.start("w0", retrieval=retrieval)
        world.put(5)
        await world.drained()
        worker.pause()
        await asyncio.sleep(2)
        world.put(5)
        await asyncio.sleep(2)
        world.put(5)
        worker.seek(world.wall() - 1, stream="orders")
        worker.resume()
        await world.drained()
        assert worker.seek("7", shard=FIRST) == (FIRST,)
        await asyncio.sleep(10)
        world.put(5)
        await world.drained()
        await world.stop()
        assert (world.lost, world.duplicates, world.named(RecordsSkipped)) == ([], 0, [])
        found = [event.as_fields()["found"] for event in world.named(SeekRefused)]
        assert len(found) == 2
        assert found[1] == "7/0"

    run(main, until=600)


def test_a_time_can_be_sought_back_to() -> None:
    """All shards of a stream at once, each at its own position."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        worker = world.start("w0")
        world.put(20)
        await asyncio.sleep(20)
        since = world.wall()
        await asyncio.sleep(1)
        world.put(20)
        await world.drained()
        assert len(worker.seek(since)) == 2
        await asyncio.sleep(10)
        assert [number for number, times in sorted(world.seen.items()) if times == 2] == list(range(20, 40))
        await world.stop()

    run(main, until=600)


def test_a_pause_reaches_shards_that_come_later_and_not_other_workers() -> None:
    """Paused before its start a worker takes its leases and reads nothing; another one that gets them reads on."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.put(20)
        worker = world.worker("w0")
        worker.pause("orders")
        world.leaving["w0"] = world.hosts["w0"].spawn(worker.serve())
        await asyncio.sleep(20)
        assert [(one.state, one.paused) for one in worker.shards()] == [("paused", True)] * 2
        assert sum(world.seen.values()) == 0
        await world.stop("w0")
        world.start("w1")
        await world.drained()
        await world.stop()
        assert (world.lost, world.duplicates) == ([], 0)

    run(main, until=600)


def test_a_pause_lets_no_key_go_twice() -> None:
    """With many keys at a time and one that fails: what was done above the gap does not come again after a pause."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        fails = True

        async def handle(record: Record) -> None:
            await asyncio.sleep(0.01)
            if record.data == b"3" and fails:
                raise RuntimeError("not yet")
            world.saw(record)

        worker = world.start("w0", handle, concurrency=per_key(8))
        world.put(40, keys=11)
        await asyncio.sleep(10)
        assert world.lost
        for _ in range(2):
            worker.pause()
            await asyncio.sleep(5)
            assert worker.shards()[0].state == "paused"
            worker.resume()
            await asyncio.sleep(5)
        fails = False
        await world.drained()
        await world.stop()
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])

    run(main, until=600)


def test_a_pause_stops_retries() -> None:
    """A handler that fails for ever is left alone while paused, and the record comes again after."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        tries = 0

        async def handle(record: Record) -> None:
            nonlocal tries
            tries += 1
            if tries < 9:
                raise RuntimeError("not yet")
            world.saw(record)

        worker = world.start("w0", handle, delivery=DeliveryConfig())
        world.put(5)
        await asyncio.sleep(6)
        worker.pause()
        await asyncio.sleep(2)
        before = tries
        await asyncio.sleep(60)
        assert before == tries > 1
        worker.resume()
        await world.drained(120)
        await world.stop()
        assert (world.lost, world.duplicates) == ([], 0)

    run(main, until=900)


@pytest.mark.parametrize("mode", MODES)
def test_a_pause_that_is_over_before_the_handler_returns_costs_nothing(mode: str) -> None:
    """Paused and resumed within one handler call: the shard is read on (found by simulation)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()

        class Slow(Porter):
            async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
                await asyncio.sleep(3)
                await super().process(batch, checkpointer)

        async def slow(record: Record) -> None:
            await asyncio.sleep(0.5)
            world.saw(record)

        async def slow_batch(batch: Batch) -> None:
            await asyncio.sleep(3)
            for record in batch:
                world.saw(record)

        settings = dict(MODES[mode])
        handler = slow_batch if settings.get("batch") else slow
        if settings.pop("processor", False) or settings.pop("blocking", False):
            settings["processor"] = lambda: Slow(world, [])
        worker = world.start("w0", None if "processor" in settings else handler, **settings)
        world.put(10)
        await asyncio.sleep(7)
        for _ in range(3):
            worker.pause()
            worker.resume()
            await asyncio.sleep(1.3)
        world.put(10)
        await world.drained()
        assert worker.shards()[0].state == "processing"
        await world.stop()
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])

    run(main, until=600)


def test_pulled_batches_pause_and_seek() -> None:
    """A batch that is worked on is settled first; one that nobody took is withdrawn."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(12)
        async with world.worker("w0", pull=True) as worker:
            batches = worker.batches(max_records=4)
            async with await anext(batches) as batch:
                worker.pause()
                await asyncio.sleep(5)
                assert worker.shards()[0].state == "processing"
                for record in batch:
                    world.saw(record)
            await asyncio.sleep(5)
            assert worker.shards()[0].state == "paused"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(batches), 20)
            worker.resume()
            while world.lost:
                async with await anext(batches) as batch:
                    for record in batch:
                        world.saw(record)
            assert world.duplicates == 0
            worker.seek("TRIM_HORIZON")
            async with await anext(batches) as batch:
                assert [record.data for record in batch] == [b"0", b"1", b"2", b"3"]

    run(main, until=600)


def test_a_paused_shard_is_handed_over_where_it_stands() -> None:
    """A second worker gets its share of a paused worker's leases, and reads on from what was done."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=4)
        await world.create()
        worker = world.start("w0")
        world.put(80)
        await world.drained()
        worker.pause()
        await asyncio.sleep(2)
        world.put(80)
        world.start("w1")
        await asyncio.sleep(240)
        assert len(worker.shards()) == len(world.workers["w1"].shards()) == 2
        assert world.lost
        worker.resume()
        await world.drained()
        await world.stop()
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])

    run(main, until=900)


@pytest.mark.parametrize("mode", ["record", "processor"])
def test_a_sink_is_read_behind_its_own_position(mode: str) -> None:
    """A sink ahead of the checkpoint gets nothing twice, and the range is told; one behind gets what it lacks."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(30, per_aggregate=3)
        numbers = sequence_numbers(world)
        asked: list[tuple[str, str]] = []
        held: list[str | Position | None] = [f"{numbers[4]}/1"]

        async def position(stream: str, shard: str) -> str | Position | None:
            asked.append((stream, shard))
            if len(asked) == 1:
                raise RuntimeError("the sink is not there yet")
            return held[0]

        start(world, mode, positions=position)
        await asyncio.sleep(20)
        assert sorted(world.seen) == list(range(14, 30))
        (skipped,) = world.named(RecordsSkipped)
        assert skipped.as_fields()["before"] == f"{numbers[4]}/2"
        assert skipped.as_fields()["after"] == ""
        assert any(event.as_fields()["call"] == "handler.positions" for event in world.named(CallFailed))
        await world.stop()
        end = stored(world)
        held[0] = Position(int(numbers[8]), 2)
        start(world, mode, "w1", positions=position)
        await asyncio.sleep(20)
        await world.stop()
        assert {number for number, times in world.seen.items() if times == 2} == {27, 28, 29}
        assert stored(world) == end
        assert set(asked) == {("orders", FIRST)}

    run(main, until=600)


def test_a_blocking_sink_is_asked_on_a_thread_and_may_know_nothing() -> None:
    """None leaves it to the checkpoint."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(5)

        def position(_stream: str, _shard: str) -> None:
            return None

        world.start("w0", positions=position)
        await world.drained()
        await world.stop()
        assert (world.lost, world.duplicates, world.named(ShardSought)) == ([], 0, [])

    run(main, until=600)


def test_wrong_orders_are_refused() -> None:
    """A stream of others, a shard of nobody's, a position for every shard, no position at all."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.services.state.create_stream("refunds", 1, now=world.wall())
        worker = world.worker("w0", streams=["orders", "refunds"])
        wrongs: list[Callable[[], object]] = [
            lambda: worker.pause("payments"),
            lambda: worker.resume(shard=FIRST),
            lambda: worker.seek("7"),
            lambda: worker.seek("yesterday"),
            lambda: worker.shards("payments"),
            lambda: worker.add_handler(world.see, "refunds", positions=lambda _: None),  # type: ignore[arg-type,misc]  # what an untyped caller may give
        ]
        for wrong in wrongs:
            with pytest.raises(InvalidInput):
                wrong()
        assert worker.seek("TRIM_HORIZON", stream="orders") == ()
        assert worker.shards() == ()

    run(main, until=60)


def test_a_shard_that_ended_is_not_sought() -> None:
    """What was read to its end is finished; its children can be sought."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        worker = world.start("w0")
        world.put(10)
        await world.drained()
        world.split()
        await asyncio.sleep(30)
        world.put(10)
        await world.drained()
        assert FIRST not in worker.seek("TRIM_HORIZON")
        assert len(worker.seek("TRIM_HORIZON")) == 2
        await asyncio.sleep(5)
        assert [number for number, times in sorted(world.seen.items()) if times == 2] == list(range(10, 20))
        await world.stop()

    run(main, until=600)


def test_nothing_is_delivered_between_an_order_and_its_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `pause` at most the handler call that runs ends: no further record is begun."""
    begun: list[int] = []
    deliver = Delivery.deliver

    async def watched(self: Delivery, page: Any) -> bool:
        begun.append(len(page.records))
        return await deliver(self, page)

    monkeypatch.setattr(Delivery, "deliver", watched)

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(100)

        async def handle(record: Record) -> None:
            if record.data == b"10":
                world.workers["w0"].pause()
            await asyncio.sleep(0.1)
            world.saw(record)

        world.start("w0", handle)
        await asyncio.sleep(30)
        assert sorted(world.seen) == list(range(11))
        assert len(begun) == 1
        assert sum(int(event.as_fields()["records"]) for event in world.named(BatchProcessed)) == 11
        await world.stop()
        assert stored(world).sub_sequence_number == 0

    run(main, until=600)
