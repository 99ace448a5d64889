"""One shard's polling as a core: which call comes next, when, and from which position.

Invariants: a page is read only while there is room for it; calls stay within the shard's 5 reads and 2 MiB per second;
a read that is throttled means that others read the shard, too: they are made room;
an expired or lost iterator is replaced by one after the last record *fetched in this tenure*, or at the stored
checkpoint when there is none: never at the application's start position again (F15); an empty page is never the end of
a shard (F14), and the end is only believed when its children are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shardline.common.backoff import Backoff
from shardline.common.bucket import TokenBucket
from shardline.common.checks import TIMEOUT_S_MAX, check_number, check_whole
from shardline.common.limits import (
    GET_RECORDS_LIMIT_MAX,
    SHARD_READ_BYTES_PER_S,
    SHARD_READS_PER_S,
)
from shardline.common.ports.kinesis import StartAt, StartKind
from shardline.common.records import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Position

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from shardline.common.ports.kinesis import GetRecordsPage
    from shardline.common.records import KinesisRecord

__all__ = ["FetchIterator", "FetchRecords", "PollingSettings", "ShardPolling", "starting_at"]


_SHARE_MIN: Final = 0.1
_SHARE_CUT: Final = 0.6
_SHARE_GROWTH_PER_S: Final = 0.02
"""What is left of the shard's limits after a throttled read, and how it comes back: the whole within a minute.

