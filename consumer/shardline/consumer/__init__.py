"""The worker: leases shards, reads them, hands records to a handler, checkpoints. Also for Lambda.

Nothing is imported until it is used (`shardline.common._lazy`). To export a name: add it to `_EXPORTS`, to the
`TYPE_CHECKING` import and to `__all__`; a tidy test compares the three.
"""

from __future__ import annotations

from shardline.common._lazy import exports

TYPE_CHECKING = False  # Written out: a Lambda imports this package, and importing `typing` costs more than all of it.
if TYPE_CHECKING:
    from shardline.consumer.backfilling import BackfillSummary, backfill
    from shardline.consumer.bounds import Bounds, Pace
    from shardline.consumer.config import DeliveryConfig, LeaseConfig, Malformed, Retrieval, TableConfig, WorkerConfig
    from shardline.consumer.driver.stating import open_state
    from shardline.consumer.fleet.startup import Fleet
    from shardline.consumer.handler import Batch, Record
    from shardline.consumer.health import Health, LeaseHealth
    from shardline.consumer.lineage import Start, StartPoint
    from shardline.consumer.parked_keys import ParkedKey
    from shardline.consumer.parking import FileLot, StreamLot
    from shardline.consumer.parking_aws import S3Lot, SqsLot
    from shardline.consumer.policy import (
        FailurePolicy,
        Parked,
        ReadableLot,
        park_key,
        park_record,
        per_key,
        stop_worker,
    )
    from shardline.consumer.processor import Checkpointer, PreparedCheckpoint, ShardLease, ShardProcessor
    from shardline.consumer.replaying import ParkedKeys, Replayed, open_parked_keys
    from shardline.consumer.retrieval.polling import PollingSettings
    from shardline.consumer.streams import FormerStreams, StreamConfig, TrackingConfig
    from shardline.consumer.worker import Worker

# Exported name -> module of this package.
_EXPORTS: dict[str, str] = {
    "BackfillSummary": "backfilling",
    "Batch": "handler",
    "Bounds": "bounds",
    "Checkpointer": "processor",
    "DeliveryConfig": "config",
    "FailurePolicy": "policy",
    "FileLot": "parking",
    "Fleet": "fleet.startup",
    "Health": "health",
    "LeaseConfig": "config",
    "LeaseHealth": "health",
    "Malformed": "config",
    "Pace": "bounds",
    "Parked": "policy",
    "backfill": "backfilling",
    "ParkedKey": "parked_keys",
    "ParkedKeys": "replaying",
    "PollingSettings": "retrieval.polling",
    "PreparedCheckpoint": "processor",
    "ReadableLot": "policy",
    "Record": "handler",
    "Replayed": "replaying",
    "S3Lot": "parking_aws",
    "ShardLease": "processor",
    "ShardProcessor": "processor",
    "Retrieval": "config",
    "SqsLot": "parking_aws",
    "Start": "lineage",
    "StreamConfig": "streams",
    "TrackingConfig": "streams",
    "FormerStreams": "streams",
    "StartPoint": "lineage",
    "StreamLot": "parking",
    "TableConfig": "config",
    "Worker": "worker",
    "WorkerConfig": "config",
    "open_parked_keys": "replaying",
    "open_state": "driver.stating",
    "park_key": "policy",
    "park_record": "policy",
    "per_key": "policy",
    "stop_worker": "policy",
}

__all__ = [
    "BackfillSummary",
    "Batch",
    "Bounds",
    "Checkpointer",
    "DeliveryConfig",
    "FailurePolicy",
    "FileLot",
    "Fleet",
    "FormerStreams",
    "Health",
    "LeaseConfig",
    "LeaseHealth",
    "Malformed",
    "Pace",
    "Parked",
    "ParkedKey",
    "ParkedKeys",
    "PollingSettings",
    "PreparedCheckpoint",
    "ReadableLot",
    "Record",
    "Replayed",
    "Retrieval",
    "S3Lot",
    "ShardLease",
    "ShardProcessor",
    "SqsLot",
    "Start",
    "StartPoint",
    "StreamConfig",
    "StreamLot",
    "TableConfig",
    "TrackingConfig",
    "Worker",
    "WorkerConfig",
    "backfill",
    "open_parked_keys",
    "open_state",
    "park_key",
    "park_record",
    "per_key",
    "stop_worker",
]

__getattr__, __dir__ = exports(__name__, _EXPORTS, extra="consumer")
