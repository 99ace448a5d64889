"""Vocabulary for tests of the AWS adapters: a raw HTTP/1.1 server whose every byte a test decides.

A handler takes a `Received` and returns the bytes of a whole HTTP answer (`reply`), or a coroutine that writes to the
socket itself (to hang, to cut off, to reset). Real sockets on loopback; nothing of the adapters is replaced.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shardline.common.connection import Connection, Credentials

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from typing import TypeAlias

    from shardline.common.ports.kinesis import KinesisApi

CREDENTIALS = Credentials(access_key_id="AKIDEXAMPLE", secret_access_key="unused")
CALL_S = 20.0
"""A time-out that only a broken test meets."""


@dataclass(frozen=True)
class Received:
    """One request as it came over the wire; header names are lower case."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def operation(self) -> str:
        """The operation of the X-Amz-Target header."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


Handler: TypeAlias = "Callable[[Received], bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]]"


def reply(status: int, body: Any = b"", content_type: str = "application/x-amz-json-1.1", **headers: str) -> bytes:
    """Return a whole HTTP answer; `body` is bytes, or a value for JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode() + content


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    """Serve `handler` on a free port of loopback; gives the URL. Leaving closes every connection."""
    writers: set[asyncio.StreamWriter] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while (received := await _receive(reader)) is not None:
                answer = handler(received)
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        server.close()
        for writer in tuple(writers):
            writer.transport.abort()
        await asyncio.sleep(0)


async def _receive(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    line, *rest = head[:-4].split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(line, headers, body)


def connection_to(url: str, **settings: Any) -> Connection:
    """Return a connection to `url` with dummy credentials."""
    values: dict[str, Any] = {
        "endpoint_url": url,
        "region_name": "us-east-1",
        "credentials": CREDENTIALS,
        "wire": "json",
        **settings,
    }
    return Connection(**values)


def open_kinesis(url: str, **settings: Any) -> AbstractAsyncContextManager[KinesisApi]:
    """Open Kinesis at `url` with dummy credentials."""
    return connection_to(url, **settings).kinesis()


def recording(seen: list[Received], answer: bytes) -> Handler:
    """Return a handler that keeps each request and answers the same to all."""

    def handler(received: Received) -> bytes:
        seen.append(received)
        return answer

    return handler


_MOTO_LOCK = threading.Lock()


def moto_handler(received: Received) -> bytes:
    """Answer with moto's DynamoDB, in this process."""
    from moto.core.request import Request  # Half a second: only for the tests that use it.
    from moto.dynamodb.responses import DynamoHandler

    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "HTTP_HOST": "localhost",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(received.body),
        "CONTENT_LENGTH": str(len(received.body)),
        "CONTENT_TYPE": received.headers["content-type"],
        "HTTP_X_AMZ_TARGET": received.headers["x-amz-target"],
        "HTTP_AUTHORIZATION": received.headers["authorization"],
    }
    with _MOTO_LOCK:
        status, headers, body = DynamoHandler.dispatch(Request(environ))
    content = body.encode() if isinstance(body, str) else body
    return reply(status, content, str(headers.get("Content-Type", "application/x-amz-json-1.0")))
