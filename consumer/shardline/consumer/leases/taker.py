"""The KCL 2.x taker (`kcl.md` 3.4): which leases a worker takes for itself, by lease rows alone.

A lease expires when its counter has stood still for longer than the fail-over time *as this observer saw it*, by its
own monotonic clock; no time of another host takes part. Pure: rows and `now` in, a plan out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from shardline.consumer.leases.row import LeaseRow

__all__ = ["Observer", "TakePlan", "Taker"]

_VERY_OLD_FACTOR: Final = 3


class _Seen(NamedTuple):
    counter: int
    changed_at: float


class Observer:
    """Remembers, per lease, when its counter was last seen to change; -inf for an unowned lease at first sight."""

    __slots__ = ("_seen", "rows")

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self.rows: dict[str, LeaseRow] = {}

    def observe(self, rows: Iterable[LeaseRow], now: float) -> None:
        """Take the rows of one whole scan made at `now`; leases that are no longer in the table are forgotten."""
        ordered = {row.key: row for row in sorted(rows, key=lambda row: row.key)}
        self._seen = {key: self._look(row, now) for key, row in ordered.items()}
        self.rows = ordered

    def _look(self, row: LeaseRow, now: float) -> _Seen:
        seen = self._seen.get(row.key)
        if seen is not None and seen.counter == row.counter:
            return seen
        if seen is None and row.actual_owner is None:
            return _Seen(row.counter, -inf)
        return _Seen(row.counter, now)

    def age_s(self, key: str, now: float) -> float:
        """Return for how long the counter of a lease has stood still, inf for one never owned."""
        seen = self._seen.get(key)
        return 0.0 if seen is None else now - seen.changed_at

    def touch(self, row: LeaseRow, now: float) -> None:
        """Note a row that this worker itself has just changed."""
        self.rows[row.key] = row
        self._seen[row.key] = _Seen(row.counter, now)


@dataclass(frozen=True, slots=True)
class TakePlan:
    """Leases to take, in order; `stolen` of them are held by living workers. `target` is the fair share."""

    take: tuple[LeaseRow, ...]
    stolen: int
    target: int
    spillover: int


class Taker:
    """Decides which leases to take after each scan."""

    def __init__(
        self, me: str, *, failover_s: float, leases_max: int, steal_max: int, random: Random, observer: Observer
    ) -> None:
        self._me = me
        self._failover_s = failover_s
        self._leases_max = leases_max
        self._steal_max = steal_max
        self._random = random
        self._observer = observer

    def plan(self, now: float, held: int) -> TakePlan:
        """Return what to take now, given how many leases this worker holds itself."""
        rows = list(self._observer.rows.values())
        available = [row for row in rows if self._is_available(row, now)]
        counts = self._counts(rows, available)
        counts[self._me] = max(counts.get(self._me, 0), held)
        full = 1 if len(counts) >= len(rows) else ceil(len(rows) / len(counts))
        target = min(full, self._leases_max)
        mine = counts[self._me]
        very_old = [row for row in available if self._is_very_old(row, now)]
        if very_old:
            count = max(0, min(self._leases_max - mine, len(very_old)))
            return TakePlan(self._pick(very_old, count), 0, target, full - target)
        needed = target - mine
        if needed <= 0:
            return TakePlan((), 0, target, full - target)
        if available:
            return TakePlan(self._pick(available, needed), 0, target, full - target)
        stolen = self._steal(rows, counts, needed, target)
        return TakePlan(stolen, len(stolen), target, full - target)

    def _is_available(self, row: LeaseRow, now: float) -> bool:
        if row.actual_owner == self._me:
            return False  # Held, or adopted again by renewing it: never taken from oneself.
        return row.owner is None or self._observer.age_s(row.key, now) > self._failover_s

    def _is_very_old(self, row: LeaseRow, now: float) -> bool:
        return self._observer.age_s(row.key, now) > self._failover_s * _VERY_OLD_FACTOR

    def _counts(self, rows: list[LeaseRow], available: list[LeaseRow]) -> dict[str, int]:
        free = {row.key for row in available}
        counts = {self._me: 0}
        for row in rows:
            if row.owner is not None and row.key not in free:
                counts[row.owner] = counts.get(row.owner, 0) + 1
        return counts

    def _pick(self, rows: list[LeaseRow], count: int) -> tuple[LeaseRow, ...]:
        return tuple(self._random.sample(rows, min(count, len(rows))))

    def _steal(self, rows: list[LeaseRow], counts: dict[str, int], needed: int, target: int) -> tuple[LeaseRow, ...]:
        victim = max(sorted(counts), key=lambda worker: counts[worker])
        surplus = counts[victim] - target
        if surplus < 0 or victim == self._me:
            return ()
        count = min(needed, surplus)
        if needed > 1 and count == 0:
            count = 1
        candidates = [row for row in rows if row.owner == victim]
        return self._pick(candidates, min(count, self._steal_max))
