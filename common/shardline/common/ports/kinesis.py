"""`KinesisApi`: the calls to Kinesis Data Streams that shardline makes, and the values they take and give.

Names and meanings are the service's own (API reference 2013-12-02). Streams are named by one identity, `Stream`, from
the start: by name, by ARN, or both. Answers are checked by the adapter for shape (one outcome per entry), not judged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from shardline.common.errors import InvalidInput
from shardline.common.limits import STREAM_NAME_LENGTH_MAX, STREAM_NAME_PATTERN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from shardline.common.hashing import HashRange, Shard
    from shardline.common.records import KinesisRecord

__all__ = [
    "ChildShard",
    "ConsumerDescription",
    "Distribution",
    "GetRecordsPage",
    "KinesisApi",
    "PutEntry",
    "PutOutcome",
    "ShardFilter",
    "ShardFilterKind",
    "ShardPage",
    "StartAt",
    "StartKind",
    "Stream",
    "StreamSummary",
    "SubscribeEvent",
]

_NAME = re.compile(STREAM_NAME_PATTERN)
_ARN = re.compile(r"arn:(aws[a-z-]*):kinesis:([a-z0-9-]+):(\d{12}):stream/(.+)")


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream's identity; build it with `Stream.of`, which takes a name or an ARN.

    Raises `InvalidInput` for a name that AWS would refuse (1 to 128 of ``a-z A-Z 0-9 _ . -``) or a malformed ARN.
    """

    name: str
    arn: str | None = None

    def __post_init__(self) -> None:
        if not (0 < len(self.name) <= STREAM_NAME_LENGTH_MAX and _NAME.fullmatch(self.name)):
            raise InvalidInput(
                "stream", f"a name of 1 to {STREAM_NAME_LENGTH_MAX} characters of a-z A-Z 0-9 _ . -, or an ARN"
            )

    @classmethod
    def of(cls, stream: Stream | str) -> Stream:
        """Return the identity for a name, an ARN or an identity."""
        if isinstance(stream, Stream):
            return stream
        if not isinstance(stream, str):
            raise InvalidInput("stream", "a stream's name or ARN", type(stream).__name__)
        if not stream.startswith("arn:"):
            return cls(stream)
        match = _ARN.fullmatch(stream)
        if match is None:
            raise InvalidInput("stream", "an ARN of the form arn:aws:kinesis:REGION:ACCOUNT:stream/NAME")
        return cls(match[4], stream)

    @property
    def region(self) -> str | None:
        """The region of the ARN, or None for a stream given by name."""
        match = _ARN.fullmatch(self.arn) if self.arn else None
        return match[2] if match else None

    @property
    def account_id(self) -> str | None:
        """The account of the ARN, or None for a stream given by name."""
        match = _ARN.fullmatch(self.arn) if self.arn else None
        return match[3] if match else None

    def __str__(self) -> str:
        return self.name


class Distribution(StrEnum):
    """How an on-demand stream places records (RecordDistributionStrategy)."""

    USER_PARTITION_KEY = "USER_PARTITION_KEY"
    AUTO = "AUTO"


class StreamSummary(NamedTuple):
    """DescribeStreamSummary; `record_bytes_max` is MaxRecordSizeInKiB in bytes, `created_at_s` epoch seconds."""

    name: str
    arn: str
    status: str
    created_at_s: float
    retention_hours: int
    open_shards: int
    on_demand: bool
    record_bytes_max: int
    distribution: Distribution


class ShardFilterKind(StrEnum):
    """ListShards' ShardFilter types that shardline uses."""

    AT_TRIM_HORIZON = "AT_TRIM_HORIZON"
    AT_LATEST = "AT_LATEST"
    AT_TIMESTAMP = "AT_TIMESTAMP"
    FROM_TRIM_HORIZON = "FROM_TRIM_HORIZON"
    FROM_TIMESTAMP = "FROM_TIMESTAMP"
    AFTER_SHARD_ID = "AFTER_SHARD_ID"


class ShardFilter(NamedTuple):
    """One ShardFilter; `timestamp_s` (epoch seconds) and `shard_id` only where the kind asks for them."""

    kind: ShardFilterKind
    timestamp_s: float | None = None
    shard_id: str | None = None


class ShardPage(NamedTuple):
    """One page of ListShards; following pages are asked for with `next_token` alone."""

    shards: Sequence[Shard]
    next_token: str | None


