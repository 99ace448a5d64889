"""What follows a handler's failure: wait and try again, park the record, or stop the worker, as its policy says."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum, auto
from typing import TYPE_CHECKING

from shardline.common.errors import HandlerGaveUp
from shardline.consumer.events import HandlerFailed, RecordParked
from shardline.consumer.policy import FailurePolicy, Parked, Then
from shardline.consumer.reasons import reason_of
from shardline.consumer.spec import is_asynchronous

if TYPE_CHECKING:
    from shardline.common.records import Position
    from shardline.consumer.driver.context import Context
    from shardline.consumer.handler import Record

__all__ = ["Failures", "Verdict"]


class Verdict(Enum):
    """What to do after a failure."""

    AGAIN = auto()
    PARK = auto()
    STOP = auto()


class Failures:
    """The failures of one place in a shard (a record, or a batch): how often, since when, and what comes next."""

    def __init__(self, context: Context, lease: str, policy: FailurePolicy, stopping: asyncio.Event) -> None:
        self.attempts = 0
        self._context = context
        self._lease = lease
        self._policy = policy
        self._stopping = stopping
        self._since = 0.0
        self._reason = ""

    def reset(self) -> None:
        """Begin anew: the place was left behind."""
        self.attempts = 0

    async def add(self, error: Exception, position: Position) -> Verdict:
        """Take a failure; waits before it says "again", but not longer than until a stop is asked for."""
        context = self._context
        now = context.runtime.monotonic()
        self.attempts += 1
        if self.attempts == 1:
            self._since = now
        self._reason = reason_of(error)
        final = self._policy.gives_up(self.attempts, now - self._since)
        delay = 0.0 if final else context.config.delivery.retry.delay_s(self.attempts, context.runtime.random)
        context.events.emit(
            HandlerFailed(
                lease=self._lease,
                position=str(position),
                attempt=self.attempts,
                error=self._reason,
                retry_in_s=delay,
            )
        )
        if final and self._policy.then is Then.STOP:
            context.give_up(HandlerGaveUp(self._lease, str(position), self.attempts, self._reason))
            return Verdict.STOP
        if final:
            return Verdict.PARK
        await self._pause(delay)
        return Verdict.AGAIN

    async def park(self, record: Record) -> bool:
        """Park a record, trying until the lot has it; False when a stop came first, and then it is not parked."""
        lot = self._policy.lot
        assert lot is not None, "only a policy with a lot parks"
        context, attempts = self._context, 0
        parked = Parked(
            stream=record.stream,
            shard_id=record.shard_id,
            sequence_number=record.sequence_number,
            sub_sequence_number=record.sub_sequence_number,
            partition_key=record.partition_key,
            explicit_hash_key=record.explicit_hash_key,
            data=record.data,
            headers=record.headers,
            arrival_time_s=record.arrival_time_s,
            reason=self._reason,
            attempts=self.attempts,
            parked_at_s=context.runtime.wall(),
        )
        while not self._stopping.is_set():
            try:
                if is_asynchronous(lot):
                    await lot(parked)
                else:
                    await context.runtime.run_blocking(lot, parked)
            except Exception as error:  # noqa: BLE001 - whatever keeps the lot from taking it: the record is not let go.
                attempts += 1
                context.report("record.park", error, self._lease)
                await self._pause(context.config.delivery.retry.delay_s(attempts, context.runtime.random))
                continue
            context.events.emit(
                RecordParked(
                    lease=self._lease, position=str(record.position), attempts=self.attempts, error=self._reason
                )
            )
            return True
        return False

    async def _pause(self, delay_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
