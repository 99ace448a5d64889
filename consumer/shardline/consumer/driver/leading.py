"""Keeps the leader lock: performs what `LeaderLock` plans, and says when leadership begins or ends."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Final

from shardline.common.backoff import Backoff
from shardline.common.errors import NotApplied, ProtocolViolation, ServiceError, ShardlineError
from shardline.consumer.driver.context import pause
from shardline.consumer.events import LeadershipChanged
from shardline.consumer.fleet.leader_lock import LeaderLock, LockSettings, StepKind

if TYPE_CHECKING:
    from shardline.consumer.driver.context import Context
    from shardline.consumer.fleet.leader_lock import Step
    from shardline.consumer.fleet.startup import Place

__all__ = ["LockKeeper"]

_BACKOFF: Final = Backoff(first_s=0.2, max_s=10.0, floor=0.5)
_SPIN_S: Final = 0.001


class LockKeeper:
    """The driver of one worker's `LeaderLock`; sets `changed` whenever it starts or stops being the leader."""

    def __init__(self, context: Context, place: Place, changed: asyncio.Event) -> None:
        leases = context.config.leases
        settings = LockSettings(
            table=place.table,
            key_attribute=place.key_attribute,
            lease_duration_s=leases.leader_lease_s,
            heartbeat_s=leases.leader_heartbeat_s,
        )
        self.lock = LeaderLock(context.me, settings, context.runtime.random)
        self._context = context
        self._changed = changed
        self._wake = asyncio.Event()
        self._failures = 0
        self._leads = False

    def is_leader(self) -> bool:
        """Say whether this worker holds the lock for sure, now."""
        return self.lock.is_leader(self._context.runtime.monotonic())

    def hurry(self) -> None:
        """Look at the lock now: its holder seems to have left cleanly."""
        self.lock.hurry(self._context.runtime.monotonic())
        self._wake.set()

    async def run(self) -> None:
        """Keep or seek the lock for ever."""
        runtime = self._context.runtime
        while True:
            step = self.lock.plan(runtime.monotonic())
            if step is None:
                wait = max(_SPIN_S, self.lock.next_wakeup() - runtime.monotonic())
                await pause(self._wake, min(wait, self._context.config.leases.leader_heartbeat_s))
            elif not await self._perform(step):
                self._failures += 1
                await asyncio.sleep(_BACKOFF.delay_s(self._failures, runtime.random))
            else:
                self._failures = 0
            self._tell()

    async def _perform(self, step: Step) -> bool:
        context, lock = self._context, self.lock
        timeout_s = context.times.timeout_s
        try:
            if step.kind is StepKind.READ:
                item = await context.store.get(step.table, step.key, consistent=True, timeout_s=timeout_s)
                lock.on_read(item, context.runtime.monotonic())
                return True
            assert step.write is not None, "a writing step carries its write"
            result = await context.store.write(step.write, timeout_s=timeout_s)
            lock.on_written(result, context.runtime.monotonic())
        except (ServiceError, ProtocolViolation) as error:
            context.report(f"leader.{step.kind.value}", error)
            if step.kind is StepKind.WRITE and isinstance(error, NotApplied):
                lock.on_not_applied(context.runtime.monotonic())
            else:
                lock.on_ambiguous(context.runtime.monotonic())
            return False
        return True

    async def step_down(self) -> None:
        """Give the lock back to who can do a leader's work, and do not seek it for two heartbeats."""
        rest_s = 2 * self._context.config.leases.leader_heartbeat_s
        await self.release(rest_until=self._context.runtime.monotonic() + rest_s)

    async def release(self, *, rest_until: float = inf) -> None:
        """Give the lock back, if it is held; a failure is reported, and the lock expires."""
        write = self.lock.release(rest_until=rest_until)
        self._tell()
        if write is None:
            return
        store, timeout_s = self._context.store, self._context.times.timeout_s
        try:
            again = self.lock.on_released(await store.write(write, timeout_s=timeout_s))
            if again is not None:
                await store.write(again, timeout_s=timeout_s)
        except ShardlineError as error:
            self._context.report("leader.release", error)

    def _tell(self) -> None:
        leads = self.is_leader()
        if leads != self._leads:
            self._leads = leads
            self._context.events.emit(LeadershipChanged(worker_id=self._context.me, leads=leads))
            self._changed.set()
