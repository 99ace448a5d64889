"""Which leases a stream needs: at first start, at a shard's end, and where some are missing (`kcl.md` 5).

Pure functions over `ListShards` answers and lease rows. Invariants: a child of a known parent always starts at
TRIM_HORIZON; a lease is only ever missing, never wrong, so creating is always "unless it exists"; every lease created
for a start at LATEST carries the application's pin, the moment of its first start, so that nothing written since is
skipped by a later restart or repair.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import TYPE_CHECKING, Final

from shardline.common.errors import InvalidInput
from shardline.common.limits import HASH_KEY_MAX
from shardline.common.ports.kinesis import ShardFilter, ShardFilterKind
from shardline.common.records import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Position
from shardline.consumer.leases.row import LeaseRow, NewLease

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from shardline.common.hashing import HashRange, Shard
    from shardline.common.ports.kinesis import ChildShard

__all__ = [
    "FINISHED_KEPT_S",
    "LATEST_PIN_EARLY_S",
    "SNAPSHOT_S_MAX",
    "START_ALLOWED",
    "Hole",
    "Start",
    "StartPoint",
    "application_pin",
    "are_all_children",
    "blocking_parents",
    "child_leases",
    "covers_everything",
    "find_hole",
    "initial_leases",
    "may_clean_up",
    "missing_leases",
    "unknown_parents",
]

START_ALLOWED: Final = "TRIM_HORIZON, LATEST, or a time (epoch seconds) for AT_TIMESTAMP"
LATEST_PIN_EARLY_S: Final = 5.0
"""How much earlier than our wall clock the pin of LATEST is set: the service's clock may be behind ours."""
FINISHED_KEPT_S: Final = 120.0
"""How long a finished shard's lease stays at the least, as proof for whoever looks at the table meanwhile.

A table is read page by page, after the shards were listed. Were a shard to finish, its children to begin and its lease
to go while somebody reads, he might see neither the shard's lease nor a child's, and create it again from the trim
horizon. So might a creation that was sent before somebody else's and arrives after everything. Longer, therefore, than
`SNAPSHOT_S_MAX`, the tries of a creation (ten call time-outs) and a late request's way together.
"""
SNAPSHOT_S_MAX: Final = 30.0
"""How old the list of shards may be when the last page of leases is read; an older pair is read anew."""


class StartPoint(StrEnum):
    """Where a new application starts reading."""

    TRIM_HORIZON = "TRIM_HORIZON"
    LATEST = "LATEST"
    AT_TIMESTAMP = "AT_TIMESTAMP"


@dataclass(frozen=True, slots=True)
class Start:
    """A start position; `timestamp_s` (epoch seconds) goes with AT_TIMESTAMP and only with it.

    Build it with `Start.of`. Raises `InvalidInput` for another combination.
    """

    point: StartPoint
    timestamp_s: float | None = None

    def __post_init__(self) -> None:
        if (self.timestamp_s is not None) != (self.point is StartPoint.AT_TIMESTAMP):
            raise InvalidInput("start", "TRIM_HORIZON, LATEST, or a time with AT_TIMESTAMP")
        if self.timestamp_s is not None and not (isfinite(self.timestamp_s) and self.timestamp_s >= 0):
            raise InvalidInput("start", "a time as epoch seconds, 0 or more")

    @classmethod
    def of(cls, start: Start | str | float) -> Start:
        """Return the start for a name, epoch seconds, or a start; raises `InvalidInput` for anything else."""
        if isinstance(start, Start):
            return start
        if isinstance(start, int | float) and not isinstance(start, bool):
            return cls(StartPoint.AT_TIMESTAMP, float(start))
        if start in (StartPoint.TRIM_HORIZON, StartPoint.LATEST):
            return cls(StartPoint(start))
        raise InvalidInput("start", START_ALLOWED)

    @property
    def checkpoint(self) -> Position:
        """The sentinel a lease is created with."""
        return {
            StartPoint.TRIM_HORIZON: TRIM_HORIZON,
            StartPoint.LATEST: LATEST,
            StartPoint.AT_TIMESTAMP: AT_TIMESTAMP,
        }[self.point]

    @property
    def shard_filter(self) -> ShardFilter:
        """The ListShards filter that gives exactly the shards open at the start position."""
        kind = {
            StartPoint.TRIM_HORIZON: ShardFilterKind.AT_TRIM_HORIZON,
            StartPoint.LATEST: ShardFilterKind.AT_LATEST,
            StartPoint.AT_TIMESTAMP: ShardFilterKind.AT_TIMESTAMP,
        }[self.point]
        return ShardFilter(kind, self.timestamp_s)


def covers_everything(shards: Iterable[Shard]) -> bool:
    """Say whether the ranges follow each other from 0 to 2^128 - 1 without gap or overlap."""
    expected = 0
    for hash_range in sorted(shard.hash_range for shard in shards):
        if hash_range.start != expected:
            return False
        expected = hash_range.end + 1
    return expected == HASH_KEY_MAX + 1


