"""Kinesis operations of the wire that change a stream: reshards, settings, tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from shardline.local.http.shapes import Fields
from shardline.local.state.refusal import invalid, validation

if TYPE_CHECKING:
    from shardline.local.http.params import Params
    from shardline.local.state.core import KinesisState

__all__ = ["SETTINGS"]

Operation = Callable[["KinesisState", "Params", float], Fields | None]

_METRICS = (
    "IncomingBytes",
    "IncomingRecords",
    "OutgoingBytes",
    "OutgoingRecords",
    "WriteProvisionedThroughputExceeded",
    "ReadProvisionedThroughputExceeded",
    "IteratorAgeMilliseconds",
)


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


SETTINGS: dict[str, Operation] = {
    "AddTagsToStream": _add_tags,
    "DecreaseStreamRetentionPeriod": _retention(increase=False),
    "DisableEnhancedMonitoring": _monitor(enable=False),
    "EnableEnhancedMonitoring": _monitor(enable=True),
    "IncreaseStreamRetentionPeriod": _retention(increase=True),
    "ListTagsForResource": _list_resource_tags,
    "ListTagsForStream": _list_tags,
    "MergeShards": _merge_shards,
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
