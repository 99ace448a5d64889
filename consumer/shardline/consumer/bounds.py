"""A run with bounds (replay, backfill): which shards, from where, up to where, how fast; and when all of it is done.

Invariants: a record that arrived before `until_s` and was in the stream when a shard was left is handled; a shard is
only left where a record at or above its bound was read, or where nothing was left to read well after `until_s`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Final, TypeAlias

from shardline.common.bucket import TokenBucket
from shardline.common.checks import check_number
from shardline.common.errors import InvalidInput
from shardline.common.records import SHARD_END, Position
from shardline.consumer.lineage import LATEST_PIN_EARLY_S
from shardline.consumer.steering import Target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from shardline.common.records import KinesisRecord
    from shardline.consumer.leases.row import LeaseRow

__all__ = ["Bounds", "Pace", "PaceKeeper", "Until", "unfinished"]

Until: TypeAlias = "float | Mapping[str, Position | str]"

_RATE_MIN: Final = 1e-6
_RATE_MAX: Final = 1e12


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a run begins and ends: a time for all shards, or positions of those that are named.

    Where positions are given, only the shards named there are read. Every bound is exclusive at its end: the first
    record at or above it is not handled.
    """

    until_s: float
    since: Mapping[str, Position] = field(default_factory=dict[str, Position])
    until: Mapping[str, Position] = field(default_factory=dict[str, Position])

    @classmethod
    def of(cls, until: Until | None, since: Mapping[str, Position | str] | None, *, wall_s: float) -> Bounds:
        """Return the bounds; `until` None is `wall_s`, now. Raises `InvalidInput` for what is no time or position."""
        until_s, ends = wall_s, dict[str, Position]()
        if isinstance(until, int | float) and not isinstance(until, bool):
            until_s = float(until)
        elif until is not None and not isinstance(until, int | float):
            ends = _positions("until", until)
        elif until is not None:
            until_s = float("nan")
        if not (isfinite(until_s) and until_s >= 0):
            raise InvalidInput("until", "a time as epoch seconds, 0 or more, or positions by shard")
        begins = {} if since is None else _positions("since", since)
        for shard in begins.keys() & ends.keys():
            if begins[shard] >= ends[shard]:
                raise InvalidInput("until", f"above since, of {shard}")
        return cls(until_s, begins, ends)

    @property
    def text(self) -> str:
        """A name for where the run ends: what is done for one end is not done for a later one."""
        ends = (f"{shard}={position}" for shard, position in sorted(self.until.items()))
        return " ".join([repr(self.until_s), *ends]) if not self.until else " ".join(ends)

    def reads(self, shard_id: str) -> bool:
        """Say whether a shard is to be read at all."""
        return not (self.since or self.until) or shard_id in self.since or shard_id in self.until

    def first_beyond(self, shard_id: str, records: Sequence[KinesisRecord]) -> int | None:
        """Return the index of the first record that lies beyond the bound; None if none does."""
        end = self.until.get(shard_id)
        if end is not None:
            beyond = (n for n, record in enumerate(records) if int(record.sequence_number) >= end.sequence_number)
        else:
            beyond = (n for n, record in enumerate(records) if record.arrival_time_s >= self.until_s)
        return next(beyond, None)

    def is_quiet(self, millis_behind_latest: int | None, asked_s: float) -> bool:
        """Say whether an empty answer means that nothing is left: at the head, asked for well after the end."""
        return millis_behind_latest == 0 and asked_s >= self.until_s + LATEST_PIN_EARLY_S


def _positions(name: str, given: Mapping[str, Position | str]) -> dict[str, Position]:
    if not hasattr(given, "items") or not given:
        raise InvalidInput(name, "a time as epoch seconds, or positions by shard")
    found: dict[str, Position] = {}
    for shard, text in given.items():
        first = Target.of(text).first
        if first is None or first.sub_sequence_number:
            raise InvalidInput(name, "sequence numbers of Kinesis records: an aggregate is not torn")
        found[shard] = first
    return found


def unfinished(rows: Iterable[LeaseRow], reached: Collection[str]) -> list[LeaseRow]:
    """Return the rows of shards that are still to be read; `reached` are leases left at their bound.

    What descends from one of those lies beyond the bound.
    """
    known = {row.key: row for row in rows}
    parents = {key: [row.sibling_key(parent) for parent in row.parents] for key, row in known.items()}
    left = [row for key, row in known.items() if row.checkpoint != SHARD_END and key not in reached]
    return [row for row in left if not lies_beyond(row.key, parents, reached)]


def lies_beyond(key: str, parents: Mapping[str, Sequence[str]], reached: Collection[str]) -> bool:
    """Say whether a shard descends from one that was left at its bound: nothing of it is read in this run.

    All three speak of lease keys, of shards that have no lease too.
    """
    seen: set[str] = set()
    ahead = list(parents.get(key, ()))
    while ahead:
        ancestor = ahead.pop()
        if ancestor in reached:
            return True
        if ancestor not in seen:
            seen.add(ancestor)
            ahead.extend(parents.get(ancestor, ()))
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a worker hands records over, all its shards together; None: as fast as it can.

    `bytes_per_s` counts the data of Kinesis records. Raises `InvalidInput` for rates out of range.
    """

    records_per_s: float | None = None
    bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("records_per_s", "bytes_per_s"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), _RATE_MIN, _RATE_MAX)


class PaceKeeper:
    """The buckets of a `Pace`: how long to wait before a batch, and what it takes."""

    __slots__ = ("_bytes", "_records")

    def __init__(self, pace: Pace, now: float) -> None:
        self._records = _bucket(pace.records_per_s, now)
        self._bytes = _bucket(pace.bytes_per_s, now)

    def take(self, now: float, records: int, size: int) -> float:
        """Return how long to wait before a batch may be handed over; 0: now, and then it is taken."""
        wait = max(
            0.0 if bucket is None else bucket.wait_s(now, max(1, amount))
            for bucket, amount in ((self._records, records), (self._bytes, size))
        )
        if not wait:
            for bucket, amount in ((self._records, records), (self._bytes, size)):
                if bucket is not None:
                    bucket.take(now, amount)
        return wait


def _bucket(rate_per_s: float | None, now: float) -> TokenBucket | None:
    return None if rate_per_s is None else TokenBucket(rate_per_s, max(1.0, rate_per_s), now)
