"""`LocalServices`: every port of producer and worker in one process, on one Kinesis state and one set of tables."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from shardline.common.clock import AsyncioRuntime
from shardline.common.errors import Rejected
from shardline.common.limits import PUT_METRIC_DATA_MAX
from shardline.local.doors.kinesis import InProcessKinesis
from shardline.local.doors.lease_store import MemoryLeaseStore
from shardline.local.doors.storage import MemoryObjects, MemoryQueues
from shardline.local.state.core import KinesisState
from shardline.local.tables.core import LeaseTables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from shardline.common.ports.kinesis import KinesisApi
    from shardline.common.ports.lease_store import LeaseStore
    from shardline.common.ports.metrics import Datum, MetricsApi
    from shardline.common.ports.storage import MessageQueue, ObjectStore

__all__ = ["LocalServices", "MemoryMetrics"]

_KEPT_MAX = 100_000


class Sent(NamedTuple):
    """One datum of a PutMetricData."""

    namespace: str
    datum: Datum


class MemoryMetrics:
    """CloudWatch without a network: keeps the newest 100,000 data for tests to look at."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    async def put_metric_data(self, namespace: str, data: Sequence[Datum], *, timeout_s: float) -> None:
        """Keep up to 1,000 data; raises `Rejected` for more."""
        del timeout_s
        if len(data) > PUT_METRIC_DATA_MAX:
            raise Rejected("ValidationError", f"at most {PUT_METRIC_DATA_MAX} data in one request")
        self.sent.extend(Sent(namespace, datum) for datum in data)
        del self.sent[:-_KEPT_MAX]


class LocalServices:
    """The `Services` of a process that needs no AWS: for unit tests and simulations.

    `clock` gives epoch seconds (the real time unless given). The state and the tables are public: a test can split a
    shard with `services.state.split_shard(...)` between two reads.
    """

    def __init__(
        self,
        state: KinesisState | None = None,
        tables: LeaseTables | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.state = state or KinesisState()
        self.tables = tables or LeaseTables()
        self.clock = clock or AsyncioRuntime().wall
        self.cloudwatch = MemoryMetrics()
        self.s3, self.sqs = MemoryObjects(), MemoryQueues()
        self._lock = threading.RLock()

    @property
    def region(self) -> str:
        """The region's name."""
        return self.state.options.region

    @asynccontextmanager
    async def kinesis(self, *, connections_max: int = 24) -> AsyncIterator[KinesisApi]:
        """Open Kinesis; there is no pool to bound."""
        del connections_max
        yield InProcessKinesis(self.state, self.clock, self._lock)

    @asynccontextmanager
    async def lease_store(self) -> AsyncIterator[LeaseStore]:
        """Open the lease tables."""
        yield MemoryLeaseStore(self.tables, self.clock, self._lock)

    @asynccontextmanager
    async def metrics(self) -> AsyncIterator[MetricsApi]:
        """Open the metrics."""
        yield self.cloudwatch

    @asynccontextmanager
    async def objects(self) -> AsyncIterator[ObjectStore]:
        """Open S3; its buckets are `s3.buckets`."""
        yield self.s3

    @asynccontextmanager
    async def queue(self) -> AsyncIterator[MessageQueue]:
        """Open SQS; its queues are `sqs.queues`."""
        yield self.sqs
