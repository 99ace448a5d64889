"""A null service for benches: an HTTP server in a process of its own that answers from memory and keeps nothing.

It counts the entries of a PutRecords request and answers that many outcomes, in the encoding it was asked in;
other operations are answered with what the bench gave it at start, by shard where a request names one.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import cbor2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from multiprocessing.connection import Connection
    from typing import TypeAlias

    Answers: TypeAlias = "Mapping[tuple[str, str], bytes | dict[bytes, bytes]]"

CBOR = "application/x-amz-cbor-1.1"
JSON = "application/x-amz-json-1.1"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_TARGET = re.compile(rb"x-amz-target: *[^\r]*\.(\w+)", re.IGNORECASE)


class _Null(asyncio.Protocol):
    """One connection."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            length = _LENGTH.search(head)
            total = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < total:
                return
            body = bytes(self._buffer[end + 4 : total])
            del self._buffer[:total]
            content_type, content = self._answer(head, body)
            lines = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
            assert self._transport is not None
            self._transport.write(lines.encode() + content)

    def _answer(self, head: bytes, body: bytes) -> tuple[str, bytes]:
        content_type = CBOR if CBOR.encode() in head else JSON
        target = _TARGET.search(head)
        operation = target[1].decode() if target else ""
        if operation == "PutRecords":
            count = body.count(b"dData" if content_type == CBOR else b'"Data"')
            return content_type, outcomes(content_type, count)
        found = self._answers.get((operation, content_type), b"{}")
        if isinstance(found, bytes):
            return content_type, found
        return content_type, next(answer for mark, answer in found.items() if mark in body)


def outcomes(content_type: str, count: int) -> bytes:
    """Return a PutRecords answer of `count` outcomes."""
    found = _KEPT.get((content_type, count))
    if found is None:
        one = {"SequenceNumber": "4" * 56, "ShardId": "shardId-000000000000"}
        answer = {"FailedRecordCount": 0, "Records": [one] * count}
        found = cbor2.dumps(answer) if content_type == CBOR else json.dumps(answer).encode()
        _KEPT[content_type, count] = found
    return found


_KEPT: dict[tuple[str, int], bytes] = {}


def _serve(answers: Answers, ready: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Null(answers), "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def sink(answers: Answers | None = None) -> Iterator[str]:
    """Run a null service; gives its URL.

    `answers` maps (operation, content type) to a body, or to several, each by a mark that the request's body holds.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(dict(answers or {}), theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()
