"""Deny by default: grants by key, action and resource, alone and at the HTTP door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError

from shardline.common.connection import Connection, Credentials
from shardline.common.errors import Denied, InvalidInput
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.local import LocalEndpoint
from shardline.local.access import AccessPolicy, actions_of

from tests.local.conftest import NO_RETRIES

if TYPE_CHECKING:
    from tests.local.conftest import Client


def test_nothing_is_allowed_that_is_not_granted() -> None:
    """Action and resource both have to match; unknown keys may do nothing."""
    policy = AccessPolicy({"writer": ["kinesis:Put* orders*", "dynamodb:GetItem"]})
    assert policy.denied("writer", ["kinesis:PutRecords"], "orders-1") is None
    assert policy.denied("writer", ["dynamodb:GetItem"], "any") is None
    assert policy.denied("writer", ["kinesis:PutRecords"], "other") == "kinesis:PutRecords"
    assert policy.denied("writer", ["dynamodb:GetItem", "dynamodb:Scan"], "any") == "dynamodb:Scan"
    assert policy.denied("stranger", ["kinesis:PutRecords"], "orders") == "kinesis:PutRecords"
    assert repr(policy) == "AccessPolicy(1 keys)"


def test_operations_need_the_actions_that_iam_knows() -> None:
    """CloudWatch signs as monitoring; a transaction needs the actions of its writes."""
    assert actions_of("monitoring", "PutMetricData") == ["cloudwatch:PutMetricData"]
    assert actions_of("dynamodb", "TransactWriteItems", ["Put", "Delete"]) == [
        "dynamodb:PutItem",
        "dynamodb:DeleteItem",
    ]


@pytest.mark.parametrize("grant", ["kinesis", "kinesis:", ":Put", ""])
def test_wrong_grants_are_refused(grant: str) -> None:
    """A grant names a service and an action."""
    with pytest.raises(InvalidInput, match="access"):
        AccessPolicy({"key": [grant]})


def client(endpoint: LocalEndpoint, service: str, key: str) -> Client:
    return boto3.client(
        service,
        endpoint_url=endpoint.url,
        config=NO_RETRIES,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key="test",
    )


def test_the_endpoint_denies_as_the_service_does() -> None:
    """A call without its grant is AccessDeniedException, names the action, and changes nothing."""
    access = {"owner": ["*:*"], "writer": ["kinesis:PutRecords orders"], "worker": ["dynamodb:PutItem leases"]}
    with LocalEndpoint({"orders": 1, "other": 1}, access=access) as endpoint:
        writer, owner = client(endpoint, "kinesis", "writer"), client(endpoint, "kinesis", "owner")
        records = [{"Data": b"x", "PartitionKey": "k"}]
        assert writer.put_records(StreamName="orders", Records=records)["FailedRecordCount"] == 0
        metrics = client(endpoint, "cloudwatch", "writer")
        with pytest.raises(ClientError, match="AccessDenied"):
            writer.put_records(StreamName="other", Records=records)
        with pytest.raises(ClientError, match="kinesis:ListShards"):
            writer.list_shards(StreamName="orders")
        with pytest.raises(ClientError, match="AccessDenied"):
            metrics.list_metrics()
        assert len(owner.list_shards(StreamName="orders")["Shards"]) == 1
        worker = client(endpoint, "dynamodb", "worker")
        put = {"Put": {"TableName": "leases", "Item": {"leaseKey": {"S": "a"}}}}
        delete = {"Delete": {"TableName": "leases", "Key": {"leaseKey": {"S": "a"}}}}
        with pytest.raises(ClientError, match="dynamodb:DeleteItem"):
            worker.transact_write_items(TransactItems=[put, delete])
        for one in (writer, owner, worker, metrics):
            one.close()


def test_our_adapter_names_what_was_denied() -> None:
    """The SDK adapter's error carries the action that is missing."""

    async def story() -> None:
        async with LocalEndpoint({"orders": 1}, access={}) as endpoint:
            connection = Connection(
                region_name="us-east-1",
                endpoint_url=endpoint.url,
                insecure_plain_http=True,
                credentials=Credentials(access_key_id="nobody", secret_access_key="test"),
            )
            async with connection.kinesis() as kinesis:
                with pytest.raises(Denied) as denied:
                    await kinesis.put_records(Stream("orders"), [PutEntry(b"x", "k")], timeout_s=10)
        assert denied.value.action == "kinesis:PutRecords"

    asyncio.run(story())
