"""Enhanced fan-out: continuation, back-pressure, events that cannot be true, ends, and falling back to polling."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.errors import Denied, InvalidInput, LimitExceeded, Rejected, ServiceError
from shardline.common.ports.kinesis import StartAt, StartKind, SubscribeEvent
from shardline.common.records import SHARD_END, KinesisRecord
from shardline.consumer.config import Retrieval, WorkerConfig
from shardline.consumer.events import CallFailed, RetrievalChosen
from shardline.consumer.retrieval.fanout import ShardSubscription
from shardline.consumer.retrieval.polling import PollingSettings
from shardline.consumer.stream_events import ConsumerLost
from shardline.local.doors.kinesis import InProcessKinesis
from shardline.local.sim.simulation import Simulation, run
from shardline.local.state.refusal import Refusal

from tests.consumer.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHECKPOINT = StartAt(StartKind.AT_SEQUENCE_NUMBER, "3")


def subscription(**settings: int) -> ShardSubscription:
    """Return a shard's subscription at time 0."""
    return ShardSubscription(CHECKPOINT, PollingSettings(**settings), Random(1), 0.0)


def event(*numbers: int, then: str | None = "go on") -> SubscribeEvent:
    """Return an event with records of these sequence numbers."""
    continuation = str(numbers[-1] if numbers else 50) if then == "go on" else then
    return SubscribeEvent([KinesisRecord(str(n), b"xyz", "k", 0.0) for n in numbers], continuation, 7)


def test_a_connection_that_a_seek_abandons_amid_failures_has_failed_too() -> None:
    """Nobody hears of it: were it forgotten, whoever seeks often would connect often, and never back off (I17)."""
    made = subscription()
    made.on_failed(0.0)
    due = made.next_wakeup()
    assert due is not None
    assert made.next_start(due) is not None
    made.seek(CHECKPOINT, due + 0.1)
    again = made.next_wakeup()
    assert again is not None
    assert again > due + 0.1
    assert made.next_start(due + 0.1) is None


def test_a_connection_that_a_seek_ends_otherwise_is_followed_at_once() -> None:
    """Where connections succeed, reading elsewhere begins at once."""
    made = subscription()
    assert made.next_start(0.0) is not None
    made.seek(CHECKPOINT, 1.0)
    assert made.next_start(1.0) == CHECKPOINT


def test_a_new_connection_starts_behind_the_last_event() -> None:
    """First at the checkpoint, later after the continuation number, also of an event without records."""
    shard = subscription()
    assert shard.next_start(0.0) == CHECKPOINT
    shard.on_event(event(5, 6))
    shard.on_closed(300.0)
    assert shard.next_start(300.0) == StartAt(StartKind.AFTER_SEQUENCE_NUMBER, "6")
    shard.on_event(event())
    assert shard.next_start(300.0) == StartAt(StartKind.AFTER_SEQUENCE_NUMBER, "50")
    assert shard.millis_behind_latest == 7


@pytest.mark.parametrize("wrong", [event(6), event(5), event(9, 8), event(7, 7)])
def test_an_event_that_goes_back_is_not_believed(wrong: SubscribeEvent) -> None:
    """Sequence numbers rise from event to event and within one; anything else is counted and not taken."""
    shard = subscription()
    shard.on_event(event(5, 6))
    assert shard.on_event(wrong) is None
    assert shard.disbelieved == 1
    assert shard.next_start(0.0) == StartAt(StartKind.AFTER_SEQUENCE_NUMBER, "6")


def test_without_room_nothing_is_connected() -> None:
    """Back-pressure by records or bytes; consuming makes room."""
    shard = subscription(prefetch_bytes=6)
    size = shard.on_event(event(5, 6))
    assert size == 6
    assert (shard.has_room, shard.next_start(1.0), shard.next_wakeup()) == (False, None, None)
    shard.on_consumed(2, size)
    assert shard.next_start(1.0) is not None


