"""`Services`: where producer and worker get their ports: a `Connection` to AWS or a local endpoint, or in process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from shardline.common.ports.kinesis import KinesisApi
    from shardline.common.ports.lease_store import LeaseStore
    from shardline.common.ports.metrics import MetricsApi

__all__ = ["Services"]


class Services(Protocol):
    """Opens ports; each context owns its connections and closes them on leaving."""

    @property
    def region(self) -> str:
        """The region's name; raises `InvalidInput` where none is configured."""
        ...

    def kinesis(self, *, connections_max: int = 24) -> AbstractAsyncContextManager[KinesisApi]:
        """Open Kinesis with a connection pool of at most `connections_max` (a fan-out worker asks for more)."""
        ...

    def lease_store(self) -> AbstractAsyncContextManager[LeaseStore]:
        """Open DynamoDB."""
        ...

    def metrics(self) -> AbstractAsyncContextManager[MetricsApi]:
        """Open CloudWatch."""
        ...
