"""`FaultProxy`: a TCP proxy for what must happen below HTTP: bytes late, held back, lost, cut, connections half open.

Invariant: without a fault it forwards bytes unchanged, both ways, and passes on each side's end of stream. A fault
holds for the connections that are open and those that come, until it is taken away.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from shardline.common.checks import TIMEOUT_S_MAX, check_number, choice_of
from shardline.common.errors import Closed, InvalidInput

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Direction", "FaultProxy", "ProxyFault"]

_CHUNK = 65_536
_HELD_MAX = 1024  # Pieces held back per direction: 64 MiB.


class Direction(StrEnum):
    """Which bytes a fault concerns."""

    TO_SERVICE = "to_service"
    TO_CLIENT = "to_client"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyFault:
    """One fault for one direction of every connection.

    `delay_s` holds each piece back for that long, then forwards it, even when its sender has given up meanwhile (the
    late apply). `drop` loses every byte (a hole). `reset_after` resets both sides after that many bytes;
    `half_close_after` ends this direction after them and keeps the other. Raises `InvalidInput`.
    """

    direction: Direction
    delay_s: float = 0.0
    drop: bool = False
    reset_after: int | None = None
    half_close_after: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "direction", choice_of("direction", self.direction, Direction))
        check_number("delay_s", self.delay_s, 0, TIMEOUT_S_MAX, "seconds")
        for name in ("reset_after", "half_close_after"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise InvalidInput(name, "a number of bytes, 0 or more")


class FaultProxy:
    """A proxy in front of one endpoint, on the running loop; `url` is what clients are given instead.

    ::

        async with FaultProxy(endpoint.url) as proxy:
            proxy.set(ProxyFault(direction=Direction.TO_CLIENT, drop=True))   # requests apply, answers are lost
            proxy.clear()

    `met` counts, per kind of fault, how often it struck.
    """

    def __init__(self, url: str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        target = urlsplit(url)
        if target.hostname is None or target.port is None:
            raise InvalidInput("url", "a URL with host and port")
        self._scheme = target.scheme
        self._target = (target.hostname, target.port)
        self._address = (host, port)
        self._faults: dict[Direction, ProxyFault] = {}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.met: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """The proxy's URL; raises `Closed` outside its context."""
        if self._server is None or not self._server.sockets:
            raise Closed("the proxy is not open")
        return f"{self._scheme}://{self._address[0]}:{self._server.sockets[0].getsockname()[1]}"

    def set(self, fault: ProxyFault) -> None:
        """Put a fault in force for its direction, in place of an earlier one."""
        self._faults[fault.direction] = fault

    def clear(self) -> None:
        """Take all faults away; connections that were cut stay cut."""
        self._faults.clear()

    async def __aenter__(self) -> Self:
        host, port = self._address
        self._server = await asyncio.start_server(self._accept, host, port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._connect(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        except OSError:
            writer.transport.abort()
        finally:
            self._connections.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(Direction.TO_SERVICE, reader, far_writer, writer))
                group.create_task(self._pump(Direction.TO_CLIENT, far_reader, writer, far_writer))
        except* OSError:
            pass  # One side was reset: so is the other.
        finally:
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pump(
        self, way: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        """Forward one direction until it ends: reading goes on while pieces are held back."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_HELD_MAX)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(way, reader, held))
            group.create_task(self._write(way, held, writer, back))
            await reading

    async def _read(
        self, way: Direction, reader: asyncio.StreamReader, held: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        """Take pieces as they come, each with the time at which it is due; an empty one is the end."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await reader.read(_CHUNK)
            except OSError:
                data = b""  # The sender has reset the connection: what it sent before is still forwarded.
            fault = self._faults.get(way)
            delay_s = fault.delay_s if fault is not None else 0.0
            self.met["delay"] += bool(delay_s and data)
            await held.put((loop.time() + delay_s, data))
            if not data:
                return

    async def _write(
        self,
        way: Direction,
        held: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
    ) -> None:
        loop = asyncio.get_running_loop()
        passed = 0
        while True:
            due, data = await held.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            fault = self._faults.get(way)
            if not data:
                _finish(fault, writer)
                return
            if fault is not None and fault.drop:
                self.met["drop"] += 1
                continue
            allowed = _allowed(fault, passed)
            passed += len(data)
            writer.write(data[:allowed])
            await writer.drain()
            if fault is not None and allowed is not None and allowed <= len(data):
                self._end(fault, writer, back)
                return

    def _end(self, fault: ProxyFault, writer: asyncio.StreamWriter, back: asyncio.StreamWriter) -> None:
        if fault.reset_after is not None:
            self.met["reset"] += 1
            _reset(writer)
            _reset(back)
        else:
            self.met["half_close"] += 1
            writer.write_eof()

    def __repr__(self) -> str:
        return f"FaultProxy(to {self._target[0]}:{self._target[1]}, faults={sorted(self._faults)})"


def _allowed(fault: ProxyFault | None, passed: int) -> int | None:
    """Return how many more bytes may pass before the fault ends this direction (None: no end)."""
    limits = [n for n in (fault.reset_after, fault.half_close_after) if n is not None] if fault is not None else []
    return max(0, min(limits) - passed) if limits else None


def _finish(fault: ProxyFault | None, writer: asyncio.StreamWriter) -> None:
    """Pass on the end of a stream, but for a hole, which says nothing."""
    if (fault is None or not fault.drop) and not writer.is_closing():
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a reset instead of an orderly end."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
