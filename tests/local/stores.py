"""The doors under contract: how to open each store and each Kinesis that the contract suites run against."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from shardline.common.connection import Connection, Credentials
from shardline.local import LocalEndpoint, LocalServices

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from shardline.common.ports.kinesis import KinesisApi
    from shardline.common.ports.lease_store import LeaseStore
    from shardline.local import KinesisState


class Doors(NamedTuple):
    """An open Kinesis and an open lease store over one state, and that state."""

    kinesis: KinesisApi
    store: LeaseStore
    state: KinesisState
    clock: Callable[[], float]


@asynccontextmanager
async def in_process() -> AsyncGenerator[Doors]:
    """Open both ports straight on the state."""
    services = LocalServices()
    async with services.kinesis() as kinesis, services.lease_store() as store:
        yield Doors(kinesis, store, services.state, services.clock)


@asynccontextmanager
async def over_http() -> AsyncGenerator[Doors]:
    """Open both ports by the SDK adapters, through the HTTP endpoint: our Kinesis, moto's DynamoDB."""
    from shardline.local.moto.dispatch import reset

    reset()
    async with LocalEndpoint() as endpoint:
        connection = Connection(
            region_name="us-east-1",
            endpoint_url=endpoint.url,
            insecure_plain_http=True,
            credentials=Credentials(access_key_id="test", secret_access_key="test"),
        )
        async with connection.kinesis() as kinesis, connection.lease_store() as store:
            yield Doors(kinesis, store, endpoint.state, endpoint.clock)


OPENERS = {"in process": in_process, "over http": over_http}


def run(door: str, story: Callable[[Doors], Awaitable[None]]) -> None:
    """Open a door and tell it a story, within a minute."""

    async def whole() -> None:
        async with asyncio.timeout(60), OPENERS[door]() as doors:
            await story(doors)

    asyncio.run(whole())
