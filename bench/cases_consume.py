# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false, reportMissingImports=false
"""Consuming aggregates of 51,200 bytes from a prebuilt source in another process: the whole worker beside the peers.

Ours is a `Worker` as users run it, with the default settings: leases (in memory), polling over HTTP, the check that
each key lies in its shard, checkpoints, and a batch handler that touches every record. The peers: a loop of boto3 and
aws-kinesis-agg that checkpoints nothing, and async-kinesis with its KPL aggregator and its checkpoints in memory, which
hands out data without keys and checks no digest. All read the same four shards, pages of about 2 MiB: a second's worth
of one shard. Counted is the CPU (user and system) of the client's process from its second round of pages on.

The floor is no client: a bare socket read into one buffer, the MD5 of each aggregate, each user record's data cut out
where a plan made beforehand says, and the handler's loop. It knows what it will read, and decodes nothing.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import socket
import time
from contextlib import asynccontextmanager
from functools import partial
from hashlib import md5
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import cbor2
from aiobotocore.session import AioSession
from aws_kinesis_agg.deaggregator import iter_deaggregate_records
from botocore.config import Config
from kinesis import Consumer
from kinesis.aggregators import KPLAggregator
from kinesis.processors import Processor

from shardline.common.aggregation import AggregateBuilder
from shardline.common.connection import Connection, Credentials
from shardline.common.deaggregation import deaggregate
from shardline.common.hashing import HashRange, hash_key
from shardline.consumer import TableConfig, Worker, WorkerConfig
from shardline.local.doors.services import LocalServices

from bench.harness import AGGREGATE_BYTES_MAX, Case, Goal, user_records
from bench.sink import CBOR, JSON, sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from shardline.common.connection import Wire
    from shardline.common.ports.kinesis import KinesisApi
    from shardline.common.ports.lease_store import LeaseStore
    from shardline.common.ports.metrics import MetricsApi
    from shardline.consumer import Batch

    from bench.sink import Answers

STREAM = "bench"
SHARDS = 4
RECORD_COUNTS = {100: 18_000, 1_000: 2_000}
"""User records of a page, about 2 MiB."""
ROUNDS = 3
"""Pages of each shard that are measured, after a first one."""
SUMMARY = {
    "StreamName": STREAM,
    "StreamARN": f"arn:aws:kinesis:us-east-1:000000000000:stream/{STREAM}",
    "StreamStatus": "ACTIVE",
    "StreamCreationTimestamp": 1_700_000_000,
    "RetentionPeriodHours": 24,
    "OpenShardCount": SHARDS,
}
SETTINGS = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}


def shard_id(number: int) -> str:
    """Return the id of one of the shards."""
    return f"shardId-{number:012}"


def hash_range(number: int) -> HashRange:
    """Return its hash-key range."""
    width = 2**128 // SHARDS
    return HashRange(number * width, (number + 1) * width - 1)


def blobs(number: int, data_bytes: int) -> tuple[list[bytes], int]:
    """Return the aggregates of one shard's page, every key in its range, and the number of user records in them."""
    found: list[bytes] = []
    builder = AggregateBuilder(AGGREGATE_BYTES_MAX)
    count = RECORD_COUNTS[data_bytes]
    records = user_records(count * (SHARDS + 1), data_bytes)
    mine = [(key, data) for key, data in records if hash_key(key) in hash_range(number)][:count]
    for key, data in mine:
        if not builder.try_append(key, data):
            found.append(builder.seal().data)
            builder.clear()
            builder.try_append(key, data)
    found.append(builder.seal().data)
    return found, len(mine)


def page(aggregates: list[bytes], iterator: str, blob: Callable[[bytes], Any]) -> dict[str, Any]:
    """Return a GetRecords answer whose next iterator leads to the same page again."""
    records = [
        {
            "ApproximateArrivalTimestamp": 1_700_000_000.5,
            "Data": blob(data),
            "PartitionKey": "a",
            "SequenceNumber": str(4 * 10**55 + number),
        }
        for number, data in enumerate(aggregates)
    ]
    return {"MillisBehindLatest": 60_000, "NextShardIterator": iterator, "Records": records}


def shard(number: int) -> dict[str, Any]:
    """Return a shard as ListShards names it."""
    low, high = hash_range(number)
    return {
        "ShardId": shard_id(number),
        "HashKeyRange": {"StartingHashKey": str(low), "EndingHashKey": str(high)},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    }