def application_pin(rows: Iterable[LeaseRow], wall: float) -> float:
    """Return the pin for a new lease at LATEST: the earliest one in the table, else a little before `wall`."""
    pins = [row.latest_pin_s for row in rows if row.latest_pin_s is not None]
    return min(pins, default=wall - LATEST_PIN_EARLY_S)


def _lease(shard: Shard, checkpoint: Position, stream_name: str | None, pin: float) -> NewLease:
    return NewLease(
        shard_id=shard.shard_id,
        checkpoint=checkpoint,
        parents=shard.parent_shard_ids,
        hash_range=shard.hash_range,
        stream_name=stream_name,
        latest_pin_s=pin if checkpoint == LATEST else None,
    )


def _in_order(shards: Iterable[Shard]) -> list[Shard]:
    return sorted(shards, key=lambda shard: (int(shard.starting_sequence_number), shard.shard_id))


def initial_leases(
    shards: Iterable[Shard], start: Start, *, pin: float, stream_name: str | None = None
) -> list[NewLease]:
    """Return the leases of a new application, oldest shard first: one for each shard of a filtered ListShards."""
    return [_lease(shard, start.checkpoint, stream_name, pin) for shard in _in_order(shards)]


def are_all_children(shard_id: str, hash_range: HashRange | None, children: Sequence[ChildShard]) -> bool:
    """Say whether a list of children can be the whole truth about a finished shard.

    Each names the shard as its parent, together they cover its hash keys, and one that reaches beyond them names a
    second parent. A list that lacks one half of a split would finish the shard and leave that half unread for ever, a
    merge's child without its other parent would not wait for it (F16, F20).
    """
    if not children or not all(shard_id in child.parent_shard_ids for child in children):
        return False
    if hash_range is None:
        return len(children) > 1 or len(children[0].parent_shard_ids) > 1
    expected = hash_range.start
    for child in sorted(children, key=lambda child: child.hash_range):
        start, end = child.hash_range
        inside = hash_range.start <= start and end <= hash_range.end
        if start > expected or not (inside or len(child.parent_shard_ids) > 1):
            return False
        expected = max(expected, end + 1)
    return expected > hash_range.end


def unknown_parents(child: ChildShard, rows: Mapping[str, LeaseRow | None]) -> tuple[str, ...]:
    """Return the parents of a child that have no lease while the child has none either.

    Such a parent is not finished: a finished one's lease goes only after the child's lease has been made. Were the
    child created now, nothing would keep it behind that parent (the KCL's both-or-none rule, `kcl.md` 5.5). A split's
    only parent is the asking shard itself, whose row an operator has deleted a moment ago.
    """
    if rows.get(child.shard_id) is not None:
        return ()
    return tuple(parent for parent in child.parent_shard_ids if rows.get(parent) is None)


def child_leases(children: Sequence[ChildShard], stream_name: str | None = None) -> list[NewLease]:
    """Return the leases of a finished shard's children: always at TRIM_HORIZON."""
    return [
        NewLease(
            shard_id=child.shard_id,
            checkpoint=TRIM_HORIZON,
            parents=tuple(child.parent_shard_ids),
            hash_range=child.hash_range,
            stream_name=stream_name,
        )
        for child in sorted(children, key=lambda child: child.shard_id)
    ]


class _Walk:
    """The walk up the ancestry of `kcl.md` 5.2, with its results remembered; `needed` collects leases to create."""

    def __init__(self, shards: Mapping[str, Shard], leased: frozenset[str], start: Start) -> None:
        self._shards = shards
        self._leased = leased
        self._start = start
        self._descends: dict[str, bool] = {}
        self._eligible: set[str] = set()
        self.needed: dict[str, Position] = {}

    def visit(self, shard_id: str) -> None:
        """Look at an open shard without a lease."""
        if not self._is_descendant(shard_id) or shard_id in self._eligible:
            self.needed[shard_id] = self._start.checkpoint

    def _is_descendant(self, shard_id: str) -> bool:
        known = self._descends.get(shard_id)
        if known is None:
            known = shard_id in self._leased or self._look_up(shard_id)
            self._descends[shard_id] = known
        return known

    def _look_up(self, shard_id: str) -> bool:
        parents = [parent for parent in self._shards[shard_id].parent_shard_ids if parent in self._shards]
        reached = [parent for parent in parents if self._is_descendant(parent)]
        for parent in parents if reached else ():
            if parent not in self._leased and (parent in self._eligible or parent not in reached):
                self._need(parent, on_branch=parent in reached)
        if not reached and self._start.point is not StartPoint.LATEST:
            self._eligible.add(shard_id)  # The oldest of its branch: its children will be its descendants.
            return True
        return bool(reached)

    def _need(self, parent: str, *, on_branch: bool) -> None:
        from_horizon = on_branch and self._start.point is not StartPoint.AT_TIMESTAMP
        self.needed[parent] = TRIM_HORIZON if from_horizon else self._start.checkpoint


