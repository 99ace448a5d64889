"""The contract of `KinesisApi`: every call, in process and through the SDK adapter over the HTTP door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import InUse, IteratorExpired, NotFound, Rejected
from shardline.common.limits import HASH_KEY_MAX
from shardline.common.ports.kinesis import (
    Distribution,
    PutEntry,
    ShardFilter,
    ShardFilterKind,
    StartAt,
    StartKind,
    Stream,
    SubscribeEvent,
)
from shardline.common.records import KinesisRecord
from shardline.local import KinesisOptions

from tests.local.stores import OPENERS, Doors, run

if TYPE_CHECKING:
    from shardline.common.ports.kinesis import GetRecordsPage

S = 20.0
ORDERS = Stream("orders")
FIRST = "shardId-000000000000"
HORIZON = StartAt(StartKind.TRIM_HORIZON)
LATEST = StartAt(StartKind.LATEST)
ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
DAY_S = 86_400.0

pytestmark = pytest.mark.parametrize("door", list(OPENERS))


def made(doors: Doors, shards: int = 1) -> None:
    doors.state.create_stream("orders", shards, now=doors.clock())


async def put(doors: Doors, *payloads: bytes, key: str = "k") -> list[str]:
    outcomes = await doors.kinesis.put_records(ORDERS, [PutEntry(p, key) for p in payloads], timeout_s=S)
    return [o.sequence_number or "" for o in outcomes]


async def read(doors: Doors, start: StartAt = HORIZON, shard: str = FIRST) -> GetRecordsPage:
    iterator = await doors.kinesis.get_shard_iterator(ORDERS, shard, start, timeout_s=S)
    return await doors.kinesis.get_records(ORDERS, iterator, limit=10_000, timeout_s=S)


def test_records_come_back_as_they_went(door: str) -> None:
    """Data, key, number and arrival time of a record are the same through every door."""

    async def story(doors: Doors) -> None:
        made(doors)
        before = doors.clock()
        outcomes = await doors.kinesis.put_records(
            ORDERS, [PutEntry(b"\x00\xff", 'ü"\\'), PutEntry(b"", "k", str(HASH_KEY_MAX))], timeout_s=S
        )
        assert [(o.shard_id, o.error_code) for o in outcomes] == [(FIRST, None)] * 2
        page = await read(doors)
        assert all(isinstance(r, KinesisRecord) for r in page.records)
        assert [(r.data, r.partition_key, r.sequence_number) for r in page.records] == [
            (b"\x00\xff", 'ü"\\', outcomes[0].sequence_number),
            (b"", "k", outcomes[1].sequence_number),
        ]
        assert before - 0.01 <= page.records[0].arrival_time_s <= doors.clock() + 0.01
        assert page.millis_behind_latest == 0
        assert page.next_iterator is not None

    run(door, story)


def test_the_starts_of_an_iterator(door: str) -> None:
    """AT, AFTER, horizon, tail and time start where they say."""

    async def story(doors: Doors) -> None:
        made(doors)
        numbers = await put(doors, b"1", b"2", b"3")
        at, after = StartKind.AT_SEQUENCE_NUMBER, StartKind.AFTER_SEQUENCE_NUMBER
        pages = {
            "at": await read(doors, StartAt(at, numbers[1])),
            "after": await read(doors, StartAt(after, numbers[1])),
            "latest": await read(doors, LATEST),
            "time": await read(doors, StartAt(StartKind.AT_TIMESTAMP, timestamp_s=doors.clock() - 60)),
        }
        assert {k: [r.data for r in p.records] for k, p in pages.items()} == {
            "at": [b"2", b"3"],
            "after": [b"3"],
            "latest": [],
            "time": [b"1", b"2", b"3"],
        }

    run(door, story)


def test_a_stream_is_summarised(door: str) -> None:
    """The summary names ARN, status, retention, open shards, mode, largest record, distribution."""

    async def story(doors: Doors) -> None:
        made(doors, 3)
        doors.state.update_max_record_size(ORDERS, 2048, now=doors.clock())
        doors.state.create_stream("auto", on_demand=True, distribution=Distribution.AUTO, now=doors.clock())
        summary = await doors.kinesis.describe_stream_summary(ORDERS, timeout_s=S)
        assert (summary.name, summary.arn, summary.status) == ("orders", ARN, "ACTIVE")
        assert (summary.retention_hours, summary.open_shards, summary.on_demand) == (24, 3, False)
        assert summary.record_bytes_max == 2048 * 1024
        assert summary.distribution is Distribution.USER_PARTITION_KEY
        assert abs(summary.created_at_s - doors.clock()) < 60
        automatic = await doors.kinesis.describe_stream_summary(Stream("auto"), timeout_s=S)
        assert (automatic.on_demand, automatic.distribution) == (True, Distribution.AUTO)
        with pytest.raises(NotFound):
            await doors.kinesis.describe_stream_summary(Stream("nowhere"), timeout_s=S)

    run(door, story)


def test_shards_are_listed_filtered_and_paged(door: str) -> None:
    """Lineage, ranges and numbers are told alike; pages follow by token alone."""

    async def story(doors: Doors) -> None:
        made(doors, 2)
        doors.state.split_shard(ORDERS, FIRST, str(2**100), now=doors.clock())
        doors.state.options = KinesisOptions(list_shards_page_max=3)
        page = await doors.kinesis.list_shards(ORDERS, timeout_s=S)
        assert page.next_token is not None
        rest = await doors.kinesis.list_shards(ORDERS, next_token=page.next_token, timeout_s=S)
        shards = [*page.shards, *rest.shards]
        assert shards == [s.describe() for s in doors.state.resolve(ORDERS, doors.clock()).shards.values()]
        assert [s.parent_shard_ids for s in shards] == [(), (), (FIRST,), (FIRST,)]
        for kind, expected in [
            (ShardFilterKind.AT_LATEST, "123"),
            (ShardFilterKind.AT_TRIM_HORIZON, "01"),
        ]:
            page = await doors.kinesis.list_shards(ORDERS, shard_filter=ShardFilter(kind), timeout_s=S)
            assert "".join(s.shard_id[-1] for s in page.shards) == expected
        later = ShardFilter(ShardFilterKind.AFTER_SHARD_ID, shard_id="shardId-000000000001")
        page = await doors.kinesis.list_shards(ORDERS, shard_filter=later, timeout_s=S)
        assert [s.shard_id[-1] for s in page.shards] == ["2", "3"]

    run(door, story)


def test_the_end_of_a_shard(door: str) -> None:
    """A closed shard ends with no next iterator and its children."""

    async def story(doors: Doors) -> None:
        made(doors)
        await put(doors, b"x")
        doors.state.split_shard(ORDERS, FIRST, str(2**127), now=doors.clock())
        page = await read(doors)
        assert page.next_iterator is None
        assert [(c.shard_id[-1], c.parent_shard_ids, c.hash_range) for c in page.child_shards] == [
            ("1", (FIRST,), (0, 2**127 - 1)),
            ("2", (FIRST,), (2**127, HASH_KEY_MAX)),
        ]

    run(door, story)


def test_errors_are_of_one_tree(door: str) -> None:
    """Unknown streams and shards, old and garbage iterators, and wrong entries raise the same kinds."""

    async def story(doors: Doors) -> None:
        made(doors)
        kinesis = doors.kinesis
        with pytest.raises(NotFound):
            await kinesis.put_records(Stream("nowhere"), [PutEntry(b"", "k")], timeout_s=S)
        with pytest.raises(NotFound):
            await kinesis.get_shard_iterator(ORDERS, "shardId-000000000009", LATEST, timeout_s=S)
        with pytest.raises(Rejected):
            await kinesis.get_records(ORDERS, "garbage", limit=1, timeout_s=S)
        with pytest.raises(Rejected):
            await kinesis.put_records(ORDERS, [PutEntry(b"", "k" * 257)], timeout_s=S)
        doors.state.options = KinesisOptions(iterator_lifetime_s=0.0)
        iterator = await kinesis.get_shard_iterator(ORDERS, FIRST, LATEST, timeout_s=S)
        await asyncio.sleep(0.02)
        with pytest.raises(IteratorExpired):
            await kinesis.get_records(ORDERS, iterator, limit=1, timeout_s=S)

    run(door, story)


def test_keyless_records_on_auto_streams(door: str) -> None:
    """A record without a key goes to an AUTO stream and comes back without one."""

    async def story(doors: Doors) -> None:
        doors.state.create_stream("orders", on_demand=True, distribution=Distribution.AUTO, now=doors.clock())
        await doors.kinesis.put_records(ORDERS, [PutEntry(b"x", None)] * 4, timeout_s=S)
        page = await read(doors)
        assert [(r.data, r.partition_key) for r in page.records] == [(b"x", None)]

    run(door, story)


def test_consumers_and_their_events(door: str) -> None:
    """Register, describe, subscribe, receive, resume, reach the end with its children, deregister."""

    async def story(doors: Doors) -> None:
        made(doors)
        kinesis = doors.kinesis
        consumer = await kinesis.register_stream_consumer(ARN, "app", timeout_s=S)
        with pytest.raises(InUse):
            await kinesis.register_stream_consumer(ARN, "app", timeout_s=S)
        described = await kinesis.describe_stream_consumer(ARN, "app", timeout_s=S)
        assert (described.arn, described.status) == (consumer.arn, "ACTIVE")
        number = (await put(doors, b"1", b"2"))[0]
        after = StartAt(StartKind.AFTER_SEQUENCE_NUMBER, number)
        seen: list[SubscribeEvent] = []
        async with kinesis.subscribe_to_shard(consumer.arn, FIRST, after, timeout_s=S) as events:
            async for event in events:
                seen.append(event)
                if len(seen) == 1:
                    await put(doors, b"3")
                if len(seen) == 2:
                    doors.state.split_shard(ORDERS, FIRST, str(2**127), now=doors.clock())
        assert [r.data for e in seen for r in e.records] == [b"2", b"3"]
        assert seen[-1].continuation_sequence_number is None
        assert [c.shard_id[-1] for c in seen[-1].child_shards] == ["1", "2"]
        with pytest.raises(InUse):
            async with kinesis.subscribe_to_shard(consumer.arn, FIRST, HORIZON, timeout_s=S):
                pass
        await kinesis.deregister_stream_consumer(ARN, "app", timeout_s=S)
        with pytest.raises(NotFound):
            await kinesis.describe_stream_consumer(ARN, "app", timeout_s=S)

    run(door, story)


def test_a_taken_over_subscription_ends_with_in_use(door: str) -> None:
    """When another subscription takes over, the first one's iterator raises InUse."""

    async def story(doors: Doors) -> None:
        made(doors)
        doors.state.options = KinesisOptions(subscribe_again_after_s=0.0)
        kinesis = doors.kinesis
        consumer = await kinesis.register_stream_consumer(ARN, "app", timeout_s=S)
        async with kinesis.subscribe_to_shard(consumer.arn, FIRST, LATEST, timeout_s=S) as old:
            await anext(old)
            async with kinesis.subscribe_to_shard(consumer.arn, FIRST, LATEST, timeout_s=S) as new:
                await anext(new)
                with pytest.raises(InUse):
                    await anext(old)

    run(door, story)


def test_a_subscription_ends_after_its_time(door: str) -> None:
    """At the end of its lifetime a subscription just ends."""

    async def story(doors: Doors) -> None:
        made(doors)
        doors.state.options = KinesisOptions(subscription_lifetime_s=0.3, heartbeat_s=0.1)
        consumer = await doors.kinesis.register_stream_consumer(ARN, "app", timeout_s=S)
        async with doors.kinesis.subscribe_to_shard(consumer.arn, FIRST, LATEST, timeout_s=S) as events:
            seen = [event async for event in events]
        assert len(seen) >= 2
        assert all(not e.records and e.continuation_sequence_number is not None for e in seen)

    run(door, story)
