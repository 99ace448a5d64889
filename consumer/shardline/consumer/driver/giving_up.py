"""What follows a handler's failure: wait and try again, park the record, or stop the worker, as its policy says."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from shardline.common.errors import HandlerGaveUp
from shardline.common.finished import check_finished
from shardline.consumer.driver.threads import Withdrawn
from shardline.consumer.events import HandlerFailed, RecordParked
from shardline.consumer.policy import Parked, Then
from shardline.consumer.reasons import place_of, reason_of
from shardline.consumer.spec import is_asynchronous

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.common.records import Position
    from shardline.consumer.driver.calls import Work
    from shardline.consumer.handler import Record

__all__ = ["KEY_PARKED", "Failures", "Verdict"]

KEY_PARKED: Final = "KeyParked"
"""The reason of a record that went into the lot because its key is parked."""


class Verdict(Enum):
    """What to do after a failure."""

    AGAIN = auto()
    PARK = auto()
    STOP = auto()


class Failures:
    """The failures of one place in a shard (a record, or a batch): how often, since when, and what comes next."""

    def __init__(self, work: Work) -> None:
        self.attempts = 0
        self._context = work.context
        self._keeper = work.keeper
        self._keys = work.keys
        self._lease = work.keeper.lease.key
        self._policy = work.spec.policy
        self._stopping = work.stopping
        self._threads = work.threads
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
        if final and self._keys is not None:
            final = await self._keys.room(position)
        delay = 0.0 if final else context.config.delivery.retry.delay_s(self.attempts, context.runtime.random)
        context.events.emit(
            HandlerFailed(
                lease=self._lease,
                position=str(position),
                attempt=self.attempts,
                error=self._reason,
                retry_in_s=delay,
                place=place_of(error),
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
        """Park a record, its key first where the policy says so; False when a stop or a loss came before both stand."""
        if self._keys is not None and not await self._keys.park(record, self._reason, self.attempts):
            return False
        return await self.to_lot(record, self._reason, self.attempts)

    async def follow(self, record: Record, batch: Iterable[Record]) -> bool | None:
        """Let a record of a parked key follow it into the lot; None if the key was released.

        False when a stop, or the loss of the lease, came first. `batch` is what it came in.

        The key's first record may come again, when its first owner died between state and lot: then it keeps its
        reason.
        """
        keys = self._keys
        assert keys is not None, "only a policy that parks keys has any"
        key = await keys.follow(record, batch)
        if key is None:
            return False if keys.holds(record) else None
        if key.first == (record.shard_id, record.position):
            return await self.to_lot(record, key.reason, key.attempts)
        return await self.to_lot(record, KEY_PARKED, 0)

    async def to_lot(self, record: Record, reason: str, tries: int) -> bool:
        """Put a record into the lot, trying until it has it; False when a stop, or the loss of the lease, came first.

        Each try begins under a valid lease, as a handler's call does: a former owner parks nothing.
        """
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
            reason=reason,
            attempts=tries,
            parked_at_s=context.runtime.wall(),
        )
        while not self._stopping.is_set() and await self._keeper.valid():
            try:
                if is_asynchronous(lot):
                    await lot(parked)
                else:
                    check_finished("lot", await self._threads.run(lot, parked))
            except Withdrawn:
                continue  # Its thread began too late.
            except Exception as error:  # noqa: BLE001 - whatever keeps the lot from taking it: the record is not let go.
                attempts += 1
                context.report("record.park", error, self._lease)
                await self._pause(context.config.delivery.retry.delay_s(attempts, context.runtime.random))
                continue
            position = str(record.position)
            context.events.emit(RecordParked(lease=self._lease, position=position, attempts=tries, error=reason))
            return True
        return False

    async def _pause(self, delay_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
