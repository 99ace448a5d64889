"""How each kind of handler is called: on the loop or on threads, in processes, pulled, or as a processor.

One class for each kind; `Delivery` and `Lanes` know none of them. Invariants: no record is begun unless the lease is
valid at that moment; `Progress` only ever covers records for which the handler has returned.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

from shardline.consumer.driver.threads import Withdrawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.records import Position
    from shardline.consumer.driver.context import Context
    from shardline.consumer.driver.keeper import Keeper
    from shardline.consumer.driver.key_parking import KeyParking
    from shardline.consumer.driver.pulling import Feed, PulledBatch
    from shardline.consumer.driver.session import Session
    from shardline.consumer.driver.threads import Threads
    from shardline.consumer.handler import Batch, Record
    from shardline.consumer.processes import ProcessPool
    from shardline.consumer.spec import HandlerSpec

__all__ = ["Calls", "Progress", "RecordCalls", "Work", "calls_of"]

_TURN_S: Final = 0.01
"""A handler that never waits gives the loop its turn (renewals, other shards) after so long."""


class Progress:
    """How far a shard's handler is: done up to `done`, or to `current`; its running call began at `busy_since`."""

    __slots__ = ("busy_since", "current", "done")

    def __init__(self) -> None:
        self.done: Position | None = None
        self.current: Record | None = None
        self.busy_since: float | None = None

    @property
    def position(self) -> Position | None:
        """The highest position up to which the handler is done."""
        done, current = self.done, self.current
        if current is None:
            return done
        position = current.position
        return position if done is None else max(done, position)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one reading's delivery works with; `counted` is called, with a number, for records that are done."""

    context: Context
    spec: HandlerSpec
    keeper: Keeper
    threads: Threads
    stopping: asyncio.Event
    counted: Callable[[int], None]
    session: Session | None = None
    keys: KeyParking | None = None


class Calls(ABC):
    """The calls of one handler for one shard.

    `counts` says that the kind itself calls `counted` for each record; `offer` is what a pulling program was offered.
    """

    counts = False
    offer: PulledBatch | None = None

    def __init__(self, work: Work) -> None:
        self._work = work
        self._spec = work.spec
        self._monotonic = work.context.runtime.monotonic

    @abstractmethod
    async def batch(self, rest: Batch, progress: Progress) -> Position | None:
        """Have the handler go through `rest`, or its first part; return where that ends, dropped records included.

        None where it ended before: then `progress` says how far it came, as it does after an error. Raises what the
        handler raised, or `Withdrawn`.
        """


class RecordCalls(Calls):
    """The calls of a handler of records, which can be called for a single one, too."""

    @abstractmethod
    async def record(self, record: Record, begun: Callable[[], None]) -> None:
        """Have the handler take one record; `begun` is called when it does. Raises as `batch`."""


class _OnLoop(RecordCalls):
    """An asynchronous handler of records."""

    counts = True

    async def batch(self, rest: Batch, progress: Progress) -> Position | None:
        """Call it for one record after another, the lease checked before each."""
        call, lease, stopping = self._spec.call, self._work.keeper.lease, self._work.stopping.is_set
        monotonic, counted = self._monotonic, self._work.counted
        turn = monotonic() + _TURN_S
        for record in rest:
            now = monotonic()
            if now > turn:
                await asyncio.sleep(0)
                now = monotonic()
                turn = now + _TURN_S
            if stopping() or not lease.is_valid(now):
                return None
            progress.busy_since = now
            await call(record)
            progress.current = record
            counted(1)
        return rest.last

    async def record(self, record: Record, begun: Callable[[], None]) -> None:
        """Call it."""
        begun()
        await self._spec.call(record)


