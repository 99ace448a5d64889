"""Kinesis operations of the wire that make, describe, write and read: parameters in, the answer's fields out.

SubscribeToShard answers with a stream (`eventstream`); what changes a stream that is there stands in `settings`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from shardline.local.http.settings import SETTINGS
from shardline.local.http.shapes import Fields, Moment, child, consumer_fields, described, mode, record, shard_fields
from shardline.local.state.refusal import Refusal, validation

if TYPE_CHECKING:
    from shardline.local.http.params import Params
    from shardline.local.state.consumer import Consumer
    from shardline.local.state.core import KinesisState

__all__ = ["OPERATIONS"]

Operation = Callable[["KinesisState", "Params", float], Fields | None]

_DESCRIBE_LIMIT = 100


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
    fields = described(found)
    fields["Shards"] = [shard_fields(s) for s in page.shards] if found.status != "CREATING" else []
    fields["HasMoreShards"] = page.next_token is not None
    return {"StreamDescription": fields}


def _describe_stream_summary(state: KinesisState, p: Params, now: float) -> Fields:
    found = state.resolve(p.stream(), now)
    state.admit("DescribeStreamSummary", found.name, now)
    consumers, _ = state.list_consumers(found.arn, now=now)
    fields = described(found) | {
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
            "StreamModeDetails": mode(s),
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


def _register(state: KinesisState, p: Params, now: float) -> Fields:
    made = state.register_consumer(p.required("StreamARN"), p.required("ConsumerName"), now=now, tags=p.mapping("Tags"))
    return {"Consumer": consumer_fields(made, now)}


def _find(state: KinesisState, p: Params, now: float) -> Consumer:
    return state.find_consumer(
        now=now, stream_arn=p.text("StreamARN"), name=p.text("ConsumerName"), arn=p.text("ConsumerARN")
    )


def _describe_consumer(state: KinesisState, p: Params, now: float) -> Fields:
    state.admit("DescribeStreamConsumer", "", now)
    found = _find(state, p, now)
    return {"ConsumerDescription": consumer_fields(found, now) | {"StreamARN": found.stream_arn}}


def _deregister(state: KinesisState, p: Params, now: float) -> None:
    state.admit("DeregisterStreamConsumer", "", now)
    state.deregister_consumer(_find(state, p, now), now=now)


def _list_consumers(state: KinesisState, p: Params, now: float) -> Fields:
    state.admit("ListStreamConsumers", "", now)
    consumers, token = state.list_consumers(
        p.required("StreamARN"), now=now, results_max=p.integer("MaxResults"), next_token=p.text("NextToken")
    )
    fields: Fields = {"Consumers": [consumer_fields(c, now) for c in consumers]}
    if token is not None:
        fields["NextToken"] = token
    return fields


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
    **SETTINGS,
    "CreateStream": _create_stream,
    "DeleteStream": _delete_stream,
    "DeregisterStreamConsumer": _deregister,
    "DescribeAccountSettings": _account_settings,
    "DescribeLimits": _describe_limits,
    "DescribeStream": _describe_stream,
    "DescribeStreamConsumer": _describe_consumer,
    "DescribeStreamSummary": _describe_stream_summary,
    "GetRecords": _get_records,
    "GetShardIterator": _get_shard_iterator,
    "ListShards": _list_shards,
    "ListStreamConsumers": _list_consumers,
    "ListStreams": _list_streams,
    "PutRecord": _put_record,
    "PutRecords": _put_records,
    "RegisterStreamConsumer": _register,
}
