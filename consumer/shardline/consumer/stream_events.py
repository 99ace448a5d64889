"""What happens to a worker's streams while it runs: followed, left, deleted, made again; and what a mixed fleet misses.

Diagnostic events as in `events`; they hold names and counts only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from shardline.common.events import Event
from shardline.common.metrics.measure import Measurement
from shardline.common.metrics.names import Kcl, Operation
from shardline.consumer.rounds import of_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ConsumerLost",
    "FormerLeasesDeleted",
    "HashRangesFilled",
    "MixedFleet",
    "RowsBegunAgain",
    "RowsDisputed",
    "StreamAdded",
    "StreamBack",
    "StreamGone",
    "StreamRecreated",
    "StreamRemoved",
    "StreamUntracked",
    "StreamsNotListed",
    "StreamsTracked",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAdded(Event):
    """The worker reads a stream from now on; `identity` is its name in the lease table."""

    name: ClassVar[str] = "stream.added"
    stream: str
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRemoved(Event):
    """The worker reads a stream no more; its leases were given back but for `unclean`, and stay in the table."""

    name: ClassVar[str] = "stream.removed"
    stream: str
    identity: str
    leases: int
    unclean: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsNotListed(Event):
    """The function that lists the streams failed or listed none: those of before are read on."""

    name: ClassVar[str] = "stream.not_listed"
    level: ClassVar[str] = "error"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamUntracked(Event):
    """The table holds leases of a stream that this worker does not read: it leaves them alone, others may not.

    `stream` is empty for leases of single-stream mode; `multi_stream` is this worker's mode. Leases of the other mode
    mean that somebody changed it: what they have read is read again.
    """

    name: ClassVar[str] = "stream.untracked"
    level: ClassVar[str] = "warning"
    stream: str
    leases: int
    multi_stream: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamGone(Event):
    """Kinesis does not know a stream any more; its shards are not read until it is back, other streams go on."""

    name: ClassVar[str] = "stream.gone"
    level: ClassVar[str] = "error"
    stream: str
    identity: str
    worker_id: str

    def measurements(self) -> Iterator[Measurement]:
        """Yield the stream: a count of ours, the KCL has none."""
        yield Measurement.of(Kcl.STREAMS_GONE, 1, of_worker(Operation.MULTI_STREAM, self.worker_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBack(Event):
    """A stream that was gone is there again, the same one: reading goes on."""

    name: ClassVar[str] = "stream.back"
    level: ClassVar[str] = "warning"
    stream: str
    worker_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRecreated(Event):
    """A stream was deleted and created again: what was unread of the old one is lost, the new one is read whole.

    It is read from its beginning, whatever start was configured: nothing of it may be skipped in silence.
    """

    name: ClassVar[str] = "stream.recreated"
    level: ClassVar[str] = "error"
    stream: str
    before: str
    after: str
    worker_id: str

    def measurements(self) -> Iterator[Measurement]:
        """Yield the stream: a count of ours, the KCL has none."""
        yield Measurement.of(Kcl.STREAMS_RECREATED, 1, of_worker(Operation.MULTI_STREAM, self.worker_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsBegunAgain(Event):
    """Rows whose checkpoints are of no shard that is there: set back to its beginning, or deleted with their shard.

    The stream was created again (`stream.recreated` says so beside), or somebody edited checkpoints.
    """

    name: ClassVar[str] = "lease.begun_again"
    level: ClassVar[str] = "error"
    leases: tuple[str, ...]
    deleted: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsDisputed(Event):
    """Checkpoints in the table are of no shard of the stream that this worker sees, but `others` live by them.

    Either the stream was created again, and they have not noticed; or this worker looks at another application's table,
    or at a stream of the same name elsewhere. Nothing is overwritten.
    """

    name: ClassVar[str] = "lease.disputed"
    level: ClassVar[str] = "error"
    table: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerLeasesDeleted(Event):
    """As leader, this worker deleted leases of a stream that nobody tracks any more, after the waiting period."""

    name: ClassVar[str] = "stream.former_leases_deleted"
    level: ClassVar[str] = "warning"
    stream: str
    leases: tuple[str, ...]
    kept: int

    def measurements(self) -> Iterator[Measurement]:
        """Yield a stream whose leases are all gone."""
        if not self.kept:
            yield Measurement.of(Kcl.DELETED_STREAMS, 1, of_worker(Operation.MULTI_STREAM))


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsTracked(Event):
    """As leader in multi-stream mode: how many streams are read, how many former ones wait for deletion."""

    name: ClassVar[str] = "stream.tracked"
    level: ClassVar[str] = "debug"
    worker_id: str
    active: int
    pending: int

    def measurements(self) -> Iterator[Measurement]:
        """Yield both counts, as the KCL's leader does."""
        where = of_worker(Operation.MULTI_STREAM)
        yield Measurement.of(Kcl.ACTIVE_STREAMS, self.active, where)
        yield Measurement.of(Kcl.STREAMS_PENDING_DELETION, self.pending, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class HashRangesFilled(Event):
    """As leader, this worker filled in hash ranges that rows lacked."""

    name: ClassVar[str] = "lease.hash_ranges_filled"
    leases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerLost(Event):
    """The registered consumer was deregistered under a worker; `then` is what follows: ``fanout`` anew or ``polling``.

    `times` counts it per stream since the worker started.
    """

    name: ClassVar[str] = "stream.consumer_lost"
    level: ClassVar[str] = "error"
    stream: str
    then: str
    times: int

    def measurements(self) -> Iterator[Measurement]:
        """Yield the loss: a count of ours, the KCL has none."""
        yield Measurement.of(Kcl.CONSUMERS_LOST, 1, of_worker(Operation.PROCESS_TASK))


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedFleet(Event):
    """Workers of another kind (Java) hold leases or report beside this one.

    `unheeded` are the features of this worker that such an owner of a lease will not honour.
    """

    name: ClassVar[str] = "fleet.mixed"
    level: ClassVar[str] = "warning"
    others: tuple[str, ...]
    unheeded: tuple[str, ...]
