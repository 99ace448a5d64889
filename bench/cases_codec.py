"""Encode and decode of aggregates of 51,200 bytes, 1,000 keys in play."""

from __future__ import annotations

from functools import partial

from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.deaggregator import iter_deaggregate_records

from shardline.common.aggregation import AggregateBuilder
from shardline.common.deaggregation import deaggregate

from bench.harness import AGGREGATE_BYTES_MAX, Case, cpu_seconds, user_records

RECORD_COUNTS = {100: 40_000, 1_024: 10_000}


def peer_blobs(data_bytes: int) -> tuple[list[bytes], int]:
    """Return the workload as aggregates made by aws-kinesis-agg, and the number of user records in them."""
    aggregator = RecordAggregator(max_size=AGGREGATE_BYTES_MAX)
    records = user_records(RECORD_COUNTS[data_bytes], data_bytes)
    full = (aggregator.add_user_record(key, data) for key, data in records)
    blobs = [aggregate.get_contents()[2] for aggregate in full if aggregate]
    return blobs, len(records) - aggregator.get_num_user_records()


def peer_encode(data_bytes: int) -> float:
    """Return CPU seconds per user record of aws-kinesis-agg's aggregation."""
    records = user_records(RECORD_COUNTS[data_bytes], data_bytes)

    def work() -> None:
        aggregator = RecordAggregator(max_size=AGGREGATE_BYTES_MAX)
        for key, data in records:
            if full := aggregator.add_user_record(key, data):
                full.get_contents()

    return cpu_seconds(work) / len(records)


def peer_decode(data_bytes: int) -> float:
    """Return CPU seconds per user record of aws-kinesis-agg's deaggregation, fed as boto3 hands records out."""
    blobs, count = peer_blobs(data_bytes)
    records = [
        {"SequenceNumber": "1", "PartitionKey": "a", "ApproximateArrivalTimestamp": None, "Data": blob}
        for blob in blobs
    ]
    seen = 0

    def work() -> None:
        nonlocal seen
        for _ in iter_deaggregate_records(records, "Boto3"):
            seen += 1

    spent = cpu_seconds(work)
    assert seen == count
    return spent / count


def our_encode(data_bytes: int) -> float:
    """Return CPU seconds per user record of our aggregation."""
    records = user_records(RECORD_COUNTS[data_bytes], data_bytes)

    def work() -> None:
        builder = AggregateBuilder(AGGREGATE_BYTES_MAX)
        append = builder.try_append
        for key, data in records:
            if not append(key, data):
                builder.seal()
                builder.clear()
                append(key, data)

    return cpu_seconds(work) / len(records)


def our_decode(data_bytes: int) -> float:
    """Return CPU seconds per user record of our deaggregation: validated whole, a record object with all its fields."""
    blobs, count = peer_blobs(data_bytes)
    seen = 0

    def work() -> None:
        nonlocal seen
        for blob in blobs:
            for _ in deaggregate(blob, "a"):
                seen += 1

    spent = cpu_seconds(work)
    assert seen == count
    return spent / count


CASES = [
    Case(work=work, bytes=size, who=who, measure=partial(measure, size))
    for size in RECORD_COUNTS
    for work, who, measure in (
        ("encode", "shardline", our_encode),
        ("encode", "aws-kinesis-agg", peer_encode),
        ("decode", "shardline", our_decode),
        ("decode", "aws-kinesis-agg", peer_decode),
    )
]
