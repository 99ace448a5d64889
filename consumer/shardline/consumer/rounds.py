"""What the worker's loops and calls tell, for the metrics: one event per call or per round, in the KCL's names.

`of_lease`, `of_worker` and `outcome` serve the events of `events` too. All values are counts, names
and seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from shardline.common.events import Event
from shardline.common.metrics.measure import Measurement
from shardline.common.metrics.names import Kcl, Operation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardline.common.metrics.measure import Dimensions

__all__ = [
    "AssignmentRound",
    "DiscoveryRound",
    "LeaseWritten",
    "PageRead",
    "ShardsSynced",
    "TakingRound",
    "WorkerPulse",
    "WorkerReported",
    "of_lease",
    "of_worker",
    "outcome",
]


def of_lease(operation: str, lease: str) -> Dimensions:
    """Return the dimensions of a lease: its shard, and in multi-stream mode its stream's identity (`kcl.md` 8)."""
    stream_id, _, shard_id = lease.rpartition(":")
    return (("Operation", operation), ("StreamId", stream_id), ("ShardId", shard_id))


def of_worker(operation: str, worker_id: str = "") -> Dimensions:
    """Return the dimensions of what a worker does as a whole."""
    return (("Operation", operation), ("WorkerIdentifier", worker_id))


def outcome(where: Dimensions, seconds: float, *, ok: bool = True) -> Iterator[Measurement]:
    """Yield the pair that the KCL writes for an operation: Success (0 or 1) and Time."""
    yield Measurement.of(Kcl.SUCCESS, float(ok), where)
    yield Measurement.of(Kcl.TIME, seconds * 1000, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round(Event):
    level: ClassVar[str] = "debug"
    worker_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPulse(_Round):
    """How the worker stands, three times per fail-over time.

    `lags` are milliseconds behind the head by lease, `streams` by stream (its worst shard); `reading` counts shards by
    what their reader does (see `LeaseHealth.reading`).
    """

    name: ClassVar[str] = "worker.pulse"
    leases: int
    leads: bool
    lags: tuple[tuple[str, int], ...]
    streams: tuple[tuple[str, int], ...] = ()
    reading: tuple[tuple[str, int], ...] = ()

    def measurements(self) -> Iterator[Measurement]:
        """Yield leases held, leadership, and the lag of each lease, which a stuck handler tells nobody."""
        where = of_worker(Operation.RENEW_ALL_LEASES, self.worker_id)
        yield Measurement.of(Kcl.CURRENT_LEASES, self.leases, where)
        yield Measurement.of(Kcl.IS_LEADER, float(self.leads), of_worker(Operation.LEADER_DECIDER))
        for lease, lag_ms in self.lags:
            yield Measurement.of(Kcl.MILLIS_BEHIND_LATEST, lag_ms, of_lease(Operation.PROCESS_TASK, lease))
        for stream, lag_ms in self.streams:
            where = (("Operation", Operation.APPLICATION_TRACKER), ("StreamId", stream))
            yield Measurement.of(Kcl.MILLIS_BEHIND_LATEST, lag_ms, where)
        if self.lags:
            worst = max(lag_ms for _, lag_ms in self.lags)
            yield Measurement.of(Kcl.MILLIS_BEHIND_LATEST, worst, of_worker(Operation.APPLICATION_TRACKER))


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseWritten(_Round):
    """A lease's row was written, or was not; `call` is renew, checkpoint, take, release, transfer or delete."""

    name: ClassVar[str] = "lease.written"
    lease: str
    call: str
    ok: bool
    seconds: float

    def measurements(self) -> Iterator[Measurement]:
        """Yield what the KCL measures of a renewal, a checkpoint, a taking."""
        if self.call == "renew":
            where = of_worker(Operation.RENEW_ALL_LEASES, self.worker_id)
            success, time = Kcl.RENEW_LEASE_SUCCESS, Kcl.RENEW_LEASE_TIME
        elif self.call == "checkpoint":
            where = of_lease(Operation.PROCESS_TASK, self.lease)
            success, time = Kcl.UPDATE_LEASE_SUCCESS, Kcl.UPDATE_LEASE_TIME
        elif self.call == "take":
            where = of_worker(Operation.TAKE_LEASES, self.worker_id)
            success, time = Kcl.TAKE_LEASE_SUCCESS, Kcl.TAKE_LEASE_TIME
        else:
            return
        yield Measurement.of(success, float(self.ok), where)
        yield Measurement.of(time, self.seconds * 1000, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRead(Event):
    """GetRecords answered, with `records` Kinesis records (none, often)."""

    name: ClassVar[str] = "shard.page"
    level: ClassVar[str] = "debug"
    lease: str
    records: int
    seconds: float

    def measurements(self) -> Iterator[Measurement]:
        """Yield the call's success and time."""
        where = of_lease(Operation.PROCESS_TASK, self.lease)
        yield Measurement.of(Kcl.GET_RECORDS_SUCCESS, 1, where)
        yield Measurement.of(Kcl.GET_RECORDS_TIME, self.seconds * 1000, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakingRound(_Round):
    """The 2.x taker looked at the table and took what is its to take."""

    name: ClassVar[str] = "fleet.taking_round"
    leases: int
    workers: int
    expired: int
    needed: int
    wanted: int
    spillover: int
    taken: int
    seconds: float

    def measurements(self) -> Iterator[Measurement]:
        """Yield what the KCL measures of TakeLeases."""
        where = of_worker(Operation.TAKE_LEASES, self.worker_id)
        for metric, value in (
            (Kcl.TOTAL_LEASES, self.leases),
            (Kcl.NUM_WORKERS, self.workers),
            (Kcl.EXPIRED_LEASES, self.expired),
            (Kcl.NEEDED_LEASES, self.needed),
            (Kcl.LEASES_TO_TAKE, self.wanted),
            (Kcl.LEASE_SPILLOVER, self.spillover),
            (Kcl.TAKEN_LEASES, self.taken),
        ):
            yield Measurement.of(metric, value, where)
        yield from outcome(where, self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentRound(_Round):
    """As leader, the worker looked at all leases and workers, and assigned."""

    name: ClassVar[str] = "fleet.assignment_round"
    leases: int
    workers: int
    unassigned: int
    reassigned: int
    failed: int
    seconds: float

    def measurements(self) -> Iterator[Measurement]:
        """Yield what the KCL measures of LeaseAssignmentManager."""
        where = of_worker(Operation.LEASE_ASSIGNMENT)
        for metric, value in (
            (Kcl.TOTAL_LEASES_ASSIGNED, self.leases),
            (Kcl.NUM_WORKERS, self.workers),
            (Kcl.EXPIRED_LEASES, self.unassigned),
            (Kcl.LEASES_REASSIGNED, self.reassigned),
            (Kcl.FAILED_ASSIGNMENTS, self.failed),
        ):
            yield Measurement.of(metric, value, where)
        yield from outcome(where, self.seconds, ok=not self.failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryRound(_Round):
    """The owner index was asked for leases assigned to this worker; `found` were new."""

    name: ClassVar[str] = "fleet.discovery_round"
    found: int
    seconds: float

    def measurements(self) -> Iterator[Measurement]:
        """Yield what the KCL measures of LeaseDiscovery."""
        where = of_worker(Operation.LEASE_DISCOVERY, self.worker_id)
        yield Measurement.of(Kcl.NEW_LEASES_DISCOVERED, self.found, where)
        yield from outcome(where, self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReported(_Round):
    """The worker's own row of metrics was written, by which leaders know it."""

    name: ClassVar[str] = "worker.reported"
    seconds: float

    def measurements(self) -> Iterator[Measurement]:
        """Yield what the KCL measures of WorkerMetricStatsReporter."""
        return outcome(of_worker(Operation.WORKER_METRIC_STATS, self.worker_id), self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardsSynced(_Round):
    """A stream's shards were compared with its leases, and what was missing was created."""

    name: ClassVar[str] = "lease.shards_synced"
    seconds: float

    def measurements(self) -> Iterator[Measurement]:
        """Yield what the KCL measures of ShardSyncTask."""
        where = of_worker(Operation.SHARD_SYNC_TASK)
        yield Measurement.of(Kcl.SYNC_SHARDS_SUCCESS, 1, where)
        yield from outcome(where, self.seconds)
