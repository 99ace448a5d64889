"""What a Lambda pays: a handler's user records, the dictionaries of `deaggregate(event)`, cold import, layer size."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from shardline.common.aggregation import AggregateBuilder

from bench.cases_decoder import import_ms
from bench.harness import AGGREGATE_BYTES_MAX, Case, Figure, cpu_seconds, user_records
from tools.layer import build_layer

RECORDS = {100: 25_000, 1024: 4_000}
CONSUMER = Path(__file__).resolve().parent.parent / "consumer"


def event(data_bytes: int) -> tuple[dict[str, Any], int]:
    """Return an event of aggregates as Lambda hands it over, and its number of user records."""
    blobs: list[bytes] = []
    builder = AggregateBuilder(AGGREGATE_BYTES_MAX)
    for key, data in user_records(RECORDS[data_bytes], data_bytes):
        if not builder.try_append(key, data):
            blobs.append(builder.seal().data)
            builder.clear()
            builder.try_append(key, data)
    blobs.append(builder.seal().data)
    records = [
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "a",
                "sequenceNumber": str(49590338271490256608559692538361571095921575989136588898 + number),
                "data": base64.b64encode(blob).decode(),
                "approximateArrivalTimestamp": 1545084650.987,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"shardId-000000000006:{number}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda-role",
            "awsRegion": "eu-west-1",
            "eventSourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/orders",
        }
        for number, blob in enumerate(blobs)
    ]
    return {"Records": records}, RECORDS[data_bytes]


class Context:
    """Lambda's context, as far as a handler asks it."""

    def get_remaining_time_in_millis(self) -> int:
        """Return a minute."""
        return 60_000


def our_handler(data_bytes: int) -> float:
    """Measure `@stream_handler`: data bytes and key of each user record reach a function."""
    from shardline.consumer.aws_lambda import Record, stream_handler

    seen = 0

    @stream_handler
    def handler(record: Record) -> None:
        nonlocal seen
        seen += len(record.data) > 0 and record.partition_key is not None

    given, count = event(data_bytes)
    spent = cpu_seconds(lambda: handler(given, Context()))
    assert seen == count
    return spent / count


def their_handler(data_bytes: int) -> float:
    """Measure aws-kinesis-agg and base64 doing the same."""
    from aws_kinesis_agg.deaggregator import iter_deaggregate_records

    seen = 0

    def handle(data: bytes, key: str) -> None:
        nonlocal seen
        seen += len(data) > 0 and key is not None

    def run() -> None:
        for record in iter_deaggregate_records(given["Records"]):
            kinesis = record["kinesis"]
            handle(base64.b64decode(kinesis["data"]), kinesis["partitionKey"])

    given, count = event(data_bytes)
    spent = cpu_seconds(run)
    assert seen == count
    return spent / count


def our_dictionaries(data_bytes: int) -> float:
    """Measure `deaggregate(event)`, walked once."""
    from shardline.consumer.aws_lambda import deaggregate

    given, count = event(data_bytes)
    found: list[int] = []
    spent = cpu_seconds(lambda: found.append(sum(1 for _ in deaggregate(given))))
    assert found == [count]
    return spent / count


def their_dictionaries(data_bytes: int) -> float:
    """Measure aws-kinesis-agg's generator, walked once."""
    from aws_kinesis_agg.deaggregator import iter_deaggregate_records

    given, count = event(data_bytes)
    found: list[int] = []
    spent = cpu_seconds(lambda: found.append(sum(1 for _ in iter_deaggregate_records(given["Records"]))))
    assert found == [count]
    return spent / count


def lambda_import_ms() -> float:
    """Return what importing a handler's needs costs, the decorator included."""
    folders = [str(CONSUMER), str(CONSUMER.parent / "common")]
    return import_ms("shardline.consumer.aws_lambda as l; l.stream_handler; l.deaggregate", *folders)


def layer_kib() -> float:
    """Return the size of the layer zip."""
    return build_layer().stat().st_size / 1024


CASES = [
    Case(work=work, bytes=size, who=who, measure=lambda run=run, size=size: run(size))  # type: ignore[misc]  # Bound early.
    for work, ours, theirs in (
        ("lambda handler", our_handler, their_handler),
        ("lambda dictionaries", our_dictionaries, their_dictionaries),
    )
    for size in RECORDS
    for who, run in (("shardline", ours), ("aws-kinesis-agg", theirs))
]
FIGURES = [
    Figure(what="cold import", who="shardline.consumer.aws_lambda", unit="ms", measure=lambda_import_ms),
    Figure(what="lambda layer", who="shardline", unit="KiB", measure=layer_kib),
]
