"""The ports on the faulty network: `KinesisApi`, `LeaseStore` and `MetricsApi` as a simulated host sees them.

Each wraps an in-process door and adds what can go wrong in an answer itself: failing entries, empty pages, shards and
children not listed yet, stale reads. Who calls is known from the running task's host.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from shardline.common.errors import Ambiguous, NotFound
from shardline.common.ports.kinesis import GetRecordsPage, PutOutcome, ShardPage
from shardline.local.doors.kinesis import InProcessKinesis
from shardline.local.doors.lease_store import MemoryLeaseStore
from shardline.local.doors.services import MemoryMetrics
from shardline.local.doors.storage import MemoryObjects, MemoryQueues
from shardline.local.sim.hosts import HOST
from shardline.local.sim.network import Service
from shardline.local.sim.side_doors import SimMetrics, SimObjects, SimQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from shardline.common.ports.kinesis import (
        ChildShard,
        ConsumerDescription,
        KinesisApi,
        PutEntry,
        ShardFilter,
        StartAt,
        Stream,
        StreamSummary,
        SubscribeEvent,
    )
    from shardline.common.ports.lease_store import (
        IndexSpec,
        Item,
        Key,
        LeaseStore,
        Page,
        TableDescription,
        TableSpec,
        Value,
        Write,
        WriteResult,
    )
    from shardline.common.ports.metrics import MetricsApi
    from shardline.common.ports.storage import MessageQueue, ObjectStore
    from shardline.local.sim.network import Faults, Network
    from shardline.local.state.core import KinesisState
    from shardline.local.tables.core import LeaseTables

__all__ = ["SimKinesis", "SimLeaseStore", "SimServices"]

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


class SimLeaseStore:
    """`LeaseStore` through the network."""

    def __init__(self, network: Network, inner: MemoryLeaseStore) -> None:
        self._network = network
        self._inner = inner

    @property
    def _tables(self) -> LeaseTables:
        return self._inner.tables

    def _stale_s(self, name: str) -> float:
        """Draw how old an eventually consistent read is: fresh in half of the cases."""
        stale_s = min(self._network.faults(Service.DYNAMODB).stale_s, self._tables.options.history_s)
        if stale_s and self._network.chance(0.5, name):
            return self._network.draw_s(stale_s)
        return 0.0

    async def get(self, table: str, key: Key, *, consistent: bool, timeout_s: float) -> Item | None:
        """Return the item or None; see the port."""

        async def apply() -> Item | None:
            options = self._tables.options
            if not consistent:
                self._tables.options = replace(options, get_staleness_s=self._stale_s("stale get"))
            try:
                return await self._inner.get(table, key, consistent=consistent, timeout_s=timeout_s)
            finally:
                self._tables.options = options

        return await self._network.call(Service.DYNAMODB, "GetItem", apply, timeout_s)

    async def write(self, write: Write, *, timeout_s: float) -> WriteResult:
        """Carry out one conditional write; see the port."""
        return await self._network.call(
            Service.DYNAMODB, type(write).__name__, lambda: self._inner.write(write, timeout_s=timeout_s), timeout_s
        )

    async def transact(self, writes: Sequence[Write], *, timeout_s: float) -> bool:
        """Carry out the writes together or none; see the port."""
        return await self._network.call(
            Service.DYNAMODB,
            "TransactWriteItems",
            lambda: self._inner.transact(writes, timeout_s=timeout_s),
            timeout_s,
        )

    async def scan_page(
        self,
        table: str,
        *,
        start: Mapping[str, Value] | None = None,
        segment: int = 0,
        total_segments: int = 1,
        consistent: bool = False,
        timeout_s: float,
    ) -> Page:
        """Return one page of a scan, of the past perhaps; see the port."""

        async def apply() -> Page:
            options = self._tables.options
            if not consistent:
                self._tables.options = replace(options, scan_staleness_s=self._stale_s("stale scan"))
            try:
                return await self._inner.scan_page(
                    table,
                    start=start,
                    segment=segment,
                    total_segments=total_segments,
                    consistent=consistent,
                    timeout_s=timeout_s,
                )
            finally:
                self._tables.options = options

        return await self._network.call(Service.DYNAMODB, "Scan", apply, timeout_s)

    async def query_index(
        self,
        table: str,
        index: IndexSpec,
        hash_value: str,
        *,
        start: Mapping[str, Value] | None = None,
        timeout_s: float,
    ) -> Page:
        """Return one page of an index, of the past perhaps; see the port."""

        async def apply() -> Page:
            options = self._tables.options
            self._tables.options = replace(options, index_staleness_s=self._stale_s("stale index"))
            try:
                return await self._inner.query_index(table, index, hash_value, start=start, timeout_s=timeout_s)
            finally:
                self._tables.options = options

        return await self._network.call(Service.DYNAMODB, "Query", apply, timeout_s)

    async def describe_table(self, table: str, *, timeout_s: float) -> TableDescription | None:
        """Return the table as it stands, or None; see the port."""
        return await self._network.call(
            Service.DYNAMODB,
            "DescribeTable",
            lambda: self._inner.describe_table(table, timeout_s=timeout_s),
            timeout_s,
        )

    async def create_table(self, spec: TableSpec, *, timeout_s: float) -> None:
        """Ask for a table; see the port."""
        await self._network.call(
            Service.DYNAMODB, "CreateTable", lambda: self._inner.create_table(spec, timeout_s=timeout_s), timeout_s
        )

    async def create_index(self, table: str, index: IndexSpec, *, timeout_s: float) -> None:
        """Ask for an index; see the port."""
        await self._network.call(
            Service.DYNAMODB,
            "CreateIndex",
            lambda: self._inner.create_index(table, index, timeout_s=timeout_s),
            timeout_s,
        )

    async def enable_point_in_time_recovery(self, table: str, *, timeout_s: float) -> None:
        """Turn on point-in-time recovery; see the port."""
        await self._network.call(
            Service.DYNAMODB,
            "UpdateContinuousBackups",
            lambda: self._inner.enable_point_in_time_recovery(table, timeout_s=timeout_s),
            timeout_s,
        )

    async def delete_table(self, table: str, *, timeout_s: float) -> None:
        """Delete a table; see the port."""
        await self._network.call(
            Service.DYNAMODB, "DeleteTable", lambda: self._inner.delete_table(table, timeout_s=timeout_s), timeout_s
        )


class SimServices:
    """The `Services` of every simulated host: one state and one set of tables behind one network."""

    def __init__(self, network: Network, state: KinesisState, tables: LeaseTables) -> None:
        self.network = network
        self.state = state
        self.tables = tables
        self.cloudwatch = MemoryMetrics()
        self.s3, self.sqs = MemoryObjects(), MemoryQueues()

    def clock(self) -> float:
        """Return the services' own epoch seconds, which no host's clock can move."""
        return self.network.simulation.wall_s

    @property
    def region(self) -> str:
        """The region's name."""
        return self.state.options.region

    @asynccontextmanager
    async def kinesis(self, *, connections_max: int = 24) -> AsyncIterator[KinesisApi]:
        """Open Kinesis; connections are not bounded here."""
        del connections_max
        yield SimKinesis(self.network, InProcessKinesis(self.state, self.clock))

    @asynccontextmanager
    async def lease_store(self) -> AsyncIterator[LeaseStore]:
        """Open the lease tables."""
        yield SimLeaseStore(self.network, MemoryLeaseStore(self.tables, self.clock))

    @asynccontextmanager
    async def metrics(self) -> AsyncIterator[MetricsApi]:
        """Open the metrics."""
        yield SimMetrics(self.network, self.cloudwatch)

    @asynccontextmanager
    async def objects(self) -> AsyncIterator[ObjectStore]:
        """Open S3."""
        yield SimObjects(self.network, self.s3)

    @asynccontextmanager
    async def queue(self) -> AsyncIterator[MessageQueue]:
        """Open SQS."""
        yield SimQueue(self.network, self.sqs)
