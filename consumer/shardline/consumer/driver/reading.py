"""One uninterrupted reading of a shard: a reader, and the delivery of what it reads, from one position on.

A tenure of a lease is one reading after another: a pause or a seek ends one, and the next begins where orders say.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shardline.common.records import SHARD_END, Position
from shardline.consumer.driver.context import supervise
from shardline.consumer.driver.delivery import Delivery
from shardline.consumer.driver.reader import Fetched, Reached, ShardOver, Switched
from shardline.consumer.events import PositionTrimmed, ShardMoved
from shardline.consumer.sought import RecordsSkipped, SeekRefused, ShardSought
from shardline.consumer.steering import SeekRefusal, Skipped, Sought

if TYPE_CHECKING:
    from shardline.common.ports.kinesis import GetRecordsPage
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.keeper import Keeper
    from shardline.consumer.driver.key_parking import KeyParking
    from shardline.consumer.driver.reader import Got, Reader
    from shardline.consumer.driver.session import Session
    from shardline.consumer.driver.threads import Threads
    from shardline.consumer.steering import Course, Read

__all__ = ["Reading"]


class Reading:
    """Reads and delivers one shard until its end, or until `stop`.

    `above` are positions that an earlier reading has done above the first that it had not: they are not delivered.
    """

    def __init__(
        self,
        context: Context,
        plan: StreamPlan,
        keeper: Keeper,
        reader: Reader,
        *,
        course: Course,
        read: Read,
        threads: Threads,
        session: Session | None,
        keys: KeyParking | None,
        above: frozenset[Position],
    ) -> None:
        self._context = context
        self._plan = plan
        self._row = keeper.lease.row
        self._token = keeper.lease.token
        self._course = course
        self._read = read
        self._arrived = False
        self._stopping = asyncio.Event()
        self.refused = self.interrupted = False
        self.switched = False
        self._reader = reader
        self.delivery = Delivery(
            context, plan, keeper, read.after, threads=threads, session=session, keys=keys, above=above
        )

    def stop(self) -> None:
        """Let the handler call that is running end, and deliver nothing further."""
        self._stopping.set()
        self._reader.interrupt()
        self.delivery.stop()

    async def run(self) -> ShardOver | Reached | None:
        """Read and deliver; returns the shard's end or bound, or None when stopped, or led where it must not read."""
        context, name = self._context, f"read {self._row.key}"
        self._reader.seek(self._read.start, sought=self._read.sought)
        async with asyncio.TaskGroup() as group:
            reading = context.runtime.spawn(group, supervise(context, name, self._reader.work), name=name)
            try:
                return await self._deliver()
            finally:
                reading.cancel()

    async def _deliver(self) -> ShardOver | Reached | None:
        while True:
            got = await self._next()
            if not isinstance(got, Fetched):
                return self._ended(got)
            if not self._arrive(got):
                return None
            pages, ended = await self._more(got)
            page, beyond = self._within(_joined(pages))
            if not await self.delivery.deliver(page):
                return None
            if beyond:
                return Reached()
            for one in pages:
                self._reader.consumed(one)
            if ended is not None:
                return self._ended(ended)

    def _within(self, page: GetRecordsPage) -> tuple[GetRecordsPage, bool]:
        """Return what of a page lies within the run's bounds, and whether it leads beyond."""
        bounds = self._context.bounds
        beyond = None if bounds is None else bounds.first_beyond(self._row.shard_id, page.records)
        return (page, False) if beyond is None else (page._replace(records=page.records[:beyond]), True)

    def _ended(self, got: Got | None) -> ShardOver | Reached | None:
        """Return the shard's end, or the run's bound; anything else that is no page ends this reading without one."""
        if isinstance(got, Reached):
            return got
        self.switched = isinstance(got, Switched)
        if got is None or isinstance(got, Switched) or not self._arrive(got):
            return None
        return got if isinstance(got, ShardOver) else None

    async def _more(self, first: Fetched) -> tuple[list[Fetched], Got | None]:
        """Return the page with those that follow it in the time in which pulled batches may grow."""
        pages, feed, monotonic = [first], self._plan.handler.feed, self._context.runtime.monotonic
        if feed is None or feed.records_max is None:
            return pages, None
        until, room = monotonic() + feed.wait_s, feed.records_max - len(first.page.records)
        while room > 0 and (left := until - monotonic()) > 0:
            got = await self._next(left)
            if not isinstance(got, Fetched):
                return pages, got
            pages.append(got)
            room -= len(got.page.records)
        return pages, None

    async def _next(self, within_s: float | None = None) -> Got | None:
        """Return what the reader has next, or None as soon as a stop is asked for, or after `within_s`."""
        if self._stopping.is_set():
            return None
        try:
            async with asyncio.timeout(within_s):
                got = await self._reader.next()
        except TimeoutError:
            return None
        return None if self._stopping.is_set() else got

    # --- the first that is read --------------------------------------------------------------------------------------

    def _arrive(self, got: Got) -> bool:
        """Judge the first thing that is read; False where a seek led to it and must not be followed."""
        if self._arrived:
            return True
        self._arrived = True
        arrival = self._first(got) if isinstance(got, Fetched | ShardOver) else self._course.on_unreadable()
        self._tell(arrival)
        self.refused = isinstance(arrival, SeekRefusal)
        return not self.refused

    def _first(self, got: Fetched | ShardOver) -> Sought | Skipped | SeekRefusal | None:
        first = SHARD_END if isinstance(got, ShardOver) else Position(int(got.page.records[0].sequence_number))
        self._check_trimmed(first)
        return self._course.on_first(first)

    def _check_trimmed(self, first: Position) -> None:
        """Say so when the record at the checkpoint is gone: what followed it may be gone as well."""
        expected, after = self._read.expected, self._read.after
        if expected is not None and first != SHARD_END and first.sequence_number != expected:
            self._context.events.emit(
                PositionTrimmed(lease=self._row.key, checkpoint=str(after), resumed_at=str(first.sequence_number))
            )

    def _tell(self, arrival: Sought | Skipped | SeekRefusal | None) -> None:
        emit, lease = self._context.events.emit, self._row.key
        if isinstance(arrival, SeekRefusal):
            emit(SeekRefused(lease=lease, mark=_text(arrival.mark), found=_text(arrival.first)))
            return
        if isinstance(arrival, Sought):
            emit(ShardSought(lease=lease, token=self._token, mark=_text(arrival.mark), first=str(arrival.first)))
        elif isinstance(arrival, Skipped):
            emit(RecordsSkipped(lease=lease, token=self._token, after=_text(arrival.after), before=str(arrival.before)))
        if arrival is not None:
            emit(ShardMoved(lease=lease, state="processing"))


def _text(position: Position | None) -> str:
    return "" if position is None else str(position)


def _joined(pages: list[Fetched]) -> GetRecordsPage:
    """Return consecutive pages as one."""
    if len(pages) == 1:
        return pages[0].page
    records = [record for page in pages for record in page.page.records]
    return pages[-1].page._replace(records=records)
