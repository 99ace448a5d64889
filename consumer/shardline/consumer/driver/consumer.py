"""One shard's consumer in one tenure of its lease: waits for parents, reads, delivers, and finishes the shard.

It follows the table of `shards`; every step is re-entrant, because a crash between any two of them leaves the rest to
the next owner (F31): children are created before the parent is checkpointed at SHARD_END, each only if missing.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from shardline.common.backoff import Backoff
from shardline.common.errors import ProtocolViolation, ServiceError
from shardline.common.ports.kinesis import StartKind
from shardline.common.ports.lease_store import Key
from shardline.common.records import SHARD_END, Position
from shardline.consumer.driver.context import supervise
from shardline.consumer.driver.delivery import Delivery
from shardline.consumer.driver.fanout import FanOutReader
from shardline.consumer.driver.polling import PollingReader
from shardline.consumer.driver.reader import ShardOver
from shardline.consumer.events import PositionTrimmed, ShardEnded, ShardMoved
from shardline.consumer.leases.row import LEASE_KEY, LeaseRow, Quarantined, read_row
from shardline.consumer.lineage import blocking_parents
from shardline.consumer.retrieval.polling import starting_at
from shardline.consumer.shards import ShardEvent, ShardLife, ShardState, StopReason

if TYPE_CHECKING:
    from shardline.common.ports.kinesis import GetRecordsPage, StartAt
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.keeper import Keeper
    from shardline.consumer.driver.reader import Fetched, Reader
    from shardline.consumer.driver.session import Session
    from shardline.consumer.driver.sync import ShardSync

__all__ = ["ShardConsumer"]

_FINISH_BACKOFF: Final = Backoff(first_s=0.2, max_s=5.0, floor=0.5)


class ShardConsumer:
    """Consumes one shard from its stored checkpoint; `run` returns at the shard's end or after `stop`."""

    def __init__(self, context: Context, plan: StreamPlan, keeper: Keeper, sync: ShardSync) -> None:
        self.life = ShardLife()
        self.delivery: Delivery | None = None
        self.reader: Reader | None = None
        self._context = context
        self._plan = plan
        self._keeper = keeper
        self._sync = sync
        self._row = keeper.lease.row
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let the handler call that is running end, and deliver nothing further."""
        self._stopping.set()
        if self.delivery is not None:
            self.delivery.stop()

    def lease_lost(self) -> None:
        """Note that the lease is gone; the task that runs this consumer is cancelled beside."""
        self.life.stop(StopReason.LEASE_LOST)
        if self.delivery is not None:
            self.delivery.close()

    @property
    def done(self) -> Position | None:
        """How far the handler got in this tenure."""
        return None if self.delivery is None else self.delivery.done

    async def run(self) -> None:
        """Consume until the shard's end stands in the table, or `stop` was asked for and the handler returned."""
        if self._row.checkpoint == SHARD_END:
            self._shut_down(StopReason.SHARD_END)
            return
        if not await self._parents_done():
            self._shut_down(StopReason.REQUESTED)
            return
        self._move(ShardEvent.PARENTS_DONE)
        over = await self._consume()
        finished = over is not None and await self._finish_surely(over)
        if not finished and self._session is not None:
            await self._session.request_shutdown()
        self._shut_down(StopReason.SHARD_END if finished else StopReason.REQUESTED)

    @property
    def _session(self) -> Session | None:
        return None if self.delivery is None else self.delivery.session

    async def close(self) -> None:
        """Say to a processor that its tenure is over, once nothing of it runs any more."""
        if self._session is not None:
            await self._session.close()

    # --- parents -----------------------------------------------------------------------------------------------------

    async def _parents_done(self) -> bool:
        while not self._stopping.is_set():
            if not await self._blocking():
                return True
            await self._pause(self._context.config.leases.parent_poll_s)
        return False

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until a stop is asked for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _blocking(self) -> bool:
        """Say whether some parent is not finished, or cannot be judged now."""
        rows: dict[str, LeaseRow | None] = {}
        for parent in self._row.parents:
            key = self._row.sibling_key(parent)
            try:
                item = await self._context.store.get(
                    self._context.table,
                    Key(LEASE_KEY, key),
                    consistent=True,
                    timeout_s=self._context.times.timeout_s,
                )
            except (ServiceError, ProtocolViolation) as error:
                self._context.report("lease.parent", error, self._row.key)
                return True
            row = None if item is None else read_row(item)
            if isinstance(row, Quarantined):
                return True
            rows[key] = row
        return bool(blocking_parents(self._row, rows))

    # --- reading and delivering --------------------------------------------------------------------------------------

    async def _consume(self) -> ShardOver | None:
        context, checkpoint = self._context, self._row.checkpoint
        start = self._start()
        reader = self._reader(start)
        after = None if checkpoint.is_sentinel else checkpoint
        delivery = Delivery(context, self._plan, self._keeper, after)
        self.reader, self.delivery = reader, delivery
        if self._stopping.is_set():
            delivery.stop()
        if delivery.keys is not None and not await delivery.keys.begin():
            return None
        if delivery.session is not None and not await delivery.session.begin():
            return None
        self._move(ShardEvent.INITIALIZED)
        async with asyncio.TaskGroup() as group:
            name = f"read {self._row.key}"
            reading = context.runtime.spawn(group, supervise(context, name, reader.run), name=name)
            try:
                return await self._deliver(reader, delivery, start)
            finally:
                reading.cancel()

    def _reader(self, start: StartAt) -> Reader:
        context, plan = self._context, self._plan
        if plan.consumer_arn is None or context.fan_out is None:
            return PollingReader(context, plan, self._row, start, self._sync)
        return FanOutReader(context, plan, self._row, start, self._sync, context.fan_out)

    def _start(self) -> StartAt:
        start = self._plan.start
        timestamp_s = None if start is None else start.timestamp_s
        return starting_at(self._row.checkpoint, pin_s=self._row.latest_pin_s, timestamp_s=timestamp_s)

    async def _deliver(self, reader: Reader, delivery: Delivery, start: StartAt) -> ShardOver | None:
        unseen = start.kind is StartKind.AT_SEQUENCE_NUMBER
        while True:
            got = await self._next(reader)
            if got is None or isinstance(got, ShardOver):
                return got
            if unseen:
                unseen = False
                self._check_trimmed(got.page.records[0].sequence_number)
            pages, over = await self._more(reader, got)
            if not await delivery.deliver(_joined(pages)):
                return None
            for page in pages:
                reader.consumed(page)
            if over is not None:
                return over

    async def _more(self, reader: Reader, first: Fetched) -> tuple[list[Fetched], ShardOver | None]:
        """Return the page with those that follow it in the time in which pulled batches may grow."""
        pages, feed, monotonic = [first], self._plan.handler.feed, self._context.runtime.monotonic
        if feed is None or feed.records_max is None:
            return pages, None
        until, room = monotonic() + feed.wait_s, feed.records_max - len(first.page.records)
        while room > 0 and (left := until - monotonic()) > 0:
            got = await self._next(reader, left)
            if got is None or isinstance(got, ShardOver):
                return pages, got
            pages.append(got)
            room -= len(got.page.records)
        return pages, None

    async def _next(self, reader: Reader, within_s: float | None = None) -> Fetched | ShardOver | None:
        """Return what the reader has next, or None as soon as a stop is asked for, or after `within_s`."""
        if self._stopping.is_set():
            return None
        async with asyncio.TaskGroup() as group:
            getting = self._context.runtime.spawn(group, reader.next(), name=f"next {self._row.key}")
            stopping = self._context.runtime.spawn(group, self._stopping.wait(), name=f"stop {self._row.key}")
            await asyncio.wait((getting, stopping), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not getting.done():
                getting.cancel()
                return None
        return getting.result()

    def _check_trimmed(self, first: str) -> None:
        """Say so when the record at the checkpoint is gone: what followed it may be gone as well."""
        checkpoint = self._row.checkpoint
        if int(first) != checkpoint.sequence_number:
            self._context.events.emit(
                PositionTrimmed(lease=self._row.key, checkpoint=str(checkpoint), resumed_at=first)
            )

    # --- the end -----------------------------------------------------------------------------------------------------

    async def _finish_surely(self, over: ShardOver) -> bool:
        """Finish the shard, again after a failed call, or return False when a stop is asked for.

        Were the whole consumer begun anew instead, everything since the stored checkpoint would be delivered twice.
        """
        attempts = 0
        while not self._stopping.is_set():
            try:
                return await self._finish(over)
            except (ServiceError, ProtocolViolation) as error:
                attempts += 1
                self._context.report("shard.finish", error, self._row.key)
                await self._pause(_FINISH_BACKOFF.delay_s(attempts, self._context.runtime.random))
        return False

    async def _finish(self, over: ShardOver) -> bool:
        """Create what follows and store the end; False if a stop, or the loss of the lease, came first."""
        if over.gone:
            done = self.done or self._row.checkpoint
            self._context.events.emit(
                PositionTrimmed(lease=self._row.key, checkpoint=str(done), resumed_at="SHARD_END")
            )
        while await self._sync.merge_waits(self._plan, self._row, over.children):
            await self._pause(self._context.config.leases.parent_poll_s)
            if self._stopping.is_set():
                return False
        children = await self._sync.create_children(self._keeper.lease.row, over.children)
        if self._session is not None and not await self._session.end():
            return False
        stored = await self._keeper.checkpoint(SHARD_END)
        if stored:
            self._context.events.emit(ShardEnded(lease=self._row.key, children=children))
        return stored

    def _move(self, event: ShardEvent) -> None:
        self._moved(self.life.move(event))

    def _shut_down(self, reason: StopReason) -> None:
        self.life.stop(reason)
        self._moved(self.life.move(ShardEvent.FINISHED))

    def _moved(self, state: ShardState) -> None:
        self._context.events.emit(ShardMoved(lease=self._row.key, state=state.value))


def _joined(pages: list[Fetched]) -> GetRecordsPage:
    """Return consecutive pages as one."""
    if len(pages) == 1:
        return pages[0].page
    records = [record for page in pages for record in page.page.records]
    return pages[-1].page._replace(records=records)
