"""The worker's diagnostic events: one per batch, write or decision, never one per user record.

They hold names, positions and counts, never payloads or keys. Names are stable; listeners and tests may rely on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from shardline.common.events import Event

__all__ = [
    "BatchProcessed",
    "CallFailed",
    "FleetVersionChanged",
    "HandlerFailed",
    "HandlerHung",
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
    "ShardEnded",
    "ShardMoved",
    "TaskFailed",
    "WorkerStarted",
    "WorkerStopped",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStarted(Event):
    """The worker reads and writes the lease table."""

    name: ClassVar[str] = "worker.started"
    worker_id: str
    table: str
    fleet: str
    failover_s: float


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasesCreated(Event):
    """Leases were created; `reason` is initial, children or repair (then somebody should ask why they were missing)."""

    name: ClassVar[str] = "lease.created"
    leases: tuple[str, ...]
    reason: str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerFailed(Event):
    """A handler raised; the same record or batch will be delivered again after `retry_in_s`."""

    name: ClassVar[str] = "handler.failed"
    level: ClassVar[str] = "error"
    lease: str
    position: str
    attempt: int
    error: str
    retry_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailed(Event):
    """A call to a service failed; `known` says whether it is known to have changed nothing."""

    name: ClassVar[str] = "call.failed"
    level: ClassVar[str] = "warning"
    call: str
    lease: str
    error: str
    known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed(Event):
    """A background task failed unexpectedly and is started again after `retry_in_s`."""

    name: ClassVar[str] = "worker.task_failed"
    level: ClassVar[str] = "error"
    task: str
    error: str
    retry_in_s: float


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalChosen(Event):
    """How a stream's shards are read; `reason` says why fan-out was wanted and is not used."""

    name: ClassVar[str] = "stream.retrieval"
    stream: str
    retrieval: str
    reason: str
