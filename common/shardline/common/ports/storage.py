"""`ObjectStore` and `MessageQueue`: the few calls to S3 and SQS that parking lots make; errors as everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

__all__ = ["MessageQueue", "ObjectStore", "StorageServices"]


class ObjectStore(Protocol):
    """Objects in buckets (S3)."""

    async def put(self, bucket: str, key: str, body: bytes, *, timeout_s: float) -> None:
        """Write an object, over the one of that key if there is one; `NotFound` for a bucket that is not there."""
        ...

    async def get(self, bucket: str, key: str, *, timeout_s: float) -> bytes:
        """Return an object's bytes; `NotFound` where it is not there."""
        ...

    def keys(self, bucket: str, prefix: str, *, timeout_s: float) -> AsyncIterator[str]:
        """Yield the keys that begin with `prefix`, in the order of their UTF-8 bytes; `timeout_s` is for each page."""
        ...


class MessageQueue(Protocol):
    """Messages to queues (SQS)."""

    async def send(
        self,
        queue_url: str,
        body: str,
        *,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        timeout_s: float,
    ) -> None:
        """Send a message; `Rejected` where it is larger than the queue takes, `NotFound` for a queue not there.

        The two ids are for FIFO queues, which need a group and drop what comes twice within five minutes.
        """
        ...


class StorageServices(Protocol):
    """Opens these ports: a `Connection`, or an in-process stand-in."""

    def objects(self) -> AbstractAsyncContextManager[ObjectStore]:
        """Open S3."""
        ...

    def queue(self) -> AbstractAsyncContextManager[MessageQueue]:
        """Open SQS."""
        ...
