"""Where the demo runs: an endpoint process of its own, or the one that was given; and the stream that it makes there.

The stream and the lease table are the demo's own: a name in use is refused, so that nothing of anybody else's is read,
written or removed. Leaving removes both, also after Ctrl-C.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from shardline.cli.demo.messages import Ready, decode
from shardline.cli.demo.processes import Child
from shardline.common.aws.admin import StreamAdmin, open_admin
from shardline.common.connection import Connection, Credentials, ServiceSettings
from shardline.common.errors import (
    AlreadyExists,
    Ambiguous,
    InUse,
    InvalidInput,
    NotFound,
    Rejected,
    ServiceError,
    ShardlineError,
    Throttled,
    Unreachable,
)
from shardline.common.ports.kinesis import Stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from shardline.cli.demo.settings import DemoSettings, ProcessSettings
    from shardline.common.hashing import Shard
    from shardline.common.ports.kinesis import KinesisApi
    from shardline.common.ports.lease_store import LeaseStore

T = TypeVar("T")

__all__ = ["OwnStream", "Place", "connection_of", "open_place", "own_stream", "see_that_it_answers"]

_ENDPOINT: Final = "shardline.cli.demo.endpoint_process"
_LOCAL_REGION: Final = "us-east-1"
_START_S_MAX: Final = 30.0
_CALL_S: Final = 10.0
_ANSWER_S: Final = 3.0
_ACTIVE_S_MAX: Final = 300.0
_FRESH: Final = "a name that is not in use: the demo makes a stream of its own"
_POLL_S: Final = 0.2
_AWS_SUFFIXES: Final = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An endpoint as the processes need to know it; `other_url` serves DynamoDB and CloudWatch, None asks the SDK."""

    region: str | None
    kinesis_url: str | None
    other_url: str | None
    local: bool
    environment: Mapping[str, str]

    @property
    def connection(self) -> Connection:
        """The connection to the endpoint."""
        return _connection(self.region, self.kinesis_url, self.other_url, local=self.local)


def connection_of(settings: ProcessSettings) -> Connection:
    """Return the connection that a child process is to use."""
    return _connection(settings.region, settings.kinesis_url, settings.other_url, local=settings.local)


def _connection(region: str | None, kinesis_url: str | None, other_url: str | None, *, local: bool) -> Connection:
    other = ServiceSettings(endpoint_url=other_url)
    return Connection(
        region_name=region,
        credentials=Credentials(access_key_id="demo", secret_access_key="demo") if local else None,  # noqa: S106 - no secret: our own endpoint takes any.
        kinesis_settings=ServiceSettings(endpoint_url=kinesis_url),
        dynamodb_settings=other,
        cloudwatch_settings=other,
    )


@asynccontextmanager
async def open_place(settings: DemoSettings) -> AsyncIterator[Place]:
    """Start an endpoint, or look at the one given; raises `InvalidInput` where that does not answer."""
    if settings.endpoint_url is None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        os.environ.clear()
        os.environ.update(environment)
        child = Child("endpoint", _ENDPOINT, {"region": _LOCAL_REGION}, environment)
        try:
            url = await _url_of(child)
            yield Place(region=_LOCAL_REGION, kinesis_url=url, other_url=url, local=True, environment=environment)
        finally:
            child.close()
        return
    yield _given_place(settings, settings.endpoint_url)


def _given_place(settings: DemoSettings, url: str) -> Place:
    is_aws = (urlsplit(url).hostname or "").endswith(_AWS_SUFFIXES)
    return Place(
        region=settings.region or (_region_of(url) if is_aws else os.environ.get("AWS_REGION", _LOCAL_REGION)),
        kinesis_url=url,
        other_url=None if is_aws else url,
        local=False,
        environment=os.environ.copy(),
    )


def _region_of(url: str) -> str | None:
    """Return the region that an AWS host names (``kinesis.eu-central-1.amazonaws.com``)."""
    labels = (urlsplit(url).hostname or "").split(".")
    return next((label for label in labels if label.count("-") >= 2 and label[-1].isdigit()), None)  # noqa: PLR2004 - us-east-1.


async def _url_of(child: Child) -> str:
    """Wait for the endpoint process to say where it serves."""
    until = time.monotonic() + _START_S_MAX
    while time.monotonic() < until:
        for line in child.read():
            message = decode(line)
            if isinstance(message, Ready):
                return message.detail
        if child.exit_status is not None:
            break
        await asyncio.sleep(0.02)
    detail = child.error_lines[-1] if child.error_lines else f"it said nothing within {_START_S_MAX:.0f} s"
    raise ShardlineError(f"the local endpoint did not start: {detail}")