def _done(listed: Mapping[str, Shard], rows: Mapping[str, LeaseRow]) -> frozenset[str]:
    """Return the shards without a lease that were read to their end: a child's lease is only made then.

    And all of their ancestors with them, however far up: a shard that is done itself, its lease cleaned up, is as good
    a proof as one with a lease. A leased shard that is not listed yet names its parents in its row.
    """
    ahead = [parent for row in rows.values() for parent in row.parents]
    ahead.extend(parent for shard in listed.values() if shard.shard_id in rows for parent in shard.parent_shard_ids)
    done: set[str] = set()
    while ahead:
        parent = ahead.pop()
        if parent not in rows and parent not in done:
            done.add(parent)
            ahead.extend(listed[parent].parent_shard_ids if parent in listed else ())
    return frozenset(done)


def _orphans(listed: Mapping[str, Shard], rows: Mapping[str, LeaseRow], done: frozenset[str]) -> Iterator[str]:
    """Yield shards whose parents are all done while neither they nor a child of theirs has a lease.

    The KCL leaves their creation to the parents' shard end, which is over: a row that somebody deleted would stay away,
    or come back only by reading the parents again.
    """
    found: set[str] = set()

    def is_open(shard_id: str) -> bool:
        row = rows.get(shard_id)
        if row is not None or shard_id in found:
            return row is None or row.checkpoint != SHARD_END
        shard = listed.get(shard_id)
        return shard is not None and shard_id not in done and any(map(is_open, shard.parent_shard_ids))

    for shard in listed.values():
        parents = shard.parent_shard_ids
        known = any(parent in rows or parent in done for parent in parents)
        if known and shard.shard_id not in rows and shard.shard_id not in done and not any(map(is_open, parents)):
            found.add(shard.shard_id)
            yield shard.shard_id


def missing_leases(
    shards: Iterable[Shard],
    rows: Iterable[LeaseRow],
    start: Start,
    *,
    pin: float,
    stream_name: str | None = None,
) -> list[NewLease]:
    """Return the leases that are missing beside those of `rows` (one stream's), oldest first; one level per call.

    `shards` is an unfiltered ListShards. A shard whose listed parent is still open makes the list inconsistent (it was
    read during a reshard): nothing is returned then, and the caller lists again.
    """
    listed = {shard.shard_id: shard for shard in _in_order(shards)}
    parents_open = any(
        parent in listed and listed[parent].is_open for shard in listed.values() for parent in shard.parent_shard_ids
    )
    if parents_open:
        return []
    by_shard = {row.shard_id: row for row in rows}
    done = _done(listed, by_shard)
    walk = _Walk(listed, done.union(by_shard), start)
    for shard in listed.values():
        if shard.is_open and shard.shard_id not in by_shard:
            walk.visit(shard.shard_id)
    needed = dict(walk.needed)
    needed.update(dict.fromkeys(_orphans(listed, by_shard, done), TRIM_HORIZON))
    return [_lease(listed[name], needed[name], stream_name, pin) for name in listed if name in needed]


def blocking_parents(row: LeaseRow, by_key: Mapping[str, LeaseRow | None]) -> tuple[str, ...]:
    """Return the parents that a shard must still wait for: those with a lease that is not at SHARD_END."""
    found = ((parent, by_key.get(row.sibling_key(parent))) for parent in row.parents)
    return tuple(parent for parent, lease in found if lease is not None and lease.checkpoint != SHARD_END)


def may_clean_up(
    row: LeaseRow,
    children: Mapping[str, LeaseRow | None],
    parents: Mapping[str, LeaseRow | None],
    *,
    finished_s: float,
) -> bool:
    """Say whether a finished shard's lease has served its purpose (`kcl.md` 3.8), `finished_s` after its end.

    It has stood there for `FINISHED_KEPT_S`, every child has a lease and has begun (its row no longer needs this one as
    proof), and no parent's lease is left. A shard without known children is never cleaned up by this rule.
    """
    begun = [child is not None and child.checkpoint not in (TRIM_HORIZON, AT_TIMESTAMP) for child in children.values()]
    gone = all(parent is None for parent in parents.values())
    kept = finished_s >= FINISHED_KEPT_S
    return row.checkpoint == SHARD_END and kept and bool(begun) and all(begun) and gone


@dataclass(frozen=True, slots=True)
class Hole:
    """Hash keys from `start` to `end` that no unfinished lease covers."""

    start: int
    end: int


def find_hole(ranges: Iterable[HashRange]) -> Hole | None:
    """Return the first gap that the ranges of the unfinished leases leave in 0 to 2^128 - 1, or None."""
    expected = 0
    for hash_range in sorted(ranges):
        if hash_range.start > expected:
            return Hole(expected, hash_range.start - 1)
        expected = max(expected, hash_range.end + 1)
    return None if expected > HASH_KEY_MAX else Hole(expected, HASH_KEY_MAX)
