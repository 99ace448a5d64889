"""Gathering packages into requests: the service's limits are never passed, nothing is held up that need not be."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.common.aggregation import AggregateBuilder
from shardline.common.hashing import FULL_RANGE
from shardline.common.limits import MIB, PUT_RECORDS_BYTES_MAX, PUT_RECORDS_ENTRIES_MAX
from shardline.producer.batcher import Batcher
from shardline.producer.config import StreamSettings
from shardline.producer.package import Package
from shardline.producer.places import Place

UNLIMITED = StreamSettings(rate_share=1e6)


def package(rank: int, size: int, *, shard: str = "shardId-0", put_at: float = 0.0, ttl_s: float = 30.0) -> Package:
    """Return a package of one record of `size` bytes, key included."""
    builder = AggregateBuilder()
    builder.try_append("k", b"x" * (size - 1))
    place = Place(shard, FULL_RANGE, shard, uniform=False)
    return Package(
        builder.seal(),
        [],
        rank=rank,
        place=place,
        put_at=put_at,
        expires_at=put_at + ttl_s,
        collect_by=put_at + 0.1,
    )


def requests(batcher: Batcher, now: float) -> list[list[Package]]:
    """Return everything that is to be sent at `now`, by request."""
    found: list[list[Package]] = []
    while packages := batcher.gather(now):
        found.append(packages)
    return found


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([1, 100, 50_000, MIB, 5 * MIB, 10 * MIB - 1, 10 * MIB]), max_size=12),
    st.integers(0, 1200),
    st.integers(0, 3),
)
def test_requests_keep_the_services_limits(large: list[int], small: int, shards: int) -> None:
    """At most 500 entries and 10 MiB with keys per request, whatever is queued; everything goes out, once."""
    batcher = Batcher(UNLIMITED, strict=False, bytes_max=10 * MIB)
    random = Random(small)
    sizes = [*large, *[1] * small]
    random.shuffle(sizes)
    for rank, size in enumerate(sizes):
        batcher.add(package(rank, size, shard=f"shardId-{random.randint(0, shards)}"), 0.0)
    batcher.flushing = True
    batcher.wake_at = 0.0
    out = requests(batcher, 200.0)
    assert sorted(one.rank for request in out for one in request) == list(range(len(sizes)))
    for request in out:
        assert len(request) <= PUT_RECORDS_ENTRIES_MAX
        assert sum(one.size for one in request) <= PUT_RECORDS_BYTES_MAX
    assert (batcher.bytes, batcher.count) == (0, 0)


def test_nothing_goes_before_it_is_due_or_full() -> None:
    """A request waits for its oldest package's time, or until it is full; `wake_at` says when."""
    batcher = Batcher(StreamSettings(), strict=False, bytes_max=MIB)
    batcher.add(package(1, 1000), 0.0)
    assert batcher.gather(0.05) == []
    assert batcher.wake_at == 0.1
    assert [one.rank for one in batcher.gather(0.1)] == [1]
    for rank in range(2, 25):
        batcher.add(package(rank, 50_000, put_at=1.0, shard=f"shardId-{rank % 8}"), 1.0)
    assert sum(one.size for one in batcher.gather(1.0)) <= MIB


def test_shard_without_tokens_holds_up_nobody() -> None:
    """A hot shard's packages wait for tokens; the others' go, and the wake-up is when tokens come."""
    batcher = Batcher(StreamSettings(), strict=False, bytes_max=MIB)
    for rank in range(20):
        batcher.add(package(rank, 50_000, shard="hot"), 0.0)
    batcher.add(package(99, 100, shard="cold"), 0.0)
    sent = [one for request in requests(batcher, 0.1) for one in request]
    assert 99 in {one.rank for one in sent}
    assert len(sent) < 10
    assert 0.1 < batcher.wake_at < 0.3


def test_large_record_holds_up_nobody() -> None:
    """A 10 MiB record waiting for its debt lets the small ones of its own shard pass."""
    batcher = Batcher(StreamSettings(), strict=False, bytes_max=10 * MIB)
    batcher.add(package(1, 10 * MIB), 0.0)
    batcher.add(package(2, 10 * MIB), 0.0)
    batcher.add(package(3, 100), 0.0)
    assert {one.rank for request in requests(batcher, 0.1) for one in request} == {1, 3}
    assert {one.rank for request in requests(batcher, 21.0) for one in request} == {2}


def test_what_failed_goes_first_in_the_order_it_was_put() -> None:
    """Retries are sent before new packages, oldest first."""
    batcher = Batcher(UNLIMITED, strict=False, bytes_max=10 * MIB)
    for rank in (7, 8):
        batcher.add(package(rank, 10), 0.0)
    for rank in (5, 3, 4):
        batcher.add_again(package(rank, 10), 0.0)
    assert [one.rank for one in batcher.gather(1.0)] == [3, 4, 5, 7, 8]


def test_expired_packages_are_taken_out() -> None:
    """What is past its time is returned once, and nothing else."""
    batcher = Batcher(StreamSettings(), strict=False, bytes_max=MIB)
    batcher.add(package(1, 10, ttl_s=1.0), 0.0)
    batcher.add(package(2, 10, ttl_s=5.0), 0.0)
    assert [one.rank for one in batcher.expire(1.0)] == [1]
    assert [one.rank for one in batcher.drain()] == [2]


def test_by_shard_one_package_is_on_its_way() -> None:
    """By shard: the next package of a range goes when the one before is settled."""
    batcher = Batcher(UNLIMITED, strict=True, bytes_max=10 * MIB)
    for rank in (1, 2):
        batcher.add(package(rank, 10), 0.0)
    (first,) = batcher.gather(1.0)
    assert batcher.gather(1.0) == []
    batcher.settled(first)
    assert [one.rank for one in batcher.gather(1.0)] == [2]
