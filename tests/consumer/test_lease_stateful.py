"""The lease row under two workers, lost requests, lost replies and late applies: Hypothesis looks for a broken promise.

Checked at every step: (a) two workers never both hold a valid lease, except for one renewal period after a steal;
(b) the stored checkpoint never moves back; (c) a checkpoint that a holder believes stored stands in the table or was
covered by a later one; (d) the counter grows by exactly one with each applied write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shardline.common.ports.lease_store import Key
from shardline.common.records import TRIM_HORIZON, Position
from shardline.consumer.leases.held import HeldLease, HeldState, OpKind
from shardline.consumer.leases.taker import Observer

from tests.consumer.rows import TABLE, TIMES, WRITES, Book, at

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Delete, UpdateItem, WriteResult
    from shardline.consumer.leases.held import Op

WORKERS = ("me", "you")
NAMES = st.sampled_from(WORKERS)


class LeaseMachine(RuleBasedStateMachine):
    """One lease, two workers that take it by expiry only, and a network that loses and delays."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.book.create()
        self.held: dict[str, HeldLease | None] = dict.fromkeys(WORKERS)
        self.seen = {worker: Observer() for worker in WORKERS}
        self.late: list[UpdateItem | Delete] = []
        self.highest = TRIM_HORIZON
        self.counter = 0
        self.position = 0

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, 3.3, 5.0, 9.4, 9.5, 10.0, 12.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.book.now += seconds

    @rule(worker=NAMES)
    def scan(self, worker: str) -> None:
        """Look at the table, and take the lease if it is free or expired."""
        observer, now = self.seen[worker], self.book.now
        row = self.book.row()
        observer.observe([row], now)
        held = self.held[worker]
        if held is not None and not held.over:
            return
        if row.owner == worker:
            self.held[worker] = self.book.holder(worker, WRITES.renew(row))
        elif row.owner is None or observer.age_s(row.key, now) > TIMES.failover_s:
            self.held[worker] = self.book.holder(worker, WRITES.take(row, worker))

    @rule(worker=NAMES, urgent=st.booleans())
    def want(self, worker: str, urgent: bool) -> None:
        """Process something more and ask for a checkpoint."""
        held = self.held[worker]
        if held is not None and held.is_valid(self.book.now):
            self.position = max(self.position, held.stored.sequence_number, 0) + 1
            held.want_checkpoint(at(self.position), urgent=urgent)

    @rule(worker=NAMES)
    def give_back(self, worker: str) -> None:
        """Ask for the lease to be given back."""
        held = self.held[worker]
        if held is not None and held.state is HeldState.HELD:
            held.release_wanted = True

    @rule(
        worker=NAMES,
        fate=st.sampled_from(["done", "done", "done", "lost request", "lost reply", "late", "twice", "throttled"]),
        took=st.sampled_from([0.0, 0.1, 1.0, 3.0]),
    )
    def call(self, worker: str, fate: str, took: float) -> None:
        """Let a worker make its next call, and the network do its worst."""
        held = self.held[worker]
        op = None if held is None else held.next_op(self.book.now)
        if held is None or op is None:
            return
        if op.write is None:
            item = self.book.tables.get(TABLE, Key("leaseKey", held.key), self.book.now, consistent=True)
            self.book.now += took
            held.on_read(item, self.book.now)
            return
        if fate == "throttled":
            held.on_failed(op, self.book.now, ambiguous=False)
            return
        self._write(held, op, op.write, fate, took)

    def _write(self, held: HeldLease, op: Op, write: UpdateItem | Delete, fate: str, took: float) -> None:
        if fate == "late":
            self.late.append(write)
        result = None if fate in {"late", "lost request"} else self._apply(write)
        if fate == "twice":
            result = self._apply(write)
        self.book.now += took
        if result is None or fate == "lost reply":
            held.on_failed(op, self.book.now, ambiguous=True)
            return
        held.on_result(op, result, self.book.now)
        if result.applied and op.kind is OpKind.CHECKPOINT:
            assert held.stored <= self.book.row().checkpoint

    @rule()
    def land(self) -> None:
        """Let the oldest delayed write arrive."""
        if self.late:
            self._apply(self.late.pop(0))

    def _apply(self, write: UpdateItem | Delete) -> WriteResult:
        before = self.book.row()
        result = self.book.write(write)
        after = self.book.row()
        assert after.counter == before.counter + (1 if result.applied else 0)
        assert after.checkpoint >= before.checkpoint
        self.highest = max(self.highest, after.checkpoint)
        return result

    @invariant()
    def at_most_one_valid_holder(self) -> None:
        """Taken by expiry, a lease has one valid holder at any time."""
        valid = [worker for worker, held in self.held.items() if held is not None and held.is_valid(self.book.now)]
        assert len(valid) <= 1

    @invariant()
    def a_valid_holder_owns_the_row(self) -> None:
        """Who believes in its lease is the owner in the table."""
        for worker, held in self.held.items():
            if held is not None and held.is_valid(self.book.now) and not held.release_wanted:
                assert self.book.row().owner == worker

    @invariant()
    def what_is_believed_stored_is_stored(self) -> None:
        """No holder's checkpoint is ahead of the table."""
        stored: Position = self.book.row().checkpoint
        for held in self.held.values():
            if held is not None:
                assert held.stored <= stored


TestLease = pytest.mark.untraced(LeaseMachine.TestCase)
TestLease.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
