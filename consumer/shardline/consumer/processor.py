"""The third level: a `ShardProcessor` per shard, which checkpoints itself; for people who come from the KCL.

    class Porter(ShardProcessor):
        async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
            await copy(batch)
            await checkpointer.checkpoint()

        async def shard_ended(self, checkpointer: Checkpointer) -> None:
            await checkpointer.checkpoint()

    worker.add_processor(Porter)

Nothing is checkpointed but by the processor, and never past what it was given. Unlike the KCL's, an exception in
`process` skips nothing: the records after the last checkpoint, or after the last batch that went well, come again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from shardline.common.errors import CheckpointAhead, CheckpointBackwards, InvalidInput, LeaseGone
from shardline.common.records import AT_TIMESTAMP, SHARD_END, Position
from shardline.consumer.leases.row import Pending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shardline.consumer.handler import Batch, Record
    from shardline.consumer.leases.held import HeldLease

__all__ = ["Checkpointer", "PreparedCheckpoint", "ShardLease", "ShardProcessor"]

At: TypeAlias = "Record | Position | None"


class ShardLease(NamedTuple):
    """What a processor begins with: reading resumes after `checkpoint`; `pending` was prepared and not committed."""

    stream: str
    shard_id: str
    token: int
    checkpoint: Position
    pending: Pending | None


class ShardProcessor(ABC):
    """Processes one shard in one tenure of its lease; every method may be overridden, `process` must be.

    The calls never overlap. `initialize` comes first. The last is `shard_ended`, where the shard's end was reached and
    stored, or else `lease_lost`; `shutdown_requested` comes before the latter where the lease is given back in peace.
    """

    async def initialize(self, lease: ShardLease) -> None:
        """Prepare; called again, after a back-off, while it raises."""

    @abstractmethod
    async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
        """Process records; what it raises is a handler's failure: retried in place, or as `on_failure` says."""

    async def lease_lost(self) -> None:
        """Clean up: another worker may have the shard, nothing can be checkpointed any more."""

    async def shard_ended(self, checkpointer: Checkpointer) -> None:
        """Finish the shard, and checkpoint: until that is done this is called again, and no child is read."""
        await checkpointer.checkpoint()

    async def shutdown_requested(self, checkpointer: Checkpointer) -> None:
        """Take the last chance to checkpoint: the lease is given back next."""


class PreparedCheckpoint:
    """The first half of a two-phase checkpoint: `position` (and state) stand in the table beside the checkpoint."""

    def __init__(self, checkpointer: Checkpointer, position: Position) -> None:
        self.position = position
        self._checkpointer = checkpointer

    async def checkpoint(self) -> None:
        """Commit it; raises as `Checkpointer.checkpoint` does."""
        await self._checkpointer.checkpoint(self.position)


class Checkpointer:
    """Stores checkpoints of one shard in one tenure of its lease; each call returns once it stands in the table.

    A position is valid from the stored checkpoint up to the last record handed over. Otherwise, with the table
    unchanged, `CheckpointAhead`, `CheckpointBackwards`, or `LeaseGone` after the loss of the lease are raised. Calls
    may overlap. Cancelled, a call's checkpoint may or may not be stored.
    """

    def __init__(
        self,
        lease: HeldLease,
        store: Callable[[Position], Awaitable[bool]],
        prepare: Callable[[Pending], Awaitable[bool]],
    ) -> None:
        self._lease = lease
        self._store = store
        self._prepare = prepare
        self._asked = lease.stored
        self._given = lease.stored
        self._began = lease.stored
        self._covered: Position | None = None
        self._sought = self._ended = False

    @property
    def stored(self) -> Position:
        """The checkpoint in the table, as far as is known."""
        return self._lease.stored

    @property
    def largest(self) -> Position:
        """The highest position that may be checkpointed now."""
        return SHARD_END if self._ended else self._given

    def permit(self, position: Position) -> None:
        """Allow checkpoints up to `position`, the last record handed over now, or parked. The driver's call.

        It can be lower than before: of a batch that failed, a part is handed over, and the rest is not yet done.
        """
        self._given = position

    @property
    def reached(self) -> Position | None:
        """The highest position checkpointed since reading began, or a seek led elsewhere; None before the first."""
        stored = self._lease.stored
        return stored if stored > self._began and not stored.is_sentinel else self._covered

    def seek(self) -> None:
        """Take that records come from elsewhere: a checkpoint at or below the stored one is then no mistake.

        Nothing is written for it. The driver's call.
        """
        self._began, self._covered, self._sought, self._asked = self._lease.stored, None, True, AT_TIMESTAMP

    def end(self) -> None:
        """Allow SHARD_END: every record of the shard was handed over. The driver's call."""
        self._ended = True

    async def checkpoint(self, at: At = None) -> None:
        """Store a checkpoint at a record (exact within its aggregate), a position, or all that was handed over.

        At the shard's end the last of these, and the last record's own position, mean SHARD_END. The present checkpoint
        is not written again.
        """
        position = self._checked(at)
        if position <= self._lease.stored:
            self._asked = self._covered = position
            return
        self._asked = position
        if not await self._store(position):
            raise LeaseGone(self._lease.key)

    async def prepare(self, at: At = None, *, state: bytes | None = None) -> PreparedCheckpoint:
        """Store a position, and `state`, beside the checkpoint; whoever owns the lease next finds them at `initialize`.

        The result's `checkpoint` commits it; any checkpoint removes it. At the present checkpoint nothing is written.
        """
        position = self._checked(at)
        if position > self._lease.stored and not await self._prepare(Pending(position, state)):
            raise LeaseGone(self._lease.key)
        return PreparedCheckpoint(self, position)

    def _checked(self, at: At) -> Position:
        position = self.largest if at is None else at if isinstance(at, Position) else at.position
        if position.sub_sequence_number < 0:
            raise InvalidInput("sub_sequence_number", "0 or more", str(position.sub_sequence_number))
        if self._ended and position == self._given:
            position = SHARD_END
        if self._lease.over:
            raise LeaseGone(self._lease.key)
        if position > self.largest:
            raise CheckpointAhead(str(position), str(self.largest))
        if position < self._asked or (position < self._lease.stored and not self._sought):
            raise CheckpointBackwards(str(position), str(max(self._asked, self._lease.stored)))
        return position

    def __repr__(self) -> str:
        return f"Checkpointer({self._lease.key}, {self.stored} to {self.largest})"
