# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""One call to a service, client side only: PutRecords, GetRecords and a conditional update, ours and the SDKs'.

The service is a null process on loopback, so the figures are what the client's code costs. Per user record: a
PutRecords or GetRecords call carries `ENTRIES`, an update is one.
"""

from __future__ import annotations

import asyncio
import base64
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
import cbor2
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.config import Config

from shardline.common.connection import Connection, Credentials
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.common.ports.lease_store import Absent, Equals, Key, Update, UpdateItem

from bench.harness import Case, cpu_seconds, user_records
from bench.sink import CBOR, JSON, sink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shardline.common.connection import Wire

ENTRIES = 500
CALLS = 40
UPDATES = 400
CALL_S = 60.0
SETTINGS = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
STREAM = Stream("bench")


def ours_at(url: str, wire: Wire) -> Connection:
    """Return our way to the sink."""
    credentials = Credentials(access_key_id="a", secret_access_key="b")
    return Connection(region_name="us-east-1", endpoint_url=url, credentials=credentials, wire=wire)


def timed(work: Callable[[], Awaitable[object]], loop: asyncio.Runner, calls: int) -> float:
    """Return CPU seconds per call, the first call left out."""

    async def many() -> None:
        for _ in range(calls):
            await work()

    loop.run(work_once(work))
    return cpu_seconds(lambda: loop.run(many())) / calls


async def work_once(work: Callable[[], Awaitable[object]]) -> None:
    """Warm up: connections, imports, caches."""
    await work()


def page(data_bytes: int) -> dict[tuple[str, str], bytes]:
    """Return a GetRecords answer of `ENTRIES` records in both encodings."""

    def answer(blob: Callable[[bytes], Any]) -> dict[str, Any]:
        records = [
            {
                "ApproximateArrivalTimestamp": 1_700_000_000.5,
                "Data": blob(data),
                "PartitionKey": key,
                "SequenceNumber": str(4 * 10**55 + number),
            }
            for number, (key, data) in enumerate(user_records(ENTRIES, data_bytes))
        ]
        return {"MillisBehindLatest": 0, "NextShardIterator": "i" * 200, "Records": records}

    as_text = answer(lambda data: base64.b64encode(data).decode())
    return {
        ("GetRecords", JSON): json.dumps(as_text, separators=(",", ":")).encode(),
        ("GetRecords", CBOR): cbor2.dumps(answer(bytes)),
    }


def our_put(wire: Wire, data_bytes: int) -> float:
    """Return CPU seconds per record of our PutRecords."""
    entries = [PutEntry(data, key) for key, data in user_records(ENTRIES, data_bytes)]
    with sink() as url, asyncio.Runner() as loop:
        opened = ours_at(url, wire).kinesis()
        kinesis = loop.run(opened.__aenter__())
        spent = timed(lambda: kinesis.put_records(STREAM, entries, timeout_s=CALL_S), loop, CALLS)
        loop.run(opened.__aexit__(None, None, None))
    return spent / ENTRIES


def our_get(wire: Wire, data_bytes: int) -> float:
    """Return CPU seconds per record of our GetRecords."""
    with sink(page(data_bytes)) as url, asyncio.Runner() as loop:
        opened = ours_at(url, wire).kinesis()
        kinesis = loop.run(opened.__aenter__())
        spent = timed(lambda: kinesis.get_records(STREAM, "i", limit=ENTRIES, timeout_s=CALL_S), loop, CALLS)
        loop.run(opened.__aexit__(None, None, None))
    return spent / ENTRIES


def our_update(_: int) -> float:
    """Return CPU seconds of one conditional update, as a renewal makes it."""
    update = Update(set={"leaseCounter": 6, "throughputKBps": 1.5})
    write = UpdateItem("t", Key("leaseKey", "s"), update, (Equals("leaseCounter", 5), Absent("checkpointOwner")))
    answers = {("UpdateItem", JSON): b'{"Attributes":{"leaseKey":{"S":"s"},"leaseCounter":{"N":"6"}}}'}
    with sink(answers) as url, asyncio.Runner() as loop:
        opened = ours_at(url, "json").lease_store()
        store = loop.run(opened.__aenter__())
        spent = timed(lambda: store.write(write, timeout_s=CALL_S), loop, UPDATES)
        loop.run(opened.__aexit__(None, None, None))
    return spent


def boto3_put(data_bytes: int) -> float:
    """Return CPU seconds per record of boto3's put_records."""
    entries = [{"Data": data, "PartitionKey": key} for key, data in user_records(ENTRIES, data_bytes)]
    with sink() as url:
        client: Any = boto3.client("kinesis", endpoint_url=url, config=Config(retries={"max_attempts": 0}), **SETTINGS)
        client.put_records(StreamName="bench", Records=entries)

        def work() -> None:
            for _ in range(CALLS):
                client.put_records(StreamName="bench", Records=entries)

        return cpu_seconds(work) / CALLS / ENTRIES


