"""The ports beside the stream and the lease table on the faulty network: metrics, objects and queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common.ports.storage import MessageQueue, ObjectStore
from shardline.local.sim.network import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from shardline.common.ports.metrics import Datum
    from shardline.local.doors.services import MemoryMetrics
    from shardline.local.sim.network import Network

__all__ = ["SimMetrics", "SimObjects", "SimQueue"]


class SimMetrics:
    """`MetricsApi` through the network."""

    def __init__(self, network: Network, inner: MemoryMetrics) -> None:
        self._network = network
        self._inner = inner

    async def put_metric_data(self, namespace: str, data: Sequence[Datum], *, timeout_s: float) -> None:
        """Send data; see the port."""
        await self._network.call(
            Service.CLOUDWATCH,
            "PutMetricData",
            lambda: self._inner.put_metric_data(namespace, data, timeout_s=timeout_s),
            timeout_s,
        )


class SimObjects(ObjectStore):
    """`ObjectStore` through the network."""

    def __init__(self, network: Network, inner: ObjectStore) -> None:
        self._network = network
        self._inner = inner

    async def put(self, bucket: str, key: str, body: bytes, *, timeout_s: float) -> None:
        """Write an object; see the port."""
        await self._network.call(
            Service.S3, "PutObject", lambda: _put(self._inner, bucket, key, body, timeout_s), timeout_s
        )

    async def get(self, bucket: str, key: str, *, timeout_s: float) -> bytes:
        """Read an object; see the port."""
        return await self._network.call(
            Service.S3, "GetObject", lambda: _get(self._inner, bucket, key, timeout_s), timeout_s
        )

    async def keys(self, bucket: str, prefix: str, *, timeout_s: float) -> AsyncIterator[str]:
        """List keys, in one page; see the port."""
        found = await self._network.call(
            Service.S3, "ListObjectsV2", lambda: _keys(self._inner, bucket, prefix, timeout_s), timeout_s
        )
        for key in found:
            yield key


async def _put(inner: ObjectStore, bucket: str, key: str, body: bytes, timeout_s: float) -> None:
    await inner.put(bucket, key, body, timeout_s=timeout_s)


async def _get(inner: ObjectStore, bucket: str, key: str, timeout_s: float) -> bytes:
    return await inner.get(bucket, key, timeout_s=timeout_s)


async def _keys(inner: ObjectStore, bucket: str, prefix: str, timeout_s: float) -> list[str]:
    return [key async for key in inner.keys(bucket, prefix, timeout_s=timeout_s)]


class SimQueue(MessageQueue):
    """`MessageQueue` through the network."""

    def __init__(self, network: Network, inner: MessageQueue) -> None:
        self._network = network
        self._inner = inner

    async def send(
        self,
        queue_url: str,
        body: str,
        *,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        timeout_s: float,
    ) -> None:
        """Send a message; see the port."""

        async def apply() -> None:
            await self._inner.send(
                queue_url, body, group_id=group_id, deduplication_id=deduplication_id, timeout_s=timeout_s
            )

        await self._network.call(Service.SQS, "SendMessage", apply, timeout_s)
