"""Parking lots that shardline brings: where records go that were given up (`policy.park_record`)."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from shardline.common.errors import NotApplied
from shardline.common.ports.kinesis import PutEntry, Stream

if TYPE_CHECKING:
    from shardline.common.ports.services import Services
    from shardline.consumer.policy import Parked

__all__ = ["FileLot", "StreamLot"]


class FileLot:
    """A parking lot in a local file: one JSON object per line, data in base64, on the disk before it counts."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __call__(self, parked: Parked) -> None:
        """Append a record and flush it to the disk; raises `OSError` when that fails."""
        line = _json(parked) + b"\n"
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


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
