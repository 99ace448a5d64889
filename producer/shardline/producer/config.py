"""Settings of the producer: frozen, keyword-only, checked on construction, and across fields.

`ProducerSettings` holds what all streams share (memory, connections), `StreamSettings` what each stream has of its own.
Invariant: a settings object that exists is valid on its own; what needs the stream's rate (can the buffer drain within
the TTL?) is checked (`drained_bytes`) as soon as the shard map is known.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from shardline.common.checks import check_flag, check_kind, check_number, check_whole, choice_of
from shardline.common.errors import InvalidInput
from shardline.common.limits import (
    AGGREGATE_BYTES_DEFAULT,
    MIB,
    PUT_RECORDS_BYTES_MAX,
    PUT_RECORDS_ENTRIES_MAX,
    RECORD_BYTES_MAX,
    SHARD_WRITE_BYTES_PER_S,
)

if TYPE_CHECKING:
    from shardline.common.codec import Codec
    from shardline.common.metrics.settings import MetricsSettings

__all__ = [
    "BODIES_MIN",
    "BODY_FACTOR",
    "Consumers",
    "OnGap",
    "Ordering",
    "ProducerSettings",
    "StreamSettings",
    "cannot_drain",
    "drained_bytes",
    "request_bytes",
]

BODY_FACTOR: Final = 2.0
"""Bytes a request holds in flight per byte of data: a base64 body (1.34) and what the transport queues of it."""

BODIES_MIN: Final = 4
"""So many of the largest requests must fit the producer's memory."""
_REQUEST_BYTES_DEFAULT: Final = 2 * MIB
"""Each call costs as much as some thousand records; larger bodies save nothing more. (The KPL's default is 5 MiB.)"""

_DRAIN_SHARE: Final = 0.8  # Of the TTL: the rest is for the round trip and for retries.


class Ordering(StrEnum):
    """What order the producer keeps: none, that of each partition key, or that of each shard."""

    NONE = "none"
    BY_KEY = "by_key"
    BY_SHARD = "by_shard"


class OnGap(StrEnum):
    """What happens to the successors of a record that failed or is unknown, where an order is kept."""

    STOP = "stop"
    CONTINUE = "continue"


