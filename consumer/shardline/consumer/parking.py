"""Parking lots that shardline brings: where records go that were given up (`policy.park_record`)."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shardline.common.errors import NotApplied
from shardline.common.limits import GET_RECORDS_LIMIT_MAX, SHARD_READS_PER_S
from shardline.common.ports.kinesis import PutEntry, StartAt, StartKind, Stream
from shardline.consumer.parked_json import Client, default_connection, is_of, json_of, parked_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from io import BufferedRandom

    from shardline.common.ports.kinesis import KinesisApi
    from shardline.common.ports.services import Services
    from shardline.consumer.policy import Parked

__all__ = ["FileLot", "StreamLot"]

_PAGES_MAX = 10_000


class FileLot:
    """A parking lot in a local file: one JSON object per line, data in base64, on the disk before it counts.

    For one worker at a time. What a crash tore in the middle of a line did not count, and is passed over.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __call__(self, parked: Parked) -> None:
        """Append a record and flush it to the disk; raises `OSError` when that fails."""
        line = json_of(parked) + b"\n"
        with self.path.open("a+b") as file:
            if file.tell() and not self._ends_a_line(file):
                line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    @staticmethod
    def _ends_a_line(file: BufferedRandom) -> bool:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"

    async def records(self, stream: str, partition_key: str) -> AsyncIterator[Parked]:
        """Yield a key's records in the order in which they were parked; see `ReadableLot`."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                parked = parked_of(line)
                if parked is not None and is_of(parked, stream, partition_key):
                    yield parked


class StreamLot:
    """A parking lot in another Kinesis stream: one JSON object per record, as in `FileLot`, under the record's own key.

    `connection` None is the environment's. What is larger than a record of that stream (data grow by a third) is
    refused by the service, and then the shard goes on waiting: use a file for those.
    """

    def __init__(self, stream: str | Stream, *, connection: Services | None = None, timeout_s: float = 10.0) -> None:
        self.stream = Stream.of(stream)
        self.client = Client(partial(_kinesis, connection))
        self._timeout_s = timeout_s

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[StreamLot]:
        """Open a client; the lot that this gives uses it for every call, where each call of this one opens its own."""
        async with self.client.held() as client:
            lot = copy(self)
            lot.client = client
            yield lot

    async def __call__(self, parked: Parked) -> None:
        """Put a record; raises a `ServiceError` when it is not known to be in the stream."""
        entry = PutEntry(json_of(parked), parked.partition_key or "parked")
        async with self.client.open() as kinesis:
            (outcome,) = await kinesis.put_records(self.stream, [entry], timeout_s=self._timeout_s)
        if outcome.sequence_number is None:
            raise NotApplied(outcome.error_code or "NotWritten")

    async def records(self, stream: str, partition_key: str) -> AsyncIterator[Parked]:
        """Yield a key's records, from the whole of the lot's stream, closed shards too; see `ReadableLot`.

        What has passed that stream's retention is gone; a replay then says that its key's last record is missing.
        """
        async with self.client.open() as kinesis:
            for shard_id in await self._shards(kinesis):
                async for data in self._read(kinesis, shard_id):
                    parked = parked_of(data)
                    if parked is not None and is_of(parked, stream, partition_key):
                        yield parked

    async def _shards(self, kinesis: KinesisApi) -> list[str]:
        shards: list[str] = []
        token: str | None = None
        for _ in range(_PAGES_MAX):
            page = await kinesis.list_shards(self.stream, next_token=token, timeout_s=self._timeout_s)
            shards += [shard.shard_id for shard in page.shards]
            token = page.next_token
            if token is None:
                break
        return shards

    async def _read(self, kinesis: KinesisApi, shard_id: str) -> AsyncIterator[bytes]:
        """Yield a shard's data from its trim horizon to its end, or to its tip."""
        start = StartAt(StartKind.TRIM_HORIZON)
        iterator: str | None = await kinesis.get_shard_iterator(self.stream, shard_id, start, timeout_s=self._timeout_s)
        while iterator is not None:
            page = await kinesis.get_records(
                self.stream, iterator, limit=GET_RECORDS_LIMIT_MAX, timeout_s=self._timeout_s
            )
            for record in page.records:
                yield record.data
            if not page.records and not page.millis_behind_latest:
                return
            iterator = page.next_iterator
            await asyncio.sleep(1 / SHARD_READS_PER_S)


def _kinesis(connection: Services | None) -> AbstractAsyncContextManager[KinesisApi]:
    return (connection or default_connection()).kinesis()
