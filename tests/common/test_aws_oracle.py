"""botocore's own service models as the oracle: every request of ours is one that the SDK would have sent.

The adapters write bodies by hand, and no emulator refuses a misspelt field as the service would; the models do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import botocore.session
import pytest
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator

from shardline.common.aws.cloudwatch import form
from shardline.common.aws.faults import error_code, refusal
from shardline.common.errors import ServiceError, ShardlineError
from shardline.common.ports.kinesis import PutEntry, ShardFilter, ShardFilterKind, StartAt, StartKind, Stream
from shardline.common.ports.lease_store import (
    Absent,
    Delete,
    Equals,
    Exists,
    IndexSpec,
    Key,
    Put,
    TableSpec,
    Update,
    UpdateItem,
)
from shardline.common.ports.metrics import Datum

from tests.common.aws_server import CALL_S, Received, connection_to, recording, reply, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shardline.common.connection import Connection
    from shardline.common.ports.lease_store import Item

ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
STREAM = Stream.of(ARN)
TABLE_KEY = Key("leaseKey", "a")
INDEX = IndexSpec("LeaseOwnerToLeaseKeyIndex", "leaseOwner", "leaseKey")
S = CALL_S


def model(service: str) -> Any:
    """Return botocore's model of a service."""
    session: Any = botocore.session.Session()
    return session.get_service_model(service)


def complaints(service: str, received: Received) -> str:
    """Return what botocore has against a request, empty for one it would send itself."""
    operation = model(service).operation_model(received.operation)
    report: Any = ParamValidator().validate(received.json, operation.input_shape)
    return str(report.generate_report())


async def kinesis_calls(connection: Connection) -> None:
    """Make every call to Kinesis, in its fullest form; each is refused by the server."""
    async with connection.kinesis() as kinesis:
        wanted = (
            ShardFilter(ShardFilterKind.FROM_TIMESTAMP, timestamp_s=1.5e9),
            ShardFilter(ShardFilterKind.AFTER_SHARD_ID, shard_id="shardId-000000000001"),
        )
        starts = (
            StartAt(StartKind.AT_TIMESTAMP, timestamp_s=1.5e9),
            StartAt(StartKind.AFTER_SEQUENCE_NUMBER, sequence_number="7"),
        )
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: kinesis.put_records(STREAM, [PutEntry(b"x", "k", "5"), PutEntry(b"", None)], timeout_s=S),
            lambda: kinesis.list_shards(STREAM, shard_filter=wanted[0], timeout_s=S),
            lambda: kinesis.list_shards(STREAM, shard_filter=wanted[1], timeout_s=S),
            lambda: kinesis.list_shards(STREAM, next_token="more", timeout_s=S),
            lambda: kinesis.describe_stream_summary(STREAM, timeout_s=S),
            lambda: kinesis.get_shard_iterator(STREAM, "shardId-000000000001", starts[0], timeout_s=S),
            lambda: kinesis.get_shard_iterator(STREAM, "shardId-000000000001", starts[1], timeout_s=S),
            lambda: kinesis.get_records(STREAM, "it", limit=5, timeout_s=S),
            lambda: kinesis.register_stream_consumer(ARN, "c", timeout_s=S),
            lambda: kinesis.describe_stream_consumer(ARN, "c", timeout_s=S),
            lambda: kinesis.deregister_stream_consumer(ARN, "c", timeout_s=S),
            lambda: kinesis.subscribe_to_shard(f"{ARN}/consumer/c:1", "shardId-1", starts[0], timeout_s=S).__aenter__(),
            lambda: kinesis.subscribe_to_shard(f"{ARN}/consumer/c:1", "shardId-1", starts[1], timeout_s=S).__aenter__(),
        ]
        for call in calls:
            with pytest.raises(ServiceError):
                await call()


async def dynamodb_calls(connection: Connection) -> None:
    """Make every call to DynamoDB, in its fullest form; each is refused by the server."""
    async with connection.lease_store() as store:
        condition = (Equals("leaseCounter", 5), Absent("checkpointOwner"), Exists("leaseKey"))
        update = Update(set={"a": 1, "b": frozenset({"x"})}, remove=frozenset({"c"}), add={"d": 1})
        item: Item = {"leaseKey": "a", "t": 1.5, "b": b"x", "l": [None, True], "m": {"n": 1}}
        writes = (
            Put("tab", item, condition),
            UpdateItem("tab", TABLE_KEY, update, condition),
            Delete("tab", TABLE_KEY, condition),
        )
        start = {"leaseKey": "a", "leaseOwner": "b"}
        spec = TableSpec(
            name="tab",
            key_attribute="k",
            read_capacity=1,
            write_capacity=2,
            deletion_protection=True,
            tags={"a": "b"},
        )
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: store.get("tab", TABLE_KEY, consistent=True, timeout_s=S),
            *[lambda write=write: store.write(write, timeout_s=S) for write in writes],
            lambda: store.transact(writes, timeout_s=S),
            lambda: store.scan_page("tab", start=start, segment=1, total_segments=2, consistent=True, timeout_s=S),
            lambda: store.query_index("tab", INDEX, "me", start=start, timeout_s=S),
            lambda: store.describe_table("tab", timeout_s=S),
            lambda: store.create_table(spec, timeout_s=S),
            lambda: store.create_table(TableSpec(name="tab", key_attribute="k"), timeout_s=S),
            lambda: store.enable_point_in_time_recovery("tab", timeout_s=S),
            lambda: store.delete_table("tab", timeout_s=S),
        ]
        for call in calls:
            with pytest.raises(ServiceError):
                await call()


