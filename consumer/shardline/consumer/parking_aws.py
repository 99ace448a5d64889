"""Parking lots in S3 and SQS: `S3Lot` keeps records of any size, to be replayed; `SqsLot` hands them to other programs.

A worker opens a lot once (`opened`); called without, each call opens a client of its own.

Invariants: a lot returns only when the service has said that it has the record; whatever else happened (an unknown
outcome too), it raises, and is asked again: at least once, never skipped. In S3 a record's place names its object, so
asking again writes the same one.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from functools import partial
from typing import TYPE_CHECKING

from shardline.common.checks import check_kind, check_whole
from shardline.common.errors import InvalidInput, Rejected
from shardline.common.limits import SQS_MESSAGE_BYTES_MAX
from shardline.consumer.parked_json import Client, default_connection, is_of, json_of, parked_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from shardline.common.ports.storage import MessageQueue, ObjectStore, StorageServices
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
        self.client = Client(partial(_objects, connection))
        self._timeout_s = timeout_s

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[S3Lot]:
        """Open a client; the lot that this gives uses it for every call."""
        async with self.client.held() as client:
            lot = copy(self)
            lot.client = client
            yield lot

    def name_of(self, parked: Parked) -> str:
        """Return the object's key for a record."""
        number = f"{int(parked.sequence_number):0{_DIGITS}d}-{parked.sub_sequence_number:07d}"
        return f"{self._folder(parked.stream, parked.partition_key)}{parked.shard_id}/{number}.json"

    def _folder(self, stream: str, partition_key: str | None) -> str:
        digest = "no-key" if partition_key is None else _digest(partition_key)[:32]
        return f"{self.prefix}{stream}/{digest}/"

    async def __call__(self, parked: Parked) -> None:
        """Write a record; raises a `ServiceError` when it is not known to be there."""
        async with self.client.open() as objects:
            await objects.put(self.bucket, self.name_of(parked), json_of(parked), timeout_s=self._timeout_s)

    async def records(self, stream: str, partition_key: str) -> AsyncIterator[Parked]:
        """Yield a key's records, shard by shard in order of their positions; see `ReadableLot`."""
        async with self.client.open() as objects:
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
    sent twice within five minutes is one message.

    With `copies` each record is kept there, too, before it is sent, and is read back from there: only so is this a lot
    for `park_key`. The queue itself cannot be asked for one key's records: ReceiveMessage takes no filter, hides a FIFO
    group's later messages until the earlier ones are deleted, and counts as a try towards the queue's dead letters; and
    no message is kept for more than 14 days. Of what is large, `copies` have the data alone, as a `spill` has.
    """

    def __init__(
        self,
        queue_url: str,
        *,
        spill: S3Lot | None = None,
        copies: S3Lot | None = None,
        bytes_max: int = SQS_MESSAGE_BYTES_MAX,
        connection: StorageServices | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        check_kind("queue_url", queue_url, str)
        if not queue_url.startswith(("https://", "http://")):
            raise InvalidInput("queue_url", "a queue's URL")
        check_whole("bytes_max", bytes_max, 1024, SQS_MESSAGE_BYTES_MAX, "bytes")
        if spill is not None and copies is not None:
            raise InvalidInput("spill", "given without copies, where everything is kept")
        self.queue_url = queue_url
        self.spill = spill
        self.copies = copies
        self.bytes_max = bytes_max
        self.client = Client(partial(_queue, connection))
        self._timeout_s = timeout_s

    @property
    def one_way(self) -> str:
        """Why its records cannot be read back; empty where `copies` are kept."""
        return "" if self.copies is not None else "a queue cannot be asked for a key's records: give copies=S3Lot(...)"

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[SqsLot]:
        """Open a client (and the lots' behind it); the lot that this gives uses it for every call."""
        async with AsyncExitStack() as stack:
            lot = copy(self)
            lot.client = await stack.enter_async_context(self.client.held())
            lot.spill = self.spill and await stack.enter_async_context(self.spill.opened())
            lot.copies = self.copies and await stack.enter_async_context(self.copies.opened())
            yield lot

    async def __call__(self, parked: Parked) -> None:
        """Send a record, kept before where `copies` are; raises a `ServiceError` when it is not known to be there."""
        body = json_of(parked)
        if self.copies is not None:
            await self.copies(parked)
        if len(body) > self.bytes_max:
            await self._without_data(parked, body)
            return
        try:
            await self._send(parked, body)
        except Rejected:  # The queue's own limit may be lower than ours.
            if self.spill is None and self.copies is None:
                raise
            await self._without_data(parked, body)

    async def records(self, stream: str, partition_key: str) -> AsyncIterator[Parked]:
        """Yield a key's records, from `copies`; see `ReadableLot`. Raises `InvalidInput` without."""
        if self.copies is None:
            raise InvalidInput("lot", f"one whose records can be read back; {self.one_way}")
        async for parked in self.copies.records(stream, partition_key):
            yield parked

    async def _without_data(self, parked: Parked, body: bytes) -> None:
        """Send where the whole is, which stands in S3 first."""
        whole = self.copies or self.spill
        if whole is None:
            raise Rejected("MessageTooLarge", f"{len(body)} bytes, a message takes {self.bytes_max}: give a spill")
        if whole is self.spill:
            await whole(parked)
        item = json.loads(body)
        del item["data"]
        item["headers"] = {}
        item["spilled"] = {"bucket": whole.bucket, "key": whole.name_of(parked), "bytes": len(parked.data)}
        await self._send(parked, json.dumps(item, separators=(",", ":")).encode())

    async def _send(self, parked: Parked, body: bytes) -> None:
        group_id = deduplication_id = None
        if self.queue_url.endswith(".fifo"):
            group_id = _digest(f"{parked.stream}/{parked.partition_key}")
            place = (parked.stream, parked.shard_id, parked.sequence_number, str(parked.sub_sequence_number))
            deduplication_id = _digest("/".join(place))
        async with self.client.open() as queue:
            await queue.send(
                self.queue_url,
                body.decode(),
                group_id=group_id,
                deduplication_id=deduplication_id,
                timeout_s=self._timeout_s,
            )

    def __repr__(self) -> str:
        return f"SqsLot({self.queue_url.rpartition('/')[2]!r})"


def _objects(connection: StorageServices | None) -> AbstractAsyncContextManager[ObjectStore]:
    return (connection or default_connection()).objects()


def _queue(connection: StorageServices | None) -> AbstractAsyncContextManager[MessageQueue]:
    return (connection or default_connection()).queue()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
