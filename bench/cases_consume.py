# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Consuming aggregates of 51,200 bytes from a prebuilt source in another process: the whole worker, and a boto3 loop.

Ours is a `Worker` as users run it: leases (in memory), polling over HTTP, checkpoints, and a batch handler that touches
every record. The peer reads with boto3 and deaggregates with aws-kinesis-agg, and checkpoints nothing. Both read pages
of about 2 MiB, a second's worth of one shard.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
import cbor2
from aws_kinesis_agg.deaggregator import iter_deaggregate_records
from botocore.config import Config

from shardline.common.aggregation import AggregateBuilder
from shardline.common.connection import Connection, Credentials
from shardline.consumer import LeaseConfig, TableConfig, Worker, WorkerConfig
from shardline.local.doors.services import LocalServices

from bench.harness import AGGREGATE_BYTES_MAX, Case, cpu_seconds, user_records
from bench.sink import CBOR, JSON, sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from shardline.common.connection import Wire
    from shardline.common.ports.kinesis import KinesisApi
    from shardline.common.ports.lease_store import LeaseStore
    from shardline.common.ports.metrics import MetricsApi
    from shardline.consumer import Batch

RECORD_COUNTS = {100: 18_000, 1_000: 2_000}
PAGES = 4
SETTINGS = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}


def blobs(data_bytes: int) -> tuple[list[bytes], int]:
    """Return a page's aggregates and the number of user records in them."""
    found: list[bytes] = []
    builder = AggregateBuilder(AGGREGATE_BYTES_MAX)
    records = user_records(RECORD_COUNTS[data_bytes], data_bytes)
    for key, data in records:
        if not builder.try_append(key, data):
            found.append(builder.seal().data)
            builder.clear()
            builder.try_append(key, data)
    found.append(builder.seal().data)
    return found, len(records)


def answers(aggregates: list[bytes]) -> dict[tuple[str, str], bytes]:
    """Return the source's answers in both encodings: one shard, the same page again and again."""
    shard = {
        "ShardId": "shardId-000000000000",
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(2**128 - 1)},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    }

    def page(blob: Callable[[bytes], Any]) -> dict[str, Any]:
        records = [
            {
                "ApproximateArrivalTimestamp": 1_700_000_000.5,
                "Data": blob(data),
                "PartitionKey": "a",
                "SequenceNumber": str(4 * 10**55 + number),
            }
            for number, data in enumerate(aggregates)
        ]
        return {"MillisBehindLatest": 60_000, "NextShardIterator": "i" * 200, "Records": records}

    others = {"ListShards": {"Shards": [shard]}, "GetShardIterator": {"ShardIterator": "i" * 200}}
    texts = {"GetRecords": page(lambda data: base64.b64encode(data).decode()), **others}
    binaries = {"GetRecords": page(bytes), **others}
    return {
        **{(name, JSON): json.dumps(answer, separators=(",", ":")).encode() for name, answer in texts.items()},
        **{(name, CBOR): cbor2.dumps(answer) for name, answer in binaries.items()},
    }


class Source:
    """Kinesis over HTTP, the lease table in memory: what the worker's own work costs, not DynamoDB's client."""

    region = "us-east-1"

    def __init__(self, url: str, wire: Wire) -> None:
        credentials = Credentials(access_key_id="a", secret_access_key="b")
        self._connection = Connection(region_name=self.region, endpoint_url=url, credentials=credentials, wire=wire)
        self._local = LocalServices()

    def kinesis(self, *, connections_max: int = 24) -> AbstractAsyncContextManager[KinesisApi]:
        """Open Kinesis."""
        return self._connection.kinesis(connections_max=connections_max)

    @asynccontextmanager
    async def lease_store(self) -> AsyncIterator[LeaseStore]:
        """Open the lease tables."""
        async with self._local.lease_store() as store:
            yield store

    @asynccontextmanager
    async def metrics(self) -> AsyncIterator[MetricsApi]:
        """Open the metrics."""
        async with self._local.metrics() as metrics:
            yield metrics


def ours(wire: Wire, data_bytes: int) -> float:
    """Return CPU seconds per user record of the worker, from its second page on."""
    aggregates, count = blobs(data_bytes)
    with sink(answers(aggregates)) as url:
        return asyncio.run(_consume(Source(url, wire), count)) / (PAGES * count)


async def _consume(source: Source, count: int) -> float:
    config = WorkerConfig(
        worker_id="bench", table=TableConfig(point_in_time_recovery=False), leases=LeaseConfig(failover_s=3.0)
    )
    worker = Worker("bench", streams="bench", start="TRIM_HORIZON", connection=source, config=config)
    seen = size = 0
    marks: list[float] = []

    @worker.handler("bench", batch=True)
    async def handle(batch: Batch) -> None:
        nonlocal seen, size
        for record in batch:
            seen += 1
            size += len(record.data) + len(record.partition_key or "")
        if not marks and seen >= count:
            gc.collect()
            gc.freeze()
            marks.append(time.process_time())
            seen -= count
        elif len(marks) == 1 and seen >= PAGES * count:
            marks.append(time.process_time())
            worker.stop()

    await worker.serve()
    assert size > 0
    return marks[1] - marks[0]


def boto3_loop(data_bytes: int) -> float:
    """Return CPU seconds per user record of boto3's get_records with aws-kinesis-agg, touching every record."""
    aggregates, count = blobs(data_bytes)
    with sink(answers(aggregates)) as url:
        client: Any = boto3.client("kinesis", endpoint_url=url, config=Config(retries={"max_attempts": 0}), **SETTINGS)
        seen = size = 0

        def work(pages: int = PAGES) -> None:
            nonlocal seen, size
            for _ in range(pages):
                answer = client.get_records(ShardIterator="i" * 200, Limit=10_000)
                records: Any = iter_deaggregate_records(answer["Records"], "Boto3")
                for record in records:
                    seen += 1
                    size += len(record["kinesis"]["data"]) + len(record["kinesis"]["partitionKey"])

        work(1)
        spent = cpu_seconds(work)
        assert seen == (PAGES + 1) * count
        return spent / (PAGES * count)


CASES = [
    case
    for size in RECORD_COUNTS
    for case in (
        Case(work="consume", bytes=size, who="aws-kinesis-agg", wire="json", measure=partial(boto3_loop, size)),
        Case(work="consume", bytes=size, who="shardline", wire="cbor", measure=partial(ours, "auto", size)),
        Case(work="consume", bytes=size, who="shardline json", wire="json", measure=partial(ours, "json", size)),
    )
]
