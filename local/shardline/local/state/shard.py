"""One shard: an append-only log with retention, its lineage and its subscriptions.

Invariants: numbers, records, arrival times and running sizes stand in parallel lists and grow together; arrival times
never go back; a position counts from the shard's first record and stays valid when older records are trimmed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from shardline.common.hashing import HashRange, Shard
from shardline.common.limits import GET_RECORDS_BYTES_MAX
from shardline.common.records import KinesisRecord
from shardline.local.state.sequence import Numbering
from shardline.local.state.throttle import ShardThrottle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ShardLog"]

_COMPACT_AFTER = 1024  # Trimmed records are dropped from the lists in lots of at least this many.


class ShardLog:
    """A shard's records and facts; `opened_s` and `closed_s` are epoch seconds (None while open)."""

    __slots__ = (
        "_arrivals",
        "_dropped",
        "_ends",
        "_first",
        "_numbers",
        "_records",
        "children",
        "closed_s",
        "ending",
        "hash_range",
        "index",
        "last_arrival_s",
        "numbering",
        "opened_s",
        "parents",
        "shard_id",
        "throttle",
        "watchers",
        "written",
    )

    def __init__(self, index: int, hash_range: HashRange, parents: tuple[str, ...], created_s: int, now: float) -> None:
        self.index = index
        self.shard_id = f"shardId-{index:012d}"
        self.hash_range = hash_range
        self.parents = parents
        self.numbering = Numbering(created_s, index)
        self.opened_s = now
        self.closed_s: float | None = None
        self.ending: int | None = None
        self.children: list[ShardLog] = []
        self.throttle = ShardThrottle(now)
        self.watchers: list[Callable[[], None]] = []
        self.last_arrival_s = now
        self.written = 0  # Records ever numbered; in null mode none of them is stored.
        self._numbers: list[int] = []
        self._records: list[KinesisRecord] = []
        self._arrivals: list[float] = []
        self._ends: list[int] = []  # Running total of sizes, including the record.
        self._first = 0  # Index in the lists of the first record within retention.
        self._dropped = 0  # Records removed from the front of the lists.

    @property
    def is_open(self) -> bool:
        """Say whether the shard takes writes."""
        return self.closed_s is None

    @property
    def trimmed(self) -> int:
        """The position of the oldest record within retention."""
        return self._dropped + self._first

    @property
    def held(self) -> int:
        """The position of the oldest record whose number is still known."""
        return self._dropped

    @property
    def tail(self) -> int:
        """The position after the newest record (LATEST)."""
        return self._dropped + len(self._records)

    def describe(self) -> Shard:
        """Return the shard as ListShards tells of it."""
        return Shard(
            self.shard_id,
            self.hash_range,
            self.parents[0] if self.parents else None,
            self.parents[1] if len(self.parents) > 1 else None,
            str(self.numbering.starting()),
            None if self.ending is None else str(self.ending),
        )

    def append(self, data: bytes, partition_key: str | None, now: float) -> tuple[int, KinesisRecord]:
        """Store one record and return its number and itself: number and place are taken in this one step."""
        arrival = max(self.last_arrival_s, now)
        self.last_arrival_s = arrival
        self.written += 1
        number = self.numbering.number(self.written, arrival)
        record = KinesisRecord(str(number), data, partition_key, arrival)
        size = len(data) + (len(partition_key.encode()) if partition_key else 0)
        ends = self._ends
        self._numbers.append(number)
        self._records.append(record)
        self._arrivals.append(arrival)
        ends.append((ends[-1] if ends else 0) + size)
        return number, record

    def count(self, now: float) -> int:
        """Take a number and store nothing (null mode); return it."""
        self.written += 1
        return self.numbering.number(self.written, now)

    def read(
        self, position: int, limit: int, bytes_max: int = GET_RECORDS_BYTES_MAX
    ) -> tuple[Sequence[KinesisRecord], int, int]:
        """Return records from `position` on, the position after them, and their bytes.

        At most `limit` records and `bytes_max`, but one record at least where there is one.
        """
        start = max(position - self._dropped, self._first)
        if start >= len(self._records):
            return (), max(position, self.trimmed), 0
        before = self._ends[start - 1] if start else 0
        stop = min(start + limit, bisect_right(self._ends, before + bytes_max))
        stop = max(stop, start + 1)
        return self._records[start:stop], self._dropped + stop, self._ends[stop - 1] - before

    def numbers(self, position: int) -> int:
        """Return the number of the stored record at `position`."""
        return self._numbers[position - self._dropped]

    def at_number(self, number: int, *, after: bool) -> int:
        """Return the position of the first record with a number at (or after) `number`."""
        bisect = bisect_right if after else bisect_left
        return self._dropped + bisect(self._numbers, number)

    def at_time(self, timestamp_s: float) -> int:
        """Return the position of the first record that arrived at or after `timestamp_s`; the tail if there is none."""
        return self._dropped + bisect_left(self._arrivals, timestamp_s)

    def behind_ms(self, position: int, now: float) -> int:
        """Return how far a reader at `position` is behind the tip: the age of the next unread record."""
        index = max(position - self._dropped, self._first)
        if index >= len(self._arrivals):
            return 0
        return max(0, round((now - self._arrivals[index]) * 1000))

    def trim(self, horizon_s: float) -> tuple[int, int]:
        """Drop records that arrived before `horizon_s`; return how many, and the newest number among them."""
        arrivals = self._arrivals
        if self._first >= len(arrivals) or arrivals[self._first] >= horizon_s:
            return 0, 0
        cut = bisect_left(arrivals, horizon_s, self._first)
        dropped, last = cut - self._first, self._numbers[cut - 1]
        self._first = cut
        if cut >= _COMPACT_AFTER and cut * 2 >= len(arrivals):
            self._compact(cut)
        return dropped, last

    def _compact(self, cut: int) -> None:
        base = self._ends[cut - 1]
        del self._numbers[:cut], self._records[:cut], self._arrivals[:cut], self._ends[:cut]
        self._ends = [end - base for end in self._ends]
        self._dropped += cut
        self._first = 0

    def close(self, now: float) -> None:
        """Take no more writes; the ending number lies above every record's."""
        assert self.closed_s is None
        self.closed_s = now
        self.ending = self.numbering.ending(now)
        self.wake()

    def wake(self) -> None:
        """Tell the shard's watchers that there is something to read."""
        for watcher in tuple(self.watchers):
            watcher()

    def __repr__(self) -> str:
        return f"ShardLog({self.shard_id}, {self.written} written, {'open' if self.is_open else 'closed'})"
