"""What the producer does when the stream, the service or the caller misbehave: one story each, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.errors import BufferFull, Closed, Denied, InvalidInput, NotFound, Rejected, Throttled
from shardline.common.limits import MIB
from shardline.common.ports.kinesis import Distribution
from shardline.local.sim.network import Fault, Service
from shardline.local.state.options import KinesisOptions, Limits
from shardline.producer import (
    Consumers,
    Delivered,
    DeliveryError,
    NotWritten,
    OnGap,
    Ordering,
    ProducerSettings,
    Reason,
    StreamSettings,
    UndeliveredError,
    Unknown,
)

from tests.producer.producer_world import ORDERS, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.ports.kinesis import PutEntry
    from shardline.local.sim.network import Sender
    from shardline.producer import Outcome, Producer, StreamProducer

FAST = StreamSettings(linger_s=0.01, ttl_s=5.0, request_timeout_s=1.0)


def only(operation: str, fault: Fault) -> Callable[[Sender], Fault | None]:
    """Return a script that lets each call of one operation meet a fault."""
    return lambda sender: fault if sender.operation == operation else None


def refusing(world: World, refuse: Callable[[PutEntry], BaseException | None]) -> None:
    """Have the stream refuse whole requests for the sake of single entries."""
    real = world.state.put_records

    def put_records(stream: Any, entries: Any, *, now: float, **more: Any) -> Any:
        for entry in entries:
            error = refuse(entry)
            if error is not None:
                raise error
        return real(stream, entries, now=now, **more)

    setattr(world.state, "put_records", put_records)  # noqa: B010 - a stream with a grudge.


# ---- errors ---


def test_missing_stream_fails_at_once() -> None:
    """Opening a producer for a stream that is not there raises NotFound."""
    world = World(shards=0)
    with pytest.raises(NotFound):
        world.run_with(lambda _: asyncio.sleep(0))


def test_deleted_stream_fails_fast() -> None:
    """When the stream goes, its records fail as "stream missing" without waiting for their TTL, and nothing spins."""
    world = World()

    async def main() -> None:
        async with world.producer(replace(FAST, ttl_s=60.0)) as producer:
            await producer.send_and_wait(b"a", "k")
            world.state.delete_stream(ORDERS, now=world.sim.wall_s)
            before = world.sim.now
            with pytest.raises(DeliveryError) as failed:
                await producer.send_and_wait(b"b", "k")
            assert failed.value.reason is Reason.STREAM_MISSING
            assert not failed.value.unknown
            assert failed.value.record is not None
            assert failed.value.record.data == b"b"
            assert world.sim.now - before < 2

    world.run(main)
    assert world.network.count["PutRecords"] < 10


def test_denied_fails_fast_and_calls_decay() -> None:
    """Denied access fails records at once, and a caller who goes on is not let through at full speed (I17)."""
    world = World()

    async def main() -> None:
        async with world.producer(FAST) as producer:
            refusing(world, lambda _: Denied("AccessDeniedException"))
            for number in range(200):
                with pytest.raises(DeliveryError) as failed:
                    await producer.send_and_wait(b"%d" % number, "k")
                assert failed.value.reason is Reason.DENIED

    world.run(main)
    assert world.sim.now > 200


def test_outage_slows_calls_down() -> None:
    """In a total outage one probe at a time is sent, after growing waits (I17); everything is told in the end."""
    world = World()
    outcomes: list[Outcome | None] = []

    async def main() -> None:
        async with world.producer(replace(FAST, ttl_s=120.0)) as producer:
            world.network.outage(Service.KINESIS, 60.0)
            sent = [await producer.send(b"%d" % n, f"k{n}") for n in range(2000)]
            await producer.flush()
            outcomes.extend(one.outcome for one in sent)

    world.run(main)
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    calls = sum(event.name == "producer.request_failed" for event in world.events)
    assert calls < 60


def test_one_bad_entry_fails_alone() -> None:
    """A request that is refused for one entry is taken apart until the culprit is alone; its neighbours arrive."""
    world = World()

    async def main() -> None:
        async with world.producer(replace(FAST, aggregation=False)) as producer:
            refusing(world, lambda entry: Rejected("ValidationException") if entry.data == b"37" else None)
            sent = [await producer.send(b"%d" % n, f"k{n}") for n in range(100)]
            report = await producer.flush()
            assert [record.data for record, _ in report.undelivered] == [b"37"]
            fates = [isinstance(one.outcome, Delivered) for one in sent]
            assert fates == [n != 37 for n in range(100)]
            outcome = sent[37].outcome
            assert isinstance(outcome, NotWritten)
            assert outcome.reason is Reason.REJECTED

    world.run(main)
    assert len(world.data()) == 99


def test_too_large_for_the_stream_is_refused_synchronously() -> None:
    """A record above the stream's own limit is refused in put; the limit follows the stream's setting."""
    world = World()

    async def main() -> None:
        async with world.producer(FAST, ProducerSettings(memory_bytes_max=128 * MIB)) as producer:
            with pytest.raises(InvalidInput, match=str(MIB)):
                await producer.put(b"x" * MIB, "k")
            world.state.update_max_record_size(ORDERS, 10 * 1024, now=world.sim.wall_s)
            await asyncio.sleep(80)  # The summary is asked for every minute.
            await producer.send_and_wait(b"x" * 5 * MIB, "k")

    world.run(main)


def test_throttling_fails_at_once_where_asked() -> None:
    """With fail_if_throttled a throttled record fails with that reason."""
    world = World(shards=1, options=KinesisOptions(limits=Limits.SERVICE))

    async def main() -> None:
        settings = replace(FAST, fail_if_throttled=True, rate_share=100.0, aggregation=False)
        async with world.producer(settings) as producer:
            sent = [await producer.send(b"x" * 50_000, f"k{n}") for n in range(60)]
            await producer.flush()
            reasons = {one.outcome.reason for one in sent if isinstance(one.outcome, NotWritten)}
            assert reasons == {Reason.THROTTLED}

    world.run(main)


def test_throttles_are_retried_entry_by_entry() -> None:
    """Story 20: at three times the shard's limit only what was throttled is sent again; nothing arrives twice."""
    world = World(shards=1, options=KinesisOptions(limits=Limits.SERVICE))

    async def main() -> None:
        settings = replace(FAST, ttl_s=60.0, rate_share=3.0)
        async with world.producer(settings) as producer:
            sent = [await producer.send(b"%06d" % n + b"x" * 2000, f"k{n % 100}") for n in range(5000)]
            await producer.flush()
            assert all(isinstance(one.outcome, Delivered) for one in sent)

    world.run(main)
    data = world.data()
    assert len(data) == len(set(data)) == 5000
    assert world.sim.now < 25
    shards = [one for event in world.named("producer.request_done") for one in event.as_fields()["shards"]]
    assert 0 < sum(one.kinesis_failed for one in shards) < 60


