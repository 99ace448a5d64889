"""One lease as its holder sees it: a state machine that decides the next write and judges every answer.

It is also the one lock of its lease: renewals, checkpoints, hand-off and give-back go through `next_op` one at a time,
because each consumes the counter. Invariants (design.md, `reliability.md` 0 findings 1 and 2):

* nothing is sent once the lease may have expired, so whoever takes it by expiry does so after our last send;
* validity counts from the *send* time of a write known to be applied: a clean answer credits its own send, an outcome
  found out later (consistent read, or a condition that failed because an earlier try had landed) credits the earliest
  send that is still unresolved, but acquires nothing by itself (an earlier process of this name may have sent it);
* an ambiguous answer is followed by a consistent read: the actual owner is me and the counter one higher: applied; me
  and the same counter: not yet, send again; anything else: lost;
* the stored checkpoint never moves backwards.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from shardline.common.backoff import Backoff
from shardline.consumer.leases.ops import LEAVING, HeldState, Loss, Op, OpKind
from shardline.consumer.leases.row import LeaseRow, Pending, Quarantined, read_row

if TYPE_CHECKING:
    from random import Random

    from shardline.common.ports.lease_store import Item, UpdateItem, WriteResult
    from shardline.common.records import Position
    from shardline.consumer.leases.times import LeaseTimes
    from shardline.consumer.leases.writes import LeaseWrites

__all__ = ["HeldLease", "HeldState", "Loss", "Op", "OpKind"]


class HeldLease:
    """The holder's side of a lease; a driver performs `next_op` and reports by `on_result`, `on_read`, `on_failed`."""

    __slots__ = (
        "_acquire_by",
        "_attempts",
        "_backoff",
        "_first",
        "_in_flight",
        "_left_perhaps",
        "_me",
        "_pending",
        "_random",
        "_read_next",
        "_retry_at",
        "_times",
        "_unresolved_at",
        "_urgent",
        "_wanted",
        "_writes",
        "acquired_at",
        "delete_wanted",
        "handoff_to",
        "loss",
        "release_wanted",
        "row",
        "state",
        "throughput_kbps",
        "token",
        "transfer_wanted",
        "valid_since",
    )

    def __init__(
        self,
        row: LeaseRow,
        me: str,
        first: UpdateItem,
        *,
        writes: LeaseWrites,
        times: LeaseTimes,
        random: Random,
        now: float,
    ) -> None:
        """`first` is the write that acquires the lease: a take, or the first renewal of a lease assigned to `me`."""
        self.row = row
        self.state = HeldState.ACQUIRING
        self.loss: Loss | None = None
        self.token = 0
        self.valid_since = now
        self.acquired_at: float | None = None
        self.handoff_to: str | None = None
        self.throughput_kbps: float | None = None
        self.release_wanted = False
        self.delete_wanted = False
        self.transfer_wanted = False
        self._me = me
        self._first = first
        self._writes = writes
        self._times = times
        self._random = random
        self._backoff = Backoff(first_s=times.retry_s, max_s=times.renew_s / 2, floor=0.5)
        self._acquire_by = now + times.failover_s
        self._attempts = 0
        self._retry_at = now
        self._in_flight: Op | None = None
        self._unresolved_at: float | None = None
        self._read_next = False
        self._left_perhaps = False  # A write that ends the lease has, or may have, arrived or still arrive.
        self._wanted: Position | None = None
        self._pending: Pending | None = row.pending
        self._urgent: Position | None = None

    # --- what the worker asks ----------------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """The lease key."""
        return self.row.key

    @property
    def stored(self) -> Position:
        """The checkpoint known to stand in the table."""
        return self.row.checkpoint

    @property
    def over(self) -> bool:
        """Say whether the lease is lost or given back."""
        return self.state in (HeldState.LOST, HeldState.RELEASED)

    @property
    def valid_until(self) -> float:
        """The moment after which another worker may have the lease."""
        return self.valid_since + self._times.valid_s

    def is_valid(self, now: float) -> bool:
        """Say whether records may be delivered under this lease at `now`.

        Not from the moment on at which a write that ends it (hand-off, give-back, deletion) was sent: whoever sees the
        row after it may take the lease at once, before its answer is here. Its condition is the owner's name, not the
        counter, so one whose answer was lost can arrive later still.
        """
        return now < self.delivers_until

    @property
    def delivers_until(self) -> float:
        """Until when records may be delivered, as far as is known now; minus infinity where they may not any more."""
        leaving = self._in_flight is not None and self._in_flight.kind in LEAVING
        held = self.state is HeldState.HELD and not (leaving or self._left_perhaps)
        return self.valid_until if held else -inf

    def want_checkpoint(self, position: Position, *, urgent: bool) -> None:
        """Ask for a checkpoint: with the next renewal, or at once if `urgent`; one not above the last is ignored."""
        if position < self.stored or (position == self.stored and self._pending is None):
            return
        if self._wanted is None or position >= self._wanted:
            self._wanted = position
            self._pending = None
        if urgent and (self._urgent is None or position > self._urgent):
            self._urgent = position

    def want_pending(self, pending: Pending) -> None:
        """Ask at once for a prepared checkpoint beside the stored one."""
        self._pending = pending
        if self._wanted is None or self._wanted < self.stored:
            self._wanted = self.stored
        self._urgent = self._wanted

    # --- what is to be done ------------------------------------------------------------------------------------------

    def next_op(self, now: float) -> Op | None:
        """Return the call to make now, or None; the state becomes LOST when the lease has expired."""
        if self.over or self._in_flight is not None:
            return None
        if now >= self._deadline:
            self._lose(Loss.EXPIRED)
            return None
        if now < self._retry_at:
            return None
        self._in_flight = self._choose(now)
        return self._in_flight

    def next_wakeup(self) -> float | None:
        """Return when `next_op` is to be asked again if nothing else happens; None once the lease is over."""
        if self.over or self._in_flight is not None:
            return None
        if self._read_next or self.state is HeldState.ACQUIRING or self._has_urgent_work():
            due = self._retry_at
        else:
            due = max(self._retry_at, self.valid_since + self._times.renew_s)
        return min(due, self._deadline)

    @property
    def _deadline(self) -> float:
        return self._acquire_by if self.state is HeldState.ACQUIRING else self.valid_until

    def _has_urgent_work(self) -> bool:
        leaving = self.release_wanted or self.delete_wanted or (self.transfer_wanted and self.handoff_to is not None)
        return leaving or self._urgent is not None or self._unresolved_at is not None

    def _choose(self, now: float) -> Op | None:
        if self._read_next:
            return Op(OpKind.READ, now)
        if self.state is HeldState.ACQUIRING:
            return Op(OpKind.TAKE, now, self._first)
        due = self._unresolved_at is not None or now >= self.valid_since + self._times.renew_s
        if self._wanted is not None and (due or self._has_urgent_work()):
            return self._checkpoint_op(self._wanted, now)
        renewal = Op(OpKind.RENEW, now, self._writes.renew(self.row, self.throughput_kbps)) if due else None
        return self._leaving_op(now) or renewal

    def _leaving_op(self, now: float) -> Op | None:
        if self.transfer_wanted and self.handoff_to is not None:
            return Op(OpKind.TRANSFER, now, self._writes.assign(self.row, self.handoff_to))
        if self.delete_wanted:
            return Op(OpKind.DELETE, now, self._writes.delete_finished(self.row))
        if self.release_wanted:
            return Op(OpKind.RELEASE, now, self._writes.evict(self.row))
        return None

    def _checkpoint_op(self, position: Position, now: float) -> Op:
        write = self._writes.checkpoint(self.row, position, self.throughput_kbps, self._pending)
        return Op(OpKind.CHECKPOINT, now, write, position, self._pending)

    # --- what came back ----------------------------------------------------------------------------------------------

    def on_result(self, op: Op, result: WriteResult, now: float) -> None:
        """Take the clean answer of a write."""
        self._in_flight = None
        if self.over:
            return
        if result.applied:
            self._applied(op, result.item)
            return
        first = self._unresolved_at is None
        if first:
            self._unresolved_at = op.sent_at  # It may have failed on its own success: a try repeated below us (F4).
        self._judge(result.item, now, failed=True)
        if first and self._unresolved_at == op.sent_at:
            self._unresolved_at = None  # This try is known to have changed nothing.

    def on_read(self, item: Item | None, now: float) -> None:
        """Take the answer of the consistent read that follows an ambiguous write."""
        self._in_flight = None
        if self.over:
            return
        self._read_next = False
        self._judge(item, now, failed=False)

    def on_failed(self, op: Op, now: float, *, ambiguous: bool) -> None:
        """Take a call that was refused (throttled, unreachable), or whose outcome is unknown (`ambiguous`)."""
        self._in_flight = None
        if self.over:
            return
        if ambiguous and op.kind is not OpKind.READ:
            self._left_perhaps = self._left_perhaps or op.kind in LEAVING
            if self._unresolved_at is None:
                self._unresolved_at = op.sent_at
            self._read_next = True
            self._retry_at = now
            return
        self._attempts += 1
        self._retry_at = now + self._backoff.delay_s(self._attempts, self._random)

    def give_up(self, loss: Loss) -> None:
        """Stop holding the lease without another write (a hung handler, an unclean stop)."""
        if not self.over:
            self._lose(loss)

    def _applied(self, op: Op, item: Item | None) -> None:
        self._settle(op.sent_at)
        if op.kind in LEAVING:
            self.state = HeldState.RELEASED
            self.loss = Loss.RELEASED
            return
        row = self.row._replace(counter=self.row.counter + 1)
        if op.kind is OpKind.TAKE:
            stored = None if item is None else read_row(item)
            assumed = row._replace(owner=self._me, checkpoint_owner=None)
            self._acquire(stored if isinstance(stored, LeaseRow) else assumed)
            return
        if op.position is not None:
            row = row._replace(checkpoint=op.position, pending=op.pending, owner_switches=0)
            self._stored(op.position, op.pending)
        self.row = row

    def _stored(self, position: Position, pending: Pending | None) -> None:
        if self._wanted is not None and (
            self._wanted < position or (self._wanted == position and self._pending == pending)
        ):
            self._wanted = None
        if self._urgent is not None and self._urgent <= position and self._wanted != self._urgent:
            self._urgent = None

    def _settle(self, credited_at: float) -> None:
        self.valid_since = credited_at
        self._unresolved_at = None
        self._attempts = 0

    def _acquire(self, row: LeaseRow) -> None:
        self.row = row
        self.token = row.counter
        self.state = HeldState.HELD
        self.acquired_at = self.valid_since
        self._pending = row.pending

    def _lose(self, loss: Loss) -> None:
        self.state = HeldState.LOST
        self.loss = loss

    def _judge(self, item: Item | None, now: float, *, failed: bool) -> None:
        """Decide by the row as it stands: applied, not yet, a hand-off that began, or lost."""
        row = None if item is None else read_row(item)
        if row is None and self.delete_wanted:
            self.state, self.loss = HeldState.RELEASED, Loss.RELEASED
        elif row is None:
            self._lose(Loss.DELETED)
        elif isinstance(row, Quarantined):
            self._lose(Loss.MALFORMED)
        elif row.actual_owner != self._me:
            self._found_gone(row)
        elif row.counter == self.row.counter + 1:
            self._found_applied(row)
        elif row.counter == self.row.counter:
            self._found_not_yet(row, now, failed=failed)
        else:
            self._lose(Loss.TAKEN)

    def _found_gone(self, row: LeaseRow) -> None:
        given = self.release_wanted and row.actual_owner is None
        if given or (self.transfer_wanted and row.owner == self.handoff_to):
            self.state = HeldState.RELEASED
            self.loss = Loss.RELEASED
        else:
            self._lose(Loss.TAKEN)

    def _found_applied(self, row: LeaseRow) -> None:
        assert self._unresolved_at is not None, "only an unresolved write is looked for"
        if self.state is HeldState.ACQUIRING:
            self._renew_first(row)
            return
        self._settle(self._unresolved_at)
        self._notice_hand_off(row)
        if not self.over:
            self.row = row
            self._stored(row.checkpoint, row.pending)

    def _renew_first(self, row: LeaseRow) -> None:
        """Acquire by one more write: what moved the counter may be a late request of an earlier process of this name.

        That one's send is unknown, so nothing can be credited from it (the model check has the trace: a restart that
        credits its own send believes in a lease which another worker may have taken by expiry).
        """
        if row.checkpoint_owner is not None:
            self._lose(Loss.TAKEN)  # A restart in the middle of our own hand-off does not resume the lease.
            return
        self.row = row
        self._first = self._writes.renew(row)
        self._unresolved_at = None

    def _found_not_yet(self, row: LeaseRow, now: float, *, failed: bool) -> None:
        if self.state is HeldState.ACQUIRING and row.checkpoint_owner is not None:
            self._lose(Loss.TAKEN)  # A restart in the middle of our own hand-off does not resume the lease.
        elif self._notice_hand_off(row):
            self.row = self.row._replace(owner=row.owner, checkpoint_owner=row.checkpoint_owner)
            self._retry_at = now
        elif failed:  # The row has changed back since the condition failed: count it as a refusal.
            self._attempts += 1
            self._retry_at = now + self._backoff.delay_s(self._attempts, self._random)
        else:
            self._retry_at = now

    def _notice_hand_off(self, row: LeaseRow) -> bool:
        """Say whether the row shows a hand-off that this lease did not know of, and remember it."""
        if row.checkpoint_owner is None or row.owner is None or self.row.checkpoint_owner is not None:
            return False
        if row.owner == row.checkpoint_owner:
            self._lose(Loss.TAKEN)
            return False
        self.handoff_to = row.owner
        return True