def requests_of(calls: Callable[[Connection], Awaitable[None]]) -> list[Received]:
    """Return the requests of `calls` against a server that refuses all."""
    seen: list[Received] = []

    async def main() -> None:
        async with serving(recording(seen, reply(400, {"__type": "ValidationException"}))) as url:
            await calls(connection_to(url))

    asyncio.run(main())
    return seen


@pytest.mark.parametrize(
    ("service", "calls", "count"), [("kinesis", kinesis_calls, 13), ("dynamodb", dynamodb_calls, 12)]
)
def test_every_request_is_one_that_the_sdk_would_send(
    service: str, calls: Callable[[Connection], Awaitable[None]], count: int
) -> None:
    """No unknown field, none missing, every type right, the target and content type as the model says."""
    seen = requests_of(calls)
    metadata = model(service).metadata
    assert len(seen) == count
    assert [(received.operation, found) for received in seen if (found := complaints(service, received))] == []
    for received in seen:
        assert received.headers["x-amz-target"] == f"{metadata['targetPrefix']}.{received.operation}"
        assert received.headers["content-type"] == f"application/x-amz-json-{metadata['jsonVersion']}"
        assert f"/us-east-1/{service}/aws4_request" in received.headers["authorization"]


def test_the_index_request_is_one_that_the_sdk_would_send() -> None:
    """UpdateTable with an index, for a provisioned table, whose capacity the index takes over."""
    seen: list[Received] = []
    key = [{"AttributeName": "leaseKey", "KeyType": "HASH"}]
    capacity = {"ReadCapacityUnits": 3, "WriteCapacityUnits": 4}
    table = {"TableName": "tab", "KeySchema": key, "TableStatus": "ACTIVE", "ProvisionedThroughput": capacity}

    async def main() -> None:
        answer = reply(200, {"Table": table})
        async with serving(recording(seen, answer)) as url, connection_to(url).lease_store() as store:
            await store.create_index("tab", INDEX, timeout_s=S)

    asyncio.run(main())
    assert [received.operation for received in seen] == ["DescribeTable", "UpdateTable"]
    assert complaints("dynamodb", seen[1]) == ""
    (update,) = seen[1].json["GlobalSecondaryIndexUpdates"]
    assert update["Create"]["ProvisionedThroughput"] == capacity


def test_the_metrics_form_is_the_sdks() -> None:
    """PutMetricData as a form holds the same fields as botocore's own query serializer writes."""
    data = [
        Datum(
            name=f"m{n}",
            dimensions=(("StreamName", "S"), ("ShardId", "3")),
            unit="Count",
            timestamp_s=1_700_000_000.0,
            sample_count=2,
            sum=3.5,
            minimum=1,
            maximum=2.5,
        )
        for n in range(2)
    ]
    parameters = {
        "Namespace": "App",
        "MetricData": [
            {
                "MetricName": one.name,
                "Dimensions": [{"Name": name, "Value": value} for name, value in one.dimensions],
                "Timestamp": one.timestamp_s,
                "Unit": one.unit,
                "StatisticValues": {
                    "SampleCount": float(one.sample_count),
                    "Sum": float(one.sum),
                    "Minimum": float(one.minimum),
                    "Maximum": float(one.maximum),
                },
            }
            for one in data
        ],
    }
    operation = model("cloudwatch").operation_model("PutMetricData")
    serializer: Any = create_serializer("query", include_validation=True)
    theirs = serializer.serialize_to_request(parameters, operation)["body"]
    ours = {name: value for name, (value,) in parse_qs(form("App", data).decode()).items()}
    assert ours == {name: str(value) for name, value in theirs.items()}


@pytest.mark.parametrize(
    ("service", "operations"),
    [
        ("kinesis", ("PutRecords", "GetRecords", "GetShardIterator", "ListShards", "SubscribeToShard")),
        ("dynamodb", ("GetItem", "UpdateItem", "Scan", "Query", "CreateTable", "UpdateTable", "TransactWriteItems")),
    ],
)
def test_every_error_the_model_knows_is_translated(service: str, operations: tuple[str, ...]) -> None:
    """Each modelled error of our operations is in the table: none falls to what its HTTP status alone says."""
    handled_as_values = {"ConditionalCheckFailedException", "TransactionCanceledException"}
    irrelevant = {
        "DryRunOperationException",  # Asked for only with DryRun.
        "IdempotentParameterMismatchException",  # Asked for only with a client token.
        "DuplicateItemException",  # PartiQL.
    }
    unknown: set[str] = set()
    for name in operations:
        for shape in model(service).operation_model(name).error_shapes:
            code = error_code(shape.name, None, 400)
            by_status = refusal(service, name, 400, "SomethingNew", "")
            error: ShardlineError = refusal(service, name, 400, code, "")
            rejected_by_name = code in ("ValidationException", "InvalidArgumentException")
            if type(error) is type(by_status) and not rejected_by_name:
                unknown.add(code)
    assert unknown - handled_as_values - irrelevant == set()
