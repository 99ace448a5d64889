"""Parking lots for one contract: each with the place behind it, in process or over HTTP, and a way to look inside."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import boto3

from shardline.common.connection import Connection, Credentials
from shardline.common.ports.kinesis import StartAt, StartKind, Stream
from shardline.consumer.parked_json import parked_of
from shardline.consumer.parking import FileLot, StreamLot
from shardline.consumer.parking_aws import S3Lot, SqsLot
from shardline.consumer.policy import Parked
from shardline.local.doors.services import LocalServices

from tests.local.conftest import CREDENTIALS, NO_RETRIES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    from shardline.local import LocalEndpoint

_NUMBERS = count(1)
QUEUE = "https://sqs.us-east-1.amazonaws.com/1/parked"


@dataclass
class Place:
    """A lot, what stands in it, and the same lot at a place that is not there."""

    lot: Callable[[Parked], Any]
    read: Callable[[], Awaitable[list[Parked]]]
    nowhere: Callable[[Parked], Any]
    spills: bool = False

    async def park(self, parked: Parked) -> None:
        """Park a record as the worker does."""
        made = self.lot(parked)
        if made is not None:
            await made


def record(number: int = 1, key: str | None = "k8", data: bytes = b"\x00\xff", **more: Any) -> Parked:
    """Return a parked record."""
    values: dict[str, Any] = {
        "stream": "orders",
        "shard_id": "shardId-000000000000",
        "sequence_number": str(10**55 + number),
        "sub_sequence_number": 2,
        "partition_key": key,
        "explicit_hash_key": "7",
        "data": data,
        "headers": {"a": "b"},
        "arrival_time_s": 1.5,
        "reason": "ValueError",
        "attempts": 3,
        "parked_at_s": 2.5,
        **more,
    }
    return Parked(**values)


def _whole(bodies: Iterable[bytes]) -> list[Parked]:
    found = [parked_of(body) for body in bodies]
    return [one for one in found if one is not None]


def _followed(body: str, get: Callable[[str, str], bytes]) -> bytes:
    """Return a message, or what its pointer leads to."""
    item = json.loads(body)
    if "spilled" not in item:
        assert base64.b64decode(item["data"]) is not None
        return body.encode()
    assert "data" not in item
    whole = get(item["spilled"]["bucket"], item["spilled"]["key"])
    assert json.loads(whole)["sequence_number"] == item["sequence_number"]
    return whole


# --- in process ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def a_file(path: Path) -> AsyncIterator[Place]:
    """Open a file lot."""
    lot = FileLot(path / "parked.jsonl")

    async def read() -> list[Parked]:
        return _whole(lot.path.read_bytes().splitlines()) if lot.path.exists() else []

    yield Place(lot, read, FileLot(path / "missing" / "parked.jsonl"))


@asynccontextmanager
async def a_memory_stream(_: Path) -> AsyncIterator[Place]:
    """Open a stream lot on the in-process Kinesis."""
    services = LocalServices()
    services.state.create_stream("parked", 1, now=services.clock() - 60)
    lot = StreamLot("parked", connection=services)
    yield Place(lot, lambda: _stream(services, "parked"), StreamLot("missing", connection=services))


async def _stream(services: Any, name: str) -> list[Parked]:
    async with services.kinesis() as kinesis:
        shard = (await kinesis.list_shards(Stream(name), timeout_s=10)).shards[0]
        start = StartAt(StartKind.TRIM_HORIZON)
        iterator = await kinesis.get_shard_iterator(Stream(name), shard.shard_id, start, timeout_s=10)
        page = await kinesis.get_records(Stream(name), iterator, limit=100, timeout_s=10)
    return _whole(one.data for one in page.records)


@asynccontextmanager
async def a_memory_bucket(_: Path) -> AsyncIterator[Place]:
    """Open an S3 lot on buckets in memory."""
    services = LocalServices()
    bucket = services.s3.buckets["parked"] = {}

    async def read() -> list[Parked]:
        return _whole(bucket.values())

    yield Place(S3Lot("parked", "a/b", connection=services), read, S3Lot("missing", connection=services), spills=True)


def _memory_queue(*, fifo: bool = False, s3: str = "") -> Callable[[Path], Any]:
    @asynccontextmanager
    async def opened(_: Path) -> AsyncIterator[Place]:
        services = LocalServices()
        url = QUEUE + (".fifo" if fifo else "")
        services.sqs.queues[url] = []
        services.s3.buckets["spilled"] = {}

        async def read() -> list[Parked]:
            get = services.s3.buckets
            return _whole(_followed(one.body, lambda b, key: get[b][key]) for one in services.sqs.queues[url])

        more: Any = {s3: S3Lot("spilled", connection=services)} if s3 else {}
        lot = SqsLot(url, connection=services, **more)
        yield Place(lot, read, SqsLot(url + "-missing", connection=services, **more), spills=bool(s3))

    return opened


# --- over HTTP -------------------------------------------------------------------------------------------------------


def connection_to(endpoint: LocalEndpoint) -> Connection:
    """Return the connection to an endpoint."""
    keys = Credentials(access_key_id="test", secret_access_key="test")
    return Connection(endpoint_url=endpoint.url, region_name="us-east-1", credentials=keys)


def http(endpoint: LocalEndpoint, kind: str) -> Callable[[Path], Any]:
    """Return what opens a lot of a kind (bucket, queue, fifo, spill, copies) behind the endpoint."""

    @asynccontextmanager
    async def opened(_: Path) -> AsyncIterator[Place]:
        connection, name = connection_to(endpoint), f"parked-{next(_NUMBERS)}"
        s3, sqs = (
            boto3.client(service, endpoint_url=endpoint.url, config=NO_RETRIES, **CREDENTIALS)
            for service in ("s3", "sqs")
        )

        def get(bucket: str, key: str) -> bytes:
            body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            return body

        def objects() -> list[Parked]:
            listed = s3.list_objects_v2(Bucket=name).get("Contents", [])
            return _whole(get(name, one["Key"]) for one in listed)

        def messages() -> list[Parked]:
            found: list[bytes] = []
            while got := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
                found += [_followed(one["Body"], get) for one in got]
                for one in got:
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
            return _whole(found)

        try:
            s3.create_bucket(Bucket=name)
            more: Any = {kind: S3Lot(name, connection=connection)} if kind in ("spill", "copies") else {}
            if kind == "bucket":
                lot: Any = S3Lot(name, "a/b/", connection=connection)
                nowhere: Any = S3Lot("missing-bucket", connection=connection)
                yield Place(lot, lambda: asyncio.to_thread(objects), nowhere, spills=True)
                return
            fifo = {"FifoQueue": "true"} if kind == "fifo" else {}
            queue = f"{name}.fifo" if fifo else name
            url = sqs.create_queue(QueueName=queue, Attributes=fifo)["QueueUrl"]
            lot = SqsLot(url, connection=connection, **more)
            nowhere = SqsLot(url.replace("parked", "missing"), connection=connection, **more)
            yield Place(lot, lambda: asyncio.to_thread(messages), nowhere, spills=bool(more))
        finally:
            s3.close()
            sqs.close()

    return opened


IN_PROCESS: dict[str, Callable[[Path], Any]] = {
    "file": a_file,
    "stream": a_memory_stream,
    "bucket": a_memory_bucket,
    "queue": _memory_queue(),
    "fifo": _memory_queue(fifo=True),
    "queue and spill": _memory_queue(s3="spill"),
    "queue and copies": _memory_queue(s3="copies"),
}
OVER_HTTP = ("bucket", "queue", "fifo", "spill", "copies")
