"""`deaggregate(event)`: the event's own shape, unique ids, plain records untouched."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from shardline.common.errors import InvalidInput, MalformedAggregate
from shardline.consumer.aws_lambda import deaggregate

from tests.lambda_.events import ARN, FIRST, SHARD, aggregate, event, malformed, record


def test_plain_records_are_the_very_dictionaries() -> None:
    """What is no aggregate comes out as the object that came in."""
    given = event(b"one", b"two")
    assert all(out is came for out, came in zip(deaggregate(given), given["Records"], strict=True))


def test_a_sub_record_has_lambdas_shape_and_its_own_identity() -> None:
    """Each sub-record is a whole Lambda record: text data, its own key, number and eventID, the rest copied."""
    given = event(record(aggregate(b"one", b"two", key="user"), FIRST, key="a"))
    first, second = deaggregate(given)
    assert [base64.b64decode(one["kinesis"]["data"]) for one in (first, second)] == [b"one", b"two"]
    assert [one["eventID"] for one in (first, second)] == [f"{SHARD}:{FIRST}:0", f"{SHARD}:{FIRST}:1"]
    assert second["kinesis"] == {
        "kinesisSchemaVersion": "1.0",
        "partitionKey": "user",
        "sequenceNumber": str(FIRST),
        "data": base64.b64encode(b"two").decode(),
        "approximateArrivalTimestamp": 1545084650.987,
        "aggregated": True,
        "explicitHashKey": None,
        "subSequenceNumber": 1,
    }
    assert second["eventSourceARN"] == ARN
    assert json.loads(json.dumps(second)) == second
    assert given["Records"][0]["kinesis"]["partitionKey"] == "a"


def test_it_can_be_iterated_again_and_counted() -> None:
    """The result has a length and gives the same records each time."""
    found = deaggregate(event(aggregate(b"one", b"two"), b"three"))
    assert len(found) == 3
    assert list(found) == list(found)
    assert repr(found) == "Dictionaries(3 of 2 Kinesis records)"


def test_a_record_without_partition_key_stays_without() -> None:
    """On streams that place records themselves partitionKey is null, inside and outside of aggregates."""
    without = record(aggregate(b"one", b"two", key=None), FIRST + 1, key=None)
    plain, *subs = deaggregate(event(record(b"x", FIRST, key=None), without))
    assert plain["kinesis"]["partitionKey"] is None
    assert [one["kinesis"]["partitionKey"] for one in subs] == [None, None]


def test_boto3_records_keep_bytes() -> None:
    """A GetRecords answer gives bytes for plain and aggregated records alike."""
    answer = {
        "Records": [
            {"SequenceNumber": "1", "Data": b"plain", "PartitionKey": "p"},
            {"SequenceNumber": "2", "Data": aggregate(b"one", b"two"), "PartitionKey": "a"},
        ],
        "NextShardIterator": "x",
    }
    assert [one["Data"] for one in deaggregate(answer)] == [b"plain", b"one", b"two"]
    assert list(deaggregate(answer))[2] == {
        "SequenceNumber": "2",
        "Data": b"two",
        "PartitionKey": "k",
        "ExplicitHashKey": None,
        "SubSequenceNumber": 1,
        "Aggregated": True,
    }


@pytest.mark.parametrize("metadata", ["kinesisRecordMetadata", "kinesisStreamRecordMetadata"])
def test_firehose_and_analytics_records_keep_their_record_id(metadata: str) -> None:
    """A transformation event's sub-records all carry the recordId that the answer must name."""
    one = {
        "recordId": "r1",
        "data": base64.b64encode(aggregate(b"one", b"two")).decode(),
        metadata: {"sequenceNumber": "7", "partitionKey": "a", "shardId": SHARD, "approximateArrivalTimestamp": 1},
    }
    plain = {"recordId": "r2", "data": base64.b64encode(b"x").decode(), "approximateArrivalTimestamp": 1}
    found = list(deaggregate({"records": [one, plain]}))
    assert [each["recordId"] for each in found] == ["r1", "r1", "r2"]
    assert [base64.b64decode(each["data"]) for each in found] == [b"one", b"two", b"x"]
    assert [each.get(metadata, {}).get("subSequenceNumber") for each in found] == [0, 1, None]
    assert found[1][metadata]["partitionKey"] == "k"


def test_lists_and_single_records_do_too() -> None:
    """A list of records or one record alone may be given."""
    one = record(aggregate(b"one", b"two"))
    assert len(deaggregate([one])) == 2
    assert len(deaggregate(one)) == 2


@pytest.mark.parametrize("data", [None, "not base64!", "aGVsbG8", "YQ==\n", "-_-_"])
def test_undecodable_data_comes_out_as_it_came(data: str | None) -> None:
    """What is not strict base64 is left to its reader, or raised on request."""
    one = record(data)
    assert list(deaggregate([one])) == [one]
    with pytest.raises(InvalidInput, match="data"):
        deaggregate([one], malformed="raise")


def test_a_malformed_aggregate_comes_out_whole() -> None:
    """A bad index gives the one raw record, never some of its sub-records; or the typed error."""
    one = record(malformed())
    assert list(deaggregate([one])) == [one]
    with pytest.raises(MalformedAggregate, match="index"):
        deaggregate([one], malformed="raise")


@pytest.mark.parametrize("given", [None, 7, "text", {"Records": None}, {"Records": 7}, [7], [{"x": 1}], {}])
def test_other_shapes_are_refused(given: Any) -> None:
    """An event of no known shape is a typed error, never an empty result."""
    with pytest.raises(InvalidInput):
        deaggregate(given)


def test_explicit_hash_keys_belong_only_to_who_gave_them() -> None:
    """A record without an explicit hash key does not inherit its neighbour's (peers.md 2.3)."""
    from shardline.common.aggregation import AggregateBuilder

    builder = AggregateBuilder()
    assert builder.try_append("p", b"x", "5")
    assert builder.try_append("p", b"y")
    found = list(deaggregate([record(builder.seal().data)]))
    assert [one["kinesis"]["explicitHashKey"] for one in found] == ["5", None]
