"""`KinesisApi` on the faulty network, as a simulated host sees it.

It wraps the in-process door and adds what can go wrong in an answer itself: failing entries, empty pages, shards and
children that are not listed yet, subscriptions that break.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from shardline.common.errors import Ambiguous, NotFound
from shardline.common.ports.kinesis import GetRecordsPage, PutOutcome, ShardPage
from shardline.local.sim.faults import Service
from shardline.local.sim.hosts import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from shardline.common.ports.kinesis import (
        ChildShard,
        ConsumerDescription,
        PutEntry,
        ShardFilter,
        StartAt,
        Stream,
        StreamSummary,
        SubscribeEvent,
    )
    from shardline.local.doors.kinesis import InProcessKinesis
    from shardline.local.sim.faults import Faults
    from shardline.local.sim.network import Network

__all__ = ["ENTRY_CODES", "SimKinesis"]

ENTRY_CODES: Final = (
    "ProvisionedThroughputExceededException",
    "InternalFailure",
    "KMSThrottlingException",
    "NewError2030",
)
"""What a failing entry of PutRecords may say; the last is a code that nobody knows yet."""


class SimKinesis:
    """`KinesisApi` through the network."""

    def __init__(self, network: Network, inner: InProcessKinesis) -> None:
        self._network = network
        self._inner = inner

    @property
    def _faults(self) -> Faults:
        return self._network.faults(Service.KINESIS)

    async def put_records(
        self, stream: Stream, entries: Sequence[PutEntry], *, timeout_s: float
    ) -> Sequence[PutOutcome]:
        """Store entries, some of which may fail by chance; see the port."""
        failing = self._failing(entries)
        sent = [entry for index, entry in enumerate(entries) if index not in failing]

        async def apply() -> Sequence[PutOutcome]:
            stored = iter(await self._inner.put_records(stream, sent, timeout_s=timeout_s) if sent else ())
            return [failing[i] if i in failing else next(stored) for i in range(len(entries))]

        return await self._network.call(Service.KINESIS, "PutRecords", apply, timeout_s)

    def _failing(self, entries: Sequence[PutEntry]) -> dict[int, PutOutcome]:
        network = self._network
        if not network.chance(self._faults.entries, "entries failed"):
            return {}
        share = min(1.0, network.draw_s(1.1))  # One in ten fails whole.
        code = ENTRY_CODES[int(network.draw_s(len(ENTRY_CODES)))]
        outcome = PutOutcome(None, None, code, "a simulated failure")
        return {index: outcome for index in range(len(entries)) if network.draw_s(1.0) < share}

    async def list_shards(
        self,
        stream: Stream,
        *,
        shard_filter: ShardFilter | None = None,
        next_token: str | None = None,
        timeout_s: float,
    ) -> ShardPage:
        """Return one page of shards, perhaps without the newest or with one twice; see the port."""

        async def apply() -> ShardPage:
            page = await self._inner.list_shards(
                stream, shard_filter=shard_filter, next_token=next_token, timeout_s=timeout_s
            )
            return self._distorted(page)

        return await self._network.call(Service.KINESIS, "ListShards", apply, timeout_s)

    def _distorted(self, page: ShardPage) -> ShardPage:
        shards = list(page.shards)
        young = [s for s in shards if s.parent_shard_ids and s.is_open]
        if young and self._network.chance(self._faults.shards_hidden, "shard not listed yet"):
            newest = max(young, key=lambda s: s.shard_id)
            shards.remove(newest)
        if shards and self._network.chance(self._faults.shards_doubled, "shard listed twice"):
            shards.append(shards[int(self._network.draw_s(len(shards)))])
        return ShardPage(shards, page.next_token)

    async def describe_stream_summary(self, stream: Stream, *, timeout_s: float) -> StreamSummary:
        """Return the stream's summary; see the port."""
        return await self._network.call(
            Service.KINESIS,
            "DescribeStreamSummary",
            lambda: self._inner.describe_stream_summary(stream, timeout_s=timeout_s),
            timeout_s,
        )

    async def get_shard_iterator(self, stream: Stream, shard_id: str, start: StartAt, *, timeout_s: float) -> str:
        """Return an iterator; see the port."""

        async def apply() -> str:
            self._lose_shard(shard_id)
            return await self._inner.get_shard_iterator(stream, shard_id, start, timeout_s=timeout_s)

        return await self._network.call(Service.KINESIS, "GetShardIterator", apply, timeout_s)

    def _lose_shard(self, shard_id: str) -> None:
        if self._network.chance(self._faults.not_found, "shard not found although it exists"):
            raise NotFound("ResourceNotFoundException", f"shard {shard_id} is not found (simulated)")

    async def get_records(self, stream: Stream, iterator: str, *, limit: int, timeout_s: float) -> GetRecordsPage:
        """Return records, or an empty page although there are some; see the port."""

        async def apply() -> GetRecordsPage:
            self._lose_shard("of the iterator")
            if self._network.chance(self._faults.empty_pages, "empty page before the end"):
                return GetRecordsPage((), iterator, 1000)
            page = await self._inner.get_records(stream, iterator, limit=limit, timeout_s=timeout_s)
            if page.child_shards and self._network.chance(self._faults.children_hidden, "shard end told in part"):
                return page._replace(child_shards=self._partly(page.child_shards))
            return page

        return await self._network.call(Service.KINESIS, "GetRecords", apply, timeout_s)

    def _partly(self, children: Sequence[ChildShard]) -> Sequence[ChildShard]:
        """Return no children, or a merged one with one of its parents missing (F16)."""
        if len(children) == 1 and self._network.chance(0.5, "child without its second parent"):
            return [children[0]._replace(parent_shard_ids=children[0].parent_shard_ids[:1])]
        return ()

    async def register_stream_consumer(self, stream_arn: str, name: str, *, timeout_s: float) -> ConsumerDescription:
        """Register a consumer; see the port."""
        return await self._network.call(
            Service.KINESIS,
            "RegisterStreamConsumer",
            lambda: self._inner.register_stream_consumer(stream_arn, name, timeout_s=timeout_s),
            timeout_s,
        )

    async def describe_stream_consumer(self, stream_arn: str, name: str, *, timeout_s: float) -> ConsumerDescription:
        """Return a registered consumer; see the port."""
        return await self._network.call(
            Service.KINESIS,
            "DescribeStreamConsumer",
            lambda: self._inner.describe_stream_consumer(stream_arn, name, timeout_s=timeout_s),
            timeout_s,
        )

    async def deregister_stream_consumer(self, stream_arn: str, name: str, *, timeout_s: float) -> None:
        """Remove a registered consumer; see the port."""
        await self._network.call(
            Service.KINESIS,
            "DeregisterStreamConsumer",
            lambda: self._inner.deregister_stream_consumer(stream_arn, name, timeout_s=timeout_s),
            timeout_s,
        )

    @asynccontextmanager
    async def subscribe_to_shard(
        self, consumer_arn: str, shard_id: str, start: StartAt, *, timeout_s: float
    ) -> AsyncIterator[AsyncIterator[SubscribeEvent]]:
        """Subscribe through the network; see the port. Connecting may fail as any call, events may stop coming."""

        async def connect() -> None:
            self._lose_shard(shard_id)

        await self._network.call(Service.KINESIS, "SubscribeToShard", connect, timeout_s)
        host = HOST.get()
        async with self._inner.subscribe_to_shard(consumer_arn, shard_id, start, timeout_s=timeout_s) as events:
            self._network.subscriptions[host] += 1
            try:
                yield self._events(events, timeout_s)
            finally:
                self._network.subscriptions[host] -= 1

    async def _events(self, events: AsyncIterator[SubscribeEvent], timeout_s: float) -> AsyncIterator[SubscribeEvent]:
        async for event in events:
            if self._network.chance(self._faults.broken, "subscription broken"):
                await asyncio.sleep(self._network.draw_s(timeout_s))
                raise Ambiguous("ConnectionReset", "the simulated subscription broke")
            await asyncio.sleep(self._network.latency_s(Service.KINESIS))
            yield event
