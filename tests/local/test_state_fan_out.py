"""The pure state of enhanced fan-out: consumers with their statuses, subscriptions as values of time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from shardline.common.ports.kinesis import PutEntry, StartAt, StartKind, Stream, SubscribeEvent
from shardline.local.state.core import KinesisState
from shardline.local.state.options import KinesisOptions, Limits, ShardEnd
from shardline.local.state.refusal import Refusal

if TYPE_CHECKING:
    from shardline.local.state.consumer import Subscription

NOW = 1_700_000_000.0
ORDERS = Stream("orders")
FIRST = "shardId-000000000000"
HORIZON = StartAt(StartKind.TRIM_HORIZON)
LATEST = StartAt(StartKind.LATEST)


def made(**options: object) -> tuple[KinesisState, str]:
    state = KinesisState(KinesisOptions(**options))  # type: ignore[arg-type]  # The test's own keyword arguments.
    stream = state.create_stream("orders", 1, now=NOW)
    return state, state.register_consumer(stream.arn, "app", now=NOW).arn


def put(state: KinesisState, *payloads: bytes, now: float = NOW) -> None:
    state.put_records(ORDERS, [PutEntry(p, "k") for p in payloads], now=now)


def drain(subscription: Subscription, now: float) -> list[SubscribeEvent]:
    events: list[SubscribeEvent] = []
    while (event := subscription.poll(now)) is not None:
        events.append(event)
    return events


def data(events: list[SubscribeEvent]) -> list[bytes]:
    return [r.data for e in events for r in e.records]


def expect_refusal(code: str) -> pytest.RaisesExc[Refusal]:
    return pytest.RaisesExc(Refusal, check=lambda r: r.code == code)


def test_consumers_take_their_time() -> None:
    """A consumer is CREATING, ACTIVE, DELETING, gone, as long as set; it cannot subscribe before it is ACTIVE."""
    state = KinesisState(KinesisOptions(consumer_creating_s=5, consumer_deleting_s=5))
    stream = state.create_stream("orders", 1, now=NOW)
    consumer = state.register_consumer(stream.arn, "app", now=NOW)
    with expect_refusal("ResourceInUseException"):
        state.subscribe(consumer.arn, FIRST, LATEST, now=NOW + 1)
    assert [consumer.status(NOW + 4), consumer.status(NOW + 5)] == ["CREATING", "ACTIVE"]
    subscription = state.subscribe(consumer.arn, FIRST, LATEST, now=NOW + 5)
    state.deregister_consumer(consumer, now=NOW + 10)
    state.deregister_consumer(consumer, now=NOW + 11)
    assert state.find_consumer(arn=consumer.arn, now=NOW + 14).status(NOW + 14) == "DELETING"
    with expect_refusal("ResourceNotFoundException"):
        state.find_consumer(arn=consumer.arn, now=NOW + 15)
    assert subscription.poll(NOW + 15) is None
    assert (subscription.ended, subscription.error) == (True, "ResourceNotFoundException")


def test_consumers_are_bounded_named_and_paged() -> None:
    """Twenty per stream, named like streams, listed by name page by page."""
    state, _ = made()
    arn = state.resolve(ORDERS, NOW).arn
    for name in ("", "a b"):
        with expect_refusal("ValidationException"):
            state.register_consumer(arn, name, now=NOW)
    with expect_refusal("ValidationException"):
        state.register_consumer("orders", "x", now=NOW)
    with expect_refusal("ValidationException"):
        state.register_consumer("arn:aws:x", "x", now=NOW)
    for i in range(19):
        state.register_consumer(arn, f"c{i:02d}", now=NOW)
    with expect_refusal("LimitExceededException"):
        state.register_consumer(arn, "more", now=NOW)
    page, token = state.list_consumers(arn, now=NOW, results_max=15)
    rest, end = state.list_consumers(arn, now=NOW, next_token=token)
    assert [c.name for c in (*page, *rest)] == ["app", *(f"c{i:02d}" for i in range(19))]
    assert end is None
    with expect_refusal("ValidationException"):
        state.list_consumers(arn, now=NOW, results_max=0)
    with expect_refusal("InvalidArgumentException"):
        state.find_consumer(now=NOW, name="app")


def test_records_are_pushed_in_bounded_events_that_continue_each_other() -> None:
    """Events hold a thousand records and a mebibyte at most; each names the number after which the next continues."""
    state, arn = made()
    for _ in range(5):
        put(state, *(bytes(10) for _ in range(500)))
    put(state, *(bytes(700_000) for _ in range(3)))
    subscription = state.subscribe(arn, FIRST, HORIZON, now=NOW)
    events = drain(subscription, NOW)
    assert [len(e.records) for e in events if e.records] == [1000, 1000, 501, 1, 1]
    assert all(e.continuation_sequence_number == e.records[-1].sequence_number for e in events if e.records)
    assert [e.millis_behind_latest for e in events] == [0] * 5


@pytest.mark.parametrize("cut", [0, 1, 3, 7])
def test_a_subscription_resumes_after_any_number(cut: int) -> None:
    """AFTER_SEQUENCE_NUMBER with any continuation number gives exactly what was not seen yet."""
    state, arn = made(subscribe_again_after_s=0)
    first = drain(state.subscribe(arn, FIRST, HORIZON, now=NOW), NOW)
    put(state, *(bytes([i]) for i in range(7)))
    records = drain(state.subscribe(arn, FIRST, HORIZON, now=NOW), NOW)[0].records
    number = records[cut - 1].sequence_number if cut else first[0].continuation_sequence_number
    after = StartAt(StartKind.AFTER_SEQUENCE_NUMBER, number)
    again = drain(state.subscribe(arn, FIRST, after, now=NOW), NOW)
    assert data(again) == [bytes([i]) for i in range(cut, 7)]


def test_idle_subscriptions_have_a_heartbeat_and_an_end() -> None:
    """An empty event at once and every five seconds; after 300 s the subscription ends without an error."""
    state, arn = made()
    subscription = state.subscribe(arn, FIRST, LATEST, now=NOW)
    beats: list[float] = []
    now = NOW
    while not subscription.ended:
        event = subscription.poll(now)
        if event is not None:
            assert event.records == ()
            assert event.continuation_sequence_number is not None
            beats.append(now - NOW)
        now = max(now, subscription.next_wakeup())
    assert beats == [5.0 * i for i in range(60)]
    assert (now - NOW, subscription.error) == (300.0, None)
    assert subscription.poll(now) is None


def test_the_end_of_a_shard_names_its_children_and_ends_the_subscription() -> None:
    """ChildShards come only at the shard's end, with no continuation, in both timings."""
    for timing in ShardEnd:
        state, arn = made(shard_end=timing)
        put(state, b"x")
        subscription = state.subscribe(arn, FIRST, HORIZON, now=NOW)
        wakes: list[str] = []
        subscription.watch(partial(wakes.append, "woken"))
        state.split_shard(ORDERS, FIRST, str(2**127), now=NOW)
        assert wakes == ["woken"]
        events = drain(subscription, NOW + 1)
        assert data(events) == [b"x"]
        assert events[-1].continuation_sequence_number is None
        assert [c.shard_id[-1] for c in events[-1].child_shards] == ["1", "2"]
        assert all(not e.child_shards for e in events[:-1])
        assert (subscription.ended, subscription.error) == (True, None)
        subscription.close()
        assert state.resolve(ORDERS, NOW).shards[0].watchers == []


