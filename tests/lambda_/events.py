"""Events as Lambda hands them over, built from user records; the vocabulary of the Lambda tests."""

from __future__ import annotations

import base64
from hashlib import md5
from typing import Any

from shardline.common.aggregation import AggregateBuilder

ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
SHARD = "shardId-000000000006"
FIRST = 49590338271490256608559692538361571095921575989136588898


def aggregate(*payloads: bytes, key: str | None = "k", headers: dict[str, str] | None = None) -> bytes:
    """Return an aggregate of the payloads, all under one key unless a payload says otherwise by ``key=data``."""
    builder = AggregateBuilder(10_000_000)
    for payload in payloads:
        assert builder.try_append(key, payload, None, headers)
    return _wrapped(key, *payloads) if len(payloads) == 1 else builder.seal().data


def _wrapped(key: str | None, payload: bytes) -> bytes:
    """Return an aggregate of one, which the KPL never writes and everybody reads."""
    builder = AggregateBuilder(10_000_000)
    assert builder.try_append(key, payload, None, {"wrapped": "1"})
    return builder.seal().data


def malformed() -> bytes:
    """Return a blob with magic and digest whose one record points outside the key table."""
    message = b"\x0a\x01k\x1a\x05\x08\x07\x1a\x01x"
    return b"\xf3\x89\x9a\xc2" + message + md5(message).digest()


def record(data: bytes | str | None, number: int = FIRST, *, key: str | None = "k", **outer: Any) -> dict[str, Any]:
    """Return one record of the event source mapping's shape; text data are put in as they are."""
    text = base64.b64encode(data).decode() if isinstance(data, bytes) else data
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": key,
            "sequenceNumber": str(number),
            "data": text,
            "approximateArrivalTimestamp": 1545084650.987,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{SHARD}:{number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda-role",
        "awsRegion": "eu-west-1",
        "eventSourceARN": ARN,
        **outer,
    }


def event(*records: dict[str, Any] | bytes, **more: Any) -> dict[str, Any]:
    """Return an event; bytes become plain records with rising sequence numbers."""
    made = [one if isinstance(one, dict) else record(one, FIRST + index) for index, one in enumerate(records)]
    return {"Records": made, **more}


def failing_at(number: int) -> dict[str, Any]:
    """Return the answer that names one sequence number."""
    return {"batchItemFailures": [{"itemIdentifier": str(number)}]}


ALL_DONE: dict[str, Any] = {"batchItemFailures": []}


class Context:
    """Lambda's context: each question for the remaining time takes the next of the given answers, then the last."""

    def __init__(self, *remaining_ms: int) -> None:
        self._remaining = list(remaining_ms)

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left of the invocation."""
        return self._remaining.pop(0) if len(self._remaining) > 1 else self._remaining[0]
