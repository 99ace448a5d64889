"""A local endpoint: Kinesis in memory, and moto's DynamoDB, CloudWatch, SQS, S3 and Firehose beside it.

Nothing is imported until it is used (`shardline.common._lazy`). To export a name: add it to `_EXPORTS`, to the
`TYPE_CHECKING` import and to `__all__`; a tidy test compares the three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common._lazy import exports

if TYPE_CHECKING:
    from shardline.local.doors.kinesis import InProcessKinesis
    from shardline.local.doors.lease_store import MemoryLeaseStore
    from shardline.local.doors.services import LocalServices
    from shardline.local.faults.plan import FaultRule
    from shardline.local.http.endpoint import LocalEndpoint, load_faults, serve, tune_collector
    from shardline.local.http.proxy import Direction, FaultProxy, ProxyFault
    from shardline.local.http.tls import Certificate
    from shardline.local.moto.front import DynamoOptions
    from shardline.local.state.core import KinesisState
    from shardline.local.state.options import KinesisOptions
    from shardline.local.tables.core import LeaseTables, TableOptions

# Exported name -> module of this package.
_EXPORTS: dict[str, str] = {
    "Certificate": "http.tls",
    "Direction": "http.proxy",
    "DynamoOptions": "moto.front",
    "FaultProxy": "http.proxy",
    "FaultRule": "faults.plan",
    "ProxyFault": "http.proxy",
    "load_faults": "http.endpoint",
    "InProcessKinesis": "doors.kinesis",
    "KinesisOptions": "state.options",
    "KinesisState": "state.core",
    "LeaseTables": "tables.core",
    "LocalEndpoint": "http.endpoint",
    "LocalServices": "doors.services",
    "MemoryLeaseStore": "doors.lease_store",
    "TableOptions": "tables.core",
    "serve": "http.endpoint",
    "tune_collector": "http.endpoint",
}

__all__ = [
    "Certificate",
    "Direction",
    "DynamoOptions",
    "FaultProxy",
    "FaultRule",
    "InProcessKinesis",
    "KinesisOptions",
    "KinesisState",
    "LeaseTables",
    "LocalEndpoint",
    "LocalServices",
    "MemoryLeaseStore",
    "ProxyFault",
    "TableOptions",
    "load_faults",
    "serve",
    "tune_collector",
]

__getattr__, __dir__ = exports(__name__, _EXPORTS, extra="local")