# ---- time and memory ---


def test_expired_in_the_queue_is_not_written() -> None:
    """A record that no connection could be made for expires as not written; one whose answer was lost as unknown."""
    world = World()

    async def main() -> None:
        async with world.producer(FAST) as producer:
            world.network.scripted = only("PutRecords", Fault.UNREACHABLE)
            first = await producer.send(b"first", "k")
            with pytest.raises(DeliveryError):
                await first
            assert isinstance(first.outcome, NotWritten)
            world.network.scripted = only("PutRecords", Fault.REPLY_LOST)
            second = await producer.send(b"second", "k")
            with pytest.raises(DeliveryError):
                await second
            assert isinstance(second.outcome, Unknown)
            world.network.scripted = None

    world.run(main)
    assert b"first" not in world.data()
    assert b"second" in world.data()


@dataclass
class Watch:
    """The accounts of a producer, looked at whenever somebody asks."""

    producer: Producer
    highest: int = 0

    def look(self) -> None:
        """Note the accounted bytes."""
        self.highest = max(self.highest, self.producer.engine.budget.used)


def test_ten_minutes_of_stall_stay_within_the_budget() -> None:
    """I8: ten virtual minutes of stall at full input: accounted bytes never pass the budget, and all are told."""
    world = World(shards=4, until_s=7200)
    budget = 8 * MIB

    async def main() -> None:
        settings = StreamSettings(ttl_s=60.0, linger_s=0.1)
        async with world.producer(settings, ProducerSettings(memory_bytes_max=budget)) as producer:
            watch = Watch(producer)
            world.network.outage(Service.KINESIS, 600.0)
            accepted = refused = 0
            while world.sim.now < 610:
                for number in range(100):
                    try:
                        producer.put_nowait(b"x" * 1024, f"k{number}")
                        accepted += 1
                    except BufferFull:
                        refused += 1
                        break
                watch.look()
                await asyncio.sleep(0.05)
            await producer.flush()
            stats = producer.stats()["orders"]
            assert stats.delivered + stats.not_written + stats.unknown == accepted
            assert refused > 1000
            assert watch.highest <= budget
            assert producer.engine.budget.peak <= budget
            assert producer.engine.budget.used == 0

    world.run(main)