class Consumers(StrEnum):
    """Who reads the stream: somebody whose deaggregation checks hash ranges (a KCL), or only readers that do not."""

    KCL = "kcl"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerSettings:
    """What all streams of one producer share.

    `memory_bytes_max` bounds everything not yet acknowledged: payloads, keys, a measured overhead per record, and the
    bodies in flight. `connections_max` is the pool; `requests_in_flight_max` (None: the pool) the adaptive
    concurrency's upper end. `metrics` publishes the KPL's metrics, in all streams' name; None, the default, publishes
    nothing and costs nothing, while `stats()` and events are there all the same. Raises `InvalidInput` on construction.
    """

    memory_bytes_max: int = 64 * MIB
    connections_max: int = 24
    requests_in_flight_max: int | None = None
    fail_kept_max: int = 1000
    metrics: MetricsSettings | None = None

    def __post_init__(self) -> None:
        check_whole("memory_bytes_max", self.memory_bytes_max, 1 * MIB, 1 << 40, "bytes")
        check_whole("connections_max", self.connections_max, 1, 256, "connections")
        if self.requests_in_flight_max is not None:
            check_whole("requests_in_flight_max", self.requests_in_flight_max, 1, self.connections_max, "requests")
        check_whole("fail_kept_max", self.fail_kept_max, 0, 1_000_000, "records")
        if self.metrics is not None:
            from shardline.common.metrics.settings import MetricsSettings  # noqa: PLC0415 - only where it was given.

            check_kind("metrics", self.metrics, MetricsSettings, what="a MetricsSettings or None")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """How one stream is written; every default fits a stream of any size.

    Times in seconds from `put`: `linger_s` until a record is sent at the latest when nothing is in the way, `ttl_s`
    until it fails. `buffer_bytes_max` None means: what the stream can drain within the TTL, at most the producer's
    memory. `request_bytes_max` None means 2 MiB, or what `request_bytes` finds room for in less memory.
    `rate_share` is this producer's part of each shard's limits (1.0 = 1 MiB/s and 1,000 records/s).
    `record_bytes_max` None means the stream's own limit, 1 MiB where we may not ask. `codec` makes
    bytes of objects that are neither bytes nor text (its headers travel in the aggregate's tags, beside the caller's,
    which win). Raises `InvalidInput` on construction, also for settings that contradict each other.
    """

    aggregation: bool = True
    aggregate_bytes_max: int = AGGREGATE_BYTES_DEFAULT
    aggregate_count_max: int | None = None
    request_bytes_max: int | None = None
    request_entries_max: int = PUT_RECORDS_ENTRIES_MAX
    request_timeout_s: float = 6.0
    linger_s: float = 0.1
    ttl_s: float = 30.0
    rate_share: float = 1.0
    fail_if_throttled: bool = False
    record_bytes_max: int | None = None
    buffer_bytes_max: int | None = None
    buffer_records_max: int | None = None
    ordering: Ordering = Ordering.NONE
    on_gap: OnGap = OnGap.STOP
    consumers: Consumers = Consumers.KCL
    shard_map_refresh_s: float = 300.0
    codec: Codec | None = None

    def __post_init__(self) -> None:
        for name, kind in (("ordering", Ordering), ("on_gap", OnGap), ("consumers", Consumers)):
            object.__setattr__(self, name, choice_of(name, getattr(self, name), kind))
        check_flag("aggregation", self.aggregation)
        check_flag("fail_if_throttled", self.fail_if_throttled)
        self._sizes()
        self._times()
        self._contradictions()

    def _sizes(self) -> None:
        check_whole("aggregate_bytes_max", self.aggregate_bytes_max, 64, RECORD_BYTES_MAX, "bytes")
        if self.request_bytes_max is not None:
            check_whole("request_bytes_max", self.request_bytes_max, 1024, PUT_RECORDS_BYTES_MAX, "bytes")
        check_whole("request_entries_max", self.request_entries_max, 1, PUT_RECORDS_ENTRIES_MAX, "entries")
        if self.aggregate_count_max is not None:
            check_whole("aggregate_count_max", self.aggregate_count_max, 1, 2**63 - 1, "records")
        if self.record_bytes_max is not None:
            check_whole("record_bytes_max", self.record_bytes_max, 64, RECORD_BYTES_MAX, "bytes")
        if self.buffer_bytes_max is not None:
            check_whole("buffer_bytes_max", self.buffer_bytes_max, 64 * 1024, 1 << 40, "bytes")
        if self.buffer_records_max is not None:
            check_whole("buffer_records_max", self.buffer_records_max, 1, 2**63 - 1, "records")

    def _times(self) -> None:
        check_number("request_timeout_s", self.request_timeout_s, 0.1, 600.0, "seconds")
        check_number("linger_s", self.linger_s, 0.0, 3600.0, "seconds")
        check_number("ttl_s", self.ttl_s, 0.1, 7 * 86400.0, "seconds")
        check_number("rate_share", self.rate_share, 0.001, 1e9, "(1.0 = a whole shard's limit)")
        check_number("shard_map_refresh_s", self.shard_map_refresh_s, 1.0, 86400.0, "seconds")

    def _contradictions(self) -> None:
        if self.linger_s >= self.ttl_s:
            raise InvalidInput("linger_s", f"below ttl_s ({self.ttl_s:g}), or every record expires before it is sent")
        if self.record_bytes_max is not None and self.aggregate_bytes_max > self.record_bytes_max:
            raise InvalidInput("aggregate_bytes_max", f"at most record_bytes_max ({self.record_bytes_max})")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the settings' names, for configuration files."""
        return tuple(field.name for field in fields(cls))


def request_bytes(settings: StreamSettings, memory_bytes_max: int) -> int:
    """Return what a request may weigh: as set, else so much that four of its bodies fit the producer's memory."""
    if settings.request_bytes_max is not None:
        return settings.request_bytes_max
    return min(_REQUEST_BYTES_DEFAULT, int(memory_bytes_max / BODIES_MIN / BODY_FACTOR))


def drained_bytes(settings: StreamSettings, shards: int) -> int:
    """Return the bytes that `shards` open shards take within the TTL at this producer's share, with some reserve."""
    return int(shards * SHARD_WRITE_BYTES_PER_S * settings.rate_share * settings.ttl_s * _DRAIN_SHARE)


def cannot_drain(settings: StreamSettings, shards: int) -> InvalidInput:
    """Return the error for a `buffer_bytes_max` whose last record would expire in the buffer."""
    allowed = (
        f"at most {drained_bytes(settings, shards)} bytes, what {shards} shards take in {_DRAIN_SHARE:.0%} of ttl_s"
    )
    return InvalidInput("buffer_bytes_max", allowed + " at rate_share", str(settings.buffer_bytes_max))