class StartKind(StrEnum):
    """Where an iterator or subscription starts (ShardIteratorType, StartingPosition.Type)."""

    AT_SEQUENCE_NUMBER = "AT_SEQUENCE_NUMBER"
    AFTER_SEQUENCE_NUMBER = "AFTER_SEQUENCE_NUMBER"
    TRIM_HORIZON = "TRIM_HORIZON"
    LATEST = "LATEST"
    AT_TIMESTAMP = "AT_TIMESTAMP"


class StartAt(NamedTuple):
    """A starting position; `sequence_number` or `timestamp_s` (epoch seconds) only where the kind asks for it."""

    kind: StartKind
    sequence_number: str | None = None
    timestamp_s: float | None = None


class PutEntry(NamedTuple):
    """An entry of PutRecords; `partition_key` may be None on AUTO streams only; `explicit_hash_key` is decimal text."""

    data: bytes
    partition_key: str | None
    explicit_hash_key: str | None = None

    def __repr__(self) -> str:
        return f"PutEntry({len(self.data)} bytes)"


class PutOutcome(NamedTuple):
    """The fate of one entry: shard and sequence number, or an error code (and then neither)."""

    shard_id: str | None
    sequence_number: str | None
    error_code: str | None = None
    error_message: str | None = None


class ChildShard(NamedTuple):
    """A child as GetRecords or SubscribeToShard names it at a shard's end."""

    shard_id: str
    parent_shard_ids: tuple[str, ...]
    hash_range: HashRange


class GetRecordsPage(NamedTuple):
    """One answer of GetRecords; `next_iterator` is None exactly at the end of a closed shard."""

    records: Sequence[KinesisRecord]
    next_iterator: str | None
    millis_behind_latest: int | None
    child_shards: Sequence[ChildShard] = ()


class ConsumerDescription(NamedTuple):
    """A registered consumer (enhanced fan-out); `status` is CREATING, DELETING or ACTIVE."""

    name: str
    arn: str
    status: str
    created_at_s: float


class SubscribeEvent(NamedTuple):
    """One SubscribeToShardEvent; `continuation_sequence_number` is None exactly at the end of a closed shard."""

    records: Sequence[KinesisRecord]
    continuation_sequence_number: str | None
    millis_behind_latest: int | None
    child_shards: Sequence[ChildShard] = ()


class KinesisApi(Protocol):
    """The calls to Kinesis; see the package's docstring for errors, time-outs and cancellation."""

    async def put_records(
        self, stream: Stream, entries: Sequence[PutEntry], *, timeout_s: float
    ) -> Sequence[PutOutcome]:
        """Send up to 500 entries in one request and return one outcome per entry, in order.

        Raises `ProtocolViolation` if the answer holds another number of outcomes (nothing is then known of any entry).
        """
        ...

    async def list_shards(
        self,
        stream: Stream,
        *,
        shard_filter: ShardFilter | None = None,
        next_token: str | None = None,
        timeout_s: float,
    ) -> ShardPage:
        """Return one page of up to 1,000 shards; with `next_token` the filter is ignored (the token carries it)."""
        ...

    async def describe_stream_summary(self, stream: Stream, *, timeout_s: float) -> StreamSummary:
        """Return the stream's summary; raises `NotFound` where there is none."""
        ...

    async def get_shard_iterator(self, stream: Stream, shard_id: str, start: StartAt, *, timeout_s: float) -> str:
        """Return an iterator, good for five minutes."""
        ...

    async def get_records(self, stream: Stream, iterator: str, *, limit: int, timeout_s: float) -> GetRecordsPage:
        """Return up to `limit` (1 to 10,000) records, at most 10 MiB; raises `IteratorExpired` for an old iterator."""
        ...

    async def register_stream_consumer(self, stream_arn: str, name: str, *, timeout_s: float) -> ConsumerDescription:
        """Register a consumer for enhanced fan-out; raises `InUse` if the name is registered already."""
        ...

    async def describe_stream_consumer(self, stream_arn: str, name: str, *, timeout_s: float) -> ConsumerDescription:
        """Return a registered consumer; raises `NotFound` where there is none."""
        ...

    async def deregister_stream_consumer(self, stream_arn: str, name: str, *, timeout_s: float) -> None:
        """Remove a registered consumer; raises `NotFound` where there is none."""
        ...

    def subscribe_to_shard(
        self, consumer_arn: str, shard_id: str, start: StartAt, *, timeout_s: float
    ) -> AbstractAsyncContextManager[AsyncIterator[SubscribeEvent]]:
        """Subscribe to a shard: entering connects (within `timeout_s`), iterating gives events until the service ends.

        The iterator raises `Ambiguous` when the connection breaks or stays silent for longer than `timeout_s`, and the
        tree's kinds for exception events; leaving the context closes the connection.
        """
        ...