def fill(stream: StreamProducer) -> None:
    """Put records until the buffer is full."""
    for number in range(1_000_000):
        stream.put_nowait(b"x" * 1000, f"k{number % 10}")


def test_stalled_stream_leaves_room_for_the_others() -> None:
    """One memory, a share for each: a stream that does not drain cannot fill it; the other goes on."""
    world = World()
    world.state.create_stream("other", 1, now=world.sim.wall_s)

    async def main() -> None:
        settings = ProducerSettings(memory_bytes_max=16 * MIB)
        producer = type(world.producer())(world.services, producer_settings=settings, runtime=world.sim.runtime)
        async with producer:
            orders, other = producer.stream("orders", replace(FAST, ttl_s=60)), producer.stream("other")
            await orders.ready()
            await other.ready()
            stalled = world.state.put_records

            def put_records(stream: Any, entries: Any, *, now: float, **more: Any) -> Any:
                if stream.name == "orders":
                    raise Throttled("Stalled")
                return stalled(stream, entries, now=now, **more)

            setattr(world.state, "put_records", put_records)  # noqa: B010 - one stream stalls.
            with pytest.raises(BufferFull):
                fill(orders)
            for number in range(1000):
                await other.put(b"y" * 1000, f"k{number % 10}")
            assert (await other.flush(30)).ok
            setattr(world.state, "put_records", stalled)  # noqa: B010 - and goes on.

    world.run(main)


def test_buffer_that_cannot_drain_is_refused() -> None:
    """A buffer of which the last record would expire is refused where the rate is known, warned of where it is not."""
    wide = StreamSettings(buffer_bytes_max=60 * MIB, ttl_s=10.0)
    world = World(shards=1)
    with pytest.raises(InvalidInput, match="buffer_bytes_max"):
        world.run_with(lambda _: asyncio.sleep(0), wide)
    on_demand = World(on_demand=True)
    on_demand.run_with(lambda _: asyncio.sleep(0), wide)
    assert len(on_demand.named("producer.buffer_too_large")) == 1


# ---- resharding and AUTO ---


def test_reshard_loses_nothing_for_a_kcl() -> None:
    """Story 2: splits and merges under load: every acknowledged record is where a KCL keeps it."""
    world = World(shards=2)

    async def main() -> None:
        async with world.producer(FAST) as producer:
            sent = {}
            for number in range(3000):
                data = b"%d" % number
                sent[data] = await producer.send(data, f"k{number % 97}")
                if number % 500 == 250:
                    (world.split if number % 1000 == 250 else world.merge)(0)
                if number % 10 == 0:
                    await asyncio.sleep(0.01)
            await producer.flush()
            assert world.lies({data: one.outcome for data, one in sent.items()}) == []
            assert all(isinstance(one.outcome, Delivered) for one in sent.values())

    world.run(main)
    assert world.named("producer.misplaced")
    assert world.named("producer.map_changed")


