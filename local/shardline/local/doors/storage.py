"""S3 and SQS in process, as far as parking lots need them: public, typed, to be looked into by tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shardline.common.errors import NotFound, Rejected
from shardline.common.limits import SQS_MESSAGE_BYTES_MAX
from shardline.common.ports.storage import MessageQueue, ObjectStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["MemoryObjects", "MemoryQueues", "Message"]


class MemoryObjects(ObjectStore):
    """Buckets by name, objects by key; a bucket is there once it stands in `buckets`."""

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, bytes]] = {}

    def _bucket(self, bucket: str) -> dict[str, bytes]:
        if bucket not in self.buckets:
            raise NotFound("NoSuchBucket", "the bucket is not there")
        return self.buckets[bucket]

    async def put(self, bucket: str, key: str, body: bytes, *, timeout_s: float) -> None:
        """See `ObjectStore`."""
        del timeout_s
        self._bucket(bucket)[key] = body

    async def get(self, bucket: str, key: str, *, timeout_s: float) -> bytes:
        """See `ObjectStore`."""
        del timeout_s
        found = self._bucket(bucket).get(key)
        if found is None:
            raise NotFound("NoSuchKey", "the object is not there")
        return found

    async def keys(self, bucket: str, prefix: str, *, timeout_s: float) -> AsyncIterator[str]:
        """See `ObjectStore`."""
        del timeout_s
        for key in sorted(self._bucket(bucket)):
            if key.startswith(prefix):
                yield key


class Message(NamedTuple):
    """A message as it was sent."""

    body: str
    group_id: str | None
    deduplication_id: str | None


class MemoryQueues(MessageQueue):
    """Queues by URL; a queue is there once it stands in `queues`, and takes messages up to `bytes_max`."""

    def __init__(self, bytes_max: int = SQS_MESSAGE_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.queues: dict[str, list[Message]] = {}

    async def send(
        self,
        queue_url: str,
        body: str,
        *,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        timeout_s: float,
    ) -> None:
        """See `MessageQueue`."""
        del timeout_s
        if queue_url not in self.queues:
            raise NotFound("QueueDoesNotExist", "the queue is not there")
        if len(body.encode()) > self.bytes_max:
            raise Rejected("InvalidParameterValue", f"Message must be shorter than {self.bytes_max} bytes.")
        known = self.queues[queue_url]
        if deduplication_id is None or deduplication_id not in {one.deduplication_id for one in known}:
            known.append(Message(body, group_id, deduplication_id))
