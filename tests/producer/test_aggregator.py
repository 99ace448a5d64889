"""Open aggregates: whatever way a record takes into one, the aggregate is the one that exact weighing makes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shardline.common.aggregation import AggregateBuilder
from shardline.common.hashing import FULL_RANGE
from shardline.producer.accept import accept
from shardline.producer.aggregator import Aggregator
from shardline.producer.budget import Budget, Share
from shardline.producer.config import StreamSettings
from shardline.producer.delivery import Delivery
from shardline.producer.places import Place

MIB = 1024 * 1024
KEYS = st.sampled_from([f"user-{number}" for number in range(150)]) | st.sampled_from(["é", "k" * 127, "k" * 128, "x"])
DATA = st.builds(bytes, st.sampled_from([0, 1, 20, 90, 121, 122, 123, 124, 125, 130, 400]))
RECORDS = st.lists(st.tuples(KEYS, DATA), min_size=1, max_size=400)


def exact(records: list[tuple[str, bytes]], bytes_max: int, count_max: int) -> list[bytes]:
    """Return the aggregates that weighing each record exactly makes."""
    builder, blobs = AggregateBuilder(bytes_max, count_max), list[bytes]()
    for key, data in records:
        if not builder.try_append(key, data):
            blobs.append(builder.seal().data)
            builder.clear()
            builder.try_append(key, data)
    return [*blobs, builder.seal().data]


@given(RECORDS, st.integers(700, 9_000), st.sampled_from([3, 40, 1_000]), st.integers(0, 5))
def test_the_quick_way_makes_the_same_aggregates(
    records: list[tuple[str, bytes]], bytes_max: int, count_max: int, forget_at: int
) -> None:
    """Records that go through the window and records that are weighed one by one fill the same aggregates."""
    settings = StreamSettings(aggregate_bytes_max=bytes_max, aggregate_count_max=count_max)
    aggregator = Aggregator(settings, Share(Budget(64 * MIB)), lambda now: Delivery(1, now))
    place = Place("shardId-0", FULL_RANGE, "shardId-0", uniform=False)
    for number, (key, data) in enumerate(records):
        if number % 100 == forget_at:
            aggregator.forget_routes()
        if aggregator.offer(key, data) is not None:
            continue
        record = accept(data, key, None, None, record_bytes_max=MIB, keyless=False)
        added = aggregator.add(record, place, 0.0)
        assert added is not None
        aggregator.remember_route(key, added[0])
    aggregator.seal_all(0.0)
    assert [package.blob for package in aggregator.sealed] == exact(records, bytes_max, count_max)


def test_most_records_of_known_keys_go_the_quick_way() -> None:
    """With its keys known, an aggregate's records are weighed exactly only at its beginning and its end."""
    aggregator = Aggregator(StreamSettings(), Share(Budget(64 * MIB)), lambda now: Delivery(1, now))
    place = Place("shardId-0", FULL_RANGE, "shardId-0", uniform=False)
    beyond = 0
    for number in range(10_000):
        key, data = f"user-{number % 50}", bytes(100)
        window = aggregator.routes[key].room if key in aggregator.routes else -1
        if aggregator.offer(key, data) is None:
            record = accept(data, key, None, None, record_bytes_max=MIB, keyless=False)
            added = aggregator.add(record, place, 0.0)
            assert added is not None
            aggregator.remember_route(key, added[0])
        beyond += window < len(data)
    assert len(aggregator.sealed) == 20
    assert beyond < 1_000
