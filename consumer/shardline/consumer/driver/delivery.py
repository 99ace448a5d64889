"""Delivers one shard's pages to its handler: in order, one batch at a time, retried in place, nothing skipped.

Invariants: no handler is called unless the lease is valid at that moment; `done` only ever covers records for which
the handler has returned, or that are parked; a failure never moves it; whatever a handler does, renewals run on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shardline.consumer.config import Malformed
from shardline.consumer.driver.calls import Progress, RecordCalls, Work, calls_of
from shardline.consumer.driver.decoding import Decoder
from shardline.consumer.driver.giving_up import Failures, Verdict
from shardline.consumer.driver.lanes import Lanes
from shardline.consumer.driver.pacing import paced, tell_processed
from shardline.consumer.driver.threads import Withdrawn
from shardline.consumer.reasons import reason_of

if TYPE_CHECKING:
    from shardline.common.errors import MalformedAggregate
    from shardline.common.ports.kinesis import GetRecordsPage
    from shardline.common.records import Position
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.keeper import Keeper
    from shardline.consumer.driver.key_parking import KeyParking
    from shardline.consumer.driver.session import Session
    from shardline.consumer.driver.threads import Threads
    from shardline.consumer.handler import Batch, Record
    from shardline.consumer.spec import HandlerSpec

__all__ = ["Delivery"]


class Delivery:
    """One reading's delivery; records at or below `after`, and those `above` it that were done before, are left out."""

    def __init__(
        self,
        context: Context,
        plan: StreamPlan,
        keeper: Keeper,
        after: Position | None,
        *,
        threads: Threads,
        session: Session | None = None,
        keys: KeyParking | None = None,
        above: frozenset[Position] = frozenset(),
    ) -> None:
        self._context = context
        self._spec: HandlerSpec = plan.handler
        self._keeper = keeper
        self._lease_key = keeper.lease.key
        self._decoder = Decoder(context.config.delivery, plan.stream.name, keeper.lease.row, keeper.lease.token, after)
        self._stopping = asyncio.Event()
        self.keys = keys
        if keys is not None:
            keys.stopping = self._stopping
        self._work = Work(
            context=context,
            spec=plan.handler,
            keeper=keeper,
            threads=threads,
            stopping=self._stopping,
            counted=self._count,
            session=session,
            keys=keys,
        )
        self._failed = Failures(self._work)
        self._calls = calls_of(self._work)
        self._at = Progress()
        self._lanes: Lanes | None = None
        self.session = session
        self._malformed = Malformed(context.config.delivery.malformed)
        self._above = above
        self._through: Position | None = None  # Where what the handler went through ends.
        self._counted_records = 0
        self._checkpoint_at = context.runtime.monotonic()

    @property
    def done(self) -> Position | None:
        """The highest position up to which a checkpoint may go; None before the first record, or if a processor says.

        A processor's own checkpoints are the only ones that it gets.
        """
        return self.progress if self.session is None else None

    @property
    def above(self) -> frozenset[Position]:
        """What was done above the first position that was not."""
        done = self.progress
        return self._above if done is None else frozenset(one for one in self._above if one > done)

    @property
    def progress(self) -> Position | None:
        """The highest position up to which the handler is done."""
        at, lanes = self._at.position, self._lanes
        if lanes is None or lanes.done is None:
            return at
        return lanes.done if at is None else max(at, lanes.done)

    @property
    def busy_since(self) -> float | None:
        """When the (oldest) running handler call began; None when none runs."""
        return self._at.busy_since if self._lanes is None else self._lanes.busy_since

    @property
    def failures(self) -> int:
        """How often the record or batch in hand has failed."""
        return self._failed.attempts if self._lanes is None else self._lanes.failures

    def stop(self) -> None:
        """Deliver nothing further after the handler call that is running; an offer that nobody took is withdrawn."""
        self._stopping.set()
        if self._calls.offer is not None:
            self._calls.offer.withdraw()

    async def deliver(self, page: GetRecordsPage) -> bool:
        """Deliver a page; False when stopped, or when the lease is over, before its last record was done."""
        async for batch in self._decoder.batches(page):
            if not await paced(self._context, batch, self._stopping):
                return False
            started = self._context.runtime.monotonic()
            self._keeper.meter.add(batch.size)
            if not await self._one(batch):
                self._settle_part(batch, started)
                return False
            self._settle(batch, started)
        return True

    async def _one(self, batch: Batch) -> bool:
        if self._malformed is not Malformed.DELIVER_RAW and (wrong := batch.malformed) is not None:
            return await (self._park(batch, wrong) if self._malformed is Malformed.PARK else self._in_order(batch))
        return await (self._by_key(batch) if self._spec.lanes > 1 else self._in_order(batch))

    async def _park(self, batch: Batch, wrong: MalformedAggregate) -> bool:
        """Park a malformed aggregate, as the one record that it came as; False when stopped before."""
        record = next(iter(batch))
        if not await self._failed.to_lot(record, reason_of(wrong), 0):
            return False
        self._left_behind(record)
        return True

    async def _by_key(self, batch: Batch) -> bool:
        if self._stopping.is_set() or not await self._keeper.valid():
            return False
        assert isinstance(self._calls, RecordCalls), "only handlers of records have lanes"
        lanes = self._lanes = Lanes(self._work, self._calls)
        finished = await lanes.run(batch, self._above)
        self._above |= lanes.above
        self._at.done = batch.last if finished else self.progress
        self._lanes = None
        return finished

    async def _in_order(self, batch: Batch) -> bool:
        """Deliver a batch until it is done, parked record by record if it must be; False when stopped before."""
        self._failed.reset()
        rest = batch
        while len(rest):
            if self._stopping.is_set() or not await self._keeper.valid():
                return False
            parked = None if self.keys is None else self.keys.first_of(rest)
            part = rest if parked is None else rest.before(parked.position)
            if parked is not None and not len(part):
                if not await self._follow(parked, rest):
                    return False
                rest = self._rest(rest)
                continue
            before = self.progress
            error = await self._call(part)
            if self._keeper.lease.over:
                return False  # Whatever a superseded handler did or returned, it is not ours to record.
            if isinstance(error, Withdrawn):
                continue  # Because of a stop; or the program was cancelled at work, and another task may take it.
            if error is None:
                self._finished(part)
            rest, part = self._rest(rest), self._rest(part)
            if error is None:
                continue
            if self.progress != before:
                self._failed.reset()
            verdict = await self._failed.add(error, rest.first)
            if verdict is Verdict.STOP or (verdict is Verdict.PARK and not await self._give_up(part)):
                return False
            rest = self._rest(rest)
        self._failed.reset()
        return True

    def _rest(self, batch: Batch) -> Batch:
        done = self.progress
        if self.session is not None and (reached := self.session.checkpointer.reached) is not None:
            done = reached if done is None else max(done, reached)
        return batch if done is None else batch.after(done)

    async def _give_up(self, rest: Batch) -> bool:
        """Park the failing record; of a failing batch find it by halving. False when stopped before."""
        if self._spec.takes_batch and len(rest) > 1:
            left, right = rest.halves()
            return await self._in_order(left) and await self._in_order(right)
        record = next(iter(rest))
        if not await self._failed.park(record):
            return False
        self._left_behind(record)
        return True

    async def _follow(self, record: Record, batch: Batch) -> bool:
        """Let a record follow its parked key; False when stopped before. Released meanwhile, it is for the handler."""
        followed = await self._failed.follow(record, batch)
        if followed:
            self._left_behind(record)
        return followed is not False

    def _left_behind(self, record: Record) -> None:
        """Note that a record stands in the lot: it is done."""
        self._at.current = record
        if self.session is not None:
            self.session.checkpointer.permit(record.position)
        self._failed.reset()
        self._count(1)

    def _finished(self, part: Batch) -> None:
        """Note what the handler went through."""
        if self._through is not None:
            self._at.done, self._at.current = self._through, None
        self._count(0 if self._calls.counts else len(part))

    async def _call(self, rest: Batch) -> Exception | None:
        """Call the handler for `rest`; returns what it raised."""
        self._through = None
        self._at.busy_since = self._context.runtime.monotonic()
        try:
            if self._malformed is Malformed.RAISE and (wrong := rest.malformed) is not None:
                return wrong
            self._through = await self._calls.batch(rest, self._at)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its failure, and is retried.
            return error
        finally:
            self._at.busy_since = None
        return None

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def _count(self, records: int) -> None:
        """Ask for a checkpoint at once where the configuration bounds its age in records or seconds."""
        settings = self._context.config.delivery
        if settings.checkpoint_records is None and settings.checkpoint_s is None:
            return
        self._counted_records += records
        now = self._context.runtime.monotonic()
        enough = settings.checkpoint_records is not None and self._counted_records >= settings.checkpoint_records
        old = settings.checkpoint_s is not None and now - self._checkpoint_at >= settings.checkpoint_s
        done = self.done
        if (enough or old) and done is not None:
            self._counted_records = 0
            self._checkpoint_at = now
            self._keeper.lease.want_checkpoint(done, urgent=True)
            self._keeper.wake()

    def _settle_part(self, batch: Batch, started: float) -> None:
        """Tell what was done of a batch that was stopped in its midst."""
        rest = self._rest(batch)
        if len(rest) < len(batch) and not self._keeper.lease.over:
            self._settle(batch.head(len(batch) - len(rest)), started)

    def _settle(self, batch: Batch, started: float) -> None:
        tell_processed(self._context, self._lease_key, batch, started)