Taking a part away and growing by steps makes several who know nothing of each other share a limit evenly; whoever
reads less than his part (a KCL at its default, once a second) is left alone most of the time.
"""
_IDLE_S_MIN: Final = 1 / SHARD_READS_PER_S
_IDLE_S_MAX: Final = 3600
_RATE_MIN: Final = 0.001
_TIMEOUT_S_MIN: Final = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class PollingSettings:
    """How a shard is polled; raises `InvalidInput` for values out of range.

    `idle_s` is the pause at the head of the stream after a page with records, `idle_s_max` the one it grows to while
    pages stay empty; behind the head pages follow each other as fast as `reads_per_s` and `bytes_per_s` allow. Of the
    shard's five reads a second one is left to others, for who took all would not even see that they are throttled;
    whenever a read is throttled itself, less is taken for up to a minute, so that several share the limits evenly. At
    most `prefetch_records` and `prefetch_bytes` wait for the handler per shard (one page may exceed them).
    """

    idle_s: float = 0.25
    idle_s_max: float = 1.0
    page_records: int = GET_RECORDS_LIMIT_MAX
    prefetch_records: int = 30_000
    prefetch_bytes: int = 8 * 1024 * 1024
    reads_per_s: float = 0.8 * SHARD_READS_PER_S
    bytes_per_s: float = float(SHARD_READ_BYTES_PER_S)
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        check_number("idle_s", self.idle_s, _IDLE_S_MIN, _IDLE_S_MAX, "seconds (five reads per second and shard)")
        check_number("idle_s_max", self.idle_s_max, self.idle_s, _IDLE_S_MAX, "seconds, idle_s and more")
        check_whole("page_records", self.page_records, 1, GET_RECORDS_LIMIT_MAX)
        check_whole("prefetch_records", self.prefetch_records, 1, 2**31 - 1)
        check_whole("prefetch_bytes", self.prefetch_bytes, 1, 1 << 40, "bytes")
        check_number("reads_per_s", self.reads_per_s, _RATE_MIN, SHARD_READS_PER_S)
        check_number("bytes_per_s", self.bytes_per_s, _RATE_MIN, SHARD_READ_BYTES_PER_S)
        check_number("timeout_s", self.timeout_s, _TIMEOUT_S_MIN, TIMEOUT_S_MAX, "seconds")


@dataclass(frozen=True, slots=True)
class FetchIterator:
    """Ask for an iterator at `start`."""

    start: StartAt


@dataclass(frozen=True, slots=True)
class FetchRecords:
    """Ask for a page."""

    iterator: str
    limit: int


def starting_at(checkpoint: Position, *, pin_s: float | None, timestamp_s: float | None) -> StartAt:
    """Return where to read from for a stored checkpoint.

    A sequence number is read again (its aggregate may be half done; what is done is filtered out). LATEST with a pin
    starts at the pin. AT_TIMESTAMP needs the configured time, which the table does not hold; without one the shard is
    read from the trim horizon, so that nothing is skipped.
    """
    if checkpoint == LATEST and pin_s is not None:
        return StartAt(StartKind.AT_TIMESTAMP, timestamp_s=pin_s)
    if checkpoint == LATEST:
        return StartAt(StartKind.LATEST)
    if checkpoint == AT_TIMESTAMP and timestamp_s is not None:
        return StartAt(StartKind.AT_TIMESTAMP, timestamp_s=timestamp_s)
    if checkpoint in (TRIM_HORIZON, AT_TIMESTAMP):
        return StartAt(StartKind.TRIM_HORIZON)
    assert checkpoint != SHARD_END, "a finished shard is not read"
    return StartAt(StartKind.AT_SEQUENCE_NUMBER, sequence_number=str(checkpoint.sequence_number))


class ShardPolling:
    """Decides the calls of one shard; the driver performs them and reports."""

    __slots__ = (
        "_backoff",
        "_bytes",
        "_bytes_waiting",
        "_calling",
        "_failures",
        "_idle_s",
        "_iterator",
        "_last",
        "_next_at",
        "_random",
        "_reads",
        "_records_waiting",
        "_settings",
        "_share",
        "_share_at",
        "_start",
        "ended",
        "millis_behind_latest",
    )

    def __init__(self, start: StartAt, settings: PollingSettings, random: Random, now: float) -> None:
        self._settings = settings
        self._random = random
        self._reads = TokenBucket(settings.reads_per_s, 1, now)  # A burst would come on top of the rate.
        self._bytes = TokenBucket(settings.bytes_per_s, settings.bytes_per_s, now)
        self._backoff = Backoff(first_s=settings.idle_s, max_s=max(10.0, settings.idle_s_max), floor=0.5)
        self._bytes_waiting = 0
        self._records_waiting = 0
        self.millis_behind_latest: int | None = None
        self._calling = False
        self._failures = 0
        self._share = 1.0
        self._share_at = now
        self._next_at = now
        self._restart(start)

    def _restart(self, start: StartAt) -> None:
        self._start = start
        self._last: str | None = None
        self._iterator: str | None = None
        self._idle_s = self._settings.idle_s
        self.ended = False

    def seek(self, start: StartAt, now: float) -> None:
        """Read on from another position; what waits for the handler is the driver's to drop, and counts no more.

        At once, unless calls fail: then no sooner than the next one was due, or who seeks often would call often. One
        that is under way then has failed as well, for nobody hears its answer.
        """
        self._bytes_waiting = self._records_waiting = 0
        self._restart(start)
        if self._calling and self._failures:
            self.on_failed(now)
        self._next_at = max(now, self._next_at) if self._failures else now
        self._calling = False

    def back_to(self, last: str | None, waiting: tuple[int, int], now: float) -> None:
        """Forget what was fetched after the record `last` (None: everything): it was not queued.

        `waiting` are the records and bytes that are, and are not consumed.
        """
        self._last, self._iterator, self.ended, self._calling = last, None, False, False
        self._records_waiting, self._bytes_waiting = waiting
        self._next_at = max(now, self._next_at)

    # --- what to do --------------------------------------------------------------------------------------------------

    def next_call(self, now: float) -> FetchIterator | FetchRecords | None:
        """Return the call to make now; None while nothing is due, there is no room, or the shard has ended."""
        due = self.next_wakeup(now)
        if due is None or due > now:
            return None
        self._calling = True
        if self._iterator is None:
            return FetchIterator(self._position())
        self._reads.take(now, 1)
        return FetchRecords(self._iterator, self._settings.page_records)

    def next_wakeup(self, now: float) -> float | None:
        """Return when a call is due; None after the end, and while what was read still waits for the handler."""
        if self.ended or self._is_full():
            return None
        if self._iterator is None:
            return self._next_at
        wait = max(self._reads.wait_s(now, 1), self._bytes.wait_s(now, 1))
        return max(self._next_at, now + wait) if wait else self._next_at

    def _is_full(self) -> bool:
        settings = self._settings
        return self._records_waiting >= settings.prefetch_records or self._bytes_waiting >= settings.prefetch_bytes

    def _position(self) -> StartAt:
        if self._last is None:
            return self._start
        return StartAt(StartKind.AFTER_SEQUENCE_NUMBER, sequence_number=self._last)

    @property
    def doing(self) -> str:
        """How the shard is polled now: catching up, at the head, idle (the pause has grown), full, failing, ended."""
        if self.ended or self._is_full() or self._failures:
            return "ended" if self.ended else "full" if self._is_full() else "failing"
        if self.millis_behind_latest is None or self.millis_behind_latest > 0:
            return "catching up"
        return "idle" if self._idle_s > self._settings.idle_s else "at the head"

    @property
    def pause_s(self) -> float:
        """The pause between two reads at the head; behind it none is made."""
        return self._idle_s

    @property
    def waiting(self) -> tuple[int, int]:
        """Kinesis records that wait for the handler, and the bytes of their data."""
        return self._records_waiting, self._bytes_waiting

    # --- what came back ----------------------------------------------------------------------------------------------

    def on_iterator(self, iterator: str, now: float) -> None:
        """Take a new iterator."""
        self._calling = False
        self._iterator = iterator
        self._next_at = now
        # `_failures` stays: an iterator that comes back and expires at once, again and again, must not make a hot loop.

    def on_page(self, page: GetRecordsPage, now: float) -> int:
        """Take a page and return its bytes; the driver keeps the records until `on_consumed`."""
        records: Sequence[KinesisRecord] = page.records
        size = sum([len(record.data) for record in records])
        self._calling = False
        self._failures = 0
        if self._share < 1.0:
            self._take_share(now, min(1.0, self._share + (now - self._share_at) * _SHARE_GROWTH_PER_S))
        self._bytes.take(now, size)
        self._bytes_waiting += size
        self._records_waiting += len(records)
        self.millis_behind_latest = page.millis_behind_latest
        if records:
            if self._last is None:  # From now on the beginning is known, LATEST or not.
                self._start = StartAt(StartKind.AT_SEQUENCE_NUMBER, records[0].sequence_number)
            self._last = records[-1].sequence_number
        self._iterator = page.next_iterator
        if page.next_iterator is None:
            self.ended = True
        else:
            self._pace(found=bool(records), behind=page.millis_behind_latest or 0, now=now)
        return size

    def on_consumed(self, records: int, size: int) -> None:
        """Take note that the handler is done with records of a page: there is room again."""
        self._records_waiting -= records
        self._bytes_waiting -= size

    def on_iterator_lost(self, now: float) -> None:
        """Take note that the iterator expired or was refused: the next one starts after what was fetched."""
        self._iterator = None
        if self._failures:
            self.on_failed(now)
        else:
            self._calling = False
            self._failures = 1
            self._next_at = now

    def on_throttled(self, now: float) -> None:
        """Take a call that was refused for the shard's rate, which others use as well: leave them more of it.

        Whoever backed off further and further beside one who does not would never have his turn again.
        """
        self._calling = False
        self._failures += 1
        self._take_share(now, max(_SHARE_MIN, self._share * _SHARE_CUT))
        pause = 1 / (self._settings.reads_per_s * self._share)
        self._next_at = now + pause * (1.0 + self._random.random())

    def _take_share(self, now: float, share: float) -> None:
        self._share, self._share_at = share, now
        self._reads.set_rate(now, self._settings.reads_per_s * share)
        self._bytes.set_rate(now, self._settings.bytes_per_s * share)

    def on_failed(self, now: float) -> None:
        """Take a call that failed: the same again, later each time."""
        self._calling = False
        self._failures += 1
        self._next_at = now + self._backoff.delay_s(self._failures, self._random)

    def on_end_refused(self, now: float) -> None:
        """Take back an end that could not be believed (no children are known yet): ask again, later."""
        self.ended = False
        self._iterator = None
        self.on_failed(now)

    def _pace(self, *, found: bool, behind: int, now: float) -> None:
        if behind > 0:
            self._idle_s = self._settings.idle_s
            self._next_at = now  # Catching up: the shard's limits alone hold us back.
            return
        self._idle_s = self._settings.idle_s if found else min(self._idle_s * 2, self._settings.idle_s_max)
        self._next_at = now + self._idle_s
