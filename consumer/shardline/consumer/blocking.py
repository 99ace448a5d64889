"""The worker for code without asyncio: the same names, blocking; the same engine, on a thread of its own.

    with Worker("export", streams="orders", start="LATEST") as worker:
        for batch in worker.batches(max_records=500, max_wait_s=2):
            with batch:                     # a clean exit acknowledges
                copy(batch)

    class Porter(ShardProcessor):           # plain methods, called on threads
        def process(self, batch, checkpointer): ...; checkpointer.checkpoint()

    worker.add_processor(Porter)            # or on an asyncio Worker: add_processor(on_threads(Porter))

Handlers that block need none of this: `shardline.consumer.Worker` runs them on threads, and its `run` blocks.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, TypeVar

from shardline.common.clock import AsyncioRuntime
from shardline.common.errors import Closed
from shardline.common.loop_thread import LoopThread
from shardline.consumer import processor as asynchronous
from shardline.consumer.worker import Worker as AsyncWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from types import TracebackType
    from typing import Self

    from shardline.common.events import Events
    from shardline.common.ports.runtime import Runtime
    from shardline.common.records import Position
    from shardline.consumer.driver.pulling import PulledBatch
    from shardline.consumer.handler import Batch, Record
    from shardline.consumer.health import Health
    from shardline.consumer.policy import FailurePolicy
    from shardline.consumer.processor import At, ShardLease

__all__ = ["Checkpointer", "PreparedCheckpoint", "ShardProcessor", "TakenBatch", "Worker", "on_threads"]

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


class ShardProcessor:
    """`shardline.consumer.ShardProcessor` with plain methods, which are called on a thread and never overlap."""

    def initialize(self, lease: ShardLease) -> None:
        """Prepare; called again, after a back-off, while it raises."""

    def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
        """Process records; what it raises is a handler's failure: retried in place, or as `on_failure` says."""
        raise NotImplementedError

    def lease_lost(self) -> None:
        """Clean up: another worker may have the shard, nothing can be checkpointed any more."""

    def shard_ended(self, checkpointer: Checkpointer) -> None:
        """Finish the shard, and checkpoint: until that is done this is called again, and no child is read."""
        checkpointer.checkpoint()

    def shutdown_requested(self, checkpointer: Checkpointer) -> None:
        """Take the last chance to checkpoint: the lease is given back next."""


class _OnThreads(asynchronous.ShardProcessor):
    """Calls a blocking processor's methods on threads, one at a time."""

    def __init__(self, processor: ShardProcessor, runtime: Runtime) -> None:
        self._processor = processor
        self._runtime = runtime
        self._one_at_a_time = threading.Lock()

    async def initialize(self, lease: ShardLease) -> None:
        await self._call(self._processor.initialize, lease)

    async def process(self, batch: Batch, checkpointer: asynchronous.Checkpointer) -> None:
        await self._call(self._processor.process, batch, _blocking(checkpointer))

    async def lease_lost(self) -> None:
        await self._call(self._processor.lease_lost)

    async def shard_ended(self, checkpointer: asynchronous.Checkpointer) -> None:
        await self._call(self._processor.shard_ended, _blocking(checkpointer))

    async def shutdown_requested(self, checkpointer: asynchronous.Checkpointer) -> None:
        await self._call(self._processor.shutdown_requested, _blocking(checkpointer))

    async def _call(self, method: Callable[..., None], *arguments: object) -> None:
        await self._runtime.run_blocking(self._locked, method, arguments)

    def _locked(self, method: Callable[..., None], arguments: tuple[object, ...]) -> None:
        """Call on a thread; one that was abandoned with a lost lease is waited for first."""
        with self._one_at_a_time:
            method(*arguments)


def _blocking(checkpointer: asynchronous.Checkpointer) -> Checkpointer:
    return Checkpointer(checkpointer, asyncio.get_running_loop())


def on_threads(
    processor: Callable[[], ShardProcessor], *, runtime: Runtime | None = None
) -> Callable[[], asynchronous.ShardProcessor]:
    """Return a blocking processor class (or a function that makes one) as the asyncio `Worker.add_processor` takes it.

    One object is made for each tenure of a shard's lease.
    """
    used = runtime or AsyncioRuntime()
    return lambda: _OnThreads(processor(), used)