def test_a_second_subscription_is_refused_within_five_seconds_and_takes_over_later() -> None:
    """Too soon: ResourceInUseException. Later the old one ends with that exception as its event."""
    state, arn = made()
    old = state.subscribe(arn, FIRST, LATEST, now=NOW)
    with expect_refusal("ResourceInUseException"):
        state.subscribe(arn, FIRST, LATEST, now=NOW + 4.9)
    assert old.poll(NOW + 4.9) is not None
    woken: list[int] = []
    old.watch(lambda: woken.append(1))
    new = state.subscribe(arn, FIRST, LATEST, now=NOW + 5)
    assert woken == [1]
    assert old.poll(NOW + 5) is None
    assert (old.ended, old.error) == (True, "ResourceInUseException")
    put(state, b"x", now=NOW + 6)
    assert data(drain(new, NOW + 6)) == [b"x"]
    old.close()
    old.end("late")
    assert old.error == "ResourceInUseException"


def test_a_deleted_stream_ends_its_subscriptions() -> None:
    """A subscription to a stream that is gone ends with ResourceNotFoundException."""
    state, arn = made()
    subscription = state.subscribe(arn, FIRST, LATEST, now=NOW)
    state.delete_stream(ORDERS, now=NOW + 1, enforce_consumers=True)
    assert subscription.poll(NOW + 1) is None
    assert subscription.error == "ResourceNotFoundException"
    state, arn = made()
    subscription = state.subscribe(arn, FIRST, LATEST, now=NOW)
    del state.streams["orders"]
    assert subscription.poll(NOW + 1) is None
    assert subscription.error == "ResourceNotFoundException"


def test_a_subscription_is_paced_to_two_mib_a_second_when_limits_are_on() -> None:
    """With the service's limits on, an event of a mebibyte is followed by half a second of silence."""
    state, arn = made()
    put(state, bytes(1_048_575), bytes(10))
    state.options = KinesisOptions(limits=Limits.SERVICE)
    subscription = state.subscribe(arn, FIRST, HORIZON, now=NOW)
    assert len(drain(subscription, NOW)) == 1
    assert subscription.next_wakeup() == pytest.approx(NOW + 0.5)
    assert data(drain(subscription, NOW + 0.5)) == [bytes(10)]


def test_the_continuation_survives_the_trim() -> None:
    """When everything read has been trimmed, the continuation number still resumes without loss."""
    state, arn = made(subscription_lifetime_s=1e9)
    subscription = state.subscribe(arn, FIRST, HORIZON, now=NOW)
    for _ in range(3):
        put(state, *(b"old" for _ in range(500)))
    drain(subscription, NOW)
    late = NOW + 25 * 3600
    heartbeat = drain(subscription, late)[-1]
    put(state, b"new", now=late)
    start = StartAt(StartKind.AFTER_SEQUENCE_NUMBER, heartbeat.continuation_sequence_number)
    assert data(drain(state.subscribe(arn, FIRST, start, now=late), late)) == [b"new"]


def test_what_expires_unread_is_not_waited_for() -> None:
    """A subscription whose next record was trimmed sleeps on; it does not spin."""
    state, arn = made(heartbeat_s=60.0)
    state.streams["orders"].retention_hours = 10 / 3600  # type: ignore[assignment]  # Ten seconds do for a test.
    subscription = state.subscribe(arn, FIRST, HORIZON, now=NOW)
    drain(subscription, NOW)
    put(state, b"expires", now=NOW + 2)
    assert subscription.poll(NOW + 13) is None
    assert subscription.next_wakeup() > NOW + 13
