"""`Worker`: consumes streams as one member of a fleet that shares a lease table.

    worker = Worker("billing", streams="orders", start="TRIM_HORIZON")

    @worker.handler("orders")
    async def bill(record: Record) -> None: ...

    worker.run()                    # a program of its own: signals, drain, give-back
    async with worker: ...          # or inside one

Delivery is at least once, in order per shard; a checkpoint never covers a record whose handler has not returned.
Leaving gives the leases back after the running handler calls have ended and what they did is checkpointed.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from shardline.common.checks import check_kind, check_services
from shardline.common.clock import AsyncioRuntime
from shardline.common.errors import Closed, HandlerGaveUp, InvalidInput
from shardline.common.plain_log import events_for
from shardline.common.ports.kinesis import Stream
from shardline.consumer.config import Malformed, WorkerConfig, check_application
from shardline.consumer.driver.bounding import BoundedRun
from shardline.consumer.driver.coming_in import come_in
from shardline.consumer.driver.context import supervise
from shardline.consumer.driver.holding import Holdings
from shardline.consumer.driver.inspecting import Inspector
from shardline.consumer.driver.membership import Membership
from shardline.consumer.driver.opening import collect_metrics, open_context
from shardline.consumer.driver.pulling import Feed
from shardline.consumer.driver.pulse import Pulse
from shardline.consumer.driver.registering import Registering
from shardline.consumer.driver.steered import Steered
from shardline.consumer.driver.sync import ShardSync
from shardline.consumer.driver.tracked import Tracked
from shardline.consumer.driver.tracking import Tracking
from shardline.consumer.events import WorkerStarted, WorkerStopped
from shardline.consumer.health import Health
from shardline.consumer.identity import unique_worker_id
from shardline.consumer.spec import HandlerSpec
from shardline.consumer.steering import Pauses
from shardline.consumer.streams import StreamConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from types import TracebackType

    from shardline.common.events import Listener
    from shardline.common.ports.runtime import Runtime
    from shardline.common.ports.services import Services
    from shardline.consumer.bounds import Bounds, Pace
    from shardline.consumer.driver.context import Context
    from shardline.consumer.driver.pulling import PulledBatch
    from shardline.consumer.lineage import Start
    from shardline.consumer.streams import StreamLister

__all__ = ["Worker"]


class Worker(Registering, Steered):
    """One worker of `application`, which names the fleet, its lease table and its metrics.

    `streams` are names or ARNs (`StreamConfig` for more), or a function that returns them and is asked again every
    `tracking.poll_s`. `start` says where a new application begins: ``TRIM_HORIZON``, ``LATEST``, or epoch seconds; one
    for all streams, or a mapping from stream name. It is not used for streams that have leases already.
    `multi_stream` is the lease table's mode: by default that of the KCL's multi-stream trackers for several streams or
    a function, and single-stream for one; it must be the same in the whole life of an application.
    `connection` is where AWS is (default: the environment's), `listeners` get every diagnostic event. With `bounds` the
    worker stops by itself where they end (see `backfill`); `pace` caps how fast it hands records over.

    Raises `InvalidInput` for values out of range, before anything is sent.
    """

    def __init__(
        self,
        application: str,
        *,
        streams: StreamConfig | Stream | str | Iterable[StreamConfig | Stream | str] | StreamLister,
        start: Start | str | float | Mapping[str, Start | str | float] | None = None,
        multi_stream: bool | None = None,
        connection: Services | None = None,
        config: WorkerConfig | None = None,
        listeners: Iterable[Listener] = (),
        runtime: Runtime | None = None,
        bounds: Bounds | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.config = WorkerConfig() if config is None else config
        check_kind("config", self.config, WorkerConfig)
        check_application(application, self.config)
        if connection is not None:
            check_services("connection", connection, "a Connection")
        self.application = application
        self.events = events_for(listeners)
        self._tracked = Tracked(streams, start, multi_stream)
        self._tracking: Tracking | None = None
        self._connection = connection
        self._runtime = runtime or AsyncioRuntime()
        self.worker_id = self.config.worker_id or unique_worker_id(self._runtime.random)
        self._stack: AsyncExitStack | None = None
        self._used = False
        self._stop = asyncio.Event()
        self._holdings: Holdings | None = None
        self._membership: Membership | None = None
        self._failure: HandlerGaveUp | None = None
        self._feed: Feed | None = None
        self._pulls = True
        self._pauses = Pauses()
        self._bounds, self._pace = bounds, pace

    # --- streams -----------------------------------------------------------------------------------------------------

    async def add_stream(
        self,
        stream: str | Stream,
        *,
        start: Start | str | float | None = None,
        consumer_arn: str | None = None,
    ) -> None:
        """Read another stream from now on; returns once it has leases in the table. Nothing happens if it is read.

        For workers in multi-stream mode that run. `start` (None: the worker's) is not used for a stream that has
        leases; one that was deleted and created again is read from its beginning. Every worker of the fleet needs to
        be told, and needs a handler for it.

        Raises `InvalidInput` in single-stream mode, where a function lists the streams, or without handler or start;
        `Closed` unless the worker runs; `NotFound`, `Denied` and what else the services say. Then nothing has changed.
        """
        await self._changing("add_stream").add(StreamConfig.of(stream, start, consumer_arn))

    async def remove_stream(self, stream: str | Stream) -> None:
        """Read a stream no more; returns once its handler calls have ended and its leases are given back.

        That takes `stop_timeout_s` at most. The leases stay in the table, for other workers, or until `tracking.former`
        has them deleted. Raises `InvalidInput` for a stream that is not read, or as `add_stream`; `Closed` likewise.
        """
        if not await self._changing("remove_stream").remove_named(Stream.of(stream)):
            raise InvalidInput("remove_stream", "one of the worker's streams", str(stream))

    def _changing(self, what: str) -> Tracking:
        if not self._tracked.asked.multi:
            raise InvalidInput(what, "for workers in multi-stream mode: Worker(..., multi_stream=True)")
        if self._tracked.asked.lister is not None:
            raise InvalidInput(what, "for workers whose streams are not listed by a function")
        if self._tracking is None or self._stack is None:
            raise Closed(f"{what} needs a worker that runs")
        return self._tracking

    # --- life --------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start: make or check the lease table, create the first leases, join the fleet.

        Without any handler the program pulls: see `batches`.

        Raises `InvalidInput` for a missing handler, a table of another kind, or a new application without `start`;
        otherwise what the services say (`Denied`, `NotFound`), after retrying what can be retried.
        """
        if self._used:
            raise Closed("a worker runs once")
        self._used = True
        if self._pulls and not self._tracked.has_handlers:
            self._feed = Feed()
        parks = self.config.delivery.malformed == Malformed.PARK
        self._tracked.settle(None if self._feed is None else HandlerSpec.pulled(self._feed), parks=parks)
        connection = self._connection or _default_connection()
        publish_metrics = collect_metrics(
            self.application, self.config, connection=connection, events=self.events, runtime=self._runtime
        )
        async with AsyncExitStack() as stack:
            context = await open_context(
                stack,
                application=self.application,
                me=self.worker_id,
                connection=connection,
                config=self.config,
                runtime=self._runtime,
                events=self.events,
                tracked=self._tracked,
                give_up=self._give_up,
                pauses=self._pauses,
                bounds=self._bounds,
                pace=self._pace,
            )
            sync, tracking = ShardSync(context), Tracking(context, self._tracked, lambda: connection.region)
            plan = await come_in(context, self._tracked, sync, tracking)
            group = asyncio.TaskGroup()
            holdings = Holdings(context, group, sync)
            membership = Membership(context, holdings, sync, plan)
            await membership.prepare()  # Before the group is entered, which would wrap what this raises.
            await stack.enter_async_context(group)
            await stack.enter_async_context(publish_metrics(group))
            running = self._runtime.spawn(group, supervise(context, "membership", membership.run), name="membership")
            tracking.begin(holdings, sync)
            beside = {
                "pulse": Pulse(context, holdings, membership).run,
                "streams": tracking.run,
                "inspector": Inspector(context, holdings, sync, tracking).run,
            }
            if self._bounds is not None:
                beside["bounds"] = BoundedRun(context, self._bounds, sync, self.stop).run
            stack.push_async_callback(self._leave, context, holdings, membership, running)
            for name, work in beside.items():
                stack.callback(self._runtime.spawn(group, supervise(context, name, work), name=name).cancel)
            self._holdings, self._membership, self._tracking = holdings, membership, tracking
            self.events.emit(
                WorkerStarted(
                    worker_id=self.worker_id,
                    table=context.table,
                    fleet=plan.version.value,
                    failover_s=context.times.failover_s,
                )
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the leases back and close everything; bounded by `stop_timeout_s` and the fail-over time.

        Cancelled (a second Ctrl-C), it stops at once: what is not given back expires.
        """
        stack, self._stack = self._stack, None
        if isinstance(error, Exception):
            # The program's own error is no failure of the worker's tasks, and leaves it as it is, in no group.
            kind = error = trace = None
        if stack is not None:
            self.stop()
            await stack.__aexit__(kind, error, trace)

    def stop(self) -> None:
        """Ask the worker to stop: `wait`, `serve` and `run` return once they have left, iterating `batches` ends."""
        self._stop.set()
        if self._feed is not None:
            self._feed.end(lambda: self._failure)

    def _give_up(self, failure: HandlerGaveUp) -> None:
        self._failure = self._failure or failure
        self.stop()

    async def wait(self) -> None:
        """Wait until `stop` is called."""
        await self._stop.wait()

    async def serve(self) -> None:
        """Run until `stop`; the same as ``async with worker: await worker.wait()``.

        Raises `HandlerGaveUp` where `stop_worker` ended it, after the leases were given back.
        """
        self._pulls = False
        async with self:
            await self.wait()
        if self._failure is not None:
            raise self._failure

    def run(self) -> None:
        """Run as a program: on a loop of its own until SIGTERM or SIGINT; a second signal stops at once.

        Raises what starting raises; `Closed` where a loop runs already.
        """
        if _loop_runs():
            raise Closed("run() starts a loop of its own: here use `async with worker`, or `await worker.serve()`")
        with asyncio.Runner() as runner:
            runner.run(self._serve_with_signals())

    async def _serve_with_signals(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        def on_signal() -> None:
            if self._stop.is_set():
                task.cancel()
            self.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self.serve()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def health(self) -> Health:
        """Return how the worker, its leases and its handlers are; for probes: `health().healthy`. Never waits."""
        holdings, membership = self._holdings, self._membership
        return Health(
            worker_id=self.worker_id,
            running=self._stack is not None,
            leads=membership is not None and membership.leads,
            leases=() if holdings is None else tuple(holding.health() for holding in holdings.all()),
        )

    def batches(self, *, max_records: int | None = None, max_wait_s: float = 0.0) -> AsyncIterator[PulledBatch]:
        """Return the worker's batches, to be pulled instead of handled; iterating ends when the worker stops.

            async with Worker("export", streams="orders", start="LATEST") as worker:
                async for batch in worker.batches(max_records=500, max_wait_s=2):
                    async with batch:  # A clean exit acknowledges; an exception: the same records again, later.
                        await copy(batch)

        Batches are in order within their shard, one per shard at a time; those of several shards may be open at once,
        in several tasks that iterate over the same iterator. A batch holds at most `max_records` and, where that is
        given, waits up to `max_wait_s` for more after its first. A batch that is not left cleanly is not acknowledged,
        whatever else happens: leaving the worker, losing the lease.

        Raises `Closed` outside ``async with worker`` or the second time, `InvalidInput` for a worker with handlers or
        sizes out of range.
        """
        if self._stack is None:
            raise Closed("the worker is not running: pull batches inside `async with worker`")
        if self._feed is None:
            raise InvalidInput("handler", "not given where batches are pulled")
        self._feed.begin(max_records, max_wait_s)
        return self._feed

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _leave(
        self, context: Context, holdings: Holdings, membership: Membership, running: asyncio.Task[None]
    ) -> None:
        running.cancel()
        await asyncio.wait((running,))  # A loop that still runs would seek again what is given up now.
        await membership.leave()
        unclean = await holdings.close(self.config.delivery.stop_timeout_s)
        await membership.left()
        self.events.emit(WorkerStopped(worker_id=context.me, unclean=unclean))

    def __repr__(self) -> str:
        held = 0 if self._holdings is None else len(self._holdings)
        return f"Worker({self.application!r}, {self.worker_id!r}, {held} leases)"


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _default_connection() -> Services:
    from shardline.common.connection import Connection  # noqa: PLC0415 - only where no connection was given.

    return Connection()
