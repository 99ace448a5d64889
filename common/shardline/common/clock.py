"""The real `Runtime`: the only file that reads clocks, draws chance, starts tasks or hands work to `threads`.

Simulation replaces it whole (`shardline.local`): the same drivers then run in virtual time.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, TypeVar

from shardline.common.threads import run_on_thread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

__all__ = ["AsyncioRuntime"]

T = TypeVar("T")


class AsyncioRuntime:
    """Clock, chance, tasks and threads of the running asyncio loop; `seed` makes chance repeatable."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)

    @property
    def random(self) -> random.Random:
        """The source of chance."""
        return self._random

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back; only differences mean anything."""
        return time.monotonic()

    def wall(self) -> float:
        """Return epoch seconds; only for what the service or other workers read as a time of day."""
        return time.time()

    def spawn(self, group: asyncio.TaskGroup, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start `coroutine` as a task inside `group`, which waits for it and is failed by it."""
        return group.create_task(coroutine, name=name)

    async def run_blocking(self, function: Callable[..., T], /, *arguments: Any) -> T:
        """Run a blocking function on a thread and return its result; cancellation abandons it, the thread runs on."""
        return await run_on_thread(function, *arguments)
