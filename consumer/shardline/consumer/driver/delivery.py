"""Delivers one shard's pages to its handler: in order, one batch at a time, retried in place, nothing skipped.

Invariants: no handler is called unless the lease is valid at that moment; `done` only ever covers records for which
the handler has returned, or that are parked; a failure never moves it; whatever a handler does, renewals run on.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Final, TypeVar

from shardline.consumer.config import Malformed
from shardline.consumer.driver.decoding import Decoder
from shardline.consumer.driver.giving_up import Failures, Verdict
from shardline.consumer.driver.lanes import Lanes
from shardline.consumer.driver.pacing import paced, tell_processed
from shardline.consumer.driver.pulling import Withdrawn
from shardline.consumer.reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.errors import MalformedAggregate
    from shardline.common.ports.kinesis import GetRecordsPage
    from shardline.common.records import Position
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.keeper import Keeper
    from shardline.consumer.driver.key_parking import KeyParking
    from shardline.consumer.driver.pulling import Feed, PulledBatch
    from shardline.consumer.driver.session import Session
    from shardline.consumer.handler import Batch, Record
    from shardline.consumer.processes import ProcessPool
    from shardline.consumer.spec import HandlerSpec

__all__ = ["Delivery"]

T = TypeVar("T")

_TURN_S: Final = 0.01
"""A handler that never waits gives the loop its turn (renewals, other shards) after so long."""


class Delivery:
    """One reading's delivery; records at or below `after`, and those `above` it that were done before, are left out."""

    def __init__(
        self,
        context: Context,
        plan: StreamPlan,
        keeper: Keeper,
        after: Position | None,
        *,
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
        self._failed = Failures(context, self._lease_key, self._spec.policy, self._stopping, self.keys)
        self._lanes: Lanes | None = None
        self._current: Record | None = None
        self._done: Position | None = None
        self._open = True
        self._went_through = False
        self.session = session
        self._malformed = Malformed(context.config.delivery.malformed)
        self._above = above
        self._offer: PulledBatch | None = None
        self._part: Batch | None = None  # What a batch handler was given of the rest.
        self._counted_records = 0
        self._checkpoint_at = context.runtime.monotonic()
        self._busy_since: float | None = None
        self.on_thread = False

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
        current, lanes = self._current, self._lanes
        positions = [self._done, None if current is None else current.position, None if lanes is None else lanes.done]
        return max((position for position in positions if position is not None), default=None)

    @property
    def busy_since(self) -> float | None:
        """When the (oldest) running handler call began; None when none runs."""
        return self._busy_since if self._lanes is None else self._lanes.busy_since

    @property
    def has_thread(self) -> bool:
        """Say whether a handler still runs on a thread, abandoned or not."""
        return self.on_thread or (self._lanes is not None and self._lanes.has_thread)

    @property
    def failures(self) -> int:
        """How often the record or batch in hand has failed."""
        return self._failed.attempts if self._lanes is None else self._lanes.failures

    def stop(self) -> None:
        """Deliver nothing further after the handler call that is running; an offer that nobody took is withdrawn."""
        self._stopping.set()
        if self._offer is not None:
            self._offer.withdraw()

    def close(self) -> None:
        """Let a handler that runs on a thread stop at its next record: the lease is not ours any more."""
        self._open = False

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
        if self._stopping.is_set() or not await self._keeper.valid():
            return False
        record = next(iter(batch))
        if not await self._failed.to_lot(record, reason_of(wrong), 0):
            return False
        self._left_behind(record)
        return True

    async def _by_key(self, batch: Batch) -> bool:
        if self._stopping.is_set() or not await self._keeper.valid():
            return False
        lanes = self._lanes = Lanes(self._context, self._spec, self._keeper, self._stopping, self._count, self.keys)
        finished = await lanes.run(batch, self._above)
        self._above |= lanes.above
        self._done = self.done
        if finished:
            self._done = batch.last
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
        self._current = record
        if self.session is not None:
            self.session.checkpointer.permit(record.position)
        self._failed.reset()

    def _finished(self, rest: Batch) -> None:
        """Note what the handler went through: the end of that is done, dropped records included."""
        if self._spec.pool is None and (self._spec.takes_batch or self._went_through):
            self._done = (self._part or rest).last
            self._current = None

    # --- calling the handler -----------------------------------------------------------------------------------------

    async def _call(self, rest: Batch) -> Exception | None:
        """Call the handler for `rest`; returns what it raised. A per-record handler gets one record after another."""
        self._went_through = False
        self._part = None
        self._busy_since = self._context.runtime.monotonic()
        try:
            if self._malformed is Malformed.RAISE and (wrong := rest.malformed) is not None:
                return wrong
            if self._spec.feed is not None:
                return await self._offered(self._spec.feed, rest)
            if self._spec.pool is not None:
                return await self._in_process(self._spec.pool, rest)
            if self.session is not None:
                await self.session.process(rest)
            elif self._spec.takes_batch:
                await self._call_batch(rest)
            elif self._spec.blocking:
                return await self._context.runtime.run_blocking(self._on_thread, self._each_blocking, rest)
            else:
                await self._each(rest)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its failure, and is retried.
            return error
        finally:
            self._busy_since = None
        return None

    def _on_thread(self, function: Callable[[T], Exception | None], rest: T) -> Exception | None:
        """Run on a thread: a cancelled call is abandoned, but its thread runs on until the handler returns.

        Between the hand-over and the thread's first instruction a process may be stopped for as long as it likes.
        """
        if not self._open or not self._keeper.is_valid():
            raise Withdrawn
        self.on_thread = True
        try:
            return function(rest)
        finally:
            self.on_thread = False

    async def _in_process(self, pool: ProcessPool, rest: Batch) -> Exception | None:
        """Have a process handle the batch; how far it got is known all the while."""
        self._busy_since = None  # Not before a process is free.

        reached = 0

        def progress(count: int) -> None:
            nonlocal reached
            if count > reached or self._busy_since is None:
                self._busy_since = self._context.runtime.monotonic()
            if count > reached:
                self._done = rest.head(count).last
                if not self._spec.takes_batch:
                    self._counted_records += count - reached - 1
                    self._count()
            reached = count

        return await pool.call(rest, until=self._until, progress=progress)

    def _until(self) -> float:
        """Until when records may be begun elsewhere."""
        return -inf if self._stopping.is_set() or not self._open else self._keeper.lease.delivers_until

    async def _offered(self, feed: Feed, rest: Batch) -> Exception | None:
        """Offer a batch to the program and wait until it is settled; nobody counts as busy before it is taken."""
        self._busy_since = None
        offer = self._offer = feed.offer(rest)
        try:
            await offer.taken
            self._busy_since = self._context.runtime.monotonic()
            self._part = offer.batch
            return await offer.settled()
        finally:
            self._offer = None
            offer.abandon()

    async def _call_batch(self, rest: Batch) -> None:
        self._part, given = self._spec.prepare(rest)
        if self._spec.blocking:
            await self._context.runtime.run_blocking(self._on_thread, self._spec.function, given)
        else:
            await self._spec.call(given)

    async def _each(self, rest: Batch) -> None:
        call, lease, stopping = self._spec.call, self._keeper.lease, self._stopping.is_set
        monotonic = self._context.runtime.monotonic
        turn = monotonic() + _TURN_S
        for record in rest:
            now = monotonic()
            if now > turn:
                await asyncio.sleep(0)
                now = monotonic()
                turn = now + _TURN_S
            if stopping() or not lease.is_valid(now):
                return
            self._busy_since = now
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
                self._busy_since = now
                function(record)
                self._current = record
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its failure, and is retried.
            return error
        self._went_through = True
        return None

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

    def _settle_part(self, batch: Batch, started: float) -> None:
        """Tell what was done of a batch that was stopped in its midst."""
        rest = self._rest(batch)
        if len(rest) < len(batch) and not self._keeper.lease.over:
            self._settle(batch.head(len(batch) - len(rest)), started)

    def _settle(self, batch: Batch, started: float) -> None:
        self._counted_records += 0 if not self._spec.takes_batch else len(batch) - 1
        self._count()
        tell_processed(self._context, self._lease_key, batch, started)
