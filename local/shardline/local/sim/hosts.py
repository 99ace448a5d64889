"""Hosts: simulated machines whose unmodified asyncio code crashes, is stopped, and runs on clocks of its own.

A host is a context variable, carried by every task and callback that was started on it. Before the loop runs a callback
it asks the callback's host: a dead host's callbacks are buried (no `finally` runs: a power cut), a paused host's are
parked until it resumes (SIGSTOP). Invariants: everything that a dead host held stays referenced until the simulation
closes, or garbage collection would run its `finally` blocks; a host's clock never goes back; clocks of two hosts share
neither origin nor rate.
"""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from enum import IntEnum
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from shardline.common.errors import InvalidInput

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Coroutine

    from shardline.local.sim.loop import VirtualLoop
    from shardline.local.sim.work import VirtualHandle

__all__ = ["EPOCH_S", "HOST", "Host", "Power"]

T = TypeVar("T")

EPOCH_S = 1_750_000_000.0
"""Wall time at which every simulation starts (June 2025)."""
_UPTIME_S_MAX = 1_000_000.0


class Power(IntEnum):
    """What a host is doing; anything but ON (0) sends the loop through `Host.admit`."""

    ON = 0
    FUSED = 1
    """On, and to crash after a number of further callbacks."""
    PAUSED = 2
    DEAD = 3


class Host:
    """One simulated machine; made by `Simulation.host`."""

    def __init__(self, loop: VirtualLoop, name: str, seed: str) -> None:
        self.loop = loop
        self.name = name
        self.random = Random(seed)
        self.power = Power.ON
        self.parked: list[VirtualHandle] = []
        self._fuse = 0
        self._pauses = 0
        self._rate = 1.0
        self._set_at = loop.now
        self._base = self.random.random() * _UPTIME_S_MAX
        self._wall_offset_s = 0.0
        self._burnt_s = 0.0
        self._generators: WeakSet[AsyncGenerator[Any, Any]] = WeakSet()
        self._grave: list[object] = []

    # --- clocks ---

    def monotonic(self) -> float:
        """Return the host's own monotonic clock in seconds."""
        return self._base + (self.loop.now - self._set_at) * self._rate + self._burnt_s

    def wall(self) -> float:
        """Return the host's idea of epoch seconds."""
        return EPOCH_S + self.loop.now + self._wall_offset_s + self._burnt_s

    def real_time(self, when: float) -> float:
        """Return the simulation's time at which the host's monotonic clock shows `when`."""
        return self._set_at + (when - self._base) / self._rate

    def drift(self, parts_per_million: float) -> None:
        """Let the monotonic clock run fast (or slow, below 0) from now on."""
        self._rebase(self.monotonic(), 1.0 + parts_per_million / 1e6)

    def jump(self, seconds: float) -> None:
        """Move the monotonic clock forward at once, as after a suspend; timers that this makes due fire now.

        Raises `InvalidInput` for less than no time.
        """
        if seconds < 0:
            raise InvalidInput("seconds", "0 or more: a monotonic clock does not go back", str(seconds))
        self._rebase(self.monotonic() + seconds, self._rate)

    def jump_wall(self, seconds: float) -> None:
        """Move the wall clock, forward or back."""
        self._wall_offset_s += seconds

    def _rebase(self, reading: float, rate: float) -> None:
        self._base, self._set_at, self._rate = reading - self._burnt_s, self.loop.now, rate
        self.loop.reschedule(self)

    # --- work ---

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Start a task on this host; everything that it starts belongs to the host as well."""
        context = copy_context()
        context.run(HOST.set, self)
        return self.loop.create_task(coroutine, name=name or self.name, context=context)

    def burn(self, seconds: float) -> None:
        """Steal time (F27): the calling code goes on at once, `seconds` later by its clocks; nothing else here runs."""
        self._burnt_s += seconds
        self.pause()
        self.loop.call_real(self.loop.now + seconds / self._rate, self._unburn, seconds)

    def _unburn(self, seconds: float) -> None:
        self._burnt_s -= seconds
        self.resume()

    # --- power ---

    @property
    def alive(self) -> bool:
        """Say whether the host has not crashed (it may be paused)."""
        return self.power is not Power.DEAD

    @property
    def paused(self) -> bool:
        """Say whether the host is stopped."""
        return self.power is Power.PAUSED

    def pause(self) -> None:
        """Stop running anything, as SIGSTOP does; pauses nest."""
        if self.alive:
            self._pauses += 1
            self.power = Power.PAUSED

    def resume(self) -> None:
        """Undo one `pause`; what became due meanwhile runs now."""
        if not self.alive or self._pauses == 0:
            return
        self._pauses -= 1
        if self._pauses == 0:
            self.power = Power.FUSED if self._fuse else Power.ON
            parked, self.parked = self.parked, []
            self.loop.ready.extend(parked)

    def pause_for(self, seconds: float) -> None:
        """Pause, and resume after `seconds` of simulated time."""
        self.pause()
        self.loop.call_real(self.loop.now + seconds, self.resume)

    def crash(self) -> None:
        """Cut the power: nothing of this host ever runs again, no `finally` block either."""
        if not self.alive:
            return
        self.power = Power.DEAD
        self._grave.extend(self.parked)
        self._grave.extend(self.loop.tasks_of(self))
        self._grave.extend(self._generators)
        self.parked = []

    def crash_after(self, callbacks: int) -> None:
        """Cut the power after that many further callbacks: between any two awaits."""
        self._fuse = max(1, callbacks)
        if self.power is Power.ON:
            self.power = Power.FUSED

    def admit(self, handle: VirtualHandle) -> bool:
        """Say whether a callback may run now; the loop asks only while the power is not ON."""
        if self.power is Power.FUSED:
            self._fuse -= 1
            if self._fuse > 0:
                return True
            self.crash()
        if self.power is Power.PAUSED:
            self.parked.append(handle)
            return False
        self._grave.append(handle)
        return False

    def watch(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Remember an asynchronous generator that runs here, so that a crash can keep it."""
        self._generators.add(generator)

    def keep(self, thing: object) -> None:
        """Hold a reference as long as the host object lives."""
        self._grave.append(thing)

    def __repr__(self) -> str:
        return f"Host({self.name}, {self.power.name})"


HOST: ContextVar[Host | None] = ContextVar("shardline_host", default=None)
