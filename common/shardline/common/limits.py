"""Limits of the services as named constants, each with its source; nothing else in the code repeats such a number.

"Guide" is the Amazon Kinesis Data Streams Developer Guide (quotas and limits), "API" its API reference.
"""

from __future__ import annotations

TYPE_CHECKING = False  # Written out: importing `typing` would cost a Lambda more than this file.
if TYPE_CHECKING:
    from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * 1024

# --- Records and PutRecords (API PutRecords; guide "Quotas and limits", large records since 2025-10) ---
RECORD_BYTES_MAX_DEFAULT: Final = 1 * MIB
"""Data and partition key of one Kinesis record, unless the stream was set higher (MaxRecordSizeInKiB = 1024)."""
RECORD_BYTES_MAX: Final = 10 * MIB
"""The highest MaxRecordSizeInKiB (10240) that a stream can be set to."""
PUT_RECORDS_ENTRIES_MAX: Final = 500
PUT_RECORDS_BYTES_MAX: Final = 10 * MIB
"""Data and partition keys of all entries of one PutRecords."""
PARTITION_KEY_LENGTH_MIN: Final = 1
PARTITION_KEY_LENGTH_MAX: Final = 256
"""Unicode code points (API PutRecordsRequestEntry; the KPL counts UTF-16 units)."""
HASH_KEY_MAX: Final = 2**128 - 1
"""The highest explicit hash key; hash keys are the 128-bit MD5 of the partition key, big-endian."""

# --- One shard (guide "Quotas and limits") ---
SHARD_WRITE_BYTES_PER_S: Final = 1 * MIB
SHARD_WRITE_RECORDS_PER_S: Final = 1000
SHARD_READ_BYTES_PER_S: Final = 2 * MIB
SHARD_READS_PER_S: Final = 5

# --- GetRecords and iterators (API GetRecords, GetShardIterator) ---
GET_RECORDS_LIMIT_MAX: Final = 10_000
GET_RECORDS_BYTES_MAX: Final = 10 * MIB
"""After an answer of this size further calls within five seconds are throttled."""
GET_RECORDS_PENALTY_S: Final = 5.0
ITERATOR_LIFETIME_S: Final = 300.0
GET_SHARD_ITERATOR_PER_S: Final = 5

# --- Enhanced fan-out (API SubscribeToShard) ---
SUBSCRIPTION_LIFETIME_S: Final = 300.0
SUBSCRIBE_AGAIN_AFTER_S: Final = 5.0
"""A second SubscribeToShard for one consumer and shard within this time is refused with ResourceInUse."""
CONSUMERS_PER_STREAM_MAX: Final = 20

# --- Control plane (API ListShards, DescribeStreamSummary) ---
LIST_SHARDS_RESULTS_MAX: Final = 1000
LIST_SHARDS_PER_S: Final = 1000
LIST_SHARDS_TOKEN_LIFETIME_S: Final = 300.0
DESCRIBE_STREAM_SUMMARY_PER_S: Final = 20
STREAM_NAME_LENGTH_MAX: Final = 128
STREAM_NAME_PATTERN: Final = r"[a-zA-Z0-9_.-]+"
RETENTION_HOURS_MIN: Final = 24
RETENTION_HOURS_MAX: Final = 8760

# --- DynamoDB (its developer guide, "Quotas") and CloudWatch (API PutMetricData) ---
DYNAMODB_PAGE_BYTES: Final = 1 * MIB
DYNAMODB_ITEM_BYTES_MAX: Final = 400 * KIB
DYNAMODB_TRANSACT_WRITES_MAX: Final = 100
PUT_METRIC_DATA_MAX: Final = 1000
PUT_METRIC_DATA_BYTES_MAX: Final = 1 * MIB

# --- SQS (its developer guide, "Message quotas"; 1 MiB since August 2025, 256 KiB before) ---
SQS_MESSAGE_BYTES_MAX: Final = 1 * MIB
"""A queue's own MaximumMessageSize may be lower (1 KiB at least)."""

# --- The aggregation format (the KPL's aggregation-format document; KPL configuration) ---
AGGREGATE_BYTES_DEFAULT: Final = 51_200
AGGREGATE_SUB_RECORDS_MAX: Final = 2_000_000
"""Above it a decoder calls the aggregate malformed: 10 MiB hold 1.75 million records of six bytes."""
