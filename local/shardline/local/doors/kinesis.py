"""`InProcessKinesis`: the `KinesisApi` port on a `KinesisState`, deterministic given its clock; it starts no thread."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from shardline.common.ports.kinesis import ConsumerDescription, StreamSummary
from shardline.local.doors.translate import translate
from shardline.local.state.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from shardline.common.ports.kinesis import (
        GetRecordsPage,
        PutEntry,
        PutOutcome,
        ShardFilter,
        ShardPage,
        StartAt,
        Stream,
        SubscribeEvent,
    )
    from shardline.local.state.consumer import Consumer, Subscription
    from shardline.local.state.core import KinesisState

__all__ = ["InProcessKinesis"]


class InProcessKinesis:
    """Kinesis without a network; `clock` gives epoch seconds. Time-outs never fire: an answer is there at once.

    May be used from several threads: calls take turns under one lock per door.
    """

    def __init__(self, state: KinesisState, clock: Callable[[], float], lock: threading.RLock | None = None) -> None:
        self.state = state
        self._clock = clock
        self._lock = lock or threading.RLock()

    @contextmanager
    def _turn(self) -> Iterator[float]:
        """Give the caller its turn and the time; refusals leave as errors of our tree."""
        with self._lock:
            try:
                yield self._clock()
            except Refusal as refusal:
                raise translate(refusal) from refusal

    async def put_records(
        self, stream: Stream, entries: Sequence[PutEntry], *, timeout_s: float
    ) -> Sequence[PutOutcome]:
        """Store the entries; see the port."""
        del timeout_s
        with self._turn() as now:
            return self.state.put_records(stream, entries, now=now)

    async def list_shards(
        self,
        stream: Stream,
        *,
        shard_filter: ShardFilter | None = None,
        next_token: str | None = None,
        timeout_s: float,
    ) -> ShardPage:
        """Return one page of shards; see the port."""
        del timeout_s
        with self._turn() as now:
            if next_token is not None:
                return self.state.list_shards(None, now=now, next_token=next_token)
            return self.state.list_shards(stream, now=now, shard_filter=shard_filter)

    async def describe_stream_summary(self, stream: Stream, *, timeout_s: float) -> StreamSummary:
        """Return the stream's summary; see the port."""
        del timeout_s
        with self._turn() as now:
            found = self.state.resolve(stream, now)
            self.state.admit("DescribeStreamSummary", found.name, now)
            return StreamSummary(
                found.name,
                found.arn,
                found.status,
                found.created_s,
                found.retention_hours,
                len(found.open),
                found.on_demand,
                found.record_bytes_max,
                found.distribution,
            )

    async def get_shard_iterator(self, stream: Stream, shard_id: str, start: StartAt, *, timeout_s: float) -> str:
        """Return an iterator; see the port."""
        del timeout_s
        with self._turn() as now:
            return self.state.get_shard_iterator(stream, shard_id, start, now=now)

    async def get_records(self, stream: Stream, iterator: str, *, limit: int, timeout_s: float) -> GetRecordsPage:
        """Return records; see the port."""
        del timeout_s
        with self._turn() as now:
            return self.state.get_records(iterator, now=now, limit=limit, stream=stream)

    async def register_stream_consumer(self, stream_arn: str, name: str, *, timeout_s: float) -> ConsumerDescription:
        """Register a consumer; see the port."""
        del timeout_s
        with self._turn() as now:
            return _described(self.state.register_consumer(stream_arn, name, now=now), now)

    async def describe_stream_consumer(self, stream_arn: str, name: str, *, timeout_s: float) -> ConsumerDescription:
        """Return a registered consumer; see the port."""
        del timeout_s
        with self._turn() as now:
            return _described(self.state.find_consumer(stream_arn=stream_arn, name=name, now=now), now)

    async def deregister_stream_consumer(self, stream_arn: str, name: str, *, timeout_s: float) -> None:
        """Remove a registered consumer; see the port."""
        del timeout_s
        with self._turn() as now:
            found = self.state.find_consumer(stream_arn=stream_arn, name=name, now=now)
            self.state.deregister_consumer(found, now=now)

    @asynccontextmanager
    async def subscribe_to_shard(
        self, consumer_arn: str, shard_id: str, start: StartAt, *, timeout_s: float
    ) -> AsyncIterator[AsyncIterator[SubscribeEvent]]:
        """Subscribe; see the port. The iterator ends with the subscription, an exception event raises its error."""
        del timeout_s
        with self._turn() as now:
            subscription = self.state.subscribe(consumer_arn, shard_id, start, now=now)
        try:
            yield self._events(subscription)
        finally:
            with self._lock:
                subscription.close()

    async def _events(self, subscription: Subscription) -> AsyncIterator[SubscribeEvent]:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            subscription.watch(lambda: _wake(loop, ready))
        while True:
            ready.clear()
            with self._turn() as now:
                event = subscription.poll(now)
                wait_s = max(0.0, subscription.next_wakeup() - now)
            if event is not None:
                yield event
            elif not subscription.ended:
                await _wait(ready, wait_s)
            if subscription.ended:
                break
        if subscription.error is not None:
            raise translate(Refusal(subscription.error, "The subscription has ended."))


async def _wait(ready: asyncio.Event, wait_s: float) -> None:
    try:
        async with asyncio.timeout(wait_s):
            await ready.wait()
    except TimeoutError:
        return


def _wake(loop: asyncio.AbstractEventLoop, ready: asyncio.Event) -> None:
    """Set `ready` from whichever loop or thread writes."""
    try:
        here = asyncio.get_running_loop() is loop
    except RuntimeError:
        here = False
    if here:
        ready.set()
    elif not loop.is_closed():
        loop.call_soon_threadsafe(ready.set)


def _described(consumer: Consumer, now: float) -> ConsumerDescription:
    return ConsumerDescription(consumer.name, consumer.arn, consumer.status(now), consumer.created_s)
