"""One shard: an append-only log with retention, its lineage and its subscriptions.

Invariants: records and their running size stand in two lists and grow together; numbers grow and arrival times never
go back, so both can be searched; a position counts from the shard's first record and stays valid when older records
are trimmed.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# (`tuple.__new__` makes records here, for its speed, and has no element type)

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from shardline.common.hashing import HashRange, Shard
from shardline.common.limits import GET_RECORDS_BYTES_MAX
from shardline.common.records import KinesisRecord
from shardline.local.state.sequence import RECORD_SHIFT, Numbering
from shardline.local.state.throttle import ShardThrottle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ShardLog"]

_COMPACT_AFTER = 1024  # Trimmed records are dropped from the lists in lots of at least this many.


class ShardLog:
    """A shard's records and facts; `opened_s` and `closed_s` are epoch seconds (None while open)."""

    __slots__ = (
        "_bytes_dropped",
        "_dropped",
        "_ends",
        "_first",
        "_records",
        "_stem",
        "_stem_s",
        "bytes_written",
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
        self.bytes_written = 0  # Running total of sizes; `_ends` holds it after each record.
        self._bytes_dropped = 0
        self._stem, self._stem_s = 0, -1.0  # The number of a record that arrives then, but for its index.
        self._records: list[KinesisRecord] = []
        self._ends: list[int] = []
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

    def append(self, data: bytes, partition_key: str | None, now: float) -> KinesisRecord:
        """Store one record and return it: its number and its place are taken in this one step."""
        arrival = max(self.last_arrival_s, now)
        if arrival != self._stem_s:
            self._stem, self._stem_s = self.numbering.number(0, arrival), arrival
        self.last_arrival_s = arrival
        self.written = index = self.written + 1
        self.bytes_written += len(data) + (len(partition_key.encode()) if partition_key else 0)
        number = str(self._stem | (index << RECORD_SHIFT))
        record: KinesisRecord = tuple.__new__(KinesisRecord, (number, data, partition_key, arrival))
        self._records.append(record)
        self._ends.append(self.bytes_written)
        return record

    def count(self, now: float) -> str:
        """Take a number and store nothing (null mode); return it."""
        self.written += 1
        return str(self.numbering.number(self.written, now))

    def read(
        self, position: int, limit: int, bytes_max: int = GET_RECORDS_BYTES_MAX
    ) -> tuple[Sequence[KinesisRecord], int, int]:
        """Return records from `position` on, the position after them, and their bytes.

        At most `limit` records and `bytes_max`, but one record at least where there is one.
        """
        start = max(position - self._dropped, self._first)
        if start >= len(self._records):
            return (), max(position, self.trimmed), 0
        before = self._ends[start - 1] if start else self._bytes_dropped
        stop = min(start + limit, bisect_right(self._ends, before + bytes_max))
        stop = max(stop, start + 1)
        return self._records[start:stop], self._dropped + stop, self._ends[stop - 1] - before

    def numbers(self, position: int) -> int:
        """Return the number of the stored record at `position`."""
        return int(self._records[position - self._dropped].sequence_number)

    def at_number(self, number: int, *, after: bool) -> int:
        """Return the position of the first record with a number at (or after) `number`."""
        bisect = bisect_right if after else bisect_left
        return self._dropped + bisect(self._records, number, key=_number)

    def at_time(self, timestamp_s: float) -> int:
        """Return the position of the first record that arrived at or after `timestamp_s`; the tail if there is none."""
        return self._dropped + bisect_left(self._records, timestamp_s, key=_arrival)

    def behind_ms(self, position: int, now: float) -> int:
        """Return how far a reader at `position` is behind the tip: the age of the next unread record."""
        index = max(position - self._dropped, self._first)
        if index >= len(self._records):
            return 0
        return max(0, round((now - self._records[index].arrival_time_s) * 1000))

    def trim(self, horizon_s: float) -> tuple[int, int]:
        """Drop records that arrived before `horizon_s`; return how many, and the newest number among them."""
        records = self._records
        if self._first >= len(records) or records[self._first].arrival_time_s >= horizon_s:
            return 0, 0
        cut = bisect_left(records, horizon_s, self._first, key=_arrival)
        dropped, last = cut - self._first, _number(records[cut - 1])
        self._first = cut
        if cut >= _COMPACT_AFTER and cut * 2 >= len(records):
            self._compact(cut)
        return dropped, last

    def _compact(self, cut: int) -> None:
        self._bytes_dropped = self._ends[cut - 1]
        del self._records[:cut], self._ends[:cut]
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


def _number(record: KinesisRecord) -> int:
    return int(record.sequence_number)


def _arrival(record: KinesisRecord) -> float:
    return record.arrival_time_s