def answers(data_bytes: int) -> tuple[Answers, int]:
    """Return the source's answers in both encodings, and the user records of one round over all shards."""
    pages: dict[str, dict[bytes, bytes]] = {JSON: {}, CBOR: {}}
    iterators: dict[str, dict[bytes, bytes]] = {JSON: {}, CBOR: {}}
    total = 0
    for number in range(SHARDS):
        aggregates, count = blobs(number, data_bytes)
        total += count
        name = shard_id(number)
        iterator = name + "i" * 180
        pages[JSON][name.encode()] = _json(page(aggregates, iterator, lambda data: base64.b64encode(data).decode()))
        pages[CBOR][name.encode()] = cbor2.dumps(page(aggregates, iterator, bytes))
        iterators[JSON][name.encode()] = _json({"ShardIterator": iterator})
        iterators[CBOR][name.encode()] = cbor2.dumps({"ShardIterator": iterator})
    shards = {"Shards": [shard(number) for number in range(SHARDS)]}
    lists = {JSON: _json(shards), CBOR: cbor2.dumps(shards)}
    summary = {"StreamDescriptionSummary": SUMMARY}
    found: dict[tuple[str, str], bytes | dict[bytes, bytes]] = {}
    found[("DescribeStreamSummary", JSON)] = _json(summary)
    found[("DescribeStreamSummary", CBOR)] = cbor2.dumps(summary)
    for wire in (JSON, CBOR):
        found[("GetRecords", wire)] = pages[wire]
        found[("GetShardIterator", wire)] = iterators[wire]
        found[("ListShards", wire)] = lists[wire]
    return found, total


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Meter:
    """Counts records from any number of pages, and the CPU from the end of the first round to the end of the last."""

    def __init__(self, round_records: int) -> None:
        self._first = round_records
        self._last = round_records * (ROUNDS + 1)
        self._marks: list[tuple[int, float]] = []

    def mark(self, seen: int) -> bool:
        """Look at the clock when a round's end is passed; say whether the work is done."""
        done = len(self._marks) == 2  # The other shards' handlers are still asked.
        if not done and seen >= (self._last if self._marks else self._first):
            if not self._marks:
                gc.collect()
                gc.freeze()
            self._marks.append((seen, time.process_time()))
        return len(self._marks) == 2

    def seconds_per_record(self) -> float:
        """Return the CPU seconds per user record."""
        (first, start), (last, end) = self._marks
        return (end - start) / (last - first)


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
    """Return CPU seconds per user record of the worker."""
    prebuilt, count = answers(data_bytes)
    with sink(prebuilt) as url:
        return asyncio.run(_consume(Source(url, wire), Meter(count)))


async def _consume(source: Source, meter: Meter) -> float:
    config = WorkerConfig(worker_id="bench", table=TableConfig(point_in_time_recovery=False))
    worker = Worker("bench", streams=STREAM, start="TRIM_HORIZON", connection=source, config=config)
    seen = size = 0

    @worker.handler(STREAM, batch=True)
    async def handle(batch: Batch) -> None:
        nonlocal seen, size
        for record in batch:
            seen += 1
            size += len(record.data) + len(record.partition_key or "")
        if meter.mark(seen):
            worker.stop()

    await worker.serve()
    assert size > 0
    return meter.seconds_per_record()


def boto3_loop(data_bytes: int) -> float:
    """Return CPU seconds per user record of boto3's get_records with aws-kinesis-agg, touching every record."""
    prebuilt, count = answers(data_bytes)
    with sink(prebuilt) as url:
        client: Any = boto3.client("kinesis", endpoint_url=url, config=Config(retries={"max_attempts": 0}), **SETTINGS)
        meter = Meter(count)
        seen = size = 0
        shards = client.list_shards(StreamName=STREAM)["Shards"]
        iterators = [
            client.get_shard_iterator(StreamName=STREAM, ShardId=one["ShardId"], ShardIteratorType="TRIM_HORIZON")
            for one in shards
        ]
        ahead = [found["ShardIterator"] for found in iterators]
        while not meter.mark(seen):
            answer = client.get_records(ShardIterator=ahead.pop(0), Limit=10_000)
            ahead.append(answer["NextShardIterator"])
            records: Any = iter_deaggregate_records(answer["Records"], "Boto3")
            for record in records:
                seen += 1
                size += len(record["kinesis"]["data"]) + len(record["kinesis"]["partitionKey"])
        assert size > 0
        return meter.seconds_per_record()


class Cut(NamedTuple):
    """Where an aggregate stands in a page, and its user records' data within it."""

    start: int
    stop: int
    datas: list[tuple[int, int]]


