"""SubscribeToShard as the SDKs read it: an AWS event stream over HTTP/1.1 chunks.

One message is a prelude (lengths and their checksum), headers, payload, checksum; the first one is `initial-response`,
without which botocore refuses the stream. An exception is a message of its own kind and the last one.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

from shardline.local.http.shapes import child, record
from shardline.local.http.wire import JSON, encode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from shardline.common.ports.kinesis import SubscribeEvent
    from shardline.local.state.consumer import Subscription

__all__ = ["CONTENT_TYPE", "events", "message"]

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
_STRING: Final = 7  # The header type of the event-stream encoding for text.
_OVERHEAD: Final = 16  # Prelude with its checksum, and the message's checksum.
_MESSAGES: Final = {
    "ResourceInUseException": "Another subscription has taken over this consumer and shard.",
    "ResourceNotFoundException": "The consumer or the stream is gone.",
}


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """Return one message of the event-stream encoding."""
    head = b"".join(
        bytes([len(name)]) + name.encode() + struct.pack(">BH", _STRING, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", len(head) + len(payload) + _OVERHEAD, len(head))
    start = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return start + struct.pack(">I", zlib.crc32(start))


def _event(name: str, fields: dict[str, Any], kind: str) -> bytes:
    content = "application/json" if kind == JSON else kind
    return message({":message-type": "event", ":event-type": name, ":content-type": content}, encode(fields, kind))


def _exception(name: str, kind: str) -> bytes:
    content = "application/json" if kind == JSON else kind
    headers = {":message-type": "exception", ":exception-type": name, ":content-type": content}
    return message(headers, encode({"message": _MESSAGES.get(name, name)}, kind))


def _fields(event: SubscribeEvent) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "Records": [record(r) for r in event.records],
        "MillisBehindLatest": event.millis_behind_latest,
    }
    if event.continuation_sequence_number is not None:
        fields["ContinuationSequenceNumber"] = event.continuation_sequence_number
    if event.child_shards:
        fields["ChildShards"] = [child(c) for c in event.child_shards]
    return fields


async def events(subscription: Subscription, clock: Callable[[], float], kind: str) -> AsyncGenerator[bytes]:
    """Yield the messages of a subscription until it ends; closing the generator closes the subscription."""
    ready = asyncio.Event()
    subscription.watch(ready.set)
    try:
        yield _event("initial-response", {}, kind)
        while not subscription.ended:
            ready.clear()
            event = subscription.poll(clock())
            if event is not None:
                yield _event("SubscribeToShardEvent", _fields(event), kind)
            elif not subscription.ended:
                await _wait(ready, max(0.0, subscription.next_wakeup() - clock()))
        if subscription.error is not None:
            yield _exception(subscription.error, kind)
    finally:
        subscription.close()


async def _wait(ready: asyncio.Event, wait_s: float) -> None:
    try:
        async with asyncio.timeout(wait_s):
            await ready.wait()
    except TimeoutError:
        return