def boto3_get(data_bytes: int) -> float:
    """Return CPU seconds per record of boto3's get_records."""
    with sink(page(data_bytes)) as url:
        client: Any = boto3.client("kinesis", endpoint_url=url, config=Config(retries={"max_attempts": 0}), **SETTINGS)
        client.get_records(ShardIterator="i", Limit=ENTRIES)

        def work() -> None:
            for _ in range(CALLS):
                client.get_records(ShardIterator="i", Limit=ENTRIES)

        return cpu_seconds(work) / CALLS / ENTRIES


def aiobotocore_update(_: int) -> float:
    """Return CPU seconds of the same update through aiobotocore."""
    answers = {("UpdateItem", JSON): b'{"Attributes":{"leaseKey":{"S":"s"},"leaseCounter":{"N":"6"}}}'}
    fields: dict[str, Any] = {
        "TableName": "t",
        "Key": {"leaseKey": {"S": "s"}},
        "UpdateExpression": "SET #c = :n, #t = :t",
        "ConditionExpression": "#c = :c AND attribute_not_exists(#o)",
        "ExpressionAttributeNames": {"#c": "leaseCounter", "#t": "throughputKBps", "#o": "checkpointOwner"},
        "ExpressionAttributeValues": {":n": {"N": "6"}, ":t": {"N": "1.5"}, ":c": {"N": "5"}},
        "ReturnValues": "ALL_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    with sink(answers) as url, asyncio.Runner() as loop:
        config = AioConfig(retries={"max_attempts": 0})
        opened: Any = AioSession().create_client("dynamodb", endpoint_url=url, config=config, **SETTINGS)
        client: Any = loop.run(opened.__aenter__())
        spent = timed(lambda: client.update_item(**fields), loop, UPDATES)
        loop.run(opened.__aexit__(None, None, None))
    return spent


CASES = [
    case
    for size in (100, 1_000)
    for case in (
        Case(work="put_records", bytes=size, who="boto3 put_records", wire="json", measure=partial(boto3_put, size)),
        Case(work="put_records", bytes=size, who="shardline", wire="json", measure=partial(our_put, "json", size)),
        Case(work="put_records", bytes=size, who="shardline cbor", wire="cbor", measure=partial(our_put, "cbor", size)),
        Case(work="get_records", bytes=size, who="boto3 get_records", wire="json", measure=partial(boto3_get, size)),
        Case(work="get_records", bytes=size, who="shardline", wire="json", measure=partial(our_get, "json", size)),
        Case(work="get_records", bytes=size, who="shardline cbor", wire="cbor", measure=partial(our_get, "cbor", size)),
    )
] + [
    Case(work="update_item", bytes=0, who="aiobotocore", wire="json", measure=partial(aiobotocore_update, 0)),
    Case(work="update_item", bytes=0, who="shardline", wire="json", measure=partial(our_update, 0)),
]
