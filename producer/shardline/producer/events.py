"""What the producer tells listeners: one event per request, package or decision, never one per user record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from shardline.common.events import Event
from shardline.common.metrics.measure import Measurement
from shardline.common.metrics.names import Kpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardline.common.metrics.measure import Dimensions, Metric

__all__ = [
    "AutoPlacement",
    "BufferTooLarge",
    "Failed",
    "Finished",
    "InquiryFailed",
    "MapChanged",
    "Misplaced",
    "Pulse",
    "Received",
    "RequestDone",
    "RequestFailed",
    "ShardTally",
    "StreamClosed",
    "StreamPulse",
    "Undelivered",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfStream(Event):
    stream: str


def _shares(metric: Metric, where: Dimensions, ones: int, zeros: int) -> Measurement:
    """Return samples that are 1 or 0: successes and failures, as the KPL counts them."""
    return Measurement(metric, where, ones + zeros, ones, 0.0 if zeros else 1.0, 1.0 if ones else 0.0)


class ShardTally(NamedTuple):
    """One shard's part of a request: Kinesis records put and failed, bytes put, error codes by number.

    `user_records` are those of all its entries, `buffering_s` the seconds they waited for this attempt, each counted
    with the oldest of its aggregate; the ranges are the smallest and the largest entry.
    """

    shard_id: str
    kinesis_put: int
    kinesis_failed: int
    kinesis_bytes: int
    kinesis_bytes_range: tuple[int, int]
    user_records: int
    user_records_range: tuple[int, int]
    buffering_s: float
    buffering_range_s: tuple[float, float]
    codes: tuple[tuple[str, int], ...]

    def measurements(self, stream: str) -> Iterator[Measurement]:
        """Yield the KPL's metrics of one shard."""
        where: Dimensions = (("StreamName", stream), ("ShardId", self.shard_id))
        put, failed = self.kinesis_put, self.kinesis_failed
        yield _shares(Kpl.KINESIS_RECORDS_PUT, where, put, failed)
        yield _shares(Kpl.ALL_ERRORS, where, failed, put)
        if put:
            yield Measurement(Kpl.KINESIS_RECORDS_DATA_PUT, where, put, self.kinesis_bytes, *self.kinesis_bytes_range)
        per_record = Kpl.USER_RECORDS_PER_KINESIS_RECORD
        yield Measurement(per_record, where, put + failed, self.user_records, *self.user_records_range)
        shortest, longest = self.buffering_range_s
        waited_ms = self.buffering_s * 1000
        yield Measurement(Kpl.BUFFERING_TIME, where, self.user_records, waited_ms, shortest * 1000, longest * 1000)
        for code, count in self.codes:
            yield Measurement.of(Kpl.ERRORS_BY_CODE, 1, (("ErrorCode", code), *where), samples=count)


class Finished(NamedTuple):
    """One shard's user records whose fate was decided since the last pulse; the shard is empty where none is known.

    `put` and `failed` are all of them; `expired` and `unknown` are among the failed. `bytes` are those put, keys and
    framing included, shared out evenly within an aggregate; `retries` are the further attempts of those `sent` at all.
    """

    shard_id: str
    put: int
    failed: int
    expired: int
    unknown: int
    bytes: int
    bytes_range: tuple[float, float]
    sent: int
    retries: int
    retries_range: tuple[int, int]

    def measurements(self, stream: str) -> Iterator[Measurement]:
        """Yield the KPL's metrics of finished user records, and ours of those that nobody knows about."""
        where: Dimensions = (("StreamName", stream), ("ShardId", self.shard_id))
        yield _shares(Kpl.USER_RECORDS_PUT, where, self.put, self.failed)
        yield Measurement(Kpl.USER_RECORDS_DATA_PUT, where, self.put, self.bytes, *self.bytes_range)
        yield Measurement(Kpl.RETRIES_PER_RECORD, where, self.sent, self.retries, *self.retries_range)
        yield Measurement.of(Kpl.USER_RECORD_EXPIRED, 1, where, samples=self.expired)
        yield Measurement.of(Kpl.USER_RECORDS_UNKNOWN, 1, where, samples=self.unknown)


class StreamPulse(NamedTuple):
    """One stream: user records pending now, the age of the oldest, and what was finished since the last pulse."""

    stream: str
    pending: int
    oldest_age_s: float
    finished: tuple[Finished, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse(Event):
    """All streams of a producer, at most five times a second while there is anything to do."""

    name: ClassVar[str] = "producer.pulse"
    level: ClassVar[str] = "debug"
    streams: tuple[StreamPulse, ...]

    def measurements(self) -> Iterator[Measurement]:
        """Yield the KPL's metrics of what waits and of what was finished."""
        for one in self.streams:
            where: Dimensions = (("StreamName", one.stream),)
            yield Measurement.of(Kpl.USER_RECORDS_PENDING, one.pending, where)
            yield Measurement.of(Kpl.OLDEST_RECORD_AGE, one.oldest_age_s * 1000, where)
            for finished in one.finished:
                yield from finished.measurements(one.stream)


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
