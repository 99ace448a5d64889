"""Reads one shard by enhanced fan-out: makes the connections `ShardSubscription` decides, and takes their events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shardline.common.errors import InUse, NotFound, ProtocolViolation, Rejected, ServiceError
from shardline.common.ports.kinesis import GetRecordsPage
from shardline.consumer.driver.context import pause
from shardline.consumer.driver.reader import ROOM_POLL_S, Reached, Reader, ShardOver, Switched, Unreadable
from shardline.consumer.driver.registration import may_not_subscribe, renew_consumer
from shardline.consumer.retrieval.fanout import ShardSubscription

if TYPE_CHECKING:
    from shardline.common.ports.kinesis import KinesisApi, StartAt, SubscribeEvent
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.sync import ShardSync
    from shardline.consumer.leases.row import LeaseRow

__all__ = ["FanOutReader"]

_SILENCE_S: Final = 30.0  # The service sends an event, empty if need be, every few seconds.


class FanOutReader(Reader):
    """Reads one shard by SubscribeToShard, over a client whose pool fits all subscriptions."""

    def __init__(
        self, context: Context, plan: StreamPlan, row: LeaseRow, start: StartAt, sync: ShardSync, kinesis: KinesisApi
    ) -> None:
        runtime = context.runtime
        self._subscription = ShardSubscription(start, context.config.polling, runtime.random, runtime.monotonic())
        self._kinesis = kinesis
        super().__init__(context, plan, row, self._subscription, sync)

    async def run(self) -> None:
        """Read until the shard's end is queued, or that polling must go on because there is no consumer any more."""
        runtime, subscription = self._context.runtime, self._subscription
        while True:
            await self._context.streams.readable(self._plan)
            if self._context.streams.consumer_arn(self._plan) is None:
                self._queue.put_nowait(Switched())
                return
            now = runtime.monotonic()
            start = subscription.next_start(now)
            if start is None:
                due = subscription.next_wakeup()
                await pause(self._room, ROOM_POLL_S if due is None else max(0.0, due - now))
                continue
            self.last_progress = now
            over = await self._connect(start)
            if over is not None:
                self._queue.put_nowait(over)
                return

    async def _connect(self, start: StartAt) -> ShardOver | Reached | Unreadable | None:
        subscription, runtime = self._subscription, self._context.runtime
        try:
            return await self._take_events(start)
        except NotFound as error:
            self._context.report("shard.subscribe", error, self._row.key)
            return await self._not_found()
        except (ServiceError, ProtocolViolation) as error:
            self._context.report("shard.subscribe", error, self._row.key)
            arn = self._context.streams.consumer_arn(self._plan)
            if isinstance(error, ServiceError) and (
                arn is None or await may_not_subscribe(self._context, self._plan, arn, error)
            ):
                return None  # The next turn switches to polling.
            subscription.on_failed(runtime.monotonic(), in_use=isinstance(error, InUse))
            if isinstance(error, Rejected):
                self._context.streams.doubt(self._plan, position_refused=True)
                return self._refused()
            return None

    async def _not_found(self) -> ShardOver | None:
        """Find out what is not there: the consumer (then there is another one, or polling), or the shard."""
        context, arn = self._context, self._context.streams.consumer_arn(self._plan)
        try:
            if arn is None or await renew_consumer(context, self._plan, arn) != arn:
                self._subscription.on_closed(context.runtime.monotonic())
                return None
        except (ServiceError, ProtocolViolation) as error:
            context.report("consumer.renew", error, self._row.key)
        return await self._missing()

    async def _take_events(self, start: StartAt) -> ShardOver | Reached | None:
        """Take events until the connection ends, or one cannot be believed; returns the shard's end if it came."""
        arn, subscription = self._context.streams.consumer_arn(self._plan), self._subscription
        assert arn is not None, "fan-out reads as a registered consumer"
        connecting = self._kinesis.subscribe_to_shard(arn, self._row.shard_id, start, timeout_s=_SILENCE_S)
        async with connecting as events:
            async for event in events:
                self._sought = False
                self.last_progress = self._context.runtime.monotonic()
                size = subscription.on_event(event)
                if size is None:
                    raise ProtocolViolation("an event does not lie above those before it")
                page = _page(event)
                self._take(page, size)
                if subscription.ended:
                    return await self._end(page)
                quiet = self._quiet(page, self._context.runtime.wall())
                if quiet is not None:
                    return quiet
                while not subscription.has_room:
                    await pause(self._room, ROOM_POLL_S)
        subscription.on_closed(self._context.runtime.monotonic())
        return None


def _page(event: SubscribeEvent) -> GetRecordsPage:
    return GetRecordsPage(event.records, None, event.millis_behind_latest, event.child_shards)