class TakenBatch:
    """A batch that was pulled; leaving ``with batch`` cleanly acknowledges it, see `Worker.batches`."""

    def __init__(self, pulled: PulledBatch, thread: LoopThread) -> None:
        self._pulled = pulled
        self._thread = thread

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self._pulled.stream

    @property
    def shard_id(self) -> str:
        """The shard's id."""
        return self._pulled.shard_id

    @property
    def token(self) -> int:
        """The fencing token of the lease that the batch was read under."""
        return self._pulled.token

    @property
    def millis_behind_latest(self) -> int | None:
        """How far the batch was behind the head of the stream when it was read; None where the service did not say."""
        return self._pulled.millis_behind_latest

    @property
    def is_over(self) -> bool:
        """Say whether acknowledging changes nothing any more: it was settled, or its lease is gone."""
        return self._pulled.is_over

    def __iter__(self) -> Iterator[Record]:
        return iter(self._pulled)

    def __len__(self) -> int:
        return len(self._pulled)

    def __enter__(self) -> Self:
        """Begin to work on the batch; raises `Closed` if it was entered before, or was taken back meanwhile."""
        self._thread.call(self._pulled.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Acknowledge, or note the failure: an `Exception` stays inside, the records come again; the rest passes."""
        return self._thread.call(self._pulled.__aexit__(kind, error, None))

    def __repr__(self) -> str:
        return repr(self._pulled).replace("PulledBatch", "TakenBatch", 1)


class Worker:
    """A worker to be used from threads; takes what `shardline.consumer.Worker` takes.

    `handler` and `add_handler` are that worker's own. It runs on a thread between entering and leaving ``with``.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._inner = AsyncWorker(*arguments, **named)
        self._runtime = AsyncioRuntime()
        self._thread = LoopThread("shardline worker")
        self._serving: Future[None] | None = None
        self._started: Future[None] = Future()
        self._left = False
        self.handler = self._inner.handler
        self.add_handler = self._inner.add_handler

    @property
    def application(self) -> str:
        """The application's name."""
        return self._inner.application

    @property
    def worker_id(self) -> str:
        """This worker's id."""
        return self._inner.worker_id

    @property
    def events(self) -> Events:
        """The diagnostic events."""
        return self._inner.events

    def add_processor(
        self,
        processor: Callable[[], ShardProcessor | asynchronous.ShardProcessor],
        stream: str | None = None,
        *,
        on_failure: FailurePolicy | None = None,
    ) -> None:
        """Register a `ShardProcessor` class (of this module, or the asyncio one), or a function that makes one."""

        def made() -> asynchronous.ShardProcessor:
            one = processor()
            return one if isinstance(one, asynchronous.ShardProcessor) else _OnThreads(one, self._runtime)

        self._inner.add_processor(made, stream, on_failure=on_failure)

    def __enter__(self) -> Self:
        """Start the thread and the worker; raises what an asyncio worker's start raises."""
        if self._serving is not None:
            raise Closed("a worker runs once")
        self._thread.start()
        self._serving = self._thread.submit(self._serve())
        try:
            self._started.result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the leases back and end the thread; raises what ended the worker, unless an error passes already."""
        self.stop()
        failed = self._end()
        if failed is not None and error is None:
            raise failed

    async def _serve(self) -> None:
        try:
            async with self._inner:
                self._started.set_result(None)
                await self._inner.wait()
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    def _end(self) -> BaseException | None:
        assert self._serving is not None
        try:
            return self._serving.exception()
        finally:
            self._left = True
            self._thread.stop()

    def stop(self) -> None:
        """Ask the worker to stop: iterating `batches` ends, `wait` returns."""
        self._thread.soon(self._inner.stop)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until `stop` is called, by whomever, at most `timeout_s` seconds; say whether it was."""
        self._running()
        try:
            self._thread.call(self._inner.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def batches(self, *, max_records: int | None = None, max_wait_s: float = 0.0) -> Iterator[TakenBatch]:
        """Return the worker's batches, to be pulled; iterating ends when the worker stops, from any thread.

        As `shardline.consumer.Worker.batches`. Several threads may iterate over what this returns; each gets batches of
        its own.
        """
        self._running()
        pulled = self._thread.call(_called(lambda: self._inner.batches(max_records=max_records, max_wait_s=max_wait_s)))
        return _Taking(pulled, self._thread, lambda: self._left)

    def health(self) -> Health:
        """Return how the worker, its leases and its handlers are; for probes."""
        if self._serving is None or self._left:
            return self._inner.health()
        return self._thread.call(_called(self._inner.health))

    def run(self) -> None:
        """Run as a program, on this thread, until SIGTERM or SIGINT; see `shardline.consumer.Worker.run`."""
        self._inner.run()

    def _running(self) -> None:
        if self._serving is None or self._left:
            raise Closed("the worker is not running: use it inside `with worker`")

    def __repr__(self) -> str:
        return repr(self._inner)


class _Taking:
    """Iterates over batches from any thread; ends with the worker, whoever leaves it."""

    def __init__(self, pulled: AsyncIterator[PulledBatch], thread: LoopThread, left: Callable[[], bool]) -> None:
        self._pulled = pulled
        self._thread = thread
        self._left = left

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> TakenBatch:
        if self._left():
            raise StopIteration
        try:
            pulled = self._thread.call(_next(self._pulled))
        except CancelledError:
            pulled = None  # The worker was left meanwhile.
        if pulled is None:
            raise StopIteration
        return TakenBatch(pulled, self._thread)


async def _next(pulled: AsyncIterator[PulledBatch]) -> PulledBatch | None:
    # StopAsyncIteration does not pass through a future.
    return await anext(pulled, None)


async def _called(function: Callable[[], T]) -> T:
    return function()
