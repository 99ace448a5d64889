# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""One service over HTTP/1.1: sign, send, read, and say exactly what is known when it does not work.

The line between *not applied* and *ambiguous* is drawn here: before a connection is in our hands nothing was sent
(`Unreachable`), from then on everything short of a whole answer is `Ambiguous`. The connector tells which side of the
line a failure is on; aiohttp's exceptions alone do not, and its tracing costs ten signals per request.

Invariants: redirects are never followed; answers are read up to `ANSWER_BYTES_MAX`; a transport belongs to the loop and
the process that opened it; leaving it closes every connection. Nothing is retried, except that a request refused for
its credentials or clock is signed and sent once more within the same time-out. A body is never copied whole: its pieces
are hashed, encrypted and sent one after the other, as fast as the socket takes them.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from shardline.common.aws.endpoints import is_loopback
from shardline.common.aws.faults import CREDENTIAL_CODES, is_clock_fault
from shardline.common.aws.session import open_route
from shardline.common.errors import Ambiguous, Closed, InvalidInput, Rejected, ServiceError, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from shardline.common.aws.session import Route
    from shardline.common.connection import Connection, ServiceSettings

__all__ = ["Answer", "Request", "Stream", "Transport", "open_transport", "tls_context"]

ANSWER_BYTES_MAX = 32 * 1024 * 1024
"""Twice what 10 MiB of records weigh as JSON; more is not read."""
READ_BUFFER_BYTES = 256 * 1024
"""Of a stream; a whole answer has room for all of it, so that reading it wakes us once, not for each piece."""
WRITE_BYTES = 64 * 1024
"""A body is written in pieces of about this size: what is encrypted at once stays in the processor's cache, and a slow
socket holds up the next piece instead of filling memory."""
KEEP_ALIVE_S = 12.0
CONNECTIONS_MAX = 10_000


class Answer(NamedTuple):
    """A whole HTTP answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """The Content-Type without parameters, lower case; empty where there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


Check: TypeAlias = "Callable[[Answer], tuple[str, str]]"


class Request(NamedTuple):
    """One request to a service whose operations are named by the X-Amz-Target header (or by the body).

    The body is given in pieces, which follow one another on the wire.
    """

    operation: str
    target: str
    content_type: str
    body: Sequence[bytes]
    headers: Mapping[str, str] = {}


class _Body(aiohttp.Payload):
    """A request's body in pieces."""

    _autoclose = True

    def __init__(self, pieces: Sequence[bytes], content_type: str) -> None:
        super().__init__(pieces, content_type=content_type)
        self._size = sum(map(len, pieces))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text; for whoever looks at requests, not for sending."""
        return b"".join(self._value).decode(encoding, errors)

    async def write(self, writer: Any) -> None:
        """Send the pieces; a full socket makes it wait after each."""
        for chunk in chunks(self._value):
            await writer.write(chunk)


def chunks(pieces: Sequence[bytes]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of `pieces` in chunks of about `WRITE_BYTES`: short ones joined, long ones cut."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        if len(piece) <= 2 * WRITE_BYTES:
            gathered.append(piece)
            size += len(piece)
            if size < WRITE_BYTES:
                continue
        if size:
            yield b"".join(gathered)
            gathered, size = [], 0
        if len(piece) > 2 * WRITE_BYTES:
            view = memoryview(piece)
            yield from (view[start : start + WRITE_BYTES] for start in range(0, len(piece), WRITE_BYTES))
    if size:
        yield b"".join(gathered)


class _Attempt:
    """How far a request has come."""

    __slots__ = ("connected",)

    def __init__(self) -> None:
        self.connected = False


_attempt: ContextVar[_Attempt] = ContextVar("shardline_attempt")
"""The attempt that asks the connector for a connection, within its own task."""


class _Connector(aiohttp.TCPConnector):
    """A pool of connections that tells each attempt when it has got one, new or used."""

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Do as the base; see there."""
        connection = await super().connect(*args, **kwargs)
        _attempt.get().connected = True
        return connection


