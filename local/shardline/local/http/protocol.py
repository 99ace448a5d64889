"""A small HTTP/1.1 server for the AWS SDKs: keep-alive, chunked requests, ``Expect: 100-continue``, streamed answers.

Invariants: one request at a time per connection, in order; a request's body is bounded; what a client sends ahead is
held until the answer before it is out. Written for Kinesis: the common request costs one parse and one write.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from shardline.local.http.message import (
    HEAD_BYTES_MAX,
    Answer,
    BadRequest,
    Head,
    Request,
    Stream,
    parse_head,
    render,
    render_head,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from shardline.local.http.message import Reply

    Handler: TypeAlias = Callable[[Request], Reply | Awaitable[Reply]]

__all__ = ["HttpProtocol"]

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
_SCRATCH_BYTES: Final = 64 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HttpProtocol(asyncio.BufferedProtocol):
    """One connection; `handler` answers each request, at once or later."""

    def __init__(self, handler: Handler, open_connections: set[HttpProtocol]) -> None:
        self._handler = handler
        self._open = open_connections
        self._transport: asyncio.Transport | None = None
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._buffer = bytearray()  # What has come and belongs to no body yet.
        self._body: bytearray | None = None  # A body of known length, filled in place: big ones are not copied.
        self._filled = 0
        self._head: Head | None = None
        self._length = -1  # Bytes of the body still to come; -1 while it is chunked or no head was read.
        self._parts: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._streaming = False  # A streamed answer's reader that closes its half has gone.
        self._writable = asyncio.Event()
        self._writable.set()

    # --- asyncio's calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what is being answered: nobody listens."""
        del exc
        self._transport = None
        self._open.discard(self)
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Hold streamed answers back."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let streamed answers go on."""
        self._writable.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go: into the body that is coming, or to the side."""
        del sizehint
        return self._scratch if self._body is None else memoryview(self._body)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes and answer every request that is whole."""
        if self._body is None:
            self._buffer += self._scratch[:nbytes]
        else:
            self._filled += nbytes
        if self._task is None:
            self._advance()
        elif len(self._buffer) > BODY_BYTES_MAX:
            self.close()

    def eof_received(self) -> bool:
        """Keep the way out open while a whole answer is on it (a client may close its half); TLS has no halves."""
        secured = self._transport is not None and self._transport.get_extra_info("sslcontext") is not None
        return self._task is not None and not self._streaming and not secured

    def close(self) -> None:
        """Close the connection once what was written is out."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- requests ---

    def _advance(self) -> None:
        try:
            while self._transport is not None and self._task is None:
                request = self._next()
                if request is None:
                    return
                self._answer(request)
        except BadRequest as error:
            self._buffer.clear()
            body = f'{{"message": "{error}"}}'.encode()
            self._write(render(Answer(error.status, body, "application/json"), keep_alive=False))
            self.close()

    def _next(self) -> Request | None:
        """Return the next whole request, or None until more bytes come."""
        if self._head is None and not self._read_head():
            return None
        head = self._head
        assert head is not None
        body = self._read_chunked() if self._length < 0 else self._read_sized()
        if body is None:
            return None
        self._head = None
        return Request(head.method, head.target, head.headers, body)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise BadRequest(431, "the headers are too long")
            return False
        self._head = head = parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        chunked = head.headers.get("transfer-encoding", "").lower() == "chunked"
        text = head.headers.get("content-length", "0")
        if not (text.isascii() and text.isdigit()):
            raise BadRequest(400, "content-length is no number")
        if int(text) > BODY_BYTES_MAX:
            raise BadRequest(413, f"the body is over {BODY_BYTES_MAX} bytes")
        self._length = -1 if chunked else int(text)
        self._parts.clear()
        if head.headers.get("expect", "").lower() == "100-continue":
            self._write(_CONTINUE)
        return True

    def _read_sized(self) -> bytes | bytearray | None:
        if self._body is None:
            if len(self._buffer) >= self._length:
                body = bytes(memoryview(self._buffer)[: self._length])
                del self._buffer[: self._length]
                return body
            self._filled = len(self._buffer)
            self._body = bytearray(self._length)
            self._body[: self._filled] = self._buffer
            self._buffer.clear()
        if self._filled < self._length:
            return None
        whole, self._body = self._body, None
        return whole

    def _read_chunked(self) -> bytes | None:
        while True:
            end = self._buffer.find(b"\r\n")
            if end < 0:
                return None
            size = _chunk_size(bytes(self._buffer[:end]))
            if size + sum(map(len, self._parts)) > BODY_BYTES_MAX:
                raise BadRequest(413, f"the body is over {BODY_BYTES_MAX} bytes")
            whole = end + 2 + size + 2
            if len(self._buffer) < whole:
                return None
            self._parts.append(bytes(self._buffer[end + 2 : end + 2 + size]))
            del self._buffer[:whole]
            if size == 0:
                return b"".join(self._parts)

    # --- answers ---

    def _answer(self, request: Request) -> None:
        reply = self._handler(request)
        if isinstance(reply, Answer):
            self._send(request, reply)
        elif reply is None:
            self.abort()
        else:
            later = _same(reply) if isinstance(reply, Stream) else reply
            self._task = asyncio.get_running_loop().create_task(self._later(request, later))

    async def _later(self, request: Request, coming: Awaitable[Reply]) -> None:
        """Answer when the reply is there, then go on with what came meanwhile."""
        try:
            reply = await coming
            if isinstance(reply, Answer):
                self._send(request, reply)
            elif reply is None:
                self.abort()
            else:
                await self._stream(reply)
        finally:
            self._task = None
        if self._buffer:
            self._advance()

    def _send(self, request: Request, answer: Answer) -> None:
        keep = answer.cut == 0 and request.headers.get("connection", "").lower() != "close"
        self._write(render(answer, keep_alive=keep, head_only=request.method == "HEAD"))
        if not keep:
            self.close()

    async def _stream(self, stream: Stream) -> None:
        headers = [("content-type", stream.content_type), *stream.headers.items(), ("transfer-encoding", "chunked")]
        self._streaming = True
        self._write(render_head(stream.status, headers))
        async with aclosing(stream.chunks) as chunks:
            async for chunk in chunks:
                self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await self._writable.wait()
        self._write(b"0\r\n\r\n")
        self._streaming = False

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def __repr__(self) -> str:
        return f"HttpProtocol({'open' if self._transport else 'closed'}, busy={self._task is not None})"


async def _same(stream: Stream) -> Reply:
    return stream


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise BadRequest(400, "a chunk without a size") from None
