"""Drives one `ShardProcessor` through one tenure of its lease: each call in its turn, none overlapping another.

Invariants: `initialize` has returned before anything else is called; SHARD_END is stored by the processor, nobody else;
exactly one of `shard_ended` (with its checkpoint) and `lease_lost` comes last.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from shardline.common.records import SHARD_END
from shardline.consumer.driver.threads import ThreadedProcessor, Withdrawn
from shardline.consumer.events import HandlerFailed
from shardline.consumer.processor import Checkpointer, ShardLease
from shardline.consumer.reasons import place_of, reason_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.keeper import Keeper
    from shardline.consumer.driver.threads import Threads
    from shardline.consumer.handler import Batch
    from shardline.consumer.processor import ShardProcessor

__all__ = ["Session"]


class Session:
    """One processor, made for one tenure of a shard's lease."""

    def __init__(
        self,
        context: Context,
        plan: StreamPlan,
        keeper: Keeper,
        processor: ShardProcessor,
        *,
        stopping: asyncio.Event,
        threads: Threads,
    ) -> None:
        self._context = context
        self._stream = plan.stream.name
        self._keeper = keeper
        self._processor = processor
        self._stopping = stopping
        self._threads = threads
        if isinstance(processor, ThreadedProcessor):
            processor.threads = threads
        self._begun = False
        self._over = False
        self.checkpointer = Checkpointer(keeper.lease, keeper.checkpoint, keeper.prepare)

    async def begin(self) -> bool:
        """Call `initialize` until it succeeds; False when stopped before."""
        row = self._keeper.lease.row
        lease = ShardLease(self._stream, row.shard_id, self._keeper.lease.token, row.checkpoint, row.pending)
        self._begun = await self._until_done(lambda: self._processor.initialize(lease), lambda: True)
        return self._begun

    async def process(self, batch: Batch) -> None:
        """Hand a batch over; raises what the processor raises."""
        self.checkpointer.permit(batch.last)
        await self._processor.process(batch, self.checkpointer)

    async def end(self) -> bool:
        """Call `shard_ended` until SHARD_END is stored; False when stopped before."""
        self.checkpointer.end()
        self._over = self._over or await self._until_done(
            lambda: self._processor.shard_ended(self.checkpointer), lambda: self.checkpointer.stored == SHARD_END
        )
        return self._over

    async def request_shutdown(self) -> None:
        """Give the last chance to checkpoint; what is raised is reported, and not tried again."""
        if self._begun and not self._over and not self._keeper.lease.over:
            await self._once(lambda: self._processor.shutdown_requested(self.checkpointer), 1, 0.0)

    async def close(self) -> None:
        """Say that the lease is gone, unless the shard has ended; bounded by the time for stopping.

        Not to a processor of which a call still runs, on a thread that cannot be cancelled: the worker leaves.
        """
        if self._begun and not self._over and not self._threads.busy:
            self._over = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._context.config.delivery.stop_timeout_s):
                    await self._once(self._processor.lease_lost, 1, 0.0)

    async def _until_done(self, call: Callable[[], Awaitable[None]], done: Callable[[], bool]) -> bool:
        attempts, context = 0, self._context
        while not self._stopping.is_set() and not self._keeper.lease.over:
            attempts += 1
            delay = context.config.delivery.retry.delay_s(attempts, context.runtime.random)
            if await self._once(call, attempts, delay):
                if done():
                    return True
                self._report("ShardEndNotCheckpointed", attempts, delay)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
        return False

    async def _once(self, call: Callable[[], Awaitable[None]], attempts: int, delay_s: float) -> bool:
        try:
            await call()
        except Withdrawn:
            return False  # Not begun: the lease may have run out.
        except Exception as error:  # noqa: BLE001 - whatever a processor raises is its failure, and is reported.
            self._report(reason_of(error), attempts, delay_s, place_of(error))
            return False
        return True

    def _report(self, error: str, attempts: int, delay_s: float, place: str = "") -> None:
        self._context.events.emit(
            HandlerFailed(
                lease=self._keeper.lease.key,
                position=str(self.checkpointer.largest),
                attempt=attempts,
                error=error,
                retry_in_s=delay_s,
                place=place,
            )
        )
