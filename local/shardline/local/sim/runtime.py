"""`SimRuntime`: the `Runtime` port on a simulated host: its clocks, its chance, its tasks, virtual threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from random import Random

    from shardline.local.sim.hosts import Host
    from shardline.local.sim.threads import Threads

__all__ = ["SimRuntime"]

T = TypeVar("T")


class SimRuntime:
    """What a driver on `host` may know of time and chance; blocking calls begin after up to `blocking_s_max` seconds.

    With `threads` they run on virtual threads, where they may `sleep_blocking`; without, they take no time.
    """

    def __init__(self, host: Host, *, blocking_s_max: float = 0.0, threads: Threads | None = None) -> None:
        self.host = host
        self.blocking_s_max = blocking_s_max
        self._threads = threads

    @property
    def random(self) -> Random:
        """The host's own source of chance, from the simulation's seed and the host's name."""
        return self.host.random

    def monotonic(self) -> float:
        """Return the host's monotonic clock, the same that its `loop.time()` shows."""
        return self.host.monotonic()

    def wall(self) -> float:
        """Return the host's wall clock in epoch seconds."""
        return self.host.wall()

    def spawn(self, group: asyncio.TaskGroup, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start `coroutine` as a task inside `group`, on the host of the caller."""
        return group.create_task(coroutine, name=name)

    async def run_blocking(self, function: Callable[..., T], /, *arguments: Any) -> T:
        """Run `function` on a virtual thread; cancelling abandons the call, and the function still runs."""
        seconds = self.blocking_s_max * self.host.random.random()
        if self._threads is not None:
            return await self._threads.start(seconds, function, arguments)
        return await self.host.loop.start_thread(seconds, function, arguments)
