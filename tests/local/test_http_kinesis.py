"""The HTTP door for Kinesis, by an unchanged boto3 client: every operation, every error's shape, both wire formats."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cbor2
import pytest
import urllib3
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.local import LocalEndpoint

Client = Any


@pytest.fixture
def kinesis(client: Callable[[str], Client]) -> Client:
    """Return a boto3 client with a stream `orders` of two shards."""
    made = client("kinesis")
    made.create_stream(StreamName="orders", ShardCount=2)
    return made


def arn(kinesis: Client) -> str:
    return str(kinesis.describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"]["StreamARN"])


def read_all(kinesis: Client, stream: str = "orders") -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        records += kinesis.get_records(ShardIterator=iterator)["Records"]
    return records


def call(url: str, operation: str, body: bytes, kind: str = "application/x-amz-json-1.1") -> urllib3.BaseHTTPResponse:
    headers = {"x-amz-target": f"Kinesis_20131202.{operation}", "content-type": kind}
    with urllib3.PoolManager() as pool:
        return pool.request("POST", url, body=body, headers=headers, retries=False)


def test_records_go_in_and_come_out(kinesis: Client) -> None:
    """PutRecord and PutRecords store what GetRecords gives back: data, key, number, arrival time."""
    one = kinesis.put_record(StreamName="orders", Data=b"\x00\xff", PartitionKey='ü"\\\n\U0001f600')
    many = kinesis.put_records(
        StreamName="orders", Records=[{"Data": bytes([i]), "PartitionKey": str(i)} for i in range(9)]
    )
    assert many["FailedRecordCount"] == 0
    records = {r["SequenceNumber"]: r for r in read_all(kinesis)}
    assert records[one["SequenceNumber"]]["Data"] == b"\x00\xff"
    assert records[one["SequenceNumber"]]["PartitionKey"] == 'ü"\\\n\U0001f600'
    assert {records[r["SequenceNumber"]]["Data"] for r in many["Records"]} == {bytes([i]) for i in range(9)}
    age = dt.datetime.now(dt.UTC) - records[one["SequenceNumber"]]["ApproximateArrivalTimestamp"]
    assert dt.timedelta(0) <= age + dt.timedelta(milliseconds=1) < dt.timedelta(minutes=1)


def test_streams_are_described_listed_changed_and_deleted(kinesis: Client) -> None:
    """The control plane's calls do what they say, and unchanged waiters end."""
    kinesis.get_waiter("stream_exists").wait(StreamName="orders", WaiterConfig={"Delay": 1, "MaxAttempts": 2})
    described = kinesis.describe_stream(StreamName="orders")["StreamDescription"]
    assert (described["StreamStatus"], len(described["Shards"]), described["HasMoreShards"]) == ("ACTIVE", 2, False)
    name = {"StreamARN": arn(kinesis)}
    kinesis.increase_stream_retention_period(**name, RetentionPeriodHours=48)
    kinesis.decrease_stream_retention_period(**name, RetentionPeriodHours=24)
    kinesis.update_max_record_size(**name, MaxRecordSizeInKiB=2048)
    kinesis.enable_enhanced_monitoring(**name, ShardLevelMetrics=["ALL"])
    kinesis.disable_enhanced_monitoring(**name, ShardLevelMetrics=["IncomingBytes"])
    kinesis.start_stream_encryption(**name, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    summary = kinesis.describe_stream_summary(**name)["StreamDescriptionSummary"]
    assert (summary["MaxRecordSizeInKiB"], summary["EncryptionType"], summary["OpenShardCount"]) == (2048, "KMS", 2)
    assert len(summary["EnhancedMonitoring"][0]["ShardLevelMetrics"]) == 6
    kinesis.stop_stream_encryption(**name, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    assert kinesis.describe_limits()["OpenShardCount"] == 2
    assert kinesis.list_streams()["StreamNames"] == ["orders"]
    kinesis.delete_stream(**name)
    kinesis.get_waiter("stream_not_exists").wait(StreamName="orders", WaiterConfig={"Delay": 1, "MaxAttempts": 2})


def test_reshards_by_the_wire(kinesis: Client) -> None:
    """SplitShard, MergeShards and UpdateShardCount keep lineage; the parents end with their children named."""
    kinesis.put_record(StreamName="orders", Data=b"x", PartitionKey="k", ExplicitHashKey="0")
    iterator = kinesis.get_shard_iterator(
        StreamName="orders", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    kinesis.split_shard(StreamName="orders", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**100))
    kinesis.merge_shards(
        StreamName="orders", ShardToMerge="shardId-000000000003", AdjacentShardToMerge="shardId-000000000001"
    )
    assert (
        kinesis.update_shard_count(StreamName="orders", TargetShardCount=3, ScalingType="UNIFORM_SCALING")[
            "TargetShardCount"
        ]
        == 3
    )
    page = kinesis.get_records(ShardIterator=iterator)
    assert [r["Data"] for r in page["Records"]] == [b"x"]
    assert "NextShardIterator" not in page
    assert [(c["ShardId"], c["ParentShards"]) for c in page["ChildShards"]] == [
        ("shardId-000000000002", ["shardId-000000000000"]),
        ("shardId-000000000003", ["shardId-000000000000"]),
    ]
    shards = kinesis.list_shards(StreamName="orders", ShardFilter={"Type": "AT_TRIM_HORIZON"})["Shards"]
    assert [s["ShardId"][-1] for s in shards] == ["0", "1"]


def test_tags_of_streams_and_consumers(kinesis: Client) -> None:
    """Both families of tag calls reach the same tags."""
    name = arn(kinesis)
    kinesis.add_tags_to_stream(StreamName="orders", Tags={"a": "1", "b": "2"})
    kinesis.tag_resource(ResourceARN=name, Tags={"c": "3"})
    kinesis.untag_resource(ResourceARN=name, TagKeys=["a"])
    kinesis.remove_tags_from_stream(StreamName="orders", TagKeys=["b"])
    assert kinesis.list_tags_for_stream(StreamName="orders") | {"ResponseMetadata": None} == {
        "Tags": [{"Key": "c", "Value": "3"}],
        "HasMoreTags": False,
        "ResponseMetadata": None,
    }
    consumer = kinesis.register_stream_consumer(StreamARN=name, ConsumerName="app", Tags={"x": "y"})["Consumer"]
    assert kinesis.list_tags_for_resource(ResourceARN=consumer["ConsumerARN"])["Tags"] == [{"Key": "x", "Value": "y"}]


def test_consumers_are_registered_described_listed_and_removed(kinesis: Client) -> None:
    """RegisterStreamConsumer and its family; a name twice is refused, an unknown one not found."""
    name = arn(kinesis)
    made = kinesis.register_stream_consumer(StreamARN=name, ConsumerName="app")["Consumer"]
    assert kinesis.describe_stream_consumer(ConsumerARN=made["ConsumerARN"])["ConsumerDescription"]["StreamARN"] == name
    assert [c["ConsumerName"] for c in kinesis.list_stream_consumers(StreamARN=name)["Consumers"]] == ["app"]
    with pytest.raises(kinesis.exceptions.ResourceInUseException):
        kinesis.register_stream_consumer(StreamARN=name, ConsumerName="app")
    with pytest.raises(kinesis.exceptions.ResourceInUseException):
        kinesis.delete_stream(StreamName="orders")
    kinesis.deregister_stream_consumer(StreamARN=name, ConsumerName="app")
    with pytest.raises(kinesis.exceptions.ResourceNotFoundException):
        kinesis.describe_stream_consumer(StreamARN=name, ConsumerName="app")


def test_on_demand_streams_switch_their_distribution(client: Callable[[str], Client]) -> None:
    """AUTO takes records without a key and gives none back; the switch is at once and shows in the summary."""
    kinesis = client("kinesis")
    kinesis.create_stream(StreamName="orders", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    kinesis.update_stream_record_distribution_strategy(StreamARN=arn(kinesis), RecordDistributionStrategy="AUTO")
    kinesis.put_records(StreamName="orders", Records=[{"Data": b"x"}, {"Data": b"y", "PartitionKey": "k"}])
    assert all("PartitionKey" not in r for r in read_all(kinesis))
    summary = kinesis.describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"]
    assert summary["RecordDistributionStrategy"] == "AUTO"
    kinesis.update_stream_mode(StreamARN=arn(kinesis), StreamModeDetails={"StreamMode": "PROVISIONED"})
    kinesis.update_stream_warm_throughput(StreamName="orders", WarmThroughputMiBps=10)
    with pytest.raises(ClientError, match="partitionKey"):
        kinesis.put_record(StreamName="orders", Data=b"x")


def test_dry_run_stores_nothing_over_the_wire(kinesis: Client) -> None:
    """DryRun is answered with DryRunOperationException, and nothing can be read afterwards."""
    with pytest.raises(ClientError, match="DryRunOperationException"):
        kinesis.put_records(StreamName="orders", Records=[{"Data": b"x", "PartitionKey": "k"}], DryRun=True)
    assert read_all(kinesis) == []


def test_errors_have_the_services_shape(endpoint: LocalEndpoint) -> None:
    """An error's body names its type and message, its headers the request and the type."""
    answer = call(endpoint.url, "ListShards", b'{"StreamName": "nowhere"}')
    assert answer.status == 400
    assert answer.json()["__type"] == answer.headers["x-amzn-errortype"] == "ResourceNotFoundException"
    assert "nowhere" in answer.json()["message"]
    assert answer.headers["x-amzn-requestid"]


@pytest.mark.parametrize(
    ("operation", "body", "code"),
    [
        ("PutRecords", b"{", "SerializationException"),
        ("PutRecords", b"[]", "SerializationException"),
        ("PutRecords", b'{"StreamName": 1}', "SerializationException"),
        ("PutRecords", b'{"StreamName": "orders"}', "ValidationException"),
        (
            "PutRecords",
            b'{"StreamName": "orders", "Records": [{"Data": "!", "PartitionKey": "k"}]}',
            "SerializationException",
        ),
        (
            "PutRecords",
            b'{"StreamName": "orders", "Records": [{"Data": 1, "PartitionKey": "k"}]}',
            "SerializationException",
        ),
        ("PutRecords", b'{"StreamName": "orders", "Records": [{"PartitionKey": "k"}]}', "ValidationException"),
        ("PutRecords", b'{"StreamName": "orders", "Records": ["x"]}', "SerializationException"),
        (
            "PutRecords",
            b'{"StreamName": "orders", "Records": [{"Data": "", "PartitionKey": 1}]}',
            "SerializationException",
        ),
        (
            "PutRecords",
            b'{"StreamName": "orders", "Records": [{"Data": "", "PartitionKey": "k", "ExplicitHashKey": 1}]}',
            "SerializationException",
        ),
        ("PutRecords", b'{"StreamName": "orders", "Records": {}}', "SerializationException"),
        ("PutRecords", b'{"Records": []}', "InvalidArgumentException"),
        ("PutRecord", b'{"StreamName": "bad name", "Data": "", "PartitionKey": "k"}', "ValidationException"),
        ("PutRecord", b'{"StreamARN": "orders", "Data": "", "PartitionKey": "k"}', "ValidationException"),
        (
            "PutRecord",
            b'{"StreamName": "a", "StreamARN": "arn:aws:kinesis:us-east-1:123456789012:stream/b"}',
            "InvalidArgumentException",
        ),
        ("GetRecords", b"{}", "ValidationException"),
        ("GetRecords", b'{"ShardIterator": "x", "Limit": "1"}', "SerializationException"),
        ("GetRecords", b'{"ShardIterator": "x"}', "InvalidArgumentException"),
        ("GetShardIterator", b'{"StreamName": "orders", "ShardIteratorType": "NOW"}', "ValidationException"),
        ("GetShardIterator", b'{"StreamName": "orders"}', "ValidationException"),
        ("ListShards", b'{"StreamName": "orders", "ShardFilter": {}}', "ValidationException"),
        ("ListShards", b'{"StreamName": "orders", "ShardFilter": 1}', "SerializationException"),
        (
            "ListShards",
            b'{"StreamName": "orders", "ShardFilter": {"Type": "AT_TIMESTAMP", "Timestamp": ""}}',
            "SerializationException",
        ),
        ("CreateStream", b'{"StreamName": "b", "ShardCount": true}', "SerializationException"),
        ("CreateStream", b'{"StreamName": "b", "StreamModeDetails": {"StreamMode": "X"}}', "ValidationException"),
        ("CreateStream", b'{"StreamName": "b", "ShardCount": 1, "Tags": {"a": 1}}', "SerializationException"),
        ("DeleteStream", b'{"StreamName": "b", "EnforceConsumerDeletion": 1}', "SerializationException"),
        ("RemoveTagsFromStream", b'{"StreamName": "orders", "TagKeys": [1]}', "SerializationException"),
        ("UpdateShardCount", b'{"StreamName": "orders"}', "ValidationException"),
        ("UpdateMaxRecordSize", b'{"StreamName": "orders"}', "ValidationException"),
        ("UpdateStreamRecordDistributionStrategy", b'{"StreamName": "orders"}', "ValidationException"),
        ("UpdateStreamWarmThroughput", b'{"StreamName": "orders"}', "ValidationException"),
        ("IncreaseStreamRetentionPeriod", b'{"StreamName": "orders"}', "ValidationException"),
        ("EnableEnhancedMonitoring", b'{"StreamName": "orders"}', "ValidationException"),
        (
            "StartStreamEncryption",
            b'{"StreamName": "orders", "EncryptionType": "NONE", "KeyId": "k"}',
            "InvalidArgumentException",
        ),
        ("DescribeStream", b'{"StreamName": "orders", "Limit": 10001}', "ValidationException"),
        ("DescribeStreamConsumer", b"{}", "InvalidArgumentException"),
        ("ListStreamConsumers", b'{"StreamARN": "orders"}', "ValidationException"),
        ("Nonsense", b"{}", "UnknownOperationException"),
    ],
)
def test_wrong_requests_are_answered_with_the_services_error(
    kinesis: Client, endpoint: LocalEndpoint, operation: str, body: bytes, code: str
) -> None:
    """Whatever is wrong with a request, the answer is a typed error and the endpoint goes on."""
    assert call(endpoint.url, operation, body).json()["__type"] == code
    assert kinesis.list_streams()["StreamNames"] == ["orders"]


@pytest.mark.usefixtures("kinesis")
def test_cbor_both_ways(endpoint: LocalEndpoint) -> None:
    """The Java SDK's format: blobs are byte strings, times are tagged milliseconds, in requests and answers."""
    kind = "application/x-amz-cbor-1.1"
    entry = {"Data": b"\x00\x01", "PartitionKey": "k"}
    put = call(endpoint.url, "PutRecords", cbor2.dumps({"StreamName": "orders", "Records": [entry]}), kind)
    assert put.headers["content-type"] == kind
    outcome = cbor2.loads(put.data)["Records"][0]
    since = cbor2.CBORTag(1, round((dt.datetime.now(dt.UTC).timestamp() - 60) * 1000))
    start = {
        "StreamName": "orders",
        "ShardId": outcome["ShardId"],
        "ShardIteratorType": "AT_TIMESTAMP",
        "Timestamp": since,
    }
    iterator = cbor2.loads(call(endpoint.url, "GetShardIterator", cbor2.dumps(start), kind).data)
    page = call(endpoint.url, "GetRecords", cbor2.dumps(iterator), kind)
    got = cbor2.loads(page.data, semantic_decoders={1: lambda value, _: ("time", value)})["Records"][0]
    assert got["Data"] == b"\x00\x01"
    assert got["SequenceNumber"] == outcome["SequenceNumber"]
    name, millis = got["ApproximateArrivalTimestamp"]
    assert (name, abs(millis / 1000 - dt.datetime.now(dt.UTC).timestamp()) < 60) == ("time", True)
    wrong = call(endpoint.url, "GetRecords", b"\xff", kind)
    assert cbor2.loads(wrong.data)["__type"] == "SerializationException"
    assert cbor2.loads(call(endpoint.url, "PutRecords", cbor2.dumps({"StreamName": b"x"}), kind).data)["__type"]


def test_placement_is_by_md5(kinesis: Client) -> None:
    """A record's shard is the one whose range holds the MD5 of its key."""
    for key in ("a", "b", "c", "d"):
        shard = kinesis.put_record(StreamName="orders", Data=b"", PartitionKey=key)["ShardId"]
        upper = int(hashlib.md5(key.encode()).hexdigest(), 16) >= 2**127
        assert shard == f"shardId-{int(upper):012d}"


def test_a_tail_reader_beside_four_writers_misses_nothing(kinesis: Client, endpoint: LocalEndpoint) -> None:
    """Over HTTP too: four writers of 500-record batches, one reader at the tail, every record once and in order."""
    kinesis.merge_shards(
        StreamName="orders", ShardToMerge="shardId-000000000000", AdjacentShardToMerge="shardId-000000000001"
    )
    shard, batches, size = "shardId-000000000002", 6, 500
    iterator = kinesis.get_shard_iterator(StreamName="orders", ShardId=shard, ShardIteratorType="LATEST")

    def write(writer: int) -> None:
        with urllib3.PoolManager() as pool:
            for batch in range(batches):
                names = [f"{writer}-{batch}-{i}".encode() for i in range(size)]
                records = [{"Data": base64.b64encode(n).decode(), "PartitionKey": "k"} for n in names]
                body = json.dumps({"StreamName": "orders", "Records": records})
                headers = {"x-amz-target": "Kinesis_20131202.PutRecords"}
                assert pool.request("POST", endpoint.url, body=body, headers=headers).status == 200

    seen: list[bytes] = []
    numbers: list[int] = []
    following = iterator["ShardIterator"]
    with ThreadPoolExecutor(4) as writers:
        done = [writers.submit(write, i) for i in range(4)]
        while len(seen) < 4 * batches * size:
            page = kinesis.get_records(ShardIterator=following)
            following = page["NextShardIterator"]
            seen += [r["Data"] for r in page["Records"]]
            numbers += [int(r["SequenceNumber"]) for r in page["Records"]]
            if all(d.done() for d in done) and not page["Records"]:
                break
        for each in done:
            each.result()
    assert (len(seen), len(set(seen))) == (4 * batches * size,) * 2
    assert numbers == sorted(numbers)
