"""The worker's diagnostic events: one per batch, write or decision, never one per user record.

They hold names, positions and counts, never payloads or keys. Names are stable; listeners and tests may rely on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from shardline.common.events import Event
from shardline.common.metrics.measure import Measurement
from shardline.common.metrics.names import Kcl, Operation
from shardline.consumer.rounds import of_lease, of_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BatchProcessed",
    "CallFailed",
    "FleetVersionChanged",
    "HandlerFailed",
    "HandlerHung",
    "KeyParked",
    "KeyReleased",
    "KeysFull",
    "KeysLoaded",
    "LeadershipChanged",
    "LeaseAcquired",
    "LeaseLost",
    "LeasesAssigned",
    "LeasesCleanedUp",
    "LeasesCreated",
    "LeasesRescued",
    "PositionTrimmed",
    "RecordParked",
    "RetrievalChosen",
    "RowQuarantined",
    "SettingsIgnored",
    "ShardEnded",
    "ShardMoved",
    "TaskFailed",
    "WorkerStarted",
    "WorkerStopped",
]


_LOOPS: Final = {
    "taker": Operation.TAKE_LEASES,
    "watch": Operation.LEASE_ASSIGNMENT,
    "discovery": Operation.LEASE_DISCOVERY,
    "reporter": Operation.WORKER_METRIC_STATS,
}
"""The supervised loops whose rounds the KCL measures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsIgnored(Event):
    """Settings of a KCL configuration that have no meaning here; docs/kcl.md says why."""

    name: ClassVar[str] = "settings.ignored"
    level: ClassVar[str] = "warning"
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStarted(Event):
    """The worker reads and writes the lease table."""

    name: ClassVar[str] = "worker.started"
    worker_id: str
    table: str
    fleet: str
    failover_s: float

    def measurements(self) -> Iterator[Measurement]:
        """Yield that starting succeeded."""
        yield Measurement.of(Kcl.SCHEDULER_INITIALIZE_SUCCESS, 1, of_worker(Operation.INITIALIZE))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStopped(Event):
    """The worker gave its leases back; `unclean` leases it could not give back expire by themselves."""

    name: ClassVar[str] = "worker.stopped"
    worker_id: str
    unclean: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAcquired(Event):
    """A lease is held now; `token` is its fencing token, `checkpoint` where reading resumes."""

    name: ClassVar[str] = "lease.acquired"
    lease: str
    token: int
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLost(Event):
    """A lease is no longer held: expired, taken, deleted, malformed, or released by ourselves."""

    name: ClassVar[str] = "lease.lost"
    lease: str
    token: int
    reason: str
    worker_id: str = ""

    def measurements(self) -> Iterator[Measurement]:
        """Yield a lost lease, unless it was given back."""
        if self.reason != "released":
            yield Measurement.of(Kcl.LOST_LEASES, 1, of_worker(Operation.RENEW_ALL_LEASES, self.worker_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasesCreated(Event):
    """Leases were created; `reason` is initial, children or repair (then somebody should ask why they were missing)."""

    name: ClassVar[str] = "lease.created"
    leases: tuple[str, ...]
    reason: str

    def measurements(self) -> Iterator[Measurement]:
        """Yield the leases created."""
        where = of_worker(Operation.SHARD_SYNC_TASK)
        yield Measurement.of(Kcl.CREATE_LEASE_SUCCESS, 1, where, samples=len(self.leases))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowQuarantined(Event):
    """A row of the lease table cannot be understood; it is left alone."""

    name: ClassVar[str] = "lease.quarantined"
    level: ClassVar[str] = "error"
    lease: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMoved(Event):
    """A shard consumer entered another state of its life."""

    name: ClassVar[str] = "shard.state"
    lease: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEnded(Event):
    """A shard is finished: everything in it was processed and its children have leases."""

    name: ClassVar[str] = "shard.ended"
    lease: str
    children: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionTrimmed(Event):
    """Records after the stored checkpoint may have passed the stream's retention: possible loss of data."""

    name: ClassVar[str] = "shard.position_trimmed"
    level: ClassVar[str] = "error"
    lease: str
    checkpoint: str
    resumed_at: str

    def measurements(self) -> Iterator[Measurement]:
        """Yield the gap: a count of ours, the KCL has none."""
        yield Measurement.of(Kcl.RECORDS_LOST_TO_RETENTION, 1, of_lease(Operation.PROCESS_TASK, self.lease))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProcessed(Event):
    """The handler is done with a batch; `misplaced`, `malformed` and `dropped` count user records and blobs."""

    name: ClassVar[str] = "shard.batch"
    level: ClassVar[str] = "debug"
    lease: str
    records: int
    kinesis_records: int
    bytes: int
    last: str
    millis_behind_latest: int | None
    seconds: float
    misplaced: int = 0
    malformed: int = 0
    dropped: int = 0

    def measurements(self) -> Iterator[Measurement]:
        """Yield what the KCL measures of a ProcessTask, and what it drops without a count."""
        where = of_lease(Operation.PROCESS_TASK, self.lease)
        for metric, value in (
            (Kcl.RECORDS_PROCESSED, self.records),
            (Kcl.DATA_BYTES_PROCESSED, self.bytes),
            (Kcl.PROCESS_RECORDS_TIME, self.seconds * 1000),
            (Kcl.SUCCESS, 1),
            (Kcl.TIME, self.seconds * 1000),
        ):
            yield Measurement.of(metric, value, where)
        if self.millis_behind_latest is not None:
            yield Measurement.of(Kcl.MILLIS_BEHIND_LATEST, self.millis_behind_latest, where)
        for metric, count in ((Kcl.RECORDS_MISPLACED, self.misplaced), (Kcl.RECORDS_MALFORMED, self.malformed)):
            yield Measurement.of(metric, 1, where, samples=count)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerFailed(Event):
    """A handler raised; the same record or batch will be delivered again after `retry_in_s`.

    `error` is the class, `place` the lines of code, as ``billing.py:42 in bill``; never the message.
    """

    name: ClassVar[str] = "handler.failed"
    level: ClassVar[str] = "error"
    lease: str
    position: str
    attempt: int
    error: str
    retry_in_s: float
    place: str = ""

    def measurements(self) -> Iterator[Measurement]:
        """Yield a ProcessTask that did not succeed."""
        yield Measurement.of(Kcl.SUCCESS, 0, of_lease(Operation.PROCESS_TASK, self.lease))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailed(Event):
    """A call to a service failed; `known` says whether that changed nothing, `missing` names a missing permission."""

    name: ClassVar[str] = "call.failed"
    level: ClassVar[str] = "warning"
    call: str
    lease: str
    error: str
    known: bool
    missing: str = ""

    def measurements(self) -> Iterator[Measurement]:
        """Yield a read that failed, an expired iterator."""
        if self.call == "shard.read":
            where = of_lease(Operation.PROCESS_TASK, self.lease)
            yield Measurement.of(Kcl.GET_RECORDS_SUCCESS, 0, where)
            if self.error == "ExpiredIteratorException":
                yield Measurement.of(Kcl.EXPIRED_ITERATOR, 1, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed(Event):
    """A background task failed and is started again after `retry_in_s`; `missing` names a missing permission."""

    name: ClassVar[str] = "worker.task_failed"
    level: ClassVar[str] = "error"
    task: str
    error: str
    retry_in_s: float
    worker_id: str = ""
    missing: str = ""

    def measurements(self) -> Iterator[Measurement]:
        """Yield a round of a loop that did not succeed."""
        operation = _LOOPS.get(self.task)
        if operation is not None:
            worker_id = "" if operation == Operation.LEASE_ASSIGNMENT else self.worker_id
            yield Measurement.of(Kcl.SUCCESS, 0, of_worker(operation, worker_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadershipChanged(Event):
    """This worker began or ceased to lead the fleet."""

    name: ClassVar[str] = "fleet.leadership"
    worker_id: str
    leads: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasesAssigned(Event):
    """As leader, this worker assigned or handed off leases; each move says which, and to whom."""

    name: ClassVar[str] = "fleet.assigned"
    moves: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasesRescued(Event):
    """Leases that had stood still for two fail-over times are being taken without waiting for a leader."""

    name: ClassVar[str] = "fleet.rescued"
    level: ClassVar[str] = "warning"
    leases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetVersionChanged(Event):
    """The fleet's client version was changed; other algorithms run from now on."""

    name: ClassVar[str] = "fleet.version"
    level: ClassVar[str] = "warning"
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerHung(Event):
    """One handler call has lasted longer than `handler_timeout_s`.

    The lease is given up so that another worker may try; `holds` says that this was tried by several workers at the
    same position already, so that this one keeps the shard and waits for somebody to look.
    """

    name: ClassVar[str] = "handler.hung"
    level: ClassVar[str] = "error"
    lease: str
    position: str
    seconds: float
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasesCleanedUp(Event):
    """Leases of finished shards were deleted: their children are being read."""

    name: ClassVar[str] = "lease.cleaned_up"
    leases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordParked(Event):
    """A record was given up and stands in the parking lot; its shard goes on behind it."""

    name: ClassVar[str] = "record.parked"
    level: ClassVar[str] = "error"
    lease: str
    position: str
    attempts: int
    error: str

    def measurements(self) -> Iterator[Measurement]:
        """Yield the parked record: a count of ours, the KCL has none."""
        yield Measurement.of(Kcl.RECORDS_PARKED, 1, of_lease(Operation.PROCESS_TASK, self.lease))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyParked(Event):
    """A partition key was parked with its record: later records of it follow into the lot. `key` is a digest of it."""

    name: ClassVar[str] = "key.parked"
    level: ClassVar[str] = "error"
    lease: str
    position: str
    key: str
    keys: int
    """How many keys of the lease are parked now."""

    def measurements(self) -> Iterator[Measurement]:
        """Yield the parked key: a count of ours, the KCL has none."""
        yield Measurement.of(Kcl.KEYS_PARKED, 1, of_lease(Operation.PROCESS_TASK, self.lease))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReleased(Event):
    """A parked key was found released: its records go to the handler again. `key` is a digest of it."""

    name: ClassVar[str] = "key.released"
    lease: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysLoaded(Event):
    """The lease's owner has loaded its parked keys (some there are), before it delivers anything."""

    name: ClassVar[str] = "key.loaded"
    level: ClassVar[str] = "warning"
    lease: str
    keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysFull(Event):
    """A record failed for the last time, and as many keys of its lease are parked as may be: the shard waits."""

    name: ClassVar[str] = "key.full"
    level: ClassVar[str] = "error"
    lease: str
    position: str
    keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalChosen(Event):
    """How a stream's shards are read; `reason` says why fan-out was wanted and is not used."""

    name: ClassVar[str] = "stream.retrieval"
    stream: str
    retrieval: str
    reason: str
