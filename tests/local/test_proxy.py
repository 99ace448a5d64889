"""The fault proxy: bytes late, lost, cut, half closed; and unchanged where there is no fault."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import InvalidInput
from shardline.common.ports.kinesis import StartAt, StartKind, Stream
from shardline.local import Direction, FaultProxy, LocalEndpoint, ProxyFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ORDERS = Stream("orders")
BODY = b'{"StreamName": "orders", "Data": "eA==", "PartitionKey": "k"}'
PUT = b"POST / HTTP/1.1\r\nx-amz-target: Kinesis_20131202.PutRecord\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
TO_SERVICE, TO_CLIENT = Direction.TO_SERVICE, Direction.TO_CLIENT


def run(story: Callable[[LocalEndpoint, FaultProxy], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(20), LocalEndpoint({"orders": 1}) as endpoint, FaultProxy(endpoint.url) as proxy:
            await story(endpoint, proxy)

    asyncio.run(whole())


async def connect(proxy: FaultProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))


async def ask(proxy: FaultProxy, wait_s: float = 5.0) -> bytes:
    """Put one record and return what comes back: nothing for a connection that ends or stays silent."""
    reader, writer = await connect(proxy)
    writer.write(PUT)
    try:
        async with asyncio.timeout(wait_s):
            head = await reader.readuntil(b"\r\n\r\n")
            return head + await reader.read(65_536)
    except (asyncio.IncompleteReadError, TimeoutError, OSError):
        return b""
    finally:
        writer.transport.abort()


def stored(endpoint: LocalEndpoint) -> int:
    now = endpoint.clock()
    iterator = endpoint.state.get_shard_iterator(
        ORDERS, "shardId-000000000000", StartAt(StartKind.TRIM_HORIZON), now=now
    )
    return len(endpoint.state.get_records(iterator, now=now).records)


def test_without_a_fault_bytes_pass_unchanged() -> None:
    """Requests and answers pass, and a client's end is passed on."""

    async def story(endpoint: LocalEndpoint, proxy: FaultProxy) -> None:
        assert b"200 OK" in await ask(proxy)
        reader, writer = await connect(proxy)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert stored(endpoint) == 1
        assert repr(proxy).startswith("FaultProxy(to 127.0.0.1:")

    run(story)


def test_a_lost_request_is_not_applied_and_a_lost_answer_is() -> None:
    """A hole towards the service loses the request, one towards the client the answer only."""

    async def story(endpoint: LocalEndpoint, proxy: FaultProxy) -> None:
        proxy.set(ProxyFault(direction=TO_SERVICE, drop=True))
        assert (await ask(proxy, 0.2), stored(endpoint)) == (b"", 0)
        proxy.clear()
        proxy.set(ProxyFault(direction=TO_CLIENT, drop=True))
        assert (await ask(proxy, 0.2), stored(endpoint)) == (b"", 1)
        assert proxy.met["drop"] >= 2
        proxy.clear()
        assert b"200 OK" in await ask(proxy)

    run(story)


def test_bytes_held_back_land_after_their_sender_has_gone() -> None:
    """The late apply: the client gives up, and its request lands all the same."""

    async def story(endpoint: LocalEndpoint, proxy: FaultProxy) -> None:
        proxy.set(ProxyFault(direction=TO_SERVICE, delay_s=0.4))
        assert (await ask(proxy, 0.1), stored(endpoint)) == (b"", 0)
        for _ in range(100):
            await asyncio.sleep(0.05)
            if stored(endpoint):
                break
        assert (stored(endpoint), proxy.met["delay"]) == (1, 1)

    run(story)


def test_a_reset_in_the_middle_of_an_answer() -> None:
    """After so many bytes both sides are reset; the request has applied."""

    async def story(endpoint: LocalEndpoint, proxy: FaultProxy) -> None:
        proxy.set(ProxyFault(direction=TO_CLIENT, reset_after=20))
        reader, writer = await connect(proxy)
        writer.write(PUT)
        with pytest.raises(OSError, match="reset"):
            await reader.read()
        writer.close()
        assert (stored(endpoint), proxy.met["reset"]) == (1, 1)
        proxy.set(ProxyFault(direction=TO_SERVICE, reset_after=0))
        assert (await ask(proxy), stored(endpoint)) == (b"", 1)

    run(story)


def test_a_half_close_cuts_an_answer_short() -> None:
    """The answer ends early and in order, and the other direction stays open."""

    async def story(endpoint: LocalEndpoint, proxy: FaultProxy) -> None:
        proxy.set(ProxyFault(direction=TO_CLIENT, half_close_after=30))
        reader, writer = await connect(proxy)
        writer.write(PUT)
        assert len(await reader.read()) == 30
        writer.write(PUT)
        await writer.drain()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if stored(endpoint) == 2:
                break
        assert (stored(endpoint), proxy.met["half_close"]) == (2, 1)
        writer.close()

    run(story)


def test_wrong_faults_are_refused_by_name() -> None:
    """Negative times and byte counts, and a URL without a port."""
    for wrong in ({"delay_s": -1.0}, {"delay_s": float("inf")}, {"reset_after": -1}, {"half_close_after": -1}):
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            ProxyFault(direction=TO_CLIENT, **wrong)
    with pytest.raises(InvalidInput, match="url"):
        FaultProxy("http://localhost")
