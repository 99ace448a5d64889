"""Parking lots that shardline brings: where records go that were given up (`policy.park_record`)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from shardline.common.errors import NotApplied
from shardline.common.limits import GET_RECORDS_LIMIT_MAX, SHARD_READS_PER_S
from shardline.common.ports.kinesis import PutEntry, StartAt, StartKind, Stream
from shardline.consumer.policy import Parked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from io import BufferedRandom

    from shardline.common.ports.kinesis import KinesisApi
    from shardline.common.ports.services import Services

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
        line = _json(parked) + b"\n"
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
                parked = _parked(line)
                if parked is not None and _is_of(parked, stream, partition_key):
                    yield parked


class StreamLot:
    """A parking lot in another Kinesis stream: one JSON object per record, as in `FileLot`, under the record's own key.

    `connection` None is the environment's. What is larger than a record of that stream (data grow by a third) is
    refused by the service, and then the shard goes on waiting: use a file for those.
    """

    def __init__(self, stream: str | Stream, *, connection: Services | None = None, timeout_s: float = 10.0) -> None:
        self.stream = Stream.of(stream)
        self._connection = connection
        self._timeout_s = timeout_s

    async def __call__(self, parked: Parked) -> None:
        """Put a record; raises a `ServiceError` when it is not known to be in the stream."""
        entry = PutEntry(_json(parked), parked.partition_key or "parked")
        async with (self._connection or _default_connection()).kinesis() as kinesis:
            (outcome,) = await kinesis.put_records(self.stream, [entry], timeout_s=self._timeout_s)
        if outcome.sequence_number is None:
            raise NotApplied(outcome.error_code or "NotWritten")

    async def records(self, stream: str, partition_key: str) -> AsyncIterator[Parked]:
        """Yield a key's records, from the whole of the lot's stream, closed shards too; see `ReadableLot`.

        What has passed that stream's retention is gone; a replay then says that its key's last record is missing.
        """
        async with (self._connection or _default_connection()).kinesis() as kinesis:
            for shard_id in await self._shards(kinesis):
                async for data in self._read(kinesis, shard_id):
                    parked = _parked(data)
                    if parked is not None and _is_of(parked, stream, partition_key):
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


def _is_of(parked: Parked, stream: str, partition_key: str) -> bool:
    return (parked.stream, parked.partition_key) == (stream, partition_key)


def _parked(line: bytes) -> Parked | None:
    """Return the record of a JSON object, None for what is none."""
    try:
        item = json.loads(line)
        return Parked(**{**item, "data": base64.b64decode(item["data"], validate=True)})
    except (ValueError, TypeError, KeyError):
        return None


def _json(parked: Parked) -> bytes:
    item = {
        "stream": parked.stream,
        "shard_id": parked.shard_id,
        "sequence_number": parked.sequence_number,
        "sub_sequence_number": parked.sub_sequence_number,
        "partition_key": parked.partition_key,
        "explicit_hash_key": parked.explicit_hash_key,
        "data": base64.b64encode(parked.data).decode("ascii"),
        "headers": dict(parked.headers),
        "arrival_time_s": parked.arrival_time_s,
        "reason": parked.reason,
        "attempts": parked.attempts,
        "parked_at_s": parked.parked_at_s,
    }
    return json.dumps(item, separators=(",", ":")).encode()


def _default_connection() -> Services:
    """Return the environment's connection."""
    from shardline.common.connection import Connection  # noqa: PLC0415 - only where no connection was given.

    return Connection()
