"""moto's DynamoDB by the short way out says the same as by moto's own serializer, call by call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shardline.local.moto.dispatch import Moto, MotoAnswer, reset
from shardline.local.moto.dynamodb import SHORT

if TYPE_CHECKING:
    import pytest

KEY = {"leaseKey": {"S": "a"}}
ITEM = {
    "leaseKey": {"S": "a"},
    "leaseCounter": {"N": "3"},
    "bytes": {"B": "AP8="},
    "children": {"SS": ["x", "y"]},
    "list": {"L": [{"M": {"n": {"NULL": True}}}, {"BOOL": False}]},
}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("PutItem", {"Item": ITEM}),
    ("PutItem", {"Item": ITEM, "ReturnValues": "ALL_OLD"}),
    (
        "PutItem",
        {
            "Item": ITEM,
            "ConditionExpression": "attribute_not_exists(leaseKey)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        },
    ),
    ("GetItem", {"Key": KEY, "ConsistentRead": True}),
    ("GetItem", {"Key": {"leaseKey": {"S": "missing"}}}),
    (
        "UpdateItem",
        {
            "Key": KEY,
            "UpdateExpression": "SET leaseOwner = :o ADD leaseCounter :n",
            "ExpressionAttributeValues": {":o": {"S": "w"}, ":n": {"N": "1"}},
            "ReturnValues": "ALL_NEW",
        },
    ),
    (
        "UpdateItem",
        {
            "Key": KEY,
            "AttributeUpdates": {"leaseOwner": {"Action": "PUT", "Value": {"S": "v"}}},
            "ReturnValues": "UPDATED_NEW",
        },
    ),
    ("Scan", {"ReturnConsumedCapacity": "TOTAL"}),
    ("Scan", {"Limit": 1, "TotalSegments": 2, "Segment": 0}),
    ("Scan", {"Select": "COUNT"}),
    ("Query", {"KeyConditionExpression": "leaseKey = :k", "ExpressionAttributeValues": {":k": {"S": "a"}}}),
    ("GetItem", {"Key": {"otherKey": {"S": "a"}}}),
    ("DeleteItem", {"Key": KEY, "ReturnValues": "ALL_OLD"}),
    ("DeleteItem", {"Key": KEY}),
]


def call(operation: str, content: dict[str, Any]) -> MotoAnswer:
    headers = {
        "host": "localhost",
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": f"DynamoDB_20120810.{operation}",
        "authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request",
    }
    body = json.dumps({"TableName": "leases", **content}).encode()
    return Moto().call("dynamodb", "POST", "/", headers, body)


def answers() -> list[tuple[str, int, Any]]:
    """Return the parsed answers to all calls, on a fresh table."""
    reset()
    call(
        "CreateTable",
        {
            "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
            "BillingMode": "PAY_PER_REQUEST",
        },
    )
    got = [(operation, call(operation, content)) for operation, content in CALLS]
    reset()
    return [(operation, answer.status, json.loads(answer.body)) for operation, answer in got]


def test_both_ways_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each call that takes the short way, status and content equal those of moto's own serializer."""
    assert {operation for operation, _ in CALLS} == SHORT
    short = answers()
    monkeypatch.setattr("shardline.local.moto.dynamodb.SHORT", frozenset())
    long = answers()
    for mine, theirs in zip(short, long, strict=True):
        assert mine == theirs
