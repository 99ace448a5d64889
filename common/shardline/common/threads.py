"""Threads for what blocks: as many as there are calls at once, so that no call waits for another's thread.

asyncio's own executor has a handful of threads (6 on two cores) and resolves host names with them: a few handlers that
hang would hold up every other shard, and with it each new connection to the lease table.

Invariants: a call starts at once; a thread that is idle is used again; all are daemons, so that a handler that never
returns does not keep the program from ending; a forked child starts without threads, as it does without their owners.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_on_thread"]

T = TypeVar("T")

_IDLE_MAX: Final = 32
"""How many idle threads are kept; the others end."""


class _Worker:
    """One thread and the calls it is given, one at a time."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, name="shardline blocking", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.calls.get()()
            if len(_idle) >= _IDLE_MAX:
                return
            _idle.append(self)


_idle: list[_Worker] = []  # Appending and popping are atomic.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)


async def run_on_thread(function: Callable[..., T], /, *arguments: Any) -> T:
    """Run `function` on a thread, in this context, and return or raise what it does.

    Cancelled, the call is abandoned: its thread runs on until the function returns, and the result is dropped.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    context = copy_context()

    def call() -> None:
        try:
            result = context.run(function, *arguments)
        except StopIteration as error:
            # A future refuses it, as a generator does.
            failure = RuntimeError("a blocking function raised StopIteration")
            failure.__cause__ = error
            _settle(loop, outcome, None, failure)
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the one who awaits.
            _settle(loop, outcome, None, error)
        else:
            _settle(loop, outcome, result, None)

    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    worker.calls.put(call)
    return await outcome


def _settle(
    loop: asyncio.AbstractEventLoop, outcome: asyncio.Future[Any], result: object, error: BaseException | None
) -> None:
    def settle() -> None:
        if outcome.done():
            return  # Abandoned.
        if error is None:
            outcome.set_result(result)
        else:
            outcome.set_exception(error)

    with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
        loop.call_soon_threadsafe(settle)
