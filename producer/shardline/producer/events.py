"""What the producer tells listeners: one event per request, package or decision, never one per user record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from shardline.common.events import Event

__all__ = [
    "AutoPlacement",
    "BufferTooLarge",
    "Failed",
    "InquiryFailed",
    "MapChanged",
    "Misplaced",
    "RequestDone",
    "RequestFailed",
    "ShardTally",
    "StreamClosed",
    "Undelivered",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfStream(Event):
    stream: str


class ShardTally(NamedTuple):
    """One shard's part of a request: Kinesis and user records put and failed, bytes put, error codes by number."""

    shard_id: str
    kinesis_put: int
    kinesis_failed: int
    kinesis_bytes: int
    user_put: int
    user_bytes: int
    retries: int
    buffering_s: float
    codes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDone(_OfStream):
    """A PutRecords was answered; `shards` tells of each shard's entries."""

    name: ClassVar[str] = "producer.request_done"
    level: ClassVar[str] = "debug"
    entries: int
    user_records: int
    bytes: int
    duration_s: float
    failed: int
    shards: tuple[ShardTally, ...]
    pending_records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed(_OfStream):
    """A PutRecords failed as a whole; `kind` is the class of its error (ambiguous: it may have been applied)."""

    name: ClassVar[str] = "producer.request_failed"
    level: ClassVar[str] = "warning"
    entries: int
    user_records: int
    bytes: int
    duration_s: float
    code: str
    kind: str
    in_a_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(_OfStream):
    """Records were given up: not written, or of unknown outcome."""

    name: ClassVar[str] = "producer.failed"
    level: ClassVar[str] = "error"
    user_records: int
    bytes: int
    reason: str
    code: str
    unknown: bool
    attempts: int
    shard_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Misplaced(_OfStream):
    """An aggregate landed on a shard that does not own all its keys; `resent` says whether it is sent again."""

    name: ClassVar[str] = "producer.misplaced"
    predicted_shard: str
    actual_shard: str
    user_records: int
    resent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MapChanged(_OfStream):
    """A new shard map is in use."""

    name: ClassVar[str] = "producer.map_changed"
    open_shards: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InquiryFailed(_OfStream):
    """ListShards or DescribeStreamSummary failed (once per kind of failure in a row)."""

    name: ClassVar[str] = "producer.inquiry_failed"
    level: ClassVar[str] = "warning"
    call: str
    code: str
    consequence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoPlacement(_OfStream):
    """The stream places records itself, or no longer does; `aggregating` says whether we still aggregate."""

    name: ClassVar[str] = "producer.auto_placement"
    level: ClassVar[str] = "warning"
    auto: bool
    aggregating: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferTooLarge(_OfStream):
    """The buffer may not drain within the TTL, and the stream's rate is not known well enough to refuse it."""

    name: ClassVar[str] = "producer.buffer_too_large"
    level: ClassVar[str] = "warning"
    buffer_bytes_max: int
    drained_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamClosed(_OfStream):
    """A stream was closed; `pending` counts records that were given up by closing."""

    name: ClassVar[str] = "producer.closed"
    pending: int
    delivered: int
    failed: int
    unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered(Event):
    """The process ends with records that nobody waited for: interpreter exit, or a producer that was never closed."""

    name: ClassVar[str] = "producer.undelivered"
    level: ClassVar[str] = "error"
    records: int
    bytes: int
