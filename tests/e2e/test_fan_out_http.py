"""Enhanced fan-out over HTTP: one worker, real adapters, 64 subscriptions at once on a client of their own."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from shardline.common import Connection, Credentials
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.consumer import LeaseConfig, Record, Retrieval, TableConfig, Worker, WorkerConfig
from shardline.local.http.endpoint import LocalEndpoint

pytestmark = pytest.mark.slow

SHARDS = 64
ROUNDS = 3


def test_a_worker_subscribes_to_64_shards_at_once() -> None:
    """Every shard has one subscriber at the same time, its records come once, and nothing is left open behind it."""
    seen: Counter[str] = Counter()

    async def handle(record: Record) -> None:
        seen[record.data.decode()] += 1

    async def story(endpoint: LocalEndpoint) -> None:
        connection = Connection(
            region_name="us-east-1",
            endpoint_url=endpoint.url,
            insecure_plain_http=True,
            credentials=Credentials(access_key_id="test", secret_access_key="test"),
        )
        config = WorkerConfig(
            retrieval=Retrieval.FANOUT,
            consumer_name="billing",
            table=TableConfig(deletion_protection=False),
            leases=LeaseConfig(failover_s=10.0),
        )
        worker = Worker("billing", streams="orders", start="TRIM_HORIZON", connection=connection, config=config)
        worker.add_handler(handle)
        shards = endpoint.state.streams["orders"].open
        async with worker, asyncio.timeout(120), connection.kinesis() as kinesis:
            for turn in range(1, ROUNDS + 1):
                entries = [PutEntry(f"{turn}-{n}".encode(), "k", str(n * 2**128 // SHARDS)) for n in range(SHARDS)]
                await kinesis.put_records(Stream("orders"), entries, timeout_s=10)
                while len(seen) < turn * SHARDS:  # noqa: ASYNC110 - over HTTP nothing sets an event here.
                    await asyncio.sleep(0.1)
            assert [len(shard.watchers) for shard in shards] == [1] * SHARDS
            assert all(lease.reading == "subscribed" for lease in worker.health().leases)
        assert set(seen.values()) == {1}

    with LocalEndpoint({"orders": SHARDS}) as endpoint:
        asyncio.run(story(endpoint))
