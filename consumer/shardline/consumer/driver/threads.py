"""Threads for one shard's blocking handler, in one tenure of its lease: the only way in which any of it is called.

Between the hand-over of a call and its thread's first instruction a process may be stopped for as long as it likes; and
a call that was abandoned with its lease leaves a thread behind that cannot be ended.

Invariants: a call that begins when the lease may have run out does nothing; whether any thread is still at work is
known, so that nothing follows on its heels in this worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from shardline.common.finished import check_finished
from shardline.consumer.processor import ShardProcessor

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.ports.runtime import Runtime

__all__ = ["ThreadedProcessor", "Threads", "Withdrawn"]

T = TypeVar("T")


class Withdrawn(Exception):
    """What was to be handled was taken back before it was done: no failure; it comes again if the lease lasts."""


class Threads:
    """The threads of one shard's handler; `may_begin` says whether the lease is valid at that moment."""

    def __init__(self, runtime: Runtime, may_begin: Callable[[], bool]) -> None:
        self._runtime = runtime
        self._may_begin = may_begin
        self._running: set[object] = set()

    @property
    def busy(self) -> bool:
        """Say whether any thread is at work, its call abandoned or not."""
        return bool(self._running)

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Call on a thread and return the result; raises `Withdrawn` for a call that did not begin.

        Cancelled, the call is abandoned: its thread runs on until the function returns, or never begins it.
        """
        return await self._runtime.run_blocking(self._begin, function, arguments)

    async def run_regardless(self, function: Callable[..., T], *arguments: object) -> T:
        """Call on a thread whether the lease is valid or not."""
        return await self._runtime.run_blocking(self._noted, function, arguments)

    def _begin(self, function: Callable[..., T], arguments: tuple[object, ...]) -> T:
        if not self._may_begin():
            raise Withdrawn
        return self._noted(function, arguments)

    def _noted(self, function: Callable[..., T], arguments: tuple[object, ...]) -> T:
        call = object()
        self._running.add(call)
        try:
            return function(*arguments)
        finally:
            self._running.discard(call)


class ThreadedProcessor(ShardProcessor):
    """A processor whose own calls block; the driver lends it the threads of its tenure before it calls anything."""

    threads: Threads

    async def on_thread(self, method: Callable[..., object], *arguments: Any) -> None:
        """Call a method on a thread, if the lease is valid when that begins; raises `Withdrawn` if not."""
        check_finished("processor", await self.threads.run(method, *arguments))

    async def on_thread_at_last(self, method: Callable[..., object], *arguments: Any) -> None:
        """Call a method on a thread when the lease is gone."""
        check_finished("processor", await self.threads.run_regardless(method, *arguments))
