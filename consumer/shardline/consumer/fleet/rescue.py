"""The rescue (design.md): leases that nobody moves are taken without a leader, by counters that stand still.

A row whose `leaseCounter` has stood still for two fail-over times, by this observer's own clock since it last saw it
change, may be taken with `takeLease`, conditional on counter, `leaseOwner` and `checkpointOwner` as read. Watchers look
every fail-over / 5: our own leader, and the lowest live id among our workers that does not hold the lock; all
others every 2 x fail-over + up to 25 %. So consumption resumes within 2 x fail-over + 2 x watch period + 2 s
of the faults' end.

Invariant: only counters decide; no wall clock of another host is compared with ours (`lut` counts only as "changed").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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
        self._patience_s = 2.0 * failover_s
        self._rows: dict[str, _Row] = {}

    def on_scan(self, leases: Iterable[ObservedLease], now: float) -> list[ObservedLease]:
        """Take in a scan made at `now` (its start) and return the rows that may be rescued, longest still first."""
        rows: dict[str, _Row] = {}
        still: list[ObservedLease] = []
        for lease in leases:
            row = self._rows.get(lease.lease_key)
            if row is None or row.counter != lease.lease_counter:
                row = _Row(lease.lease_counter, now)
            elif now - row.since >= self._patience_s:
                still.append(lease)
            rows[lease.lease_key] = row
        self._rows = rows
        still.sort(key=lambda lease: (rows[lease.lease_key].since, lease.lease_key))
        return still

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