class _OnThread(RecordCalls):
    """A blocking handler of records."""

    counts = True

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        settings = work.context.config.delivery
        self._tell_records = settings.checkpoint_records or inf
        self._tell_s = settings.checkpoint_s or inf
        self._untold = 0

    async def batch(self, rest: Batch, progress: Progress) -> Position | None:
        """Call it for one record after another, on one thread."""
        loop = asyncio.get_running_loop()

        def tell(records: int) -> None:
            loop.call_soon_threadsafe(self._work.counted, records)

        self._untold = 0
        error, through = await self._work.threads.run(self._each, rest, progress, tell)
        self._work.counted(self._untold)
        if error is not None:
            raise error
        return rest.last if through else None

    def _each(self, rest: Batch, progress: Progress, tell: Callable[[int], None]) -> tuple[Exception | None, bool]:
        """Run on a thread: one hop for the whole batch, the lease checked before each record all the same."""
        function, lease, stopping = self._spec.function, self._work.keeper.lease, self._work.stopping.is_set
        monotonic = self._monotonic
        told_at = monotonic()
        try:
            for record in rest:
                now = monotonic()
                if stopping() or not lease.is_valid(now):
                    return None, False
                if self._untold >= self._tell_records or now - told_at >= self._tell_s:
                    tell(self._untold)
                    self._untold, told_at = 0, now
                progress.busy_since = now
                function(record)
                progress.current = record
                self._untold += 1
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its failure, and is retried.
            return error, False
        return None, True

    async def record(self, record: Record, begun: Callable[[], None]) -> None:
        """Call it on a thread."""
        begun()
        await self._work.threads.run(self._spec.function, record)


class _Whole(Calls):
    """A handler of batches, asynchronous or blocking."""

    async def batch(self, rest: Batch, progress: Progress) -> Position | None:
        """Call it once, for what can be decoded."""
        del progress
        part, given = self._spec.prepare(rest)
        if self._spec.blocking:
            await self._work.threads.run(self._spec.function, given)
        else:
            await self._spec.call(given)
        return part.last


class _Processor(Calls):
    """A processor, which checkpoints itself."""

    def __init__(self, work: Work, session: Session) -> None:
        super().__init__(work)
        self._session = session

    async def batch(self, rest: Batch, progress: Progress) -> Position | None:
        """Hand the batch over."""
        del progress
        await self._session.process(rest)
        return rest.last


class _Offered(Calls):
    """The program, which pulls batches."""

    def __init__(self, work: Work, feed: Feed) -> None:
        super().__init__(work)
        self._feed = feed

    async def batch(self, rest: Batch, progress: Progress) -> Position | None:
        """Offer the batch and wait until it is settled; nobody counts as busy before it is taken."""
        progress.busy_since = None
        offer = self.offer = self._feed.offer(rest)
        try:
            await offer.taken
            progress.busy_since = self._monotonic()
            error = await offer.settled()
        finally:
            self.offer = None
            offer.abandon()
        if error is not None:
            raise error
        return offer.batch.last


class _InProcess(RecordCalls):
    """A handler in processes of its own; how far it got is known all the while."""

    def __init__(self, work: Work, pool: ProcessPool) -> None:
        super().__init__(work)
        self._pool = pool
        self.counts = not work.spec.takes_batch

    async def batch(self, rest: Batch, progress: Progress) -> Position | None:
        """Have a process handle the batch."""
        progress.busy_since = None  # Not before a process is free.
        reached = 0

        def reach(count: int) -> None:
            nonlocal reached
            if count > reached or progress.busy_since is None:
                progress.busy_since = self._monotonic()
            if count > reached:
                progress.done = rest.head(count).last
                if self.counts:
                    self._work.counted(count - reached)
            reached = count

        failure = await self._pool.call(rest, until=self._until, progress=reach)
        if failure is not None:
            raise failure
        return None

    async def record(self, record: Record, begun: Callable[[], None]) -> None:
        """Have a process handle the record; waiting for one that is free is not having begun."""
        done = 0

        def reach(count: int) -> None:
            nonlocal done
            done = count
            begun()

        failure = await self._pool.call(record, until=lambda: self._work.keeper.lease.delivers_until, progress=reach)
        if failure is not None:
            raise failure
        if not done:
            raise Withdrawn

    def _until(self) -> float:
        """Until when records may be begun elsewhere."""
        return -inf if self._work.stopping.is_set() else self._work.keeper.lease.delivers_until


def calls_of(work: Work) -> Calls:
    """Return how the handler that `work` describes is called."""
    spec = work.spec
    if spec.feed is not None:
        return _Offered(work, spec.feed)
    if spec.pool is not None:
        return _InProcess(work, spec.pool)
    if work.session is not None:
        return _Processor(work, work.session)
    if spec.takes_batch:
        return _Whole(work)
    return _OnThread(work) if spec.blocking else _OnLoop(work)
