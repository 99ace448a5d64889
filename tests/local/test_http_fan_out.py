"""SubscribeToShard over HTTP/1.1 as boto3 and aiobotocore read it, unchanged; and every other call by aiobotocore."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Any

import cbor2
import pytest
import urllib3
from aiobotocore.session import get_session
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError, EventStreamError

from shardline.local import KinesisOptions, LocalEndpoint

from tests.local.conftest import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.local.conftest import Client

FIRST = "shardId-000000000000"
LATEST = {"Type": "LATEST"}
HORIZON = {"Type": "TRIM_HORIZON"}


@pytest.fixture
def kinesis(client: Callable[[str], Client]) -> Client:
    """Return a boto3 client with a stream `orders` of one shard."""
    made = client("kinesis")
    made.create_stream(StreamName="orders", ShardCount=1)
    return made


@pytest.fixture
def consumer(kinesis: Any) -> str:
    """Register the consumer `app` of the stream and return its ARN."""
    arn = kinesis.describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"]["StreamARN"]
    return str(kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="app")["Consumer"]["ConsumerARN"])


def subscribe(kinesis: Any, consumer: str, position: dict[str, Any]) -> Any:
    answer = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=FIRST, StartingPosition=position)
    return closing(answer["EventStream"])


def test_boto3_reads_records_as_they_come(kinesis: Any, consumer: str) -> None:
    """Stored records come first, new ones as they are put, and a split ends the stream with its children."""
    kinesis.put_record(StreamName="orders", Data=b"\x00stored", PartitionKey="k")
    seen: list[dict[str, Any]] = []
    with subscribe(kinesis, consumer, HORIZON) as events:
        for event in events:
            seen.append(event["SubscribeToShardEvent"])
            if len(seen) == 1:
                kinesis.put_record(StreamName="orders", Data=b"new", PartitionKey="k")
            elif len(seen) == 2:
                kinesis.split_shard(StreamName="orders", ShardToSplit=FIRST, NewStartingHashKey=str(2**127))
    assert [r["Data"] for e in seen for r in e["Records"]] == [b"\x00stored", b"new"]
    assert [c["ParentShards"] for c in seen[-1]["ChildShards"]] == [[FIRST], [FIRST]]
    assert "ContinuationSequenceNumber" not in seen[-1]
    assert all("ChildShards" not in e for e in seen[:-1])
    assert seen[0]["ContinuationSequenceNumber"] == seen[0]["Records"][-1]["SequenceNumber"]


def test_boto3_resumes_from_a_number(kinesis: Any, consumer: str, endpoint: LocalEndpoint) -> None:
    """AFTER_SEQUENCE_NUMBER with a continuation number gives what follows it, not the whole shard."""
    endpoint.state.options = KinesisOptions(subscribe_again_after_s=0)
    kinesis.put_records(StreamName="orders", Records=[{"Data": bytes([i]), "PartitionKey": "k"} for i in range(4)])
    with subscribe(kinesis, consumer, HORIZON) as events:
        records = next(iter(events))["SubscribeToShardEvent"]["Records"]
    position = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": records[1]["SequenceNumber"]}
    with subscribe(kinesis, consumer, position) as events:
        again = next(iter(events))["SubscribeToShardEvent"]["Records"]
    assert [r["Data"] for r in again] == [b"\x02", b"\x03"]


def test_a_second_subscriber_is_refused_then_takes_over(kinesis: Any, consumer: str, endpoint: LocalEndpoint) -> None:
    """Within five seconds ResourceInUse is the answer; later the old stream gets it as its last event."""
    with subscribe(kinesis, consumer, LATEST) as old:
        waiting = iter(old)
        next(waiting)
        with pytest.raises(kinesis.exceptions.ResourceInUseException):
            subscribe(kinesis, consumer, LATEST)
        endpoint.state.options = KinesisOptions(subscribe_again_after_s=0)
        with subscribe(kinesis, consumer, LATEST) as new:
            next(iter(new))
            with pytest.raises(EventStreamError, match="ResourceInUseException"):
                next(waiting)


def test_a_deleted_stream_ends_with_not_found(kinesis: Any, consumer: str) -> None:
    """The last event of a subscription to a deleted stream is ResourceNotFoundException."""
    with subscribe(kinesis, consumer, LATEST) as events:
        waiting = iter(events)
        next(waiting)
        kinesis.delete_stream(StreamName="orders", EnforceConsumerDeletion=True)
        with pytest.raises(EventStreamError, match="ResourceNotFoundException"):
            next(waiting)


def test_wrong_subscriptions_are_refused_before_the_stream_begins(kinesis: Any, consumer: str) -> None:
    """Unknown consumers and shards, and DryRun, are ordinary errors."""
    calls: list[tuple[dict[str, Any], str]] = [
        ({"ConsumerARN": consumer + "0"}, "ResourceNotFoundException"),
        ({"ShardId": "shardId-000000000007"}, "ResourceNotFoundException"),
        ({"DryRun": True}, "DryRunOperationException"),
        ({"StartingPosition": {"Type": "AT_TIMESTAMP"}}, "InvalidArgumentException"),
    ]
    for changed, code in calls:
        with pytest.raises(ClientError, match=code):
            kinesis.subscribe_to_shard(
                **({"ConsumerARN": consumer, "ShardId": FIRST, "StartingPosition": LATEST} | changed)
            )


def test_an_idle_subscription_beats_and_ends(kinesis: Any, consumer: str, endpoint: LocalEndpoint) -> None:
    """Empty events come at the heartbeat's pace, and the stream ends cleanly after its lifetime."""
    endpoint.state.options = KinesisOptions(heartbeat_s=0.1, subscription_lifetime_s=0.5)
    with subscribe(kinesis, consumer, LATEST) as events:
        seen = [e["SubscribeToShardEvent"] for e in events]
    assert len(seen) >= 3
    assert all(e["Records"] == [] and e["ContinuationSequenceNumber"] for e in seen)


