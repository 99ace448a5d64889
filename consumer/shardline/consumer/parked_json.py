"""What parking lots share: a parked record as one JSON object, with all its fields; and the client that a lot calls."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from shardline.consumer.policy import Parked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from shardline.common.connection import Connection

__all__ = ["Client", "default_connection", "is_of", "json_of", "parked_of"]

T = TypeVar("T")


class Client(Generic[T]):
    """Where a lot gets its port: opened for each call, or once for all calls, where it is `held`."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self.open = opening

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[Client[T]]:
        """Open the port; the client that this gives hands out that one until it is left."""
        async with self.open() as port:
            yield Client(lambda: nullcontext(port))


def is_of(parked: Parked, stream: str, partition_key: str) -> bool:
    """Say whether a record is of a stream's key."""
    return (parked.stream, parked.partition_key) == (stream, partition_key)


def parked_of(line: bytes) -> Parked | None:
    """Return the record of a JSON object, None for what is none."""
    try:
        item: dict[str, Any] = json.loads(line)
        item["data"] = base64.b64decode(item["data"], validate=True)
        return Parked(**item)
    except (ValueError, TypeError, KeyError):
        return None


def json_of(parked: Parked) -> bytes:
    """Return a record as a JSON object, ASCII only."""
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


def default_connection() -> Connection:
    """Return the environment's connection."""
    from shardline.common.connection import Connection  # noqa: PLC0415 - only where no connection was given.

    return Connection()
