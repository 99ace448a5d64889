"""What the producer tells listeners: one event per request, package or decision, never one per user record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from shardline.common.events import Event
from shardline.common.metrics.measure import Measurement
from shardline.common.metrics.names import Kpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardline.common.metrics.measure import Dimensions

__all__ = [
    "AutoPlacement",
    "BufferTooLarge",
    "Failed",
    "InquiryFailed",
    "MapChanged",
    "Misplaced",
    "Received",
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

    def measurements(self, stream: str) -> Iterator[Measurement]:
        """Yield the KPL's metrics of one shard."""
        where: Dimensions = (("StreamName", stream), ("ShardId", self.shard_id))
        entries = self.kinesis_put + self.kinesis_failed
        put, failed = self.kinesis_put, self.kinesis_failed
        least, most = float(failed == 0), float(put > 0)  # Of samples that are 1 for a success and 0 for a failure.
        yield Measurement(Kpl.KINESIS_RECORDS_PUT, where, entries, put, least, most)
        yield Measurement(Kpl.ALL_ERRORS, where, entries, failed, 1 - most, 1 - least)
        if put:
            of = Measurement.of
            yield of(Kpl.KINESIS_RECORDS_DATA_PUT, self.kinesis_bytes / put, where, samples=put)
            yield of(Kpl.USER_RECORDS_PER_KINESIS_RECORD, self.user_put / put, where, samples=put)
            if self.user_put:
                yield of(Kpl.USER_RECORDS_PUT, 1, where, samples=self.user_put)
                yield of(Kpl.USER_RECORDS_DATA_PUT, self.user_bytes / self.user_put, where, samples=self.user_put)
        yield Measurement.of(Kpl.BUFFERING_TIME, self.buffering_s / entries * 1000, where, samples=entries)
        yield Measurement.of(Kpl.RETRIES_PER_RECORD, self.retries / entries, where, samples=entries)
        for code, count in self.codes:
            yield Measurement.of(Kpl.ERRORS_BY_CODE, 1, (("ErrorCode", code), *where), samples=count)


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
    oldest_age_s: float

    def measurements(self) -> Iterator[Measurement]:
        """Yield the KPL's metrics of a request and of its shards."""
        of = Measurement.of
        where: Dimensions = (("StreamName", self.stream),)
        yield of(Kpl.REQUEST_TIME, self.duration_s * 1000, where)
        yield of(Kpl.KINESIS_RECORDS_PER_REQUEST, self.entries, where)
        yield of(Kpl.USER_RECORDS_PER_REQUEST, self.user_records, where)
        yield of(Kpl.USER_RECORDS_PENDING, self.pending_records, where)
        yield of(Kpl.OLDEST_RECORD_AGE, self.oldest_age_s * 1000, where)
        for shard in self.shards:
            yield from shard.measurements(self.stream)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(_OfStream):
    """User records were sealed into Kinesis records since the last such event (once per request)."""

    name: ClassVar[str] = "producer.received"
    level: ClassVar[str] = "debug"
    user_records: int

    def measurements(self) -> Iterator[Measurement]:
        """Yield the records received."""
        if self.user_records:
            yield Measurement.of(
                Kpl.USER_RECORDS_RECEIVED, 1, (("StreamName", self.stream),), samples=self.user_records
            )


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

    def measurements(self) -> Iterator[Measurement]:
        """Yield the KPL's metrics of a failed request."""
        where: Dimensions = (("StreamName", self.stream),)
        yield Measurement.of(Kpl.REQUEST_TIME, self.duration_s * 1000, where)
        yield Measurement.of(Kpl.ALL_ERRORS, 1, where)
        yield Measurement.of(Kpl.ERRORS_BY_CODE, 1, (("ErrorCode", self.code), *where))


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

    def measurements(self) -> Iterator[Measurement]:
        """Yield the KPL's metrics of records that failed, and ours of those that nobody knows about."""
        where: Dimensions = (("StreamName", self.stream), ("ShardId", self.shard_id))
        yield Measurement.of(Kpl.USER_RECORDS_PUT, 0, where, samples=self.user_records)
        if self.reason == "expired":
            yield Measurement.of(Kpl.USER_RECORD_EXPIRED, 1, where, samples=self.user_records)
        if self.unknown:
            yield Measurement.of(Kpl.USER_RECORDS_UNKNOWN, 1, where, samples=self.user_records)


@dataclass(frozen=True, slots=True, kw_only=True)
class Misplaced(_OfStream):
    """An aggregate landed on a shard that does not own all its keys; `resent` says whether it is sent again."""

    name: ClassVar[str] = "producer.misplaced"
    predicted_shard: str
    actual_shard: str
    user_records: int
    resent: bool

    def measurements(self) -> Iterator[Measurement]:
        """Yield one misplaced aggregate."""
        yield Measurement.of(Kpl.AGGREGATES_MISPLACED, 1, (("StreamName", self.stream), ("ShardId", self.actual_shard)))


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