def test_result_for_a_key_is_exact_after_a_cut() -> None:
    """A shared delivery whose aggregate was cut tells each key's own place."""
    world = World(shards=1)

    async def main() -> None:
        async with world.producer(replace(FAST, linger_s=1.0)) as producer:
            world.split(0)
            deliveries = {f"k{n}": await producer.put(b"%d" % n, f"k{n}") for n in range(20)}
            await producer.flush()
            places = {one.data: one.shard_id for one in world.stored if one.kept}
            for number in range(20):
                outcome = deliveries[f"k{number}"].result_for(f"k{number}")
                assert isinstance(outcome, Delivered)
                assert outcome.shard_id == places[b"%d" % number]

    world.run(main)
    assert len({one.shard_id for one in world.stored if one.kept}) == 2


def test_without_a_map_records_of_one_key_share_aggregates() -> None:
    """Without ListShards nothing stops: aggregates then hold one hash key, which no shard boundary can cut."""
    world = World(shards=4)

    async def main() -> None:
        world.network.scripted = only("ListShards", Fault.ERROR_BEFORE)
        async with world.producer(FAST) as producer:
            for number in range(300):
                await producer.put(b"%d" % number, f"k{number % 10}")
            assert (await producer.flush()).ok

    world.run(main)
    by_aggregate: dict[str, set[str | None]] = {}
    for one in world.stored:
        by_aggregate.setdefault(one.sequence_number, set()).add(one.partition_key)
    assert all(len(keys) == 1 for keys in by_aggregate.values())
    assert len(by_aggregate) < 100


@pytest.mark.parametrize("consumers", Consumers)
def test_auto_stream(consumers: Consumers) -> None:
    """On AUTO streams no key is needed, nothing is sent again, and only safe readers get aggregates."""
    world = World(on_demand=True)
    world.state.set_distribution(ORDERS, Distribution.AUTO, now=world.sim.wall_s)

    async def main() -> None:
        async with world.producer(replace(FAST, consumers=consumers)) as producer:
            for number in range(100):
                await producer.put(b"%d" % number)
            assert (await producer.flush()).ok

    world.run(main)
    assert sorted(world.data()) == sorted(b"%d" % n for n in range(100))
    assert {one.aggregated for one in world.stored} == {consumers is Consumers.ANY}
    assert {one.partition_key for one in world.stored} == {None}
    assert not world.named("producer.misplaced")


def test_stream_that_turns_auto_is_noticed() -> None:
    """A switch to AUTO while running is found out, and aggregating stops."""
    world = World(on_demand=True)

    async def main() -> None:
        async with world.producer(FAST) as producer:
            await producer.send_and_wait(b"before", "k")
            world.state.set_distribution(ORDERS, Distribution.AUTO, now=world.sim.wall_s)
            for number in range(400):
                await producer.put(b"%d" % number, f"k{number % 50}")
                await asyncio.sleep(0.05)
            await producer.flush()

    world.run(main)
    assert world.named("producer.auto_placement")
    late = [one for one in world.stored if one.data.isdigit() and int(one.data) > 300]
    assert late
    assert not any(one.aggregated for one in late)


def test_order_is_refused_on_auto_streams() -> None:
    """No order can be kept on a stream that places records itself: puts are refused by name."""
    world = World(on_demand=True)
    world.state.set_distribution(ORDERS, Distribution.AUTO, now=world.sim.wall_s)

    async def main(producer: Producer) -> None:
        with pytest.raises(InvalidInput, match="ordering"):
            await producer.put(b"x", "k")

    world.run_with(main, replace(FAST, ordering=Ordering.BY_KEY))


