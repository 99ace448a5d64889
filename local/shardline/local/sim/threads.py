"""Virtual threads: blocking functions that take virtual time and run on while the loop does, as real threads do.

Each is a real thread, but at most one thread of a simulation runs at any moment: the loop hands the baton to a thread
and waits until that sleeps (`sleep_blocking`) or returns. So one seed stays one interleaving. A thread belongs to the
host that started it: it is stopped and dies with it. Invariant: `close` leaves no thread behind.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from shardline.local.sim.hosts import HOST

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from shardline.local.sim.hosts import Host
    from shardline.local.sim.loop import VirtualLoop

__all__ = ["Threads", "sleep_blocking"]

T = TypeVar("T")

_UNWIND_ATTEMPTS_MAX: Final = 100


class _Ended(BaseException):
    """The simulation is over; unwind the thread."""


class _Thread:
    """One function on its way; `_go` and `_back` pass the baton to it and from it."""

    def __init__(self, loop: VirtualLoop, work: Callable[[], object], future: asyncio.Future[Any]) -> None:
        self._loop = loop
        self._work = work
        self._future = future
        self.host = HOST.get()
        self._go = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._result: object = None
        self._error: BaseException | None = None
        self._ending = False
        self.done = False

    def start(self) -> None:
        """Begin to run the function; returns when it sleeps or has returned."""
        context = copy_context()
        target = context.run
        thread = threading.Thread(target=target, args=(self._run,), daemon=True)  # noqa: TID251 - what a Runtime is made of.
        thread.start()
        self._back.acquire()
        self._look()

    def _run(self) -> None:
        _CURRENT.set(self)
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever awaits.
            self._error = error
        self.done = True
        self._back.release()

    def sleep(self, seconds: float) -> None:
        """Let the loop run for so long of the host's time; called on the thread."""
        if self._ending:
            raise _Ended
        self._loop.call_later(seconds, self._resume)
        self._back.release()
        self._go.acquire()
        if self._ending:
            raise _Ended

    def _resume(self) -> None:
        self._go.release()
        self._back.acquire()
        self._look()

    def _look(self) -> None:
        """Hand the outcome over if there is one, unless the call was abandoned."""
        if not self.done or self._future.done():
            return
        if self._error is None:
            self._future.set_result(self._result)
        elif isinstance(self._error, Exception):
            self._future.set_exception(self._error)
        else:
            raise self._error

    def end(self) -> None:
        """Unwind the thread; nothing that it does acts on the world any more."""
        self._ending = True
        for _ in range(_UNWIND_ATTEMPTS_MAX):
            if self.done:
                return
            self._go.release()
            self._back.acquire()


_CURRENT: ContextVar[_Thread | None] = ContextVar("shardline_virtual_thread", default=None)


class Threads:
    """The virtual threads of one simulation."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._threads: list[_Thread] = []

    @property
    def running(self) -> int:
        """How many have not returned."""
        self._threads = [thread for thread in self._threads if not thread.done]
        return len(self._threads)

    def running_on(self, host: Host) -> int:
        """How many of a host's have not returned."""
        return sum(1 for thread in self._threads if thread.host is host and not thread.done)

    def start(self, seconds: float, function: Callable[..., T], arguments: tuple[Any, ...]) -> asyncio.Future[T]:
        """Run a function on a new thread of the caller's host that begins after `seconds`; return its future."""
        future: asyncio.Future[T] = self._loop.create_future()
        thread = _Thread(self._loop, lambda: function(*arguments), future)
        self._loop.call_later(seconds, self._begin, thread)
        return future

    def _begin(self, thread: _Thread) -> None:
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Unwind all that have not returned, those of dead hosts too."""
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.end()


def sleep_blocking(seconds: float) -> None:
    """Block the calling virtual thread for so long of its host's time; the loop and other threads go on.

    Raises `RuntimeError` outside a virtual thread.
    """
    thread = _CURRENT.get()
    if thread is None:
        raise RuntimeError("only a virtual thread can block without stopping the simulation")
    thread.sleep(seconds)
