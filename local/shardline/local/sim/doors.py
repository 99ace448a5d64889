"""The services of simulated hosts: one state and one set of tables, behind one faulty network.

Who calls is known from the running task's host.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shardline.local.doors.kinesis import InProcessKinesis
from shardline.local.doors.lease_store import MemoryLeaseStore
from shardline.local.doors.services import MemoryMetrics
from shardline.local.doors.storage import MemoryObjects, MemoryQueues
from shardline.local.sim.kinesis_door import SimKinesis
from shardline.local.sim.lease_store_door import SimLeaseStore
from shardline.local.sim.side_doors import SimMetrics, SimObjects, SimQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shardline.common.ports.kinesis import KinesisApi
    from shardline.common.ports.lease_store import LeaseStore
    from shardline.common.ports.metrics import MetricsApi
    from shardline.common.ports.storage import MessageQueue, ObjectStore
    from shardline.local.sim.network import Network
    from shardline.local.state.core import KinesisState
    from shardline.local.tables.core import LeaseTables

__all__ = ["SimServices"]


class SimServices:
    """The `Services` of every simulated host: one state and one set of tables behind one network."""

    def __init__(self, network: Network, state: KinesisState, tables: LeaseTables) -> None:
        self.network = network
        self.state = state
        self.tables = tables
        self.cloudwatch = MemoryMetrics()
        self.s3, self.sqs = MemoryObjects(), MemoryQueues()

    def clock(self) -> float:
        """Return the services' own epoch seconds, which no host's clock can move."""
        return self.network.simulation.wall_s

    @property
    def region(self) -> str:
        """The region's name."""
        return self.state.options.region

    @asynccontextmanager
    async def kinesis(self, *, connections_max: int = 24) -> AsyncIterator[KinesisApi]:
        """Open Kinesis; connections are not bounded here."""
        del connections_max
        yield SimKinesis(self.network, InProcessKinesis(self.state, self.clock))

    @asynccontextmanager
    async def lease_store(self) -> AsyncIterator[LeaseStore]:
        """Open the lease tables."""
        yield SimLeaseStore(self.network, MemoryLeaseStore(self.tables, self.clock))

    @asynccontextmanager
    async def metrics(self) -> AsyncIterator[MetricsApi]:
        """Open the metrics."""
        yield SimMetrics(self.network, self.cloudwatch)

    @asynccontextmanager
    async def objects(self) -> AsyncIterator[ObjectStore]:
        """Open S3."""
        yield SimObjects(self.network, self.s3)

    @asynccontextmanager
    async def queue(self) -> AsyncIterator[MessageQueue]:
        """Open SQS."""
        yield SimQueue(self.network, self.sqs)