# ---- order ---


@pytest.mark.parametrize("ordering", [Ordering.BY_KEY, Ordering.BY_SHARD])
def test_successors_fail_until_released(ordering: Ordering) -> None:
    """After a failure a key's records fail as "predecessor" until the caller releases the key."""
    world = World(shards=1)

    async def main() -> None:
        async with world.producer(replace(FAST, ordering=ordering)) as producer:
            world.network.scripted = only("PutRecords", Fault.UNREACHABLE)
            first = await producer.send(b"1", "k")
            await asyncio.sleep(1)
            second = await producer.send(b"2", "k")
            await producer.flush()
            third = await producer.send(b"3", "k")
            world.network.scripted = None
            outcomes = [first.outcome, second.outcome, third.outcome]
            assert all(isinstance(one, NotWritten) for one in outcomes)
            assert [one.reason for one in outcomes if isinstance(one, NotWritten)] == [
                Reason.EXPIRED,
                Reason.PREDECESSOR,
                Reason.PREDECESSOR,
            ]
            producer.release("k")
            await producer.send_and_wait(b"4", "k")

    world.run(main)
    assert world.data() == [b"4"]


def test_other_keys_do_not_wait_for_a_failing_one() -> None:
    """By key: a key whose entries fail holds up nobody else."""
    world = World(shards=1)

    async def main() -> None:
        settings = replace(FAST, ordering=Ordering.BY_KEY, on_gap=OnGap.CONTINUE, linger_s=0.0)
        async with world.producer(settings) as producer:
            await producer.send_and_wait(b"a", "good")
            await producer.send_and_wait(b"b", "other")

    world.run(main)
    assert world.data() == [b"a", b"b"]


# ---- the interface ---


def test_put_many_keeps_the_order_of_the_input() -> None:
    """Outcomes come in the order of the input, failures among them, with a bounded number open."""
    world = World()

    async def main() -> None:
        async with world.producer(replace(FAST, aggregation=False)) as producer:
            refusing(world, lambda entry: Rejected("ValidationException") if entry.data == b"7" else None)
            items = [b"%d" % n for n in range(30)]
            outcomes = [one async for one in producer.put_many(items, lambda item: f"key-{item!r}", window=8)]
            assert [isinstance(one, Delivered) for one in outcomes] == [n != 7 for n in range(30)]

    world.run(main)


def test_callbacks_get_their_own_record_and_may_raise() -> None:
    """A callback is called once with its record's outcome; one that raises is counted and stops nothing."""
    world = World()
    seen: list[tuple[int, Outcome]] = []

    def note(number: int, outcome: Outcome) -> None:
        seen.append((number, outcome))

    def fail(_: Outcome) -> None:
        raise RuntimeError("a bug of the caller's")

    async def main(producer: Producer) -> None:
        for number in range(10):
            await producer.put(b"%d" % number, "k", callback=partial(note, number))
        await producer.put(b"x", "k", callback=fail)
        await producer.flush()
        assert producer.engine.callback_failures == 1

    world.run_with(main, FAST)
    places = {one.data: one.sub_sequence_number for one in world.stored}
    assert [(n, one.sub_sequence_number) for n, one in seen if isinstance(one, Delivered)] == [
        (n, places[b"%d" % n]) for n in range(10)
    ]


def test_objects_and_headers_travel() -> None:
    """Objects go through the codec, with its headers; the caller's own headers stand beside them."""
    world = World()

    async def main(producer: Producer) -> None:
        await producer.put({"id": 1}, "k", headers={"trace": "t1"})
        await producer.put(b"plain", "k")
        await producer.flush()

    world.run_with(main, FAST)
    by_data = {one.data: one.headers for one in world.stored}
    assert by_data[b'{"id":1}'] == {"content-type": "application/json", "trace": "t1"}
    assert by_data[b"plain"] == {}


