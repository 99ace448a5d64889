"""A stream's way in: the short way for new keys and the long one lead to the same places."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.errors import Closed, InvalidInput
from shardline.common.hashing import HashRange, Shard
from shardline.producer.budget import Budget, Share
from shardline.producer.concurrency import Slots
from shardline.producer.config import StreamSettings
from shardline.producer.effects import SendRequest
from shardline.producer.pipeline import Pipeline

WIDTH = 2**128 // 4
SHARDS = [Shard(f"shard-{n}", HashRange(n * WIDTH, (n + 1) * WIDTH - 1), None, None, "1", None) for n in range(4)]
HALVES = [Shard(f"half-{n}", HashRange(n * 2 * WIDTH, (n + 1) * 2 * WIDTH - 1), None, None, "1", None) for n in (0, 1)]
RECORDS = st.lists(
    st.tuples(
        st.text(min_size=1, max_size=140),
        st.binary(max_size=300),
        st.none() | st.integers(0, 2**128 - 1),
        st.none() | st.just({"a": "b"}),
    ),
    max_size=80,
)


def pipeline() -> Pipeline:
    """Return a stream's producer that knows its four shards."""
    settings = StreamSettings(aggregate_bytes_max=1_000, rate_share=1e6)
    made = Pipeline("s", settings, Share(Budget(64 * 1024 * 1024)), Slots(9), Random(1), 0.0)
    made.on_map(SHARDS, 0.0)
    return made


@given(RECORDS, st.integers(0, 80))
def test_every_record_is_sent_to_its_shard_once(
    records: list[tuple[str, bytes, int | None, dict[str, str] | None]], merged_at: int
) -> None:
    """New keys, known ones, hash keys and headers: each record lies in an aggregate of its shard, across a new map."""
    core = pipeline()
    put: list[tuple[str, bytes, str | None]] = []
    for number, (key, data, hash_key, headers) in enumerate(records):
        if number == merged_at:
            core.on_map(HALVES, 0.0)
        try:
            core.put(data, key, hash_key, headers, 0.0)
        except InvalidInput:
            continue  # A key of lone surrogates.
        put.append((key, data, None if hash_key is None else str(hash_key)))
    core.flush(0.0)
    core.pump(0.0)
    sent = [package for request in core.settler._in_flight.values() for package in request.packages]
    assert all(isinstance(effect, SendRequest) for effect in core.take_effects()[2:])
    assert all(key in package.hash_range for package in sent if package.hash_range for key in package.hash_keys())
    found = [(one.partition_key, one.data) for package in sent for one in package.records()]
    assert sorted(found, key=repr) == sorted(((key, data) for key, data, _ in put), key=repr)


def test_a_new_key_joins_an_open_aggregate() -> None:
    """The first record of a key shares the delivery of the aggregate that is open for its shard."""
    core = pipeline()
    deliveries = {found[0].number for number in range(40) if (found := core.put(b"x", f"k{number}", None, None, 0.0))}
    assert len(deliveries) == 4


def test_nothing_joins_after_closing() -> None:
    """A closed stream takes no record by any way."""
    core = pipeline()
    core.put(b"x", "k", None, None, 0.0)
    core.close(0.0)
    with pytest.raises(Closed):
        core.put(b"x", "another", None, None, 0.0)
