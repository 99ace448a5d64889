"""Every Kinesis operation of the wire but SubscribeToShard: parameters in, the answer's fields out.

The answers hold plain Python values; `Data` is bytes and times are `Moment`s, which each wire format renders its way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shardline.local.state.refusal import Refusal, invalid, validation

if TYPE_CHECKING:
    from shardline.common.hashing import HashRange, Shard
    from shardline.common.ports.kinesis import ChildShard
    from shardline.common.records import KinesisRecord
    from shardline.local.http.params import Params
    from shardline.local.state.consumer import Consumer
    from shardline.local.state.core import KinesisState
    from shardline.local.state.stream import StreamState

__all__ = ["OPERATIONS", "Moment", "child", "record"]

Fields = dict[str, Any]
Operation = Callable[["KinesisState", "Params", float], Fields | None]

_DESCRIBE_LIMIT = 100
_METRICS = (
    "IncomingBytes",
    "IncomingRecords",
    "OutgoingBytes",
    "OutgoingRecords",
    "WriteProvisionedThroughputExceeded",
    "ReadProvisionedThroughputExceeded",
    "IteratorAgeMilliseconds",
)


class Moment(float):
    """A point in time, epoch seconds; a number in JSON, a tagged one in CBOR."""

    __slots__ = ()


# --- shapes ---


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


def _monitoring(stream: StreamState) -> list[Fields]:
    return [{"ShardLevelMetrics": sorted(stream.metrics)}]


def _mode(stream: StreamState) -> Fields:
    return {"StreamMode": "ON_DEMAND" if stream.on_demand else "PROVISIONED"}


def _described(stream: StreamState) -> Fields:
    fields: Fields = {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": stream.status,
        "StreamModeDetails": _mode(stream),
        "RetentionPeriodHours": stream.retention_hours,
        "StreamCreationTimestamp": Moment(stream.created_s),
        "EnhancedMonitoring": _monitoring(stream),
        "EncryptionType": "NONE" if stream.encryption_key is None else "KMS",
    }
    if stream.encryption_key is not None:
        fields["KeyId"] = stream.encryption_key
    return fields


# --- streams ---


def _create_stream(state: KinesisState, p: Params, now: float) -> None:
    state.create_stream(
        p.required("StreamName"),
        p.integer("ShardCount"),
        now=now,
        on_demand=p.on_demand(),
        tags=p.mapping("Tags"),
        record_kib_max=p.integer("MaxRecordSizeInKiB"),
        distribution=p.distribution(),
    )


def _delete_stream(state: KinesisState, p: Params, now: float) -> None:
    state.delete_stream(p.stream(), now=now, enforce_consumers=p.flag("EnforceConsumerDeletion"))


def _describe_stream(state: KinesisState, p: Params, now: float) -> Fields:
    stream = p.stream()
    found = state.resolve(stream, now)
    state.admit("DescribeStream", "", now)
    limit = p.integer("Limit") or _DESCRIBE_LIMIT
    if not 1 <= limit <= 10_000:  # noqa: PLR2004 - API DescribeStream.
        raise validation("Value at 'limit' must be from 1 to 10000.")
    page = state.list_shards(stream, now=now, exclusive_start=p.text("ExclusiveStartShardId"), results_max=limit)
    fields = _described(found)
    fields["Shards"] = [shard_fields(s) for s in page.shards] if found.status != "CREATING" else []
    fields["HasMoreShards"] = page.next_token is not None
    return {"StreamDescription": fields}


def _describe_stream_summary(state: KinesisState, p: Params, now: float) -> Fields:
    found = state.resolve(p.stream(), now)
    state.admit("DescribeStreamSummary", found.name, now)
    consumers, _ = state.list_consumers(found.arn, now=now)
    fields = _described(found) | {
        "OpenShardCount": len(found.open),
        "ConsumerCount": len(consumers),
        "MaxRecordSizeInKiB": found.record_kib_max,
        "WarmThroughput": {"TargetMiBps": found.warm_mibps, "CurrentMiBps": found.warm_mibps},
        "ChannelCount": 0,
    }
    if found.on_demand:
        fields["RecordDistributionStrategy"] = str(found.distribution)
    return {"StreamDescriptionSummary": fields}


def _list_streams(state: KinesisState, p: Params, now: float) -> Fields:
    limit = p.integer("Limit")
    page = state.list_streams(
        now=now,
        limit=100 if limit is None else limit,
        after=p.text("ExclusiveStartStreamName"),
        next_token=p.text("NextToken"),
    )
    summaries = [
        {
            "StreamName": s.name,
            "StreamARN": s.arn,
            "StreamStatus": s.status,
            "StreamModeDetails": _mode(s),
            "StreamCreationTimestamp": Moment(s.created_s),
        }
        for s in page.streams
    ]
    fields: Fields = {
        "StreamNames": [s.name for s in page.streams],
        "HasMoreStreams": page.next_token is not None,
        "StreamSummaries": summaries,
    }
    if page.next_token is not None:
        fields["NextToken"] = page.next_token
    return fields


def _list_shards(state: KinesisState, p: Params, now: float) -> Fields:
    page = state.list_shards(
        p.stream_or_none(),
        now=now,
        shard_filter=p.shard_filter(),
        next_token=p.text("NextToken"),
        exclusive_start=p.text("ExclusiveStartShardId"),
        results_max=p.integer("MaxResults"),
    )
    fields: Fields = {"Shards": [shard_fields(s) for s in page.shards]}
    if page.next_token is not None:
        fields["NextToken"] = page.next_token
    return fields


def _describe_limits(state: KinesisState, _p: Params, now: float) -> Fields:
    state.settle(now)
    state.admit("DescribeLimits", "", now)
    provisioned = [s for s in state.streams.values() if not s.on_demand]
    return {
        "ShardLimit": state.options.open_shards_max,
        "OpenShardCount": sum(len(s.open) for s in provisioned),
        "OnDemandStreamCount": len(state.streams) - len(provisioned),
        "OnDemandStreamCountLimit": 50,
        "ChannelCount": 0,
        "ChannelCountLimit": 0,
    }


# --- reshards and settings ---


def _split_shard(state: KinesisState, p: Params, now: float) -> None:
    state.split_shard(p.stream(), p.required("ShardToSplit"), p.required("NewStartingHashKey"), now=now)


def _merge_shards(state: KinesisState, p: Params, now: float) -> None:
    state.merge_shards(p.stream(), p.required("ShardToMerge"), p.required("AdjacentShardToMerge"), now=now)


def _update_shard_count(state: KinesisState, p: Params, now: float) -> Fields:
    stream = p.stream()
    target = p.integer("TargetShardCount")
    if target is None or p.required("ScalingType") != "UNIFORM_SCALING":
        raise validation("TargetShardCount and ScalingType UNIFORM_SCALING must be given.")
    current, target = state.update_shard_count(stream, target, now=now)
    found = state.resolve(stream, now)
    return {
        "StreamName": found.name,
        "StreamARN": found.arn,
        "CurrentShardCount": current,
        "TargetShardCount": target,
    }


def _update_stream_mode(state: KinesisState, p: Params, now: float) -> None:
    state.update_stream_mode(p.stream(), on_demand=p.on_demand(), now=now)


def _update_max_record_size(state: KinesisState, p: Params, now: float) -> None:
    size = p.integer("MaxRecordSizeInKiB")
    if size is None:
        raise validation("Value null at 'maxRecordSizeInKiB': Member must not be null")
    state.update_max_record_size(p.stream(), size, now=now)


def _update_distribution(state: KinesisState, p: Params, now: float) -> None:
    distribution = p.distribution()
    if distribution is None:
        raise validation("Value null at 'recordDistributionStrategy': Member must not be null")
    state.set_distribution(p.stream(), distribution, now=now)


def _update_warm_throughput(state: KinesisState, p: Params, now: float) -> Fields:
    found = state.active(p.stream(), now)
    amount = p.integer("WarmThroughputMiBps")
    if amount is None or amount < 0:
        raise validation("WarmThroughputMiBps must be 0 or more.")
    found.warm_mibps = amount
    return {
        "StreamARN": found.arn,
        "StreamName": found.name,
        "WarmThroughput": {"TargetMiBps": amount, "CurrentMiBps": amount},
    }


def _retention(*, increase: bool) -> Operation:
    def change(state: KinesisState, p: Params, now: float) -> None:
        hours = p.integer("RetentionPeriodHours")
        if hours is None:
            raise validation("Value null at 'retentionPeriodHours': Member must not be null")
        state.change_retention(p.stream(), hours, increase=increase, now=now)

    return change


def _monitor(*, enable: bool) -> Operation:
    def change(state: KinesisState, p: Params, now: float) -> Fields:
        found = state.active(p.stream(), now)
        named = set(p.strings("ShardLevelMetrics"))
        if "ALL" in named:
            named = set(_METRICS)
        if not named or named - set(_METRICS):
            raise validation("ShardLevelMetrics must name shard-level metrics or ALL.")
        before = sorted(found.metrics)
        found.metrics = found.metrics | named if enable else found.metrics - named
        return {
            "StreamName": found.name,
            "StreamARN": found.arn,
            "CurrentShardLevelMetrics": before,
            "DesiredShardLevelMetrics": sorted(found.metrics),
        }

    return change


def _encrypt(*, start: bool) -> Operation:
    def change(state: KinesisState, p: Params, now: float) -> None:
        found = state.active(p.stream(), now)
        if p.required("EncryptionType") != "KMS":
            raise invalid("EncryptionType must be KMS.")
        key = p.required("KeyId")
        found.encryption_key = key if start else None

    return change


# --- tags ---


def _add_tags(state: KinesisState, p: Params, now: float) -> None:
    state.set_tags(p.stream(), p.mapping("Tags"), now=now)


def _remove_tags(state: KinesisState, p: Params, now: float) -> None:
    state.remove_tags(p.stream(), p.strings("TagKeys"), now=now)


def _list_tags(state: KinesisState, p: Params, now: float) -> Fields:
    tags = state.resolve(p.stream(), now).tags
    after, limit = p.text("ExclusiveStartTagKey"), p.integer("Limit")
    keys = sorted(k for k in tags if after is None or k > after)
    page = keys if limit is None else keys[:limit]
    return {"Tags": [{"Key": k, "Value": tags[k]} for k in page], "HasMoreTags": len(page) < len(keys)}


def _tags_of(state: KinesisState, p: Params, now: float) -> dict[str, str]:
    """Return the tags, as kept, of the stream or consumer that ResourceARN names."""
    arn = p.required("ResourceARN")
    if "/consumer/" in arn:
        return state.find_consumer(arn=arn, now=now).tags
    from shardline.local.http.params import Params as Named

    return state.resolve(Named({"StreamARN": arn}).stream(), now).tags


def _tag_resource(state: KinesisState, p: Params, now: float) -> None:
    _tags_of(state, p, now).update(p.mapping("Tags"))


def _untag_resource(state: KinesisState, p: Params, now: float) -> None:
    tags = _tags_of(state, p, now)
    for key in p.strings("TagKeys"):
        tags.pop(key, None)


def _list_resource_tags(state: KinesisState, p: Params, now: float) -> Fields:
    return {"Tags": [{"Key": k, "Value": v} for k, v in sorted(_tags_of(state, p, now).items())]}


# --- consumers ---


def _consumer(consumer: Consumer, now: float) -> Fields:
    return {
        "ConsumerName": consumer.name,
        "ConsumerARN": consumer.arn,
        "ConsumerStatus": consumer.status(now),
        "ConsumerCreationTimestamp": Moment(consumer.created_s),
    }


def _register(state: KinesisState, p: Params, now: float) -> Fields:
    made = state.register_consumer(p.required("StreamARN"), p.required("ConsumerName"), now=now, tags=p.mapping("Tags"))
    return {"Consumer": _consumer(made, now)}


def _find(state: KinesisState, p: Params, now: float) -> Consumer:
    return state.find_consumer(
        now=now, stream_arn=p.text("StreamARN"), name=p.text("ConsumerName"), arn=p.text("ConsumerARN")
    )


def _describe_consumer(state: KinesisState, p: Params, now: float) -> Fields:
    state.admit("DescribeStreamConsumer", "", now)
    found = _find(state, p, now)
    return {"ConsumerDescription": _consumer(found, now) | {"StreamARN": found.stream_arn}}


def _deregister(state: KinesisState, p: Params, now: float) -> None:
    state.admit("DeregisterStreamConsumer", "", now)
    state.deregister_consumer(_find(state, p, now), now=now)


def _list_consumers(state: KinesisState, p: Params, now: float) -> Fields:
    state.admit("ListStreamConsumers", "", now)
    consumers, token = state.list_consumers(
        p.required("StreamARN"), now=now, results_max=p.integer("MaxResults"), next_token=p.text("NextToken")
    )
    fields: Fields = {"Consumers": [_consumer(c, now) for c in consumers]}
    if token is not None:
        fields["NextToken"] = token
    return fields


# --- data ---


def _put_record(state: KinesisState, p: Params, now: float) -> Fields:
    outcome = state.put_records(p.stream(), [p.entry()], now=now, dry_run=p.flag("DryRun"))[0]
    if outcome.error_code is not None:
        raise Refusal(outcome.error_code, outcome.error_message or "")
    return {"ShardId": outcome.shard_id, "SequenceNumber": outcome.sequence_number, "EncryptionType": "NONE"}


def _put_records(state: KinesisState, p: Params, now: float) -> Fields:
    outcomes = state.put_records(p.stream(), p.entries(), now=now, dry_run=p.flag("DryRun"))
    return {
        "FailedRecordCount": sum(o.error_code is not None for o in outcomes),
        "Records": [
            {"SequenceNumber": o.sequence_number, "ShardId": o.shard_id}
            if o.error_code is None
            else {"ErrorCode": o.error_code, "ErrorMessage": o.error_message}
            for o in outcomes
        ],
        "EncryptionType": "NONE",
    }


def _get_shard_iterator(state: KinesisState, p: Params, now: float) -> Fields:
    start = p.start("ShardIteratorType", "StartingSequenceNumber")
    iterator = state.get_shard_iterator(p.stream(), p.required("ShardId"), start, now=now, dry_run=p.flag("DryRun"))
    return {"ShardIterator": iterator}


def _get_records(state: KinesisState, p: Params, now: float) -> Fields:
    page = state.get_records(
        p.required("ShardIterator"),
        now=now,
        limit=p.integer("Limit"),
        stream=p.stream_or_none(),
        dry_run=p.flag("DryRun"),
    )
    fields: Fields = {"Records": [record(r) for r in page.records], "MillisBehindLatest": page.millis_behind_latest}
    if page.next_iterator is not None:
        fields["NextShardIterator"] = page.next_iterator
    elif page.child_shards:
        fields["ChildShards"] = [child(c) for c in page.child_shards]
    return fields


def _account_settings(_state: KinesisState, _p: Params, _now: float) -> Fields:
    return {"MinimumThroughputBillingCommitment": {"Status": "DISABLED"}}


OPERATIONS: dict[str, Operation] = {
    "AddTagsToStream": _add_tags,
    "CreateStream": _create_stream,
    "DecreaseStreamRetentionPeriod": _retention(increase=False),
    "DeleteStream": _delete_stream,
    "DeregisterStreamConsumer": _deregister,
    "DescribeAccountSettings": _account_settings,
    "DescribeLimits": _describe_limits,
    "DescribeStream": _describe_stream,
    "DescribeStreamConsumer": _describe_consumer,
    "DescribeStreamSummary": _describe_stream_summary,
    "DisableEnhancedMonitoring": _monitor(enable=False),
    "EnableEnhancedMonitoring": _monitor(enable=True),
    "GetRecords": _get_records,
    "GetShardIterator": _get_shard_iterator,
    "IncreaseStreamRetentionPeriod": _retention(increase=True),
    "ListShards": _list_shards,
    "ListStreamConsumers": _list_consumers,
    "ListStreams": _list_streams,
    "ListTagsForResource": _list_resource_tags,
    "ListTagsForStream": _list_tags,
    "MergeShards": _merge_shards,
    "PutRecord": _put_record,
    "PutRecords": _put_records,
    "RegisterStreamConsumer": _register,
    "RemoveTagsFromStream": _remove_tags,
    "SplitShard": _split_shard,
    "StartStreamEncryption": _encrypt(start=True),
    "StopStreamEncryption": _encrypt(start=False),
    "TagResource": _tag_resource,
    "UntagResource": _untag_resource,
    "UpdateMaxRecordSize": _update_max_record_size,
    "UpdateShardCount": _update_shard_count,
    "UpdateStreamMode": _update_stream_mode,
    "UpdateStreamRecordDistributionStrategy": _update_distribution,
    "UpdateStreamWarmThroughput": _update_warm_throughput,
}
