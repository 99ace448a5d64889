"""One stream: its shards, its lineage and the reshards; throttles and the API's wording live elsewhere.

Invariants: open shards sorted by range cover all hash keys; a child's logical creation second is later than its
parents', so its numbers are above theirs; a reshard's moment is later than every record of the shards it closes, and
later than their opening, so "open at T" is one exact cover of the key space for every T.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING

from shardline.common.hashing import FULL_RANGE, HashRange
from shardline.common.limits import KIB, RECORD_BYTES_MAX_DEFAULT, RETENTION_HOURS_MIN
from shardline.common.ports.kinesis import Distribution
from shardline.local.state.sequence import shard_index
from shardline.local.state.shard import ShardLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    Reshaped: TypeAlias = Callable[["StreamState", Sequence[ShardLog], Sequence[ShardLog]], None]

__all__ = ["StreamState", "even_ranges"]

_TICK_S = 0.001  # Arrival times have milliseconds; a reshard moves to the next one.
_SPACE = FULL_RANGE.width


def even_ranges(count: int) -> list[HashRange]:
    """Return `count` contiguous ranges of equal width (the last takes the remainder), as CreateStream makes them."""
    width = _SPACE // count
    starts = [width * i for i in range(count)] + [_SPACE]
    return [HashRange(a, b - 1) for a, b in pairwise(starts)]


class StreamState:
    """A stream as the service keeps it; `status` is CREATING, ACTIVE, UPDATING or DELETING."""

    def __init__(self, name: str, arn: str, *, shards: int, on_demand: bool, now: float) -> None:
        self.name = name
        self.arn = arn
        self.created_s = now
        self.on_demand = on_demand
        self.distribution = Distribution.USER_PARTITION_KEY
        self.status = "CREATING"
        self.due_s = now
        self.on_due: Callable[[float], None] | None = None
        self.on_reshard: Reshaped | None = None
        self.retention_hours = RETENTION_HOURS_MIN
        self.record_bytes_max = RECORD_BYTES_MAX_DEFAULT
        self.warm_mibps = 0
        self.tags: dict[str, str] = {}
        self.encryption_key: str | None = None
        self.metrics: set[str] = set()
        self.updates: list[float] = []  # When UpdateShardCount was used, for its limit of ten a day.
        self.shards: dict[int, ShardLog] = {}
        self.scatter = 0  # Turns the records of an AUTO stream round the shards.
        self._next_index = 0
        self._ends: list[bytes] = []
        self.open: list[ShardLog] = []
        for hash_range in even_ranges(shards):
            self._add(hash_range, (), now, int(now))
        self._remap()

    @property
    def created_ms(self) -> int:
        """The creation time in epoch milliseconds: tells a stream from an earlier one of the same name."""
        return round(self.created_s * 1000)

    @property
    def record_kib_max(self) -> int:
        """MaxRecordSizeInKiB."""
        return self.record_bytes_max // KIB

    def locate(self, key: bytes) -> ShardLog:
        """Return the open shard that owns a hash key of 16 big-endian bytes."""
        return self.open[bisect_left(self._ends, key)]

    def spread(self) -> ShardLog:
        """Return the next open shard for a record that the service places itself (AUTO)."""
        self.scatter += 1
        return self.open[self.scatter % len(self.open)]

    def get(self, shard_id: str) -> ShardLog | None:
        """Return a shard by its id, however its number is padded; None where there is none."""
        tail = shard_id.rpartition("-")[2]
        return self.shards.get(shard_index(shard_id)) if tail.isascii() and tail.isdigit() else None

    def listed(self, now: float) -> Iterator[ShardLog]:
        """Yield the shards that ListShards knows: all but those that are over."""
        return (s for s in self.shards.values() if not self.is_over(s, now))

    def is_over(self, shard: ShardLog, now: float) -> bool:
        """Say whether a shard was closed for so long that retention has taken it, and all that was in it."""
        return shard.closed_s is not None and shard.closed_s <= self.horizon(now)

    def horizon(self, now: float) -> float:
        """Return the trim horizon in epoch seconds: records that arrived before it are gone."""
        return now - self.retention_hours * 3600

    def _add(self, hash_range: HashRange, parents: tuple[ShardLog, ...], now: float, created_s: int) -> ShardLog:
        shard = ShardLog(self._next_index, hash_range, tuple(p.shard_id for p in parents), created_s, now)
        for parent in parents:
            parent.children.append(shard)
        self.shards[shard.index] = shard
        self._next_index += 1
        return shard

    def _remap(self) -> None:
        self.open = sorted((s for s in self.shards.values() if s.is_open), key=lambda s: s.hash_range.start)
        self._ends = [s.hash_range.end.to_bytes(16, "big") for s in self.open]

    def _replace(self, parents: Sequence[ShardLog], ranges: Sequence[HashRange], now: float) -> list[ShardLog]:
        """Close `parents` and open one child per range."""
        at = max(now, *(max(p.last_arrival_s, p.opened_s) + _TICK_S for p in parents))
        created_s = max(int(at), *(p.numbering.created_s + 1 for p in parents))
        children = [self._add(r, tuple(parents), at, created_s) for r in ranges]
        for parent in parents:
            parent.close(at)
        self._remap()
        if self.on_reshard is not None:
            self.on_reshard(self, parents, children)
        return children

    def split(self, shard: ShardLog, new_start: int, now: float) -> list[ShardLog]:
        """Split an open shard at `new_start`, the first key of the upper child; return both children."""
        start, end = shard.hash_range
        assert start < new_start <= end
        return self._replace([shard], [HashRange(start, new_start - 1), HashRange(new_start, end)], now)

    def merge(self, lower: ShardLog, upper: ShardLog, now: float) -> list[ShardLog]:
        """Merge two open neighbours; return the child alone in a list."""
        assert lower.hash_range.end + 1 == upper.hash_range.start
        joined = HashRange(lower.hash_range.start, upper.hash_range.end)
        return self._replace([lower, upper], [joined], now)

    def scale(self, count: int, now: float) -> None:
        """Reach `count` even shards by splits and merges alone, so that lineage stays whole.

        Shards in between may be opened and closed again: one that ends up in three parts is split twice.
        """
        targets = even_ranges(count)
        self._cut({r.start for r in targets}, now)
        for target in targets:
            pieces = [s for s in self.open if s.hash_range.start >= target.start and s.hash_range.end <= target.end]
            while len(pieces) > 1:
                pieces[:2] = self.merge(pieces[0], pieces[1], now)

    def _cut(self, starts: set[int], now: float) -> None:
        for start in sorted(starts):
            shard = self.locate(start.to_bytes(16, "big"))
            if shard.hash_range.start != start:
                self.split(shard, start, now)

    def __repr__(self) -> str:
        return f"StreamState({self.name}, {self.status}, {len(self.open)} open of {len(self.shards)} shards)"
