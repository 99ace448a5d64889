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

from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, TypeVar

from shardline.common.errors import Closed
from shardline.common.loop_thread import LoopThread
from shardline.consumer import processor as asynchronous
from shardline.consumer.blocking_processor import (
    Checkpointer,
    OnThreads,
    PreparedCheckpoint,
    ShardProcessor,
    on_threads,
)
from shardline.consumer.spec import check_processor
from shardline.consumer.worker import Worker as AsyncWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType
    from typing import Self

    from shardline.common.events import Events
    from shardline.common.ports.kinesis import Stream
    from shardline.common.records import Position
    from shardline.consumer.driver.pulling import PulledBatch
    from shardline.consumer.handler import Record
    from shardline.consumer.health import Health, LeaseHealth
    from shardline.consumer.lineage import Start
    from shardline.consumer.policy import FailurePolicy
    from shardline.consumer.spec import Positions

__all__ = ["Checkpointer", "PreparedCheckpoint", "ShardProcessor", "TakenBatch", "Worker", "on_threads"]

T = TypeVar("T")


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
        positions: Positions | None = None,
    ) -> None:
        """Register a `ShardProcessor` class (of this module, or the asyncio one), or a function that makes one."""
        check_processor(processor)

        def made() -> asynchronous.ShardProcessor:
            one = processor()
            return one if isinstance(one, asynchronous.ShardProcessor) else OnThreads(one)

        self._inner.add_processor(made, stream, on_failure=on_failure, positions=positions)

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

    def pause(self, stream: str | None = None, shard: str | None = None) -> None:
        """Pause a shard, a stream, or everything; see `shardline.consumer.Worker.pause`, as for what follows."""
        self._on_loop(lambda: self._inner.pause(stream, shard))

    def resume(self, stream: str | None = None, shard: str | None = None) -> None:
        """Go on where a pause was ordered."""
        self._on_loop(lambda: self._inner.resume(stream, shard))

    def seek(
        self,
        to: Record | Position | str | float,
        *,
        stream: str | None = None,
        shard: str | None = None,
        skip: bool = False,
    ) -> tuple[str, ...]:
        """Read on elsewhere; returns the leases that this concerns."""
        return self._on_loop(lambda: self._inner.seek(to, stream=stream, shard=shard, skip=skip))

    def shards(self, stream: str | None = None) -> tuple[LeaseHealth, ...]:
        """Return the shards that this worker holds and where it stands in each."""
        return self._on_loop(lambda: self._inner.shards(stream))

    def add_stream(
        self, stream: str | Stream, *, start: Start | str | float | None = None, consumer_arn: str | None = None
    ) -> None:
        """Read another stream from now on; returns once it has leases in the table."""
        self._running()
        self._thread.call(self._inner.add_stream(stream, start=start, consumer_arn=consumer_arn))

    def remove_stream(self, stream: str | Stream) -> None:
        """Read a stream no more; returns once its leases are given back."""
        self._running()
        self._thread.call(self._inner.remove_stream(stream))

    def health(self) -> Health:
        """Return how the worker, its leases and its handlers are; for probes."""
        return self._on_loop(self._inner.health)

    def run(self) -> None:
        """Run as a program, on this thread, until SIGTERM or SIGINT; see `shardline.consumer.Worker.run`."""
        self._inner.run()

    def _on_loop(self, function: Callable[[], T]) -> T:
        """Call `function` on the loop while there is one; before and after nobody else can be in its way."""
        if self._serving is None or self._left:
            return function()
        return self._thread.call(_called(function))

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
