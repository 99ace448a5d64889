"""Reads one shard by polling: performs what `ShardPolling` decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common.errors import IteratorExpired, NotFound, ProtocolViolation, Rejected, ServiceError
from shardline.consumer.driver.context import pause
from shardline.consumer.driver.reader import ROOM_POLL_S, Reached, Reader, ShardOver, Unreadable
from shardline.consumer.retrieval.polling import FetchIterator, FetchRecords, ShardPolling
from shardline.consumer.rounds import PageRead

if TYPE_CHECKING:
    from shardline.common.ports.kinesis import StartAt
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.sync import ShardSync
    from shardline.consumer.leases.row import LeaseRow

__all__ = ["PollingReader"]


class PollingReader(Reader):
    """Reads one shard by GetRecords."""

    def __init__(self, context: Context, plan: StreamPlan, row: LeaseRow, start: StartAt, sync: ShardSync) -> None:
        runtime = context.runtime
        self._polling = ShardPolling(start, context.config.polling, runtime.random, runtime.monotonic())
        super().__init__(context, plan, row, self._polling, sync)

    async def run(self) -> None:
        """Read until the shard's end is queued."""
        runtime, polling = self._context.runtime, self._polling
        while True:
            await self._context.streams.readable(self._plan)
            now = runtime.monotonic()
            call = polling.next_call(now)
            if call is None:
                due = polling.next_wakeup(now)
                await pause(self._room, ROOM_POLL_S if due is None else max(0.0, due - now))
                continue
            self.last_progress = now
            over = await self._perform(call)
            if over is not None:
                self._queue.put_nowait(over)
                return

    async def _perform(self, call: FetchIterator | FetchRecords) -> ShardOver | Reached | Unreadable | None:
        try:
            if isinstance(call, FetchIterator):
                await self._fetch_iterator(call)
                return None
            return await self._fetch_records(call)
        except NotFound as error:
            self._context.report("shard.read", error, self._row.key)
            return await self._missing()
        except (IteratorExpired, Rejected) as error:
            self._context.report("shard.read", error, self._row.key)
            if isinstance(error, Rejected) and isinstance(call, FetchIterator):
                self._context.streams.doubt(self._plan, position_refused=True)
            self._polling.on_iterator_lost(self._context.runtime.monotonic())
            return self._refused() if isinstance(call, FetchIterator) and isinstance(error, Rejected) else None
        except (ServiceError, ProtocolViolation) as error:
            self._context.report("shard.read", error, self._row.key)
            throttled = isinstance(error, ServiceError) and error.throttled and isinstance(call, FetchRecords)
            failed = self._polling.on_throttled if throttled else self._polling.on_failed
            failed(self._context.runtime.monotonic())
        return None

    async def _fetch_iterator(self, call: FetchIterator) -> None:
        iterator = await self._context.kinesis.get_shard_iterator(
            self._plan.stream, self._row.shard_id, call.start, timeout_s=self._context.config.polling.timeout_s
        )
        self._polling.on_iterator(iterator, self._context.runtime.monotonic())

    async def _fetch_records(self, call: FetchRecords) -> ShardOver | Reached | None:
        context = self._context
        started, asked_s = context.runtime.monotonic(), context.runtime.wall()
        page = await context.kinesis.get_records(
            self._plan.stream, call.iterator, limit=call.limit, timeout_s=context.config.polling.timeout_s
        )
        self._sought = False
        now = context.runtime.monotonic()
        size = self._polling.on_page(page, now)
        context.events.emit(PageRead(lease=self._row.key, records=len(page.records), seconds=now - started))
        self._take(page, size)
        return await self._end(page) if page.next_iterator is None else self._quiet(page, asked_s)
