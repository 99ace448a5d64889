"""The rescue (design.md): leases that nobody moves are taken without a leader, by counters that stand still.

A row whose `leaseCounter` has stood still for two fail-over times, by this observer's own clock since it last saw it
change, may be taken with `takeLease`, conditional on counter, `leaseOwner` and `checkpointOwner` as read. Watchers look
every fail-over / 5: our own leader, and the lowest live id among our workers that does not hold the lock; all
others every 2 x fail-over + up to 25 %. So consumption resumes within 2 x fail-over + 2 x watch period + 2 s
of the faults' end.

A row that has no owner is the leader's to assign; while every lease of the leader itself has stood still for a
fail-over time, nobody waits for that: such a row may be rescued at the second look. A finished row (SHARD_END) is not
rescued at all: nothing waits for it, and the leader assigns it.

Invariant: only counters decide; no wall clock of another host is compared with ours (`lut` counts only as "changed").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shardline.consumer.fleet.model import actual_owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

    from shardline.consumer.fleet.model import ObservedLease

__all__ = ["LiveWorkers", "StillRows", "watch_period_s"]

_LIVE_S = 60.0  # A worker is live while its `lut` was seen to change within this time (two KCL report periods).


def watch_period_s(failover_s: float, *, watcher: bool, random: Random) -> float:
    """Return the seconds until this worker's next look at the lease table."""
    return failover_s / 5.0 if watcher else 2.0 * failover_s * (1.0 + 0.25 * random.random())


class _Row(NamedTuple):
    counter: int
    since: float


class StillRows:
    """Remembers since when each row's counter has stood still, as this observer saw it."""

    def __init__(self, failover_s: float) -> None:
        self._failover_s = failover_s
        self._rows: dict[str, _Row] = {}
        self._dead: tuple[str, int | None] | None = None
        """The leader that let all its leases stand still, and his last report then."""

    def on_scan(
        self,
        leases: Sequence[ObservedLease],
        now: float,
        *,
        leader: str | None = None,
        leader_report: int | None = None,
    ) -> list[ObservedLease]:
        """Take in a scan made at `now` (its start) and return the rows that may be rescued, longest still first.

        `leader` is who holds the lock, as far as known, and `leader_report` his last report (`lut`).
        """
        rows: dict[str, _Row] = {}
        for lease in leases:
            row = self._rows.get(lease.lease_key)
            same = row is not None and row.counter == lease.lease_counter
            rows[lease.lease_key] = row if row is not None and same else _Row(lease.lease_counter, now)
        self._rows = rows
        forsaken = leader is not None and self._is_dead(leases, (leader, leader_report), now)
        still = [lease for lease in leases if self._may_rescue(lease, now, forsaken=forsaken)]
        still.sort(key=lambda lease: (rows[lease.lease_key].since, lease.lease_key))
        return still

    def _is_dead(self, leases: Iterable[ObservedLease], leader: tuple[str, int | None], now: float) -> bool:
        """Say whether every lease of the leader has stood still for a fail-over time, or did before they were rescued.

        A leader that never had a lease is not known to be dead; one that reports again is not dead.
        """
        ages = [now - self._rows[lease.lease_key].since for lease in leases if actual_owner(lease) == leader[0]]
        if ages:
            self._dead = leader if min(ages) > self._failover_s else None
        return self._dead == leader

    def _may_rescue(self, lease: ObservedLease, now: float, *, forsaken: bool) -> bool:
        still_s = now - self._rows[lease.lease_key].since
        if forsaken and actual_owner(lease) is None and still_s > 0:
            return not lease.finished
        return not lease.finished and still_s >= 2.0 * self._failover_s

    def __len__(self) -> int:
        return len(self._rows)


class LiveWorkers:
    """Which of our own workers are live, judged by metrics rows whose `lut` is seen to change."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def on_scan(self, last_updates: Sequence[tuple[str, int]], now: float) -> None:
        """Take in (worker id, lut) of the rows that carry our private mark."""
        seen: dict[str, tuple[int, float]] = {}
        for worker_id, last_update in last_updates:
            before = self._seen.get(worker_id)
            seen[worker_id] = before if before is not None and before[0] == last_update else (last_update, now)
        self._seen = seen

    def live(self, now: float) -> list[str]:
        """Return the live ids, sorted."""
        return sorted(worker for worker, (_, at) in self._seen.items() if now - at <= _LIVE_S)

    def is_watcher(self, worker_id: str, lock_holder: str | None, now: float) -> bool:
        """Say whether `worker_id`, one of ours, watches: it holds the lock, or is the lowest live id that does not."""
        if worker_id == lock_holder:
            return True
        others = [one for one in [*self.live(now), worker_id] if one != lock_holder]
        return min(others) == worker_id