def cuts(body: bytes, aggregates: list[bytes]) -> list[Cut]:
    """Return where everything stands in a page's body."""
    found: list[Cut] = []
    for blob in aggregates:
        start = body.index(blob)
        at, datas = 0, []
        for record in deaggregate(blob, "a"):
            first = blob.index(record.data, at)
            at = first + len(record.data)
            datas.append((first, at))
        found.append(Cut(start, start + len(blob), datas))
    return found


def read_page(connection: socket.socket, buffer: bytearray, number: int) -> int:
    """Ask for a shard's page and read it into `buffer`; returns where its body begins."""
    request = cbor2.dumps({"ShardIterator": shard_id(number), "Limit": 10_000})
    head = f"POST / HTTP/1.1\r\nX-Amz-Target: K.GetRecords\r\nContent-Type: {CBOR}\r\nContent-Length: {len(request)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + request)
    view = memoryview(buffer)
    got = begin = total = 0
    while not total or got < total:
        got += connection.recv_into(view[got:])
        if not total and (begin := buffer.find(b"\r\n\r\n", 0, got) + 4) > 3:
            total = begin + int(bytes(buffer[:begin]).rpartition(b":")[2])
    return begin


def floor(data_bytes: int) -> float:
    """Return CPU seconds per user record of reading, MD5, one cut per record and the handler's loop alone."""
    prebuilt, count = answers(data_bytes)
    bodies = prebuilt["GetRecords", CBOR]
    assert isinstance(bodies, dict)
    plans = [cuts(bodies[shard_id(number).encode()], blobs(number, data_bytes)[0]) for number in range(SHARDS)]
    buffer = bytearray(max(map(len, bodies.values())) + 1024)
    meter = Meter(count)
    seen = size = 0
    with sink(prebuilt) as url, socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
        while not meter.mark(seen):
            for number, plan in enumerate(plans):
                begin = read_page(connection, buffer, number)
                for cut in plan:
                    blob = bytes(memoryview(buffer)[begin + cut.start : begin + cut.stop])
                    assert md5(memoryview(blob)[4:-16], usedforsecurity=False).digest() == blob[-16:]
                    for data in [blob[start:stop] for start, stop in cut.datas]:
                        seen += 1
                        size += len(data)
    assert size > 0
    return meter.seconds_per_record()


class RawProcessor(Processor, KPLAggregator):  # type: ignore[misc]  # The peer has no types.
    """The peer's KPL aggregator, with records as the bytes they are."""

    def serialize(self, item: bytes) -> bytes:
        """Return the bytes."""
        return item

    def deserialize(self, data: bytes) -> bytes:
        """Return the bytes."""
        return data


def async_kinesis(data_bytes: int) -> float:
    """Return CPU seconds per user record of async-kinesis' consumer with its KPL aggregator."""
    prebuilt, count = answers(data_bytes)
    with sink(prebuilt) as url:
        return asyncio.run(_consume_async_kinesis(url, Meter(count)))


async def _consume_async_kinesis(url: str, meter: Meter) -> float:
    session = AioSession()
    session.set_credentials("a", "b")
    logging.getLogger("kinesis").setLevel(logging.ERROR)  # It warns of the call that leaving it cuts off.
    seen = size = 0
    opened: Any = Consumer(
        STREAM,
        session=session,
        endpoint_url=url,
        region_name="us-east-1",
        processor=RawProcessor(),
        use_list_shards=True,
    )
    async with opened as consumer:
        async for data in consumer:
            seen += 1
            size += len(data)
            if meter.mark(seen):
                break
    assert size > 0
    return meter.seconds_per_record()


AGG, ASYNC_KINESIS = "boto3 + aws-kinesis-agg", "async-kinesis"
GOALS = {
    100: (Goal(AGG, 0.5), Goal(ASYNC_KINESIS, 0.15)),
    1_000: (Goal(AGG, 0.35), Goal(ASYNC_KINESIS, 0.25)),
}


def _cases() -> list[Case]:
    found: list[Case] = []
    for size, goals in GOALS.items():
        case = partial(Case, work="consume", bytes=size)
        found.append(case(who=AGG, wire="json", measure=partial(boto3_loop, size)))
        found.append(case(who=ASYNC_KINESIS, wire="json", measure=partial(async_kinesis, size)))
        found.append(case(who="shardline", wire="cbor", measure=partial(ours, "auto", size), goals=goals))
        found.append(case(who="floor", wire="cbor", measure=partial(floor, size)))
        found.append(case(who="shardline json", wire="json", measure=partial(ours, "json", size)))
    return found


CASES = _cases()