class Transport:
    """Calls to one service; made by `open_transport`."""

    def __init__(
        self, service: str, route: Route, session: aiohttp.ClientSession, proxy: str | None, connect_timeout_s: float
    ) -> None:
        self.service = service
        self.route = route
        self._session: aiohttp.ClientSession | None = session
        self._proxy = proxy
        self._connect_timeout_s = connect_timeout_s
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()

    def close(self) -> None:
        """Refuse further calls."""
        self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise Closed(f"the connection to {self.service} is closed")
        if self._process != os.getpid():
            raise Closed(f"the connection to {self.service} belongs to another process: open one after the fork")
        if self._loop is not asyncio.get_running_loop():
            raise Closed(f"the connection to {self.service} belongs to another event loop")
        return self._session

    async def call(self, request: Request, *, timeout_s: float, check: Check) -> Answer:
        """Send `request` and return the whole answer, whatever its status; raises as the module says.

        `check` reads the error code and message of a refusal: one for credentials or clock is followed by one more try,
        if anything changed.
        """
        session = self._open()
        attempt = _Attempt()
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._once(session, request, attempt, timeout_s)
                if answer.status >= 400 and await self._mended(answer, check):
                    attempt = _Attempt()
                    answer = await self._once(session, request, attempt, timeout_s)
                return answer
        except TimeoutError as error:
            raise _timed_out(attempt, timeout_s) from error

    async def _mended(self, answer: Answer, check: Check) -> bool:
        """Say whether credentials or clock were to blame and are better now."""
        code, message = check(answer)
        if is_clock_fault(code, message) and self.route.signer.adjust_clock(answer.headers.get("date")):
            return True
        return code in CREDENTIAL_CODES and await self.route.signer.renew()

    async def _once(
        self, session: aiohttp.ClientSession, request: Request, attempt: _Attempt, timeout_s: float
    ) -> Answer:
        response = await self._send(session, request, attempt, timeout_s, silence_s=None)
        try:
            return await _whole(response, attempt, room=ANSWER_BYTES_MAX)
        finally:
            response.release()  # Back into the pool if it was read to its end, else closed.

    async def _send(
        self,
        session: aiohttp.ClientSession,
        request: Request,
        attempt: _Attempt,
        timeout_s: float,
        silence_s: float | None,
    ) -> aiohttp.ClientResponse:
        """Sign and send; return the response with its body unread. Every failure is translated."""
        headers = {
            "Content-Type": request.content_type,
            "User-Agent": self.route.user_agent,
            **request.headers,
        }
        if request.target:
            headers["X-Amz-Target"] = request.target
        signed = await self.route.signer.sign(request.operation, self.route.url, headers, request.body)
        signed["Accept-Encoding"] = "identity"  # Unsigned, like the SDK's: proxies rewrite it.
        limits = aiohttp.ClientTimeout(
            sock_connect=min(self._connect_timeout_s, timeout_s),
            sock_read=session.timeout.sock_read if silence_s is None else silence_s,
        )
        _attempt.set(attempt)
        try:
            return await session.post(
                self.route.url,
                data=_Body(request.body, request.content_type),
                headers=signed,
                proxy=self._proxy,
                allow_redirects=False,
                timeout=limits,
                read_bufsize=ANSWER_BYTES_MAX if silence_s is None else READ_BUFFER_BYTES,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(error, attempt) from error

    @asynccontextmanager
    async def stream(self, request: Request, *, timeout_s: float, silence_s: float) -> AsyncGenerator[Stream]:
        """Send `request` and hand out the answer as it arrives; leaving closes the connection.

        Raises as `call` does on entering; reading raises `Ambiguous` when the connection breaks, or stays silent for
        longer than `silence_s`.
        """
        session = self._open()
        attempt = _Attempt()
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._send(session, request, attempt, timeout_s, silence_s)
        except TimeoutError as error:
            raise _timed_out(attempt, timeout_s) from error
        try:
            yield Stream(response, attempt)
        finally:
            response.close()  # Not back into the pool: the service would go on talking.


class Stream:
    """An answer that is still arriving."""

    def __init__(self, response: aiohttp.ClientResponse, attempt: _Attempt) -> None:
        self._response = response
        self._attempt = attempt
        self.status = response.status

    async def answer(self) -> Answer:
        """Read the rest as a whole answer (a refusal)."""
        return await _whole(self._response, self._attempt, room=READ_BUFFER_BYTES)

    async def chunk(self) -> bytes:
        """Return the next bytes as they come, empty at the end; raises `Ambiguous` for a break or a long silence."""
        try:
            return await self._response.content.readany()
        except TimeoutError as error:
            raise Ambiguous("ReadTimeout", "the subscription stayed silent") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(error, self._attempt) from error


async def _whole(response: aiohttp.ClientResponse, attempt: _Attempt, *, room: int) -> Answer:
    try:
        body = await _read(response, room)
    except (aiohttp.ClientError, OSError) as error:
        raise _broken(error, attempt) from error
    return Answer(response.status, {key.lower(): value for key, value in response.headers.items()}, body)


async def _read(response: aiohttp.ClientResponse, room: int) -> bytes:
    """Return the body; `room` is what the response takes in without being read."""
    length = response.content_length
    if length is not None and length <= ANSWER_BYTES_MAX:
        if length <= room and response.content.exception() is None:
            await response.content.wait_eof()
        return await response.read()
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > ANSWER_BYTES_MAX:
            response.close()
            raise Ambiguous("AnswerTooLarge", f"an answer of more than {ANSWER_BYTES_MAX} bytes was not read")
        pieces.append(piece)
    return b"".join(pieces)


def _timed_out(attempt: _Attempt, timeout_s: float) -> ServiceError:
    if attempt.connected:
        return Ambiguous("CallTimeout", f"no whole answer within {timeout_s:g} s")
    return Unreachable("ConnectTimeout", f"no connection within {timeout_s:g} s")


def _broken(error: BaseException, attempt: _Attempt) -> ServiceError:
    """Translate aiohttp's failure, told by `attempt` whether the request can have left."""
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Rejected("CertificateRefused", "the endpoint's certificate is not valid for it")
    if isinstance(error, aiohttp.InvalidURL):
        return Rejected("InvalidURL", "the endpoint's URL cannot be used")
    if not attempt.connected:
        return Unreachable("ConnectFailed", name)
    if isinstance(error, TimeoutError):
        return Ambiguous("ReadTimeout", "the answer stayed away")
    return Ambiguous("ConnectionBroken", name)


def tls_context(ca_bundle: str | None, *, verify: bool) -> ssl.SSLContext:
    """Return a client context: TLS 1.2 or later, verified against `ca_bundle`, else the platform's trust store.

    Raises `InvalidInput` for a bundle that cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        if ca_bundle is not None:
            context.load_verify_locations(cafile=ca_bundle)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
            paths = ssl.get_default_verify_paths()
            if not context.cert_store_stats()["x509_ca"] and paths.capath is None:
                # A bare container without a trust store: the SDK's own list of authorities is better than none.
                context.load_verify_locations(cafile=get_cert_path(True))
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput("ca_bundle", f"a readable file of PEM certificates ({type(error).__name__})") from error
    return context


def _proxy_for(url: str, settings: ServiceSettings) -> str | None:
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return None
    if settings.proxy_url is not None:
        return settings.proxy_url
    found: dict[str, str] = get_environ_proxies(url)
    return found.get(parts.scheme)


@asynccontextmanager
async def open_transport(connection: Connection, service: str, *, connections_max: int) -> AsyncGenerator[Transport]:
    """Open `service` (kinesis, dynamodb, cloudwatch); raises `InvalidInput` for settings that cannot work."""
    if not 1 <= connections_max <= CONNECTIONS_MAX:
        raise InvalidInput("connections_max", f"from 1 to {CONNECTIONS_MAX}")
    settings = connection.settings(service)
    route = await open_route(service, settings)
    verify = not settings.insecure_skip_tls_verification
    context = tls_context(route.ca_bundle, verify=verify) if route.url.startswith("https:") else None
    session = aiohttp.ClientSession(
        connector=_Connector(
            limit=connections_max, keepalive_timeout=KEEP_ALIVE_S, ssl=context if context is not None else True
        ),
        timeout=aiohttp.ClientTimeout(sock_connect=connection.connect_timeout_s, sock_read=connection.read_timeout_s),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
    async with session:
        transport = Transport(service, route, session, _proxy_for(route.url, settings), connection.connect_timeout_s)
        try:
            yield transport
        finally:
            transport.close()
