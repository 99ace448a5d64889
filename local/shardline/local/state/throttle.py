"""The service's rates for one shard and for control calls; enforced only under `Limits.SERVICE`.

Writes: 1 MiB/s and 1,000 records/s, judged per record of a PutRecords. Reads: five calls/s and 2 MiB/s; an answer of
10 MiB is followed by five seconds of refusals (API GetRecords).
"""

from __future__ import annotations

from typing import Final

from shardline.common.bucket import TokenBucket
from shardline.common.limits import (
    GET_RECORDS_BYTES_MAX,
    GET_RECORDS_PENALTY_S,
    GET_SHARD_ITERATOR_PER_S,
    SHARD_READ_BYTES_PER_S,
    SHARD_READS_PER_S,
    SHARD_WRITE_BYTES_PER_S,
    SHARD_WRITE_RECORDS_PER_S,
)
from shardline.local.state.refusal import limit

__all__ = ["CONTROL_PER_S", "ControlThrottle", "ShardThrottle"]

CONTROL_PER_S: Final = {
    "CreateStream": 5,
    "DeleteStream": 5,
    "DescribeLimits": 1,
    "DescribeStream": 10,
    "DescribeStreamConsumer": 20,
    "DescribeStreamSummary": 20,
    "ListShards": 1000,
    "ListStreamConsumers": 5,
    "ListStreams": 5,
    "MergeShards": 5,
    "RegisterStreamConsumer": 5,
    "DeregisterStreamConsumer": 5,
    "SplitShard": 5,
    "AddTagsToStream": 5,
    "RemoveTagsFromStream": 5,
    "ListTagsForStream": 5,
    "IncreaseStreamRetentionPeriod": 5,
    "DecreaseStreamRetentionPeriod": 5,
}
"""Calls per second of each control operation (guide, "Quotas and limits", API operations), per account or stream."""


class ShardThrottle:
    """Token buckets of one shard; each starts with one second's worth."""

    __slots__ = ("_bytes", "_iterators", "_penalty_until", "_read_bytes", "_reads", "_records")

    def __init__(self, now: float) -> None:
        self._bytes = TokenBucket(SHARD_WRITE_BYTES_PER_S, SHARD_WRITE_BYTES_PER_S, now)
        self._records = TokenBucket(SHARD_WRITE_RECORDS_PER_S, SHARD_WRITE_RECORDS_PER_S, now)
        self._reads = TokenBucket(SHARD_READS_PER_S, SHARD_READS_PER_S, now)
        self._read_bytes = TokenBucket(SHARD_READ_BYTES_PER_S, SHARD_READ_BYTES_PER_S, now)
        self._iterators = TokenBucket(GET_SHARD_ITERATOR_PER_S, GET_SHARD_ITERATOR_PER_S, now)
        self._penalty_until = 0.0

    def admit_write(self, now: float, size: int) -> bool:
        """Say whether a record of `size` bytes may be written now, and take its share if so."""
        if self._records.wait_s(now, 1) > 0 or self._bytes.wait_s(now, size) > 0:
            return False
        self._records.take(now, 1)
        self._bytes.take(now, size)
        return True

    def admit_read(self, now: float) -> bool:
        """Say whether a GetRecords may be served now."""
        if now < self._penalty_until or self._read_bytes.level(now) <= 0:
            return False
        return self._reads.try_take(now, 1)

    def on_read(self, now: float, size: int) -> None:
        """Charge an answer of `size` bytes."""
        self._read_bytes.take(now, size)
        if size >= GET_RECORDS_BYTES_MAX:
            self._penalty_until = now + GET_RECORDS_PENALTY_S

    def admit_iterator(self, now: float) -> bool:
        """Say whether a GetShardIterator may be served now."""
        return self._iterators.try_take(now, 1)


class ControlThrottle:
    """One bucket per operation and subject (a stream's name, or nothing for the account)."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], TokenBucket] = {}

    def admit(self, operation: str, subject: str, now: float) -> None:
        """Take one call; raise LimitExceededException when the rate is used up."""
        rate = CONTROL_PER_S.get(operation)
        if rate is None:
            return
        bucket = self._buckets.setdefault((operation, subject), TokenBucket(rate, rate, now))
        if not bucket.try_take(now, 1):
            raise limit(f"Rate exceeded for {operation}.")
