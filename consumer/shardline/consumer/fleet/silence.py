"""Workers that report, yet do not renew: dead ones whose last report is young, and zombies (`kcl.md` 14, correction 1).

By the KCL's rule whoever reported within a minute may be given leases. A worker that was killed a moment ago would be
handed some, and one that reports but never takes what it is given would be handed the same leases again and again,
each time standing still for a fail-over time. So whoever lets a lease stand still is passed over until he has reported
again, and each further time in a row for twice as many reports.

Invariants: only counters and reports that change decide, by this observer's clock; one renewal clears a worker's name;
nobody is passed over for more than `_REPORTS_MAX` reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from shardline.consumer.fleet.model import actual_owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shardline.consumer.fleet.model import ObservedLease

__all__ = ["SilentWorkers"]

_REPORTS_MAX: Final = 32


class _Row(NamedTuple):
    owner: str | None
    counter: int
    since: float


class _Offence(NamedTuple):
    times: int
    reports_left: int
    last_report: int | None


class SilentWorkers:
    """Remembers rows and offences; `on_scan` returns who is to be given nothing now."""

    def __init__(self, failover_s: float) -> None:
        self._failover_s = failover_s
        self._rows: dict[str, _Row] = {}
        self._offences: dict[str, _Offence] = {}

    def on_scan(self, leases: Sequence[ObservedLease], reports: Mapping[str, int], now: float) -> frozenset[str]:
        """Take in a scan made at `now` and the last report (`lut`) of each worker; return the silent workers' ids."""
        renewing = self._observe(leases, now)
        offences = {
            worker: _counted(offence, reports[worker])
            for worker, offence in self._offences.items()
            if worker in reports and worker not in renewing
        }
        for worker in self._still(leases, now) - renewing:
            before = offences.get(worker)
            if worker in reports and (before is None or before.reports_left == 0):
                times = 1 if before is None else before.times + 1
                offences[worker] = _Offence(times, min(2 ** (times - 1), _REPORTS_MAX), reports[worker])
        self._offences = offences
        return frozenset(worker for worker, offence in offences.items() if offence.reports_left)

    def _observe(self, leases: Iterable[ObservedLease], now: float) -> set[str]:
        """Remember the rows; return who has renewed a lease since the last scan."""
        rows: dict[str, _Row] = {}
        renewing: set[str] = set()
        for lease in leases:
            owner, before = actual_owner(lease), self._rows.get(lease.lease_key)
            if before is not None and before.counter == lease.lease_counter and before.owner == owner:
                rows[lease.lease_key] = before
                continue
            if before is not None and before.owner == owner and owner is not None:
                renewing.add(owner)
            rows[lease.lease_key] = _Row(owner, lease.lease_counter, now)
        self._rows = rows
        return renewing

    def _still(self, leases: Iterable[ObservedLease], now: float) -> set[str]:
        """Return the owners of leases that have stood still for longer than the fail-over time."""
        rows = [self._rows[lease.lease_key] for lease in leases]
        return {row.owner for row in rows if row.owner is not None and now - row.since > self._failover_s}


def _counted(offence: _Offence, report: int) -> _Offence:
    """Count a report that is new; once all are counted the offence is remembered, in case it is repeated."""
    if report == offence.last_report or not offence.reports_left:
        return offence
    return _Offence(offence.times, offence.reports_left - 1, report)
