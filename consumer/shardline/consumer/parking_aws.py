"""Parking lots in S3 and SQS: `S3Lot` keeps records of any size, to be replayed; `SqsLot` hands them to other programs.

Invariants: a lot returns only when the service has said that it has the record; whatever else happened (an unknown
outcome too), it raises, and is asked again: at least once, never skipped. In S3 a record's place names its object, so
asking again writes the same one.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from shardline.common.errors import InvalidInput, Rejected
from shardline.common.limits import SQS_MESSAGE_BYTES_MAX
from shardline.consumer.parked_json import default_connection, is_of, json_of, parked_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shardline.common.ports.storage import StorageServices
    from shardline.consumer.policy import Parked

__all__ = ["S3Lot", "SqsLot"]

_DIGITS = 64  # A sequence number has 56 at present; object names sort by position.


class S3Lot:
    """A parking lot in an S3 bucket: one JSON object per record, named after its stream, key digest and position.

    ``PREFIX/STREAM/DIGEST/SHARD/SEQUENCE-SUBSEQUENCE.json``; a record parked twice is one object. `connection` None is
    the environment's.
    """

    def __init__(
        self, bucket: str, prefix: str = "", *, connection: StorageServices | None = None, timeout_s: float = 30.0
    ) -> None:
        if not bucket:
            raise InvalidInput("bucket", "a bucket's name")
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._connection = connection
        self._timeout_s = timeout_s

    def name_of(self, parked: Parked) -> str:
        """Return the object's key for a record."""
        number = f"{int(parked.sequence_number):0{_DIGITS}d}-{parked.sub_sequence_number:07d}"
        return f"{self._folder(parked.stream, parked.partition_key)}{parked.shard_id}/{number}.json"

    def _folder(self, stream: str, partition_key: str | None) -> str:
        digest = "no-key" if partition_key is None else _digest(partition_key)[:32]
        return f"{self.prefix}{stream}/{digest}/"

    async def __call__(self, parked: Parked) -> None:
        """Write a record; raises a `ServiceError` when it is not known to be there."""
        async with (self._connection or default_connection()).objects() as objects:
            await objects.put(self.bucket, self.name_of(parked), json_of(parked), timeout_s=self._timeout_s)

    async def records(self, stream: str, partition_key: str) -> AsyncIterator[Parked]:
        """Yield a key's records, shard by shard in order of their positions; see `ReadableLot`."""
        async with (self._connection or default_connection()).objects() as objects:
            folder = self._folder(stream, partition_key)
            async for key in objects.keys(self.bucket, folder, timeout_s=self._timeout_s):
                parked = parked_of(await objects.get(self.bucket, key, timeout_s=self._timeout_s))
                if parked is not None and is_of(parked, stream, partition_key):
                    yield parked

    def __repr__(self) -> str:
        return f"S3Lot({self.bucket!r}, {self.prefix!r})"


class SqsLot:
    """A parking lot in an SQS queue: one JSON object per message, for whoever reads the queue.

    A message holds 1 MiB at most, a queue perhaps less, and data grow by a third in it. What is larger goes to `spill`:
    its message then has no ``data`` but ``spilled``, the bucket and key of the whole. Without `spill` it is refused
    (`Rejected`) each time, loudly, and the shard waits. In a FIFO queue a key's records keep their order and what is
    sent twice within five minutes is one message. A queue cannot be asked for one key's records: to replay parked keys
    (`ParkedKeys.replay`), use another lot.
    """

    def __init__(
        self,
        queue_url: str,
        *,
        spill: S3Lot | None = None,
        bytes_max: int = SQS_MESSAGE_BYTES_MAX,
        connection: StorageServices | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        if not queue_url.startswith(("https://", "http://")):
            raise InvalidInput("queue_url", "a queue's URL")
        if isinstance(bytes_max, bool) or not 1024 <= bytes_max <= SQS_MESSAGE_BYTES_MAX:  # noqa: PLR2004 - the service's own range.
            raise InvalidInput("bytes_max", f"from 1024 to {SQS_MESSAGE_BYTES_MAX}", str(bytes_max))
        self.queue_url = queue_url
        self.spill = spill
        self.bytes_max = bytes_max
        self._connection = connection
        self._timeout_s = timeout_s

    async def __call__(self, parked: Parked) -> None:
        """Send a record; raises a `ServiceError` when it is not known to be in the queue."""
        body = json_of(parked)
        if len(body) > self.bytes_max:
            if self.spill is None:
                raise Rejected("MessageTooLarge", f"{len(body)} bytes, a message takes {self.bytes_max}: give a spill")
            await self._spilled(parked, self.spill)
            return
        try:
            await self._send(parked, body)
        except Rejected:
            if self.spill is None:
                raise
            await self._spilled(parked, self.spill)  # The queue's own limit may be lower than ours.

    async def _spilled(self, parked: Parked, spill: S3Lot) -> None:
        """Keep the whole in S3 first, then send where it is."""
        await spill(parked)
        item = json.loads(json_of(parked))
        del item["data"]
        item["headers"] = {}
        item["spilled"] = {"bucket": spill.bucket, "key": spill.name_of(parked), "bytes": len(parked.data)}
        await self._send(parked, json.dumps(item, separators=(",", ":")).encode())

    async def _send(self, parked: Parked, body: bytes) -> None:
        group_id = deduplication_id = None
        if self.queue_url.endswith(".fifo"):
            group_id = _digest(f"{parked.stream}/{parked.partition_key}")
            place = (parked.stream, parked.shard_id, parked.sequence_number, str(parked.sub_sequence_number))
            deduplication_id = _digest("/".join(place))
        async with (self._connection or default_connection()).queue() as queue:
            await queue.send(
                self.queue_url,
                body.decode(),
                group_id=group_id,
                deduplication_id=deduplication_id,
                timeout_s=self._timeout_s,
            )

    def __repr__(self) -> str:
        return f"SqsLot({self.queue_url.rpartition('/')[2]!r})"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
