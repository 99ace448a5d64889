"""Delivers one shard's pages to its handler: in order, one batch at a time, retried in place, nothing skipped.

Invariants: no handler is called unless the lease is valid at that moment; `done` only ever covers records for which the
handler has returned; a failure never moves it; whatever a handler does, its lease's renewals run on.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from shardline.common.deaggregation import Validation, iterate
from shardline.common.errors import ServiceError
from shardline.consumer.events import BatchProcessed, HandlerFailed
from shardline.consumer.handler import Batch, Origin, Piece
from shardline.consumer.retrieval.placement import Placement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from shardline.common.deaggregation import UserRecords
    from shardline.common.ports.kinesis import GetRecordsPage
    from shardline.common.records import KinesisRecord, Position
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.keeper import Keeper
    from shardline.consumer.handler import HandlerSpec, Record

__all__ = ["Delivery"]

_YIELD_BYTES = 512 * 1024
"""How much is decoded before other tasks get their turn: a few milliseconds."""


class Delivery:
    """One shard's delivery in one tenure of its lease; records at or below `after` are filtered out."""

    def __init__(self, context: Context, plan: StreamPlan, keeper: Keeper, after: Position | None) -> None:
        self._context = context
        self._plan = plan
        self._spec: HandlerSpec = plan.handler
        self._keeper = keeper
        self._row = keeper.lease.row
        self._token = keeper.lease.token
        self._after = after
        self._placement = Placement(self._row.hash_range)
        self._stopping = asyncio.Event()
        self._current: Record | None = None
        self._done: Position | None = None
        self._open = True
        self._went_through = False
        self._counted_records = 0
        self._checkpoint_at = context.runtime.monotonic()
        self.busy_since: float | None = None
        self.on_thread = False
        self.failures = 0

    @property
    def done(self) -> Position | None:
        """The highest position up to which the handler is done; None before the first record."""
        current = self._current
        if current is not None and (self._done is None or current.position > self._done):
            return current.position
        return self._done

    def stop(self) -> None:
        """Deliver nothing further after the handler call that is running."""
        self._stopping.set()

    def close(self) -> None:
        """Let a handler that runs on a thread stop at its next record: the lease is not ours any more."""
        self._open = False

    async def deliver(self, page: GetRecordsPage) -> bool:
        """Deliver a page; False when stopped, or when the lease is over, before its last record was done."""
        async for pieces in self._decoded(page):
            batch = Batch(
                pieces,
                stream=self._plan.stream.name,
                shard_id=self._row.shard_id,
                token=self._token,
                millis_behind_latest=page.millis_behind_latest,
                drop_misplaced=self._context.config.delivery.drop_misplaced,
            )
            if not await self._deliver(batch):
                return False
        return True

    # --- decoding ----------------------------------------------------------------------------------------------------

    async def _decoded(self, page: GetRecordsPage) -> AsyncIterator[list[Piece]]:
        """Yield the page's user records in lists of bounded size; the loop gets its turn in between."""
        limit = self._context.config.delivery.batch_records
        pieces: list[Piece] = []
        total = decoded = 0
        for record in page.records:
            piece = await self._piece(record)
            if piece.pending == 0:
                continue
            pieces.append(piece)
            total += piece.pending
            decoded += len(record.data)
            if total >= limit:
                yield pieces
                pieces, total = [], 0
            if decoded >= _YIELD_BYTES:
                decoded = 0
                await asyncio.sleep(0)
        if pieces:
            yield pieces

    async def _piece(self, record: KinesisRecord) -> Piece:
        number = int(record.sequence_number)
        origin = Origin(
            self._plan.stream.name,
            self._row.shard_id,
            record.sequence_number,
            number,
            record.arrival_time_s,
            self._token,
        )
        check = Validation(record.data, max_sub_records=self._context.config.delivery.max_sub_records)
        while not check.step():  # noqa: ASYNC110 - nobody is waited for: the loop gets its turn between two steps.
            await asyncio.sleep(0)
        records = iterate(check, record.partition_key, hash_range=self._placement.to_judge(check))
        return Piece(origin, records, self._skip(number, records), len(record.data))

    def _skip(self, number: int, records: UserRecords) -> int:
        """Return how many of the user records were done before this tenure began."""
        after = self._after
        if after is None or number > after.sequence_number:
            return 0
        return len(records) if number < after.sequence_number else after.sub_sequence_number + 1

    # --- handing over ------------------------------------------------------------------------------------------------

    async def _deliver(self, batch: Batch) -> bool:
        started = self._context.runtime.monotonic()
        rest, attempts = batch, 0
        self._keeper.meter.add(batch.size)
        while len(rest):
            if self._stopping.is_set() or not await self._keeper.valid():
                return False
            before = self.done
            error = await self._call(rest)
            if self._keeper.lease.over:
                return False  # Whatever a superseded handler did or returned, it is not ours to record.
            if error is None and self._finished(rest):
                break
            rest = rest.after(self.done) if self.done is not None else rest
            if error is not None:
                attempts = 1 if self.done != before else attempts + 1
                self.failures = attempts
                await self._back_off(rest, error, attempts)
        self.failures = 0
        self._settle(batch, started)
        return True

    def _finished(self, rest: Batch) -> bool:
        """Say whether the handler went through all of `rest`: its end is done then, dropped records included."""
        if not self._spec.takes_batch and not self._went_through:
            return False
        self._done = rest.last
        self._current = None
        return True

    async def _call(self, rest: Batch) -> Exception | None:
        """Call the handler for `rest`; returns what it raised. A per-record handler gets one record after another."""
        self._went_through = False
        self.busy_since = self._context.runtime.monotonic()
        try:
            if self._spec.takes_batch:
                await self._call_batch(rest)
            elif self._spec.blocking:
                return await self._context.runtime.run_blocking(self._on_thread, self._each_blocking, rest)
            else:
                await self._each(rest)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its failure, and is retried.
            return error
        finally:
            self.busy_since = None
        return None

    def _on_thread(self, function: Callable[[Batch], Exception | None], rest: Batch) -> Exception | None:
        """Run on a thread: a cancelled call is abandoned, but its thread runs on until the handler returns."""
        if not self._open:
            return None  # Abandoned before it began.
        self.on_thread = True
        try:
            return function(rest)
        finally:
            self.on_thread = False

    async def _call_batch(self, rest: Batch) -> None:
        if self._spec.blocking:
            await self._context.runtime.run_blocking(self._on_thread, self._spec.function, rest)
        else:
            await self._spec.call(rest)

    async def _each(self, rest: Batch) -> None:
        call, lease, stopping = self._spec.call, self._keeper.lease, self._stopping.is_set
        monotonic = self._context.runtime.monotonic
        for record in rest:
            now = monotonic()
            if stopping() or not lease.is_valid(now):
                return
            self.busy_since = now
            await call(record)
            self._current = record
            self._count()
        self._went_through = True

    def _each_blocking(self, rest: Batch) -> Exception | None:
        """Run on a thread: one hop for the whole batch, the lease checked before each record all the same."""
        function, lease = self._spec.function, self._keeper.lease
        monotonic = self._context.runtime.monotonic
        try:
            for record in rest:
                now = monotonic()
                if not self._open or self._stopping.is_set() or not lease.is_valid(now):
                    return None
                self.busy_since = now
                function(record)
                self._current = record
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its failure, and is retried.
            return error
        self._went_through = True
        return None

    async def _back_off(self, rest: Batch, error: Exception, attempts: int) -> None:
        context = self._context
        delay = context.config.delivery.retry.delay_s(attempts, context.runtime.random)
        text = error.code if isinstance(error, ServiceError) else type(error).__name__
        context.events.emit(
            HandlerFailed(
                lease=self._row.key,
                position=str(rest.first),
                attempt=attempts,
                error=text,
                retry_in_s=delay,
            )
        )
        await self._pause(delay)

    async def _pause(self, delay_s: float) -> None:
        """Wait, but not longer than until a stop is asked for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def _count(self) -> None:
        """Ask for a checkpoint at once where the configuration bounds its age in records or seconds."""
        settings = self._context.config.delivery
        if settings.checkpoint_records is None and settings.checkpoint_s is None:
            return
        self._counted_records += 1
        now = self._context.runtime.monotonic()
        enough = settings.checkpoint_records is not None and self._counted_records >= settings.checkpoint_records
        old = settings.checkpoint_s is not None and now - self._checkpoint_at >= settings.checkpoint_s
        done = self.done
        if (enough or old) and done is not None:
            self._counted_records = 0
            self._checkpoint_at = now
            self._keeper.lease.want_checkpoint(done, urgent=True)
            self._keeper.wake()

    def _settle(self, batch: Batch, started: float) -> None:
        notes = batch.notes()
        self._counted_records += 0 if not self._spec.takes_batch else len(batch) - 1
        self._count()
        self._context.events.emit(
            BatchProcessed(
                lease=self._row.key,
                records=len(batch),
                kinesis_records=batch.kinesis_records,
                bytes=batch.size,
                last=str(batch.last),
                millis_behind_latest=batch.millis_behind_latest,
                seconds=self._context.runtime.monotonic() - started,
                misplaced=notes.get("misplaced", 0),
                malformed=notes.get("malformed", 0),
                dropped=notes.get("misplaced", 0) if self._context.config.delivery.drop_misplaced else 0,
            )
        )