async def see_that_it_answers(settings: DemoSettings) -> None:
    """Raise `InvalidInput` unless the given endpoint answers, speaks Kinesis, and has no such stream."""
    assert settings.endpoint_url is not None
    place = _given_place(settings, settings.endpoint_url)
    async with place.connection.kinesis() as kinesis:
        try:
            await kinesis.describe_stream_summary(Stream(settings.stream), timeout_s=_ANSWER_S)
        except NotFound:
            return
        except (Unreachable, Ambiguous) as error:
            raise InvalidInput("--endpoint-url", "an endpoint that answers", error.code) from error
        except Rejected as error:
            raise InvalidInput("--endpoint-url", "an endpoint that speaks Kinesis", error.code) from error
    raise InvalidInput("--stream", _FRESH)


class OwnStream:
    """The demo's stream: reshard it, and list its shards."""

    def __init__(self, name: str, admin: StreamAdmin, kinesis: KinesisApi) -> None:
        self._stream = Stream(name)
        self._admin = admin
        self._kinesis = kinesis

    async def shards(self) -> list[Shard]:
        """Return all shards, closed ones too."""
        found: list[Shard] = []
        token: str | None = None
        while True:
            page = await _patiently(
                lambda token=token: self._kinesis.list_shards(self._stream, next_token=token, timeout_s=_CALL_S)  # type: ignore[misc]  # mypy infers no type for a bound default.
            )
            found += page.shards
            token = page.next_token
            if token is None:
                return found

    async def split(self, shard_id: str, at: int) -> None:
        """Split a shard, and wait until the stream is ACTIVE again."""
        await self._admin.split_shard(self._stream.name, shard_id, at, timeout_s=_CALL_S)
        await self.until_active()

    async def merge(self, shard_id: str, adjacent_shard_id: str) -> None:
        """Merge two shards, and wait until the stream is ACTIVE again."""
        await self._admin.merge_shards(self._stream.name, shard_id, adjacent_shard_id, timeout_s=_CALL_S)
        await self.until_active()

    async def until_active(self) -> None:
        """Wait until the stream is ACTIVE; raise `ServiceError` where that takes more than five minutes."""
        until = time.monotonic() + _ACTIVE_S_MAX
        while time.monotonic() < until:
            try:
                summary = await self._kinesis.describe_stream_summary(self._stream, timeout_s=_CALL_S)
            except (Throttled, Ambiguous, NotFound):
                summary = None
            if summary is not None and summary.status == "ACTIVE":
                return
            await asyncio.sleep(_POLL_S)
        raise ServiceError("NotActive", f"the stream was not ACTIVE within {_ACTIVE_S_MAX:.0f} s")


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call that may come too early or be throttled, a few times."""
    for pause_s in (0.2, 0.5, 1.0, 2.0, 5.0, 10.0):
        try:
            return await call()
        except (InUse, Throttled, Ambiguous):
            await asyncio.sleep(pause_s)
    return await call()


@asynccontextmanager
async def own_stream(place: Place, name: str, shards: int) -> AsyncIterator[OwnStream]:
    """Create the stream; leaving removes it and the lease table, whatever happened."""
    connection = place.connection
    async with connection.kinesis() as kinesis, open_admin(connection) as admin, connection.lease_store() as store:
        if await store.describe_table(name, timeout_s=_CALL_S) is not None:
            raise InvalidInput("--stream", "a name that is not in use: there is a table of that name")
        stream = OwnStream(name, admin, kinesis)
        ours = not place.local  # Our own endpoint's memory goes with its process.
        try:
            await admin.create_stream(name, shards, timeout_s=_CALL_S)
            await stream.until_active()
            yield stream
        except (InUse, AlreadyExists) as error:
            ours = False
            raise InvalidInput("--stream", _FRESH) from error
        finally:
            if ours:
                await _remove(admin, store, name)


async def _remove(admin: StreamAdmin, store: LeaseStore, name: str) -> None:
    """Delete stream and table; say what could not be deleted."""
    calls: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
        ("stream", lambda: admin.delete_stream(name, timeout_s=_CALL_S)),
        ("table", lambda: store.delete_table(name, timeout_s=_CALL_S)),
    )
    for what, call in calls:
        try:
            await _patiently(call)
        except NotFound:
            continue
        except ShardlineError as error:
            sys.stderr.write(f"shardline: the {what} {name} was not removed: {error}\n")
