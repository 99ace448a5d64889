"""Handlers in processes of their own, in virtual time: `ProcessPool`'s contract, each process on a host of its own.

What the real pool's processes share with a worker and what they do not is what matters here: they run on while the
worker's host stands still, see at any moment the `allowed` that it wrote last, tell how many records are done in
between, are killed with a cancelled call, and outlive a worker that died until that moment has come.
"""

from __future__ import annotations

import asyncio
from inspect import iscoroutine
from typing import TYPE_CHECKING, Final, Self

from shardline.common.errors import HandlerProcessFailed
from shardline.consumer.handler import Batch
from shardline.consumer.reasons import place_of, reason_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from shardline.consumer.handler import Record
    from shardline.consumer.spec import HandlerSpec
    from shardline.local.sim import SimRuntime
    from shardline.local.sim.hosts import Host

    from tests.sim.world import World

__all__ = ["ProcessDied", "VirtualPool"]

_TICK_S: Final = 0.2


class ProcessDied(Exception):
    """What a handler raises to end its process in the midst of a record."""


class _Child:
    """One process: a host, and the two numbers that it shares with its worker."""

    def __init__(self, host: Host, spec: HandlerSpec, runtime: SimRuntime, reached: Counter[str]) -> None:
        self.host = host
        self.allowed = 0.0
        self.done = 0
        self._spec = spec
        self._worker = runtime.host
        self._reached = reached

    async def run(self, work: Batch | Record) -> HandlerProcessFailed | None:
        """Go through the work; returns how it failed."""
        try:
            if isinstance(work, Batch) and self._spec.takes_batch:
                part, given = self._spec.prepare(work)
                if self._may_begin():
                    await self._call(given)
                    self.done = len(part)
                return None
            for number, record in work.numbered() if isinstance(work, Batch) else ((1, work),):
                if record is not None:
                    if not self._may_begin():
                        break
                    await self._call(record)
                self.done = number
        except ProcessDied:
            return HandlerProcessFailed("process ended with status -9", ended=True)
        except Exception as error:  # noqa: BLE001 - as over there.
            return HandlerProcessFailed(reason_of(error), place_of(error), ended=False)
        return None

    def _may_begin(self) -> bool:
        return self._worker.monotonic() < self.allowed  # One machine, one clock.

    async def _call(self, given: object) -> None:
        if self._worker.paused or not self._worker.alive:
            self._reached["handler process ran on without its worker"] += 1
        answer = self._spec.function(given)
        if iscoroutine(answer):
            await answer


class VirtualPool:
    """The processes of one worker's handler; it takes the place of a `ProcessPool` in a `HandlerSpec`."""

    def __init__(self, world: World, spec: HandlerSpec, runtime: SimRuntime, processes: int) -> None:
        self._world = world
        self._spec = spec
        self._runtime = runtime
        self._free = asyncio.Semaphore(processes)
        self._idle: list[_Child] = []

    async def __aenter__(self) -> Self:
        """Begin; processes are made when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End; an idle process does nothing."""

    async def call(
        self, work: Batch | Record, *, until: Callable[[], float], progress: Callable[[int], None]
    ) -> HandlerProcessFailed | None:
        """See `ProcessPool.call`."""
        async with self._free:
            child = self._idle.pop() if self._idle else self._child()
            child.done, child.allowed = 0, until()
            progress(0)
            calling = child.host.spawn(child.run(work), name="handler process")
            try:
                while not calling.done():
                    await asyncio.wait((calling,), timeout=_TICK_S)
                    child.allowed = until()
                    progress(child.done)
            except asyncio.CancelledError:
                self._world.oracle.reached["handler process killed"] += 1
                child.host.crash()
                raise
            failure = calling.result()
            if failure is None or not failure.ended:
                self._idle.append(child)
            return failure

    def _child(self) -> _Child:
        host = self._world.sim.host(f"{self._runtime.host.name} process {len(self._world.sim.hosts)}")
        return _Child(host, self._spec, self._runtime, self._world.oracle.reached)
