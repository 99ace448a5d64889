"""What the virtual-time loop runs: callbacks and tasks that know their host; what a task waits for; its errors."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from shardline.local.sim.hosts import HOST, Host

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context
    from types import FrameType

    from shardline.local.sim.loop import VirtualLoop

__all__ = ["Deadlock", "Livelock", "SimulationError", "TimeLimit", "VirtualHandle", "VirtualTask", "bury", "where"]

T = TypeVar("T")

_CLOSE_ATTEMPTS_MAX = 1000


class SimulationError(Exception):
    """The simulation cannot go on; the message says what every waiting task waits for."""


class Deadlock(SimulationError):
    """Nothing is ready and nothing is timed, yet the main coroutine has not finished."""


class Livelock(SimulationError):
    """Callbacks run for ever without time moving."""


class TimeLimit(SimulationError):
    """The main coroutine had not finished when the simulated time limit was reached."""


class VirtualHandle(asyncio.TimerHandle):
    """A callback to run; `host` is the machine that it runs on, if any."""

    __slots__ = ("host",)

    def __init__(
        self, loop: VirtualLoop, callback: Callable[..., object], args: tuple[Any, ...], context: Context, when: float
    ) -> None:
        # Not super().__init__: two calls per callback less, and there is no debug mode.
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._loop = loop
        self._source_traceback = None
        self._repr = None
        self._context = context
        self._when = when
        self._scheduled = False
        self.host: Host | None = context.get(HOST)

    def cancel(self) -> None:
        """Make the callback not run; a timer's place in the heap is cleaned later."""
        if not self._cancelled:
            self._cancelled = True
            self._callback = _nothing
            self._args = ()
            if self._scheduled:
                self._loop.timer_cancelled()


class VirtualTask(asyncio.Task[T]):
    """A task that knows its host and hashes by serial number, so that sets of tasks iterate alike in every process."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], loop: VirtualLoop, name: str | None, context: Context, serial: int
    ) -> None:
        self.serial = serial
        self.host: Host | None = context.get(HOST)
        super().__init__(coroutine, loop=loop, name=name or f"task-{serial}", context=context)

    def __hash__(self) -> int:
        return self.serial

    def __eq__(self, other: object) -> bool:
        return self is other


def _nothing() -> None:
    """Stand in for the callback of a cancelled handle."""


def bury(task: VirtualTask[Any]) -> None:
    """Unwind an unfinished task's coroutine; its `finally` blocks run now, when nothing can act any more."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio.gather does.
    coroutine = task.get_coro()
    if coroutine is None:
        return
    for _ in range(_CLOSE_ATTEMPTS_MAX):
        unfinished = _chain(coroutine)
        if not unfinished:
            return
        # From the innermost on: one that awaits while it is closed would be left to the garbage collector by the outer
        # ones. It raises RuntimeError, and its next await is unwound first. Whatever else it raises, nobody is left.
        with suppress(BaseException):
            unfinished[-1].close()


def _chain(coroutine: object) -> list[Any]:
    """Return a coroutine and those it awaits, outermost first, as far as they have not ended."""
    found: list[Any] = []
    awaited: Any = coroutine
    while awaited is not None and _first(awaited, "cr_frame", "gi_frame") is not None:
        found.append(awaited)
        awaited = _first(awaited, "cr_await", "gi_yieldfrom")
    return found


def where(task: VirtualTask[Any]) -> str:
    """Return file, line and function of the innermost frame that a task waits in."""
    awaited: object = task.get_coro()
    frame: FrameType | None = None
    while awaited is not None:
        frame = _first(awaited, "cr_frame", "gi_frame", "ag_frame") or frame
        awaited = _first(awaited, "cr_await", "gi_yieldfrom", "ag_await")
    if frame is None:
        return "its first line"
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {frame.f_code.co_qualname}"


def _first(thing: object, *attributes: str) -> Any:  # noqa: ANN401 - a frame, or the next thing awaited.
    """Return the first of the attributes that is there and not None."""
    return next((found for name in attributes if (found := getattr(thing, name, None)) is not None), None)
