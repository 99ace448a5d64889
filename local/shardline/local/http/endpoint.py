"""`LocalEndpoint`: the HTTP endpoint as a context manager, in your loop or on a thread; `serve` for a process."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self, cast

from shardline.common.checks import check_mapping, check_whole
from shardline.common.clock import AsyncioRuntime
from shardline.common.errors import InvalidInput
from shardline.local.access import AccessPolicy
from shardline.local.faults.plan import FaultRule
from shardline.local.http.app import App
from shardline.local.http.protocol import HttpProtocol
from shardline.local.http.tls import Certificate, server_context
from shardline.local.state.core import KinesisState

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from shardline.local.moto.front import DynamoOptions
    from shardline.local.state.options import KinesisOptions

__all__ = ["Certificate", "LocalEndpoint", "load_faults", "serve", "tune_collector"]

_HOST = "127.0.0.1"
_PORT_MAX = 65_535


class LocalEndpoint:
    """Kinesis, DynamoDB, CloudWatch, SQS, S3 and Firehose on one port of this machine.

    ::

        with LocalEndpoint({"orders": 4}) as endpoint:          # on a thread of its own
            boto3.client("kinesis", endpoint_url=endpoint.url, ...)
        async with LocalEndpoint({"orders": 4}) as endpoint:    # on the running loop
            ...

    `streams` (name -> shards) are made at the start. `port` 0 takes a free one. `state` is the Kinesis behind it: tests
    may change it between requests when it runs on the same loop. The other services are moto's and shared by all
    endpoints of the process. `faults` are scripted (`shardline.local.faults.plan`), `seed` decides those that have a
    probability. `access` denies by default: access key id -> grants (`shardline.local.access`). `tls` serves https with
    a certificate made at the start (`ca_bundle` is its file); `EXPIRED` and `WRONG_HOST` are certificates to be
    refused. Raises `InvalidInput` for a port or stream out of range, `OSError` for a port in use.
    """

    def __init__(
        self,
        streams: Mapping[str, int] | None = None,
        *,
        port: int = 0,
        host: str = _HOST,
        options: KinesisOptions | None = None,
        tls: Certificate | None = None,
        dynamodb: DynamoOptions | None = None,
        faults: Sequence[FaultRule] = (),
        seed: int = 0,
        access: Mapping[str, Sequence[str]] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        check_whole("port", port, 0, _PORT_MAX)
        if streams is not None:
            check_mapping("streams", streams, "a mapping of stream names to numbers of shards")
            for name, shards in streams.items():
                check_whole(f"streams[{name!r}]", shards, 1, 10_000, "shards")
        self.clock = clock or AsyncioRuntime().wall
        self.state = KinesisState(options)
        for name, shards in (streams or {}).items():
            _create(self.state, name, shards, self.clock())
        self.app = App(self.state, self.clock, dynamodb, seed)
        self.app.set_faults(faults)
        self.app.access = None if access is None else AccessPolicy(access)
        self._address = (host, port)
        self._tls = tls
        self._files = ExitStack()
        self._pem: Path | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[HttpProtocol] = set()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: asyncio.Event | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._server is None:
            raise InvalidInput("endpoint", "entered before its port is asked for")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The endpoint's URL, for every service."""
        return f"http{'s' if self._tls else ''}://{self._address[0]}:{self.port}"

    @property
    def ca_bundle(self) -> str:
        """The path of a PEM file with the certificate to trust, while the endpoint serves https."""
        if self._pem is None:
            raise InvalidInput("endpoint", "entered with tls before its certificate is asked for")
        return str(self._pem)

    # --- on the running loop ---

    async def __aenter__(self) -> Self:
        host, port = self._address
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: HttpProtocol(self.app.handle, self._connections),
                host,
                port,
                reuse_address=True,
                ssl=self._context(),
            )
        except OSError:
            self._files.close()
            raise
        return self

    def _context(self) -> ssl.SSLContext | None:
        if self._tls is None:
            return None
        folder = Path(self._files.enter_context(TemporaryDirectory(prefix="shardline-")))
        self._pem = folder / "certificate.pem"
        return server_context(self._tls, self._address[0], folder)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for connection in tuple(self._connections):
            connection.abort()
        await self._server.wait_closed()
        self._server = None
        self._files.close()
        self._pem = None

    async def serve_forever(self) -> None:
        """Serve until cancelled."""
        assert self._server is not None
        await self._server.serve_forever()

    # --- on a thread ---

    def __enter__(self) -> Self:
        started = threading.Event()
        failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(started, failure), name="shardline-local", daemon=True)
        self._thread.start()
        started.wait()
        if failure:
            self._thread.join()
            raise failure[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._leave is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()

    def _run(self, started: threading.Event, failure: list[BaseException]) -> None:
        async def whole() -> None:
            self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
            async with self:
                started.set()
                await self._leave.wait()

        try:
            asyncio.run(whole())
        except OSError as error:
            failure.append(error)
            started.set()

    def __repr__(self) -> str:
        where = self.url if self._server is not None else "closed"
        return f"LocalEndpoint({where}, {self.state!r})"


def _create(state: KinesisState, name: str, shards: int, now: float) -> None:
    from shardline.local.state.refusal import Refusal

    try:
        state.create_stream(name, shards, now=now)
    except Refusal as refusal:
        raise InvalidInput("stream", f"a name and shard count that AWS would accept ({refusal.message})") from None


def tune_collector() -> None:
    """Make the garbage collector rare in a process that only serves: what it stores is no garbage and forms no cycles.

    Without it every full collection walks all records, and a call now and then costs tens of milliseconds.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 1000)


async def serve(endpoint: LocalEndpoint, announce: Callable[[str], None]) -> None:
    """Serve until cancelled, in a process of its own; `announce` gets the URL as soon as it answers."""
    tune_collector()
    async with endpoint:
        announce(endpoint.url)
        await endpoint.serve_forever()


def load_faults(path: str) -> list[FaultRule]:
    """Return the rules of a JSON file (one object or a list of them); raises `InvalidInput` that names the fault."""
    try:
        content: object = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput("faults", "a readable JSON file", str(error)) from error
    rules = cast("list[object]", content) if isinstance(content, list) else [content]
    return [FaultRule.from_json(one) for one in rules]
