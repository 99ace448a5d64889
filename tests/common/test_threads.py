"""Threads for blocking calls: none waits for another, none keeps the program alive, and outcomes come back whole."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest

from shardline.common.threads import run_on_thread

COLOUR: ContextVar[str] = ContextVar("colour")


def test_calls_beyond_any_pool_run_at_once() -> None:
    """A hundred calls that wait for each other all run: none waits for another's thread."""
    together = threading.Barrier(100, timeout=60)

    async def main() -> list[int]:
        return await asyncio.gather(*(run_on_thread(together.wait) for _ in range(100)))

    assert sorted(asyncio.run(main())) == list(range(100))


def test_an_idle_thread_is_used_again() -> None:
    """One call after another does not start a thread each."""

    async def main() -> set[int]:
        return {await run_on_thread(threading.get_ident) for _ in range(50)}

    assert len(asyncio.run(main())) <= 2  # The thread may become idle a moment after its result is known.


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), StopIteration(1)])
def test_what_a_call_raises_comes_back(error: BaseException) -> None:
    """Errors reach the one who awaits, StopIteration as the RuntimeError that a generator makes of it."""

    def fails() -> None:
        raise error

    async def main() -> BaseException | None:
        try:
            await run_on_thread(fails)
        except BaseException as caught:  # noqa: BLE001 - whatever it is, it is looked at.
            return caught
        return None

    caught = asyncio.run(main())
    assert caught is not None
    assert error in (caught, caught.__cause__)


def test_a_call_runs_in_the_context_of_its_caller() -> None:
    """Context variables of the caller are seen on the thread; what it sets stays there."""

    def look() -> str:
        seen = COLOUR.get()
        COLOUR.set("red")
        return seen

    async def main() -> tuple[str, str]:
        COLOUR.set("green")
        return await run_on_thread(look), COLOUR.get()

    assert asyncio.run(main()) == ("green", "green")


def test_an_abandoned_call_harms_nobody() -> None:
    """A cancelled call's thread ends when it likes, even after its loop is closed."""
    go, gone = threading.Event(), threading.Event()

    def waits() -> None:
        go.wait(60)
        gone.set()

    async def main() -> None:
        call = asyncio.ensure_future(run_on_thread(waits))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    asyncio.run(main())
    go.set()
    assert gone.wait(60)

    async def again() -> int:
        return await run_on_thread(int, "7")

    assert asyncio.run(again()) == 7


def test_a_call_that_never_returns_does_not_keep_the_program() -> None:
    """The interpreter ends although a thread hangs."""
    script = """
import asyncio, threading
from shardline.common.threads import run_on_thread

async def main():
    hangs = asyncio.ensure_future(run_on_thread(threading.Event().wait))
    await asyncio.sleep(0.1)
    hangs.cancel()

asyncio.run(main())
print("ended")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "ended\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    """Idle threads do not survive a fork: the child's calls do not wait for them."""

    async def call() -> int:
        return await run_on_thread(int, "7")

    assert asyncio.run(call()) == 7
    child = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(asyncio.run(call())))
    child.start()
    child.join(60)
    assert child.exitcode == 7