def test_undelivered_records_are_raised_at_the_end() -> None:
    """Leaving the context says what was not delivered, with the records; what somebody awaited is not told twice."""
    world = World()

    async def main() -> None:
        async with world.producer(FAST) as producer:
            world.network.scripted = only("PutRecords", Fault.UNREACHABLE)
            await producer.put(b"nobody", "a")
            await asyncio.sleep(0.5)
            with pytest.raises(DeliveryError):
                await producer.send_and_wait(b"awaited", "b")

    with pytest.raises(UndeliveredError) as told:
        world.run(main)
    assert [(record.data, type(outcome)) for record, outcome in told.value.report.undelivered] == [
        (b"nobody", NotWritten)
    ]


def test_flush_gives_up_waiting_and_counts() -> None:
    """A flush with a limit comes back in time and counts what is still open."""
    world = World()

    async def main(producer: Producer) -> None:
        world.network.outage(Service.KINESIS, 3.0)
        await producer.put(b"x", "k")
        before = world.sim.now
        report = await producer.flush(1.0)
        assert (report.pending, report.ok) == (1, False)
        assert world.sim.now - before == pytest.approx(1.0, abs=0.1)

    world.run_with(main, replace(FAST, ttl_s=30))
    assert world.data().count(b"x") >= 1


def test_cancellation_drains_and_says_so() -> None:
    """A cancelled task that leaves the context still delivers what it had put."""
    world = World()

    async def work() -> None:
        async with world.producer(replace(FAST, linger_s=1.0)) as producer:
            await producer.put(b"x", "k")
            await asyncio.sleep(1000)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work())
            await asyncio.sleep(0.5)
            task.cancel()

    world.run(main)
    assert world.data() == [b"x"]
    assert world.sim.now < 5


def test_closed_producer_refuses() -> None:
    """After closing, and before opening, nothing is accepted."""
    world = World()

    async def main() -> None:
        producer = world.producer(FAST)
        with pytest.raises(Closed):
            await producer.put(b"x", "k")
        async with producer:
            await producer.put(b"x", "k")
            stream = producer.stream("orders", FAST)
        for put in (producer.put, stream.put):
            with pytest.raises(Closed):
                await put(b"y", "k")

    world.run(main)
    assert world.data() == [b"x"]


@pytest.mark.parametrize("ordering", [Ordering.NONE, Ordering.BY_KEY, Ordering.BY_SHARD])
def test_no_order_lets_more_records_in_than_may_be(ordering: Ordering) -> None:
    """Records that wait for their key's predecessor count beside those in open aggregates: together never too many."""
    world = World()
    settings = replace(FAST, ordering=ordering, buffer_records_max=4, linger_s=0.05)

    async def main() -> None:
        async with world.producer(settings) as producer:
            producer.put_nowait(b"sent", "a")
            await asyncio.sleep(0.06)  # On its way: what follows of this key waits.
            accepted = 1
            for number in range(8):
                with contextlib.suppress(BufferFull):
                    producer.put_nowait(b"%d" % number, "a" if number % 2 else "b")
                    accepted += 1
                assert producer.pending_records <= 4
            assert accepted >= 4

    world.run(main)


def test_put_nowait_says_full() -> None:
    """put_nowait raises BufferFull where put would wait, and has accepted nothing."""
    world = World()

    async def main() -> None:
        async with world.producer(replace(FAST, buffer_records_max=3, linger_s=1.0)) as producer:
            for number in range(3):
                producer.put_nowait(b"%d" % number, "k")
            with pytest.raises(BufferFull):
                producer.put_nowait(b"3", "k")
            waiting = asyncio.ensure_future(producer.put(b"4", "k"))
            await asyncio.sleep(0)
            assert not waiting.done()
            await producer.flush()
            await (await waiting)

    world.run(main)
    assert sorted(world.data()) == [b"0", b"1", b"2", b"4"]
