# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Kinesis answers as values: from parsed fields (JSON or CBOR alike) to what `KinesisApi` gives.

Pure; imports no SDK. A field that is missing or of another type raises `Ambiguous` ("BrokenAnswer"): the answer cannot
be used, and whether the request was carried out is not known from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shardline.common.aws.kinesis_wire import broken, epoch_s
from shardline.common.hashing import HashRange, Shard
from shardline.common.ports.kinesis import ChildShard, ConsumerDescription, Distribution, PutOutcome, StreamSummary

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["children", "consumer", "outcomes", "shard", "summary", "text", "text_or_none"]


def text(fields: Mapping[str, Any], name: str) -> str:
    """Return a text field; raises `Ambiguous` where there is none."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise broken(f"no {name}")
    return value


def text_or_none(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a text field or None."""
    return None if fields.get(name) is None else text(fields, name)


def outcomes(raw: Any) -> list[PutOutcome]:
    """Return PutRecords' outcomes, one per entry the answer names."""
    if not isinstance(raw, list):
        raise broken("no list of outcomes")
    found: list[PutOutcome] = []
    for one in raw:
        if not isinstance(one, dict):
            raise broken("an outcome that is no object")
        code = one.get("ErrorCode")
        if code:
            found.append(PutOutcome(None, None, str(code), str(one.get("ErrorMessage") or "")))
        else:
            found.append(PutOutcome(one.get("ShardId"), one.get("SequenceNumber")))
    return found


def _hash_range(raw: Any) -> HashRange:
    try:
        return HashRange(int(raw["StartingHashKey"]), int(raw["EndingHashKey"]))
    except (KeyError, TypeError, ValueError) as error:
        raise broken("a shard without hash-key range") from error


def shard(raw: Any) -> Shard:
    """Return one shard of ListShards."""
    if not isinstance(raw, dict):
        raise broken("a shard that is no object")
    numbers = raw.get("SequenceNumberRange")
    if not isinstance(numbers, dict):
        raise broken("a shard without sequence-number range")
    return Shard(
        text(raw, "ShardId"),
        _hash_range(raw.get("HashKeyRange")),
        text_or_none(raw, "ParentShardId"),
        text_or_none(raw, "AdjacentParentShardId"),
        text(numbers, "StartingSequenceNumber"),
        text_or_none(numbers, "EndingSequenceNumber"),
    )


def children(raw: Any) -> tuple[ChildShard, ...]:
    """Return the child shards that an answer or event names."""
    if raw is None:
        return ()
    if not isinstance(raw, list):
        raise broken("no list of child shards")
    found: list[ChildShard] = []
    for one in raw:
        parents = one.get("ParentShards") if isinstance(one, dict) else None
        if not isinstance(parents, list):
            raise broken("a child shard without parents")
        found.append(ChildShard(text(one, "ShardId"), tuple(map(str, parents)), _hash_range(one.get("HashKeyRange"))))
    return tuple(found)


def summary(raw: Any) -> StreamSummary:
    """Return DescribeStreamSummary's summary."""
    if not isinstance(raw, dict):
        raise broken("no stream summary")
    mode = raw.get("StreamModeDetails")
    record_kib = raw.get("MaxRecordSizeInKiB")
    return StreamSummary(
        text(raw, "StreamName"),
        text(raw, "StreamARN"),
        text(raw, "StreamStatus"),
        epoch_s(raw.get("StreamCreationTimestamp")),
        int(raw.get("RetentionPeriodHours") or 24),
        int(raw.get("OpenShardCount") or 0),
        isinstance(mode, dict) and mode.get("StreamMode") == "ON_DEMAND",
        (record_kib if isinstance(record_kib, int) else 1024) * 1024,
        Distribution.AUTO if raw.get("RecordDistributionStrategy") == "AUTO" else Distribution.USER_PARTITION_KEY,
    )


def consumer(raw: Any) -> ConsumerDescription:
    """Return a registered consumer."""
    if not isinstance(raw, dict):
        raise broken("no consumer")
    return ConsumerDescription(
        text(raw, "ConsumerName"),
        text(raw, "ConsumerARN"),
        text(raw, "ConsumerStatus"),
        epoch_s(raw.get("ConsumerCreationTimestamp")),
    )
