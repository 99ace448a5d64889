"""The structures of Kinesis' answers as plain Python values.

`Data` is bytes and times are `Moment`s, which each wire format renders its own way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shardline.common.hashing import HashRange, Shard
    from shardline.common.ports.kinesis import ChildShard
    from shardline.common.records import KinesisRecord
    from shardline.local.state.consumer import Consumer
    from shardline.local.state.stream import StreamState

__all__ = ["Fields", "Moment", "child", "consumer_fields", "described", "mode", "monitoring", "record", "shard_fields"]

Fields = dict[str, Any]


class Moment(float):
    """A point in time, epoch seconds; a number in JSON, a tagged one in CBOR."""

    __slots__ = ()


def _range(hash_range: HashRange) -> Fields:
    return {"StartingHashKey": str(hash_range.start), "EndingHashKey": str(hash_range.end)}


def shard_fields(shard: Shard) -> Fields:
    """Return a Shard."""
    numbers: Fields = {"StartingSequenceNumber": shard.starting_sequence_number}
    if shard.ending_sequence_number is not None:
        numbers["EndingSequenceNumber"] = shard.ending_sequence_number
    fields: Fields = {
        "ShardId": shard.shard_id,
        "HashKeyRange": _range(shard.hash_range),
        "SequenceNumberRange": numbers,
    }
    if shard.parent_shard_id is not None:
        fields["ParentShardId"] = shard.parent_shard_id
    if shard.adjacent_parent_shard_id is not None:
        fields["AdjacentParentShardId"] = shard.adjacent_parent_shard_id
    return fields


def child(shard: ChildShard) -> Fields:
    """Return a ChildShard."""
    return {
        "ShardId": shard.shard_id,
        "ParentShards": list(shard.parent_shard_ids),
        "HashKeyRange": _range(shard.hash_range),
    }


def record(item: KinesisRecord) -> Fields:
    """Return a Record; without a PartitionKey where the stream placed it itself."""
    fields: Fields = {
        "SequenceNumber": item.sequence_number,
        "ApproximateArrivalTimestamp": Moment(item.arrival_time_s),
        "Data": item.data,
    }
    if item.partition_key is not None:
        fields["PartitionKey"] = item.partition_key
    return fields


def monitoring(stream: StreamState) -> list[Fields]:
    """Return EnhancedMonitoring."""
    return [{"ShardLevelMetrics": sorted(stream.metrics)}]


def mode(stream: StreamState) -> Fields:
    """Return StreamModeDetails."""
    return {"StreamMode": "ON_DEMAND" if stream.on_demand else "PROVISIONED"}


def described(stream: StreamState) -> Fields:
    """Return what StreamDescription and StreamDescriptionSummary share."""
    fields: Fields = {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": stream.status,
        "StreamModeDetails": mode(stream),
        "RetentionPeriodHours": stream.retention_hours,
        "StreamCreationTimestamp": Moment(stream.created_s),
        "EnhancedMonitoring": monitoring(stream),
        "EncryptionType": "NONE" if stream.encryption_key is None else "KMS",
    }
    if stream.encryption_key is not None:
        fields["KeyId"] = stream.encryption_key
    return fields


def consumer_fields(consumer: Consumer, now: float) -> Fields:
    """Return a Consumer."""
    return {
        "ConsumerName": consumer.name,
        "ConsumerARN": consumer.arn,
        "ConsumerStatus": consumer.status(now),
        "ConsumerCreationTimestamp": Moment(consumer.created_s),
    }