def test_the_first_message_is_the_initial_response_in_cbor_too(consumer: str, endpoint: LocalEndpoint) -> None:
    """A CBOR subscriber gets `initial-response` first, and events whose payload is CBOR."""
    kind = "application/x-amz-cbor-1.1"
    body = cbor2.dumps({"ConsumerARN": consumer, "ShardId": FIRST, "StartingPosition": LATEST})
    headers = {"x-amz-target": "Kinesis_20131202.SubscribeToShard", "content-type": kind}
    buffer = EventStreamBuffer()
    messages: list[Any] = []
    with urllib3.PoolManager() as pool:
        answer = pool.request("POST", endpoint.url, body=body, headers=headers, preload_content=False)
        assert answer.headers["content-type"] == "application/vnd.amazon.eventstream"
        while len(messages) < 2:
            buffer.add_data(answer.read1(65_536))
            messages += list(buffer)
        answer.close()
    assert [m.headers[":event-type"] for m in messages] == ["initial-response", "SubscribeToShardEvent"]
    assert cbor2.loads(messages[1].payload)["Records"] == []


def test_a_subscriber_that_leaves_is_forgotten(kinesis: Any, consumer: str, endpoint: LocalEndpoint) -> None:
    """When the client closes its connection nothing of the subscription is left behind."""
    events = subscribe(kinesis, consumer, LATEST).thing
    next(iter(events))
    shard = endpoint.state.streams["orders"].open[0]
    assert len(shard.watchers) == 1
    events.close()
    for _ in range(100):
        kinesis.list_streams()
        if not shard.watchers:
            break
    assert shard.watchers == []


def test_aiobotocore_works_unchanged() -> None:
    """The other SDK puts, lists, reads and subscribes over the same endpoint."""

    async def story() -> None:
        async with (
            LocalEndpoint({"orders": 1}) as endpoint,
            get_session().create_client("kinesis", endpoint_url=endpoint.url, **CREDENTIALS) as kinesis,
        ):
            await kinesis.put_records(StreamName="orders", Records=[{"Data": b"x", "PartitionKey": "k"}])
            shards = (await kinesis.list_shards(StreamName="orders"))["Shards"]
            arn = (await kinesis.describe_stream_summary(StreamName="orders"))["StreamDescriptionSummary"]["StreamARN"]
            iterator = await kinesis.get_shard_iterator(
                StreamARN=arn, ShardId=shards[0]["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            page = await kinesis.get_records(ShardIterator=iterator["ShardIterator"])
            assert [r["Data"] for r in page["Records"]] == [b"x"]
            consumer = await kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="app")
            answer = await kinesis.subscribe_to_shard(
                ConsumerARN=consumer["Consumer"]["ConsumerARN"], ShardId=FIRST, StartingPosition=HORIZON
            )
            async for event in answer["EventStream"]:
                assert [r["Data"] for r in event["SubscribeToShardEvent"]["Records"]] == [b"x"]
                break
            answer["EventStream"].close()
            with pytest.raises(ClientError, match="ResourceNotFoundException"):
                await kinesis.list_shards(StreamName="nowhere")

    asyncio.run(story())
