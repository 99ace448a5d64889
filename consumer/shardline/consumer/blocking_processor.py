"""Processors with plain methods, called on threads one at a time; their checkpointer blocks. Part of `blocking`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from shardline.consumer.driver.threads import ThreadedProcessor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from shardline.common.records import Position
    from shardline.consumer import processor as asynchronous
    from shardline.consumer.handler import Batch
    from shardline.consumer.processor import At, ShardLease

__all__ = ["Checkpointer", "OnThreads", "PreparedCheckpoint", "ShardProcessor", "on_threads"]

T = TypeVar("T")


class PreparedCheckpoint:
    """The first half of a two-phase checkpoint, blocking; see `shardline.consumer.PreparedCheckpoint`."""

    def __init__(
        self, inner: asynchronous.PreparedCheckpoint, wait: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self._inner = inner
        self._wait = wait

    @property
    def position(self) -> Position:
        """The position that is prepared."""
        return self._inner.position

    def checkpoint(self) -> None:
        """Commit it; raises as `Checkpointer.checkpoint` does."""
        self._wait(self._inner.checkpoint())


class Checkpointer:
    """Stores checkpoints, blocking until they stand in the table; see `shardline.consumer.Checkpointer`.

    For the threads of a processor: never to be called on the event loop.
    """

    def __init__(self, inner: asynchronous.Checkpointer, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop

    @property
    def stored(self) -> Position:
        """The checkpoint in the table, as far as is known."""
        return self._inner.stored

    @property
    def largest(self) -> Position:
        """The highest position that may be checkpointed now."""
        return self._inner.largest

    def checkpoint(self, at: At = None) -> None:
        """Store a checkpoint at a record, a position, or all that was handed over; raises `CheckpointRefused`."""
        self._wait(self._inner.checkpoint(at))

    def prepare(self, at: At = None, *, state: bytes | None = None) -> PreparedCheckpoint:
        """Store a position, and `state`, beside the checkpoint; raises `CheckpointRefused`."""
        return PreparedCheckpoint(self._wait(self._inner.prepare(at, state=state)), self._wait)

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def __repr__(self) -> str:
        return repr(self._inner)


class ShardProcessor(ABC):
    """`shardline.consumer.ShardProcessor` with plain methods, which are called on a thread and never overlap."""

    def initialize(self, lease: ShardLease) -> None:
        """Prepare; called again, after a back-off, while it raises."""

    @abstractmethod
    def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
        """Process records; what it raises is a handler's failure: retried in place, or as `on_failure` says."""

    def lease_lost(self) -> None:
        """Clean up: another worker may have the shard, nothing can be checkpointed any more."""

    def shard_ended(self, checkpointer: Checkpointer) -> None:
        """Finish the shard, and checkpoint: until that is done this is called again, and no child is read."""
        checkpointer.checkpoint()

    def shutdown_requested(self, checkpointer: Checkpointer) -> None:
        """Take the last chance to checkpoint: the lease is given back next."""


class OnThreads(ThreadedProcessor):
    """Calls a blocking processor's methods on threads, one at a time."""

    def __init__(self, processor: ShardProcessor) -> None:
        self._processor = processor

    async def initialize(self, lease: ShardLease) -> None:
        """Prepare the processor, on a thread, as all that follows."""
        await self.on_thread(self._processor.initialize, lease)

    async def process(self, batch: Batch, checkpointer: asynchronous.Checkpointer) -> None:
        """Hand records over."""
        await self.on_thread(self._processor.process, batch, _blocking(checkpointer))

    async def lease_lost(self) -> None:
        """Say that the lease is gone."""
        await self.on_thread_at_last(self._processor.lease_lost)

    async def shard_ended(self, checkpointer: asynchronous.Checkpointer) -> None:
        """Say that the shard has ended."""
        await self.on_thread(self._processor.shard_ended, _blocking(checkpointer))

    async def shutdown_requested(self, checkpointer: asynchronous.Checkpointer) -> None:
        """Give the last chance to checkpoint."""
        await self.on_thread(self._processor.shutdown_requested, _blocking(checkpointer))


def _blocking(checkpointer: asynchronous.Checkpointer) -> Checkpointer:
    return Checkpointer(checkpointer, asyncio.get_running_loop())


def on_threads(processor: Callable[[], ShardProcessor]) -> Callable[[], asynchronous.ShardProcessor]:
    """Return a blocking processor class (or a function that makes one) as the asyncio `Worker.add_processor` takes it.

    One object is made for each tenure of a shard's lease.
    """
    return lambda: OnThreads(processor())
