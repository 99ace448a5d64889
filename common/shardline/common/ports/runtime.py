"""Clock, chance, tasks and threads: the seam that the simulator holds on to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from random import Random

__all__ = ["Runtime"]

T = TypeVar("T")


class Runtime(Protocol):
    """What a driver may know of time and chance, and how it starts work.

    asyncio's own sleep, timeout, Queue, Event and Lock may be used beside it; no other clock, chance or thread.
    """

    @property
    def random(self) -> Random:
        """The source of chance."""
        ...

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back; only differences mean anything."""
        ...

    def wall(self) -> float:
        """Return epoch seconds, for what others read as a time of day; no safety decision uses it."""
        ...

    def spawn(self, group: asyncio.TaskGroup, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start `coroutine` as a task inside `group`."""
        ...

    async def run_blocking(self, function: Callable[..., T], /, *arguments: Any) -> T:
        """Run a blocking function off the loop and return its result; cancellation abandons it."""
        ...