def test_failures_back_off_and_a_used_place_waits() -> None:
    """A refused connection is tried later each time; one refused as in use after the service's five seconds."""
    shard = subscription()
    shard.on_failed(10.0)
    wakeup = shard.next_wakeup()
    assert wakeup is not None
    assert 10.0 < wakeup <= 10.5
    shard.on_failed(10.0, in_use=True)
    assert shard.next_wakeup() == 15.0
    assert shard.next_start(14.9) is None


def test_the_end_is_an_event_without_continuation_and_can_be_taken_back() -> None:
    """The end stops connecting; an end that is not believed is asked for again behind the last record."""
    shard = subscription()
    shard.on_event(event(5, then=None))
    assert (shard.ended, shard.next_start(1.0), shard.next_wakeup()) == (True, None, None)
    shard.on_end_refused(1.0)
    assert shard.next_start(99.0) == StartAt(StartKind.AFTER_SEQUENCE_NUMBER, "5")


@pytest.mark.parametrize("seed", range(4))
def test_a_fleet_reads_by_fan_out(seed: int) -> None:
    """Splits, merges, a crash and connections that end: nothing lost, order kept, no GetRecords call made."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        state = world.services.state
        state.options = replace(state.options, subscription_lifetime_s=7.0, consumer_creating_s=2.0)
        await world.create()
        for turn in range(3):
            world.start(f"w{turn}", retrieval=Retrieval.FANOUT)
        await world.load(15, per_aggregate=3)
        world.split()
        await world.load(10)
        world.merge()
        await world.load(5)
        world.crash("w1")
        await world.load(20)
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])
        open_shards = {shard.shard_id for shard in world.open_shards()}
        rows = world.rows()
        assert {key for key, row in rows.items() if row.checkpoint != SHARD_END} == open_shards
        chosen = {event.as_fields()["retrieval"] for event in world.named(RetrievalChosen)}
        assert chosen == {"fanout"}

    run(main, seed=seed, until=900)


def test_many_subscriptions_at_once() -> None:
    """One worker subscribes to 64 shards."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=64)
        await world.create()
        world.start("w0", consumer_name="billing")
        await world.load(10, keys=1000, per_second=100)
        await world.drained()
        await world.stop()
        assert world.lost == []
        assert world.duplicates == 0

    run(main, until=600)


def test_auto_falls_back_to_polling_and_says_so() -> None:
    """When the service allows no further consumer, the worker polls; asked for fan-out alone it raises."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        arn = world.services.state.stream_arn("orders")
        for number in range(20):
            world.services.state.register_consumer(arn, f"other-{number}", now=world.wall())
            await asyncio.sleep(10)
        with pytest.raises(LimitExceeded):
            await world.worker("strict", retrieval=Retrieval.FANOUT).serve()
        world.start("w0", consumer_name="billing")
        await world.load(10)
        await world.drained()
        await world.stop()
        assert world.lost == []
        (chosen,) = world.named(RetrievalChosen)
        assert chosen.as_fields() == {"stream": "orders", "retrieval": "polling", "reason": "LimitExceededException"}

    run(main, until=900)


async def deregister(world: World, name: str = "billing", *, crowd: bool = False) -> None:
    """Deregister a consumer; with `crowd` others take all places, its own the moment it is free."""
    state, arn = world.services.state, world.services.state.stream_arn("orders")
    for number in range(19 if crowd else 0):
        state.register_consumer(arn, f"other-{number}", now=world.wall())
        await asyncio.sleep(0.3)
    state.deregister_consumer(state.find_consumer(now=world.wall(), stream_arn=arn, name=name), now=world.wall())
    while crowd:
        try:
            state.register_consumer(arn, "other-19", now=world.wall())
        except Refusal:
            await asyncio.sleep(0.001)
        else:
            crowd = False


@pytest.mark.parametrize("retrieval", [Retrieval.AUTO, Retrieval.FANOUT])
def test_a_deregistered_consumer_is_registered_again(retrieval: Retrieval) -> None:
    """Once for all shards, and counted; nothing is lost or read twice."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("w0", retrieval=retrieval, consumer_name="billing")
        await world.load(10)
        for turn in range(2):
            await deregister(world)
            await world.load(40)
            assert len(world.named(ConsumerLost)) == turn + 1
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder, world.duplicates) == ([], [], 0)
        told = [(event.as_fields()["then"], event.as_fields()["times"]) for event in world.named(ConsumerLost)]
        assert told == [("fanout", 1), ("fanout", 2)]
        assert [event.as_fields()["retrieval"] for event in world.named(RetrievalChosen)] == ["fanout"] * 3

    run(main, until=900)


