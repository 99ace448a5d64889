"""What an assignment policy sees of a fleet, and what it answers: immutable values, no behaviour beyond sums.

Vocabulary: a lease's *actual owner* is `checkpointOwner` where set, else `leaseOwner` (`kcl.md` 3.5 step 3): during a
graceful hand-off the lease still burdens the worker that gives it away.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FleetView", "LeaseView", "Move", "ObservedLease", "WorkerLoad", "actual_owner"]


class ObservedLease(NamedTuple):
    """One lease row as a scan returned it; `throughput_kbps` is None where the row has none."""

    lease_key: str
    lease_owner: str | None
    checkpoint_owner: str | None
    lease_counter: int
    throughput_kbps: float | None = None
    finished: bool = False


class LeaseView(NamedTuple):
    """One lease as a policy weighs it.

    `owner` is the actual owner, `assignable` says that it is expired or unassigned, `movable` that it may be taken from
    a live owner, `handing_off` that a hand-off is pending.
    """

    lease_key: str
    owner: str | None
    weight: float
    assignable: bool
    movable: bool
    handing_off: bool
    noise: float = 0.0
    """The standard error of `weight`: a difference within it is chance."""


class WorkerLoad(NamedTuple):
    """A live worker: its smoothed metrics in percent by short name, and each one's operating limit in percent.

    Both are empty for a worker that reports none; it is then weighed by throughput alone.
    """

    worker_id: str
    metrics: Mapping[str, float]
    limits: Mapping[str, float]
    noise: Mapping[str, float] = MappingProxyType({})
    """The standard errors of `metrics`; 0 for what is not named."""


class FleetView(NamedTuple):
    """Everything a policy needs; `leases` in the order in which assignable ones shall be served."""

    leases: Sequence[LeaseView]
    workers: Sequence[WorkerLoad]


class Move(NamedTuple):
    """A lease that shall go to a worker."""

    lease_key: str
    worker_id: str


def actual_owner(lease: ObservedLease) -> str | None:
    """Return who may renew and checkpoint the lease now, or None."""
    return lease.checkpoint_owner or lease.lease_owner
