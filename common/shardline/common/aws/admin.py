"""The control plane of one's own stream: create, split, merge, delete. Only the demo and tests make these calls.

Plain JSON, no retries. All four answer before the work is done: DescribeStreamSummary tells when the stream is ACTIVE
again. Errors are those of the ports (`shardline.common.ports`).
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from shardline.common.aws.faults import error_code, refusal
from shardline.common.aws.transport import Request, open_transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shardline.common.aws.transport import Answer, Transport
    from shardline.common.connection import Connection

__all__ = ["StreamAdmin", "open_admin"]

_HTTP_OK = 200


class StreamAdmin:
    """CreateStream, SplitShard, MergeShards and DeleteStream; made by `open_admin`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create_stream(self, name: str, shards: int, *, timeout_s: float) -> None:
        """Ask for a provisioned stream; raises `InUse` where there is one of that name, `LimitExceeded`."""
        await self._call("CreateStream", {"StreamName": name, "ShardCount": shards}, timeout_s)

    async def split_shard(self, name: str, shard_id: str, new_starting_hash_key: int, *, timeout_s: float) -> None:
        """Ask to split a shard at a hash key; raises `InUse` unless the stream is ACTIVE."""
        body = {"StreamName": name, "ShardToSplit": shard_id, "NewStartingHashKey": str(new_starting_hash_key)}
        await self._call("SplitShard", body, timeout_s)

    async def merge_shards(self, name: str, shard_id: str, adjacent_shard_id: str, *, timeout_s: float) -> None:
        """Ask to merge two shards that lie side by side; raises `InUse` unless the stream is ACTIVE."""
        body = {"StreamName": name, "ShardToMerge": shard_id, "AdjacentShardToMerge": adjacent_shard_id}
        await self._call("MergeShards", body, timeout_s)

    async def delete_stream(self, name: str, *, timeout_s: float) -> None:
        """Delete a stream and its records; raises `NotFound` where there is none."""
        await self._call("DeleteStream", {"StreamName": name, "EnforceConsumerDeletion": True}, timeout_s)

    async def _call(self, operation: str, body: dict[str, Any], timeout_s: float) -> None:
        request = Request(
            operation, f"Kinesis_20131202.{operation}", "application/x-amz-json-1.1", (json.dumps(body).encode(),)
        )
        answer = await self._transport.call(request, timeout_s=timeout_s, check=_fault)
        if answer.status != _HTTP_OK:
            raise refusal("kinesis", operation, answer.status, *_fault(answer))


def _fault(answer: Answer) -> tuple[str, str]:
    """Return a refusal's code and message."""
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = None
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    message = fields.get("message") or fields.get("Message") or ""
    return error_code(answer.headers.get("x-amzn-errortype"), fields.get("__type"), answer.status), str(message)


@asynccontextmanager
async def open_admin(connection: Connection) -> AsyncIterator[StreamAdmin]:
    """Open Kinesis for these calls; raises `InvalidInput` for settings that cannot work."""
    async with open_transport(connection, "kinesis", connections_max=2) as transport:
        yield StreamAdmin(transport)