def test_auto_polls_where_its_consumer_has_no_place_any_more() -> None:
    """It says so, and goes on where fan-out ended: nothing is lost or read twice."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("w0", consumer_name="billing")
        await world.load(10)
        await deregister(world, crowd=True)
        await world.load(40)
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder, world.duplicates) == ([], [], 0)
        (told,) = world.named(ConsumerLost)
        assert (told.as_fields()["then"], told.as_fields()["times"]) == ("polling", 1)

    run(main, until=900)


@pytest.mark.parametrize("error", [Denied("AccessDeniedException"), Rejected("UnknownOperationException")])
@pytest.mark.parametrize("retrieval", [Retrieval.AUTO, Retrieval.FANOUT])
def test_auto_polls_where_nobody_may_subscribe(
    retrieval: Retrieval, error: ServiceError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registered, and then refused: with `auto` it is said once and every shard is polled; else tried again, loudly."""

    @asynccontextmanager
    async def refuse(*_: object, **__: object) -> AsyncIterator[Any]:
        raise error
        yield  # A generator, to be entered.

    monkeypatch.setattr(InProcessKinesis, "subscribe_to_shard", refuse)

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=3)
        await world.create()
        world.start("w0", retrieval=retrieval, consumer_name="billing")
        await world.load(20)
        await world.drained(20)
        chosen = [
            (event.as_fields()["retrieval"], event.as_fields()["reason"]) for event in world.named(RetrievalChosen)
        ]
        if retrieval is Retrieval.AUTO:
            assert chosen == [("fanout", ""), ("polling", error.code)]
            assert (world.lost, world.disorder, world.duplicates) == ([], [], 0)
        else:
            assert chosen == [("fanout", "")]
            assert len(world.lost) == 400
            assert {event.as_fields()["error"] for event in world.named(CallFailed)} == {error.code}
        await world.stop()

    run(main, until=900)


def test_fanout_alone_waits_for_a_place() -> None:
    """With `retrieval="fanout"` a consumer that cannot be registered again is tried until it can; nothing is lost."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.start("w0", retrieval=Retrieval.FANOUT, consumer_name="billing")
        await world.load(10)
        await world.drained()
        await deregister(world, crowd=True)
        await world.load(30)
        assert world.lost
        assert not world.named(ConsumerLost)
        await deregister(world, "other-3")
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder, world.duplicates) == ([], [], 0)
        assert len(world.named(ConsumerLost)) == 1

    run(main, until=900)


def test_a_recreated_stream_is_subscribed_to_anew() -> None:
    """A stream's consumers go with it: the new stream's is registered, and everything is read by fan-out."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("w0", retrieval=Retrieval.FANOUT, consumer_name="billing")
        await world.load(10)
        await world.drained()
        await world.delete()
        await asyncio.sleep(60)
        await world.create()
        await world.load(60)
        await world.drained(120)
        await world.stop()
        assert (world.lost, world.duplicates) == ([], 0)
        assert {event.as_fields()["retrieval"] for event in world.named(RetrievalChosen)} == {"fanout"}

    run(main, until=900)


def test_retrieval_settings_are_checked() -> None:
    """A consumer's name and the pool's size have ranges."""
    for wrong in ({"consumer_name": ""}, {"consumer_name": "white space"}, {"subscriptions_max": 0}):
        with pytest.raises(InvalidInput):
            WorkerConfig(**wrong)
