"""Keeps one lease: performs what its `HeldLease` asks for, one call at a time, and reports back.

One task per lease, so renewals and checkpoints of a lease never overtake each other, and a slow call for one lease
never delays another's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shardline.common.errors import ProtocolViolation, ServiceError
from shardline.common.ports.lease_store import Key
from shardline.consumer.driver.context import is_ambiguous, pause
from shardline.consumer.leases.held import HeldState, Loss
from shardline.consumer.leases.row import LEASE_KEY
from shardline.consumer.leases.throughput import ThroughputMeter
from shardline.consumer.rounds import LeaseWritten

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.records import Position
    from shardline.consumer.driver.context import Context
    from shardline.consumer.leases.held import HeldLease, Op
    from shardline.consumer.leases.row import Pending

__all__ = ["Keeper"]

_SPIN_S = 0.001  # Never ask a core again without letting time pass.


class Keeper:
    """The driver of one `HeldLease`; `done` is where the shard's consumer puts how far the handler got."""

    def __init__(self, context: Context, lease: HeldLease) -> None:
        self.lease = lease
        self.meter = ThroughputMeter(context.runtime.monotonic(), lease.row.throughput_kbps)
        self.done: Callable[[], Position | None] = _nothing
        self._context = context
        self._wake = asyncio.Event()
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    async def run(self) -> None:
        """Hold the lease until it is lost or given back; cancelled, it stops without another write."""
        lease, runtime = self.lease, self._context.runtime
        try:
            while not lease.over:
                self._collect()
                op = lease.next_op(runtime.monotonic())
                if op is not None:
                    await self._perform(op)
                elif (wakeup := lease.next_wakeup()) is not None:
                    await pause(self._wake, max(_SPIN_S, wakeup - runtime.monotonic()))
                self._announce()
        finally:
            self._announce()

    def wake(self) -> None:
        """Look again now: something was asked of the lease."""
        self._wake.set()

    def abandon(self) -> None:
        """Take note that nobody runs this keeper (any more): its lease is over, and nobody waits for it in vain."""
        self.lease.give_up(Loss.EXPIRED)
        self._announce()

    def is_valid(self) -> bool:
        """Say whether records may be delivered now."""
        return self.lease.is_valid(self._context.runtime.monotonic())

    async def acquired(self) -> bool:
        """Wait until it is decided whether the lease is ours; False if not."""
        await self._until(lambda: self.lease.state is not HeldState.ACQUIRING)
        return self.lease.state is HeldState.HELD

    async def valid(self) -> bool:
        """Wait until records may be delivered; False when the lease is over."""
        await self._until(lambda: self.lease.over or self.is_valid())
        return not self.lease.over

    async def checkpoint(self, position: Position) -> bool:
        """Store a checkpoint now; returns once it stands in the table, or False when the lease is over."""
        self.lease.want_checkpoint(position, urgent=True)
        self.wake()
        await self._until(lambda: self.lease.over or self.lease.stored >= position)
        return self.lease.stored >= position

    async def prepare(self, pending: Pending) -> bool:
        """Store a prepared checkpoint beside the stored one; returns as `checkpoint` does."""
        self.lease.want_pending(pending)
        self.wake()
        await self._until(lambda: self.lease.over or self.lease.row.pending == pending)
        return self.lease.row.pending == pending

    async def release(self) -> None:
        """Give the lease back (to the next owner where a hand-off is under way) and wait until it is over."""
        if self.lease.handoff_to is not None:
            self.lease.transfer_wanted = True
        else:
            self.lease.release_wanted = True
        self.wake()
        await self._until(lambda: self.lease.over)

    async def delete(self) -> bool:
        """Delete the finished shard's row, as read, and wait until it is known; False if the lease was lost instead."""
        self.lease.delete_wanted = True
        self.wake()
        await self._until(lambda: self.lease.over)
        return self.lease.state is HeldState.RELEASED

    async def over(self) -> None:
        """Wait until the lease is lost or given back."""
        await self._until(lambda: self.lease.over)

    async def renewed_after(self, moment: float) -> None:
        """Wait until a write that was sent after `moment` (monotonic) is known to be applied, or the lease is over."""
        await self._until(lambda: self.lease.over or self.lease.valid_since > moment)

    async def hand_off_asked(self) -> None:
        """Wait until a hand-off is noticed, or the lease is over."""
        await self._until(lambda: self.lease.over or self.lease.handoff_to is not None)

    def _collect(self) -> None:
        done = self.done()
        if done is not None and self.lease.state is HeldState.HELD and done > self.lease.stored:
            self.lease.want_checkpoint(done, urgent=False)

    async def _perform(self, op: Op) -> None:
        context, lease = self._context, self.lease
        timeout_s = context.times.timeout_s
        started, ok = context.runtime.monotonic(), False
        try:
            if op.write is None:
                key = Key(LEASE_KEY, lease.key)
                item = await context.store.get(context.table, key, consistent=True, timeout_s=timeout_s)
                lease.on_read(item, context.runtime.monotonic())
            else:
                result = await context.store.write(op.write, timeout_s=timeout_s)
                lease.on_result(op, result, context.runtime.monotonic())
                self._measure()
                ok = result.applied
        except (ServiceError, ProtocolViolation) as error:
            lease.on_failed(op, context.runtime.monotonic(), ambiguous=is_ambiguous(error))
            context.report(f"lease.{op.kind.name.lower()}", error, lease.key)
        if op.write is not None and context.events.hears(LeaseWritten):
            self._tell(op, started, ok=ok)

    def _tell(self, op: Op, started: float, *, ok: bool) -> None:
        context = self._context
        call, seconds = op.kind.name.lower(), context.runtime.monotonic() - started
        context.events.emit(LeaseWritten(worker_id=context.me, lease=self.lease.key, call=call, ok=ok, seconds=seconds))

    def _measure(self) -> None:
        self.lease.throughput_kbps = self.meter.sample(self._context.runtime.monotonic())

    def _announce(self) -> None:
        """Wake whoever waits for what is now the case, and nobody else: this runs with every renewal of every lease."""
        for test, waiter in self._waiting:
            if not waiter.done() and test():
                waiter.set_result(None)

    async def _until(self, test: Callable[[], bool]) -> None:
        while not test():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (test, waiter)
            self._waiting.append(entry)
            try:
                await waiter
            finally:
                self._waiting.remove(entry)


def _nothing() -> Position | None:
    return None
