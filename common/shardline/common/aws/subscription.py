# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""One SubscribeToShard: HTTP/1.1, an answer of event-stream frames that lasts up to five minutes.

botocore's `EventStreamBuffer` takes the frames apart (lengths and checksums included); what they say is read here.
Invariant: leaving the context closes the connection, whatever happened inside; an exception frame, a broken frame and a
broken connection all end the iteration with an error of the tree, the service's own end just ends it.
"""

from __future__ import annotations

from collections import deque
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from botocore.eventstream import EventStreamBuffer, ParserError

from shardline.common.aws.faults import error_code, refusal
from shardline.common.aws.kinesis_answers import children, text_or_none
from shardline.common.aws.kinesis_wire import blob, broken, decode, fault, records
from shardline.common.ports.kinesis import SubscribeEvent

if TYPE_CHECKING:
    from types import TracebackType

    from shardline.common.aws.transport import Request, Stream, Transport

__all__ = ["Subscription"]

_OPERATION = "SubscribeToShard"


class Subscription:
    """An async context manager whose value iterates over `SubscribeEvent`s; see `KinesisApi.subscribe_to_shard`."""

    def __init__(self, transport: Transport, request: Request, timeout_s: float) -> None:
        self._transport = transport
        self._request = request
        self._timeout_s = timeout_s
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Events:
        stream = await self._stack.enter_async_context(
            self._transport.stream(self._request, timeout_s=self._timeout_s, silence_s=self._timeout_s)
        )
        if stream.status == 200:
            return Events(stream)
        async with self._stack:
            answer = await stream.answer()
        typed, message = fault(answer.content_type, answer.body)
        code = error_code(answer.headers.get("x-amzn-errortype"), typed, answer.status)
        raise refusal("kinesis", _OPERATION, answer.status, code, message)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()


class Events:
    """The subscription's events, in order."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer: Any = EventStreamBuffer()
        self._ready: deque[Any] = deque()

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> SubscribeEvent:
        while True:
            while self._ready:
                event = _event(self._ready.popleft())
                if event is not None:
                    return event
            chunk = await self._stream.chunk()
            if not chunk:
                raise StopAsyncIteration
            self._buffer.add_data(chunk)
            try:
                self._ready.extend(self._buffer)
            except ParserError as error:
                raise broken("a frame that is no event") from error


def _event(frame: Any) -> SubscribeEvent | None:
    """Return the frame's event, None for the opening frame and kinds we do not know; raise what an exception says."""
    headers: dict[str, Any] = frame.headers
    payload = bytes(frame.payload)
    content_type = str(headers.get(":content-type", "")).lower()
    kind = headers.get(":message-type")
    if kind == "exception":
        _, message = fault(content_type, payload)
        raise refusal("kinesis", _OPERATION, 400, error_code(headers.get(":exception-type"), None, 400), message)
    if kind == "error":
        code = error_code(headers.get(":error-code"), None, 500)
        raise refusal("kinesis", _OPERATION, 500, code, str(headers.get(":error-message", "")))
    if headers.get(":event-type") != "SubscribeToShardEvent":
        return None
    fields = decode(content_type, payload)
    behind = fields.get("MillisBehindLatest")
    return SubscribeEvent(
        records(fields.get("Records"), blob),
        text_or_none(fields, "ContinuationSequenceNumber"),
        behind if isinstance(behind, int) else None,
        children(fields.get("ChildShards")),
    )
