"""Where a producer may be used: its own loop and thread; and what a program is told that forgets to close it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import Closed
from shardline.local.doors.services import LocalServices
from shardline.producer import Producer, StreamSettings

if TYPE_CHECKING:
    from collections.abc import Coroutine

FAST = StreamSettings(linger_s=0.005)

FORGETFUL = """
import asyncio
from shardline.local.doors.services import LocalServices
from shardline.producer import Producer, StreamSettings

async def main() -> None:
    services = LocalServices()
    services.state.create_stream("orders", 1, now=services.clock())
    producer = await Producer("orders", StreamSettings(linger_s=5.0), connection=services).__aenter__()
    for number in range(3):
        await producer.put(b"%d" % number, "k")
    globals()["kept"] = producer

asyncio.run(main())
"""


def services() -> LocalServices:
    """Return an in-process stream named orders."""
    made = LocalServices()
    made.state.create_stream("orders", 1, now=made.clock())
    return made


def on_another_loop(work: Coroutine[object, object, object]) -> BaseException | None:
    """Run a coroutine on a loop of another thread; return what it raised."""
    raised: list[BaseException | None] = [None]

    def run() -> None:
        try:
            asyncio.run(work)
        except Closed as error:
            raised[0] = error

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0]


def test_another_loop_is_refused() -> None:
    """A put from another thread's loop raises Closed, also where the key has a route already."""

    async def main() -> None:
        async with Producer("orders", FAST, connection=services()) as producer:
            for _ in range(3):
                await producer.put(b"x", "k")
            assert isinstance(on_another_loop(producer.put(b"y", "k")), Closed)
            assert isinstance(on_another_loop(producer.send_and_wait(b"y", "k")), Closed)

    asyncio.run(main())


def test_next_loop_of_the_same_thread_is_refused() -> None:
    """A producer left open by a loop that ended refuses puts on the next one."""
    kept: list[Producer] = []

    async def first() -> None:
        producer = Producer("orders", StreamSettings(linger_s=5.0), connection=services())
        kept.append(await producer.__aenter__())
        await producer.put(b"x", "k")
        await producer.put(b"x", "k")

    async def second() -> None:
        with pytest.raises(Closed):
            await kept[0].put(b"y", "k")

    asyncio.run(first())
    asyncio.run(second())
    kept[0].engine.budget.shares = 0
    kept[0].engine.lanes.clear()  # Or the interpreter's end would rightly complain.


def test_program_that_forgets_to_close_is_told() -> None:
    """At the interpreter's end the records that are lost are counted on standard error."""
    run = subprocess.run([sys.executable, "-c", FORGETFUL], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert "3 records in a producer that was not closed" in run.stderr
