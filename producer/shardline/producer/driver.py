"""The asyncio driver: performs what the pipelines ask for, and wakes whoever waits for what they decide.

One task group, one timer, one task per request in flight; everything decided is decided in the cores. The same engine
runs beneath the blocking producer, on a thread of its own. Invariants: only the loop's thread touches a pipeline (the
blocking producer's lock aside); while anybody waits for room nobody overtakes; leaving the context drains, or says what
it could not deliver; a forked child and a foreign loop get a typed error, never a silent put.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import warnings
import weakref
from contextlib import AsyncExitStack, nullcontext
from typing import TYPE_CHECKING, Any, Final

from shardline.common.clock import AsyncioRuntime
from shardline.common.codec import JsonCodec
from shardline.common.errors import Ambiguous, InvalidInput, ProtocolViolation
from shardline.common.plain_log import events_for
from shardline.common.ports.kinesis import ShardFilter, ShardFilterKind, Stream
from shardline.producer.awaitable import AwaitableDelivery
from shardline.producer.budget import Budget
from shardline.producer.concurrency import Slots
from shardline.producer.effects import AskMap, SendRequest
from shardline.producer.events import Undelivered
from shardline.producer.lane import Lane
from shardline.producer.pulse import Pulses

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractContextManager

    from shardline.common.codec import Codec
    from shardline.common.events import Events
    from shardline.common.hashing import Shard
    from shardline.common.ports.kinesis import KinesisApi
    from shardline.common.ports.runtime import Runtime
    from shardline.common.ports.services import Services
    from shardline.producer.config import ProducerSettings, StreamSettings
    from shardline.producer.delivery import Delivery
    from shardline.producer.effects import Effect
    from shardline.producer.pipeline import Pipeline

__all__ = ["Engine"]

_CONTROL_TIMEOUT_S: Final = 10.0
_GRACE_S: Final = 2.0
"""An adapter gets this long beyond a request's time-out before the driver calls the outcome ambiguous itself."""

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """What all streams of a producer share: connection, memory, requests in flight, the timer."""

    def __init__(
        self,
        services: Services,
        settings: ProducerSettings,
        *,
        events: Events | None = None,
        runtime: Runtime | None = None,
        lock: AbstractContextManager[Any] | None = None,
        delivery: Callable[[int, float], Delivery] = AwaitableDelivery,
        codec: Codec | None = None,
    ) -> None:
        self.settings = settings
        self.events = events if events is not None else events_for(())
        self.runtime = runtime if runtime is not None else AsyncioRuntime()
        self.lock = lock if lock is not None else nullcontext()
        self.new_delivery = delivery
        self.codec = codec if codec is not None else JsonCodec()
        self.budget = Budget(settings.memory_bytes_max)
        self.slots = Slots(settings.requests_in_flight_max or settings.connections_max)
        self.lanes: list[Lane] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.forked = False
        self.callback_failures = 0
        self._services = services
        self._stack = AsyncExitStack()
        self._api: KinesisApi | None = None
        self._group: asyncio.TaskGroup | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._turn = 0
        self._soon = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._pulses = Pulses()

    async def open(self) -> None:
        """Open the connection; raises what the services raise."""
        self.loop = asyncio.get_running_loop()
        self._api = await self._stack.enter_async_context(
            self._services.kinesis(connections_max=self.settings.connections_max)
        )
        self._group = await self._stack.enter_async_context(asyncio.TaskGroup())
        await self._publish_metrics(self._group)
        self._start(self._watch(), "watch")
        _engines.add(self)

    async def _watch(self) -> None:
        """Notice that the loop ends while the producer is open (`asyncio.run` cancels all tasks); then refuse puts."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.loop = None
            for lane in self.lanes:
                lane.core.aggregator.forget_routes()

    async def _publish_metrics(self, group: asyncio.TaskGroup) -> None:
        metrics = self.settings.metrics
        if metrics is None:
            return
        from shardline.common.metrics.publishing import collecting, publishing  # noqa: PLC0415 - only where asked for.

        settings = metrics.of_producer()
        publisher = collecting(settings, rollup=True, events=self.events, runtime=self.runtime)
        await self._stack.enter_async_context(publishing(publisher, settings, self._services, group))

    async def close(self) -> None:
        """Close the connection; requests in flight have been waited for or given up before."""
        _engines.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self.loop = None
        self._pulse(self.runtime.monotonic(), last=True)
        await self._stack.aclose()

    def lane(self, stream: Stream, settings: StreamSettings) -> Lane:
        """Return the lane of a stream, opened if need be."""
        for lane in self.lanes:
            if lane.stream == stream:
                if lane.core.settings != settings:
                    raise InvalidInput("settings", f"the same for each use of stream {stream.name}")
                return lane
        with self.lock:
            lane = Lane(self, stream, settings)
            self.lanes.append(lane)
        self.pump()
        return lane

    def pump(self) -> None:
        """Let every stream do what is due, perform it, and set the timer; on the loop's thread only."""
        now = self.runtime.monotonic()
        lanes = self.lanes
        self._turn = (self._turn + 1) % max(1, len(lanes))
        with self.lock:
            for lane in (*lanes[self._turn :], *lanes[: self._turn]):
                self._pump_one(lane, now)
            times = [at for lane in lanes if (at := lane.core.next_wakeup()) is not None]
            room = any(lane.core.room for lane in lanes)
        for lane in lanes:
            lane.core.room = False
            lane.tell()
            if room:
                lane.on_room()
        self._arm(min(times, default=None), now)
        self._pulse(now)

    def _pulse(self, now: float, *, last: bool = False) -> None:
        with self.lock:
            pulse = self._pulses.take([lane.core for lane in self.lanes], now, last=last)
        if pulse is not None:
            self.events.emit(pulse)

    def must_pump(self, core: Pipeline) -> bool:
        """Say whether a put has left something to do before the timer fires."""
        if core.has_news:
            return True
        at = core.next_wakeup()
        return at is not None and (self._timer_at is None or at < self._timer_at)

    def pump_soon(self) -> None:
        """Pump when the loop runs next."""
        if self.loop is not None and not self._soon:
            self._soon = True
            self.loop.call_soon(self._on_soon)

    def _on_soon(self) -> None:
        self._soon = False
        self.pump()

    def cancel_requests(self) -> None:
        """Cancel what is still being asked or sent: its outcome was given up as unknown."""
        for task in self._tasks:
            task.cancel()

    def _pump_one(self, lane: Lane, now: float) -> None:
        lane.core.pump(now)
        for effect in lane.core.take_effects():
            self._perform(lane, effect)

    def _perform(self, lane: Lane, effect: Effect) -> None:
        if isinstance(effect, SendRequest):
            work, name = self._send(lane, effect), "put_records"
        elif isinstance(effect, AskMap):
            work, name = self._ask_map(lane), "list_shards"
        else:
            work, name = self._ask_summary(lane), "describe_stream_summary"
        self._start(work, f"{name}.{lane.stream.name}")

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        assert self._group is not None
        task = self.runtime.spawn(self._group, work, name=f"shardline.{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _arm(self, at: float | None, now: float) -> None:
        """Set the one timer."""
        if at == self._timer_at and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._timer_at = at
        if at is not None and self.loop is not None:
            self._timer = self.loop.call_later(max(0.0, at - now), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = None
        self.pump()

    # ---- the effects ------------------------------------------------------------------------------------------------

    async def _send(self, lane: Lane, effect: SendRequest) -> None:
        assert self._api is not None
        try:
            async with asyncio.timeout(effect.timeout_s + _GRACE_S):
                outcomes = await self._api.put_records(lane.stream, effect.entries, timeout_s=effect.timeout_s)
            if len(outcomes) != len(effect.entries):
                raise ProtocolViolation("PutRecords answered another number of entries than it was sent")  # noqa: TRY301 - one way out for all.
        except Exception as error:  # noqa: BLE001 - whatever it is, the core must learn that the request ended.
            failure = Ambiguous("Timeout") if isinstance(error, TimeoutError) else error
            with self.lock:
                lane.core.on_failure(effect.request_id, failure, self.runtime.monotonic())
        else:
            with self.lock:
                lane.core.on_answer(effect.request_id, outcomes, self.runtime.monotonic())
        self.pump()

    async def _ask_map(self, lane: Lane) -> None:
        assert self._api is not None
        shards: list[Shard] = []
        token: str | None = None
        first = ShardFilter(ShardFilterKind.AT_LATEST)
        try:
            while True:
                page = await self._api.list_shards(
                    lane.stream,
                    shard_filter=first if token is None else None,
                    next_token=token,
                    timeout_s=_CONTROL_TIMEOUT_S,
                )
                shards.extend(page.shards)
                token = page.next_token
                if token is None:
                    break
            with self.lock:
                lane.core.on_map(shards, self.runtime.monotonic())
            lane.told("map", None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the core must learn that the question failed.
            with self.lock:
                lane.core.on_map_failure(error, self.runtime.monotonic())
            lane.told("map", error)
        self.pump()

    async def _ask_summary(self, lane: Lane) -> None:
        assert self._api is not None
        try:
            summary = await self._api.describe_stream_summary(lane.stream, timeout_s=_CONTROL_TIMEOUT_S)
            with self.lock:
                lane.core.on_summary(summary, self.runtime.monotonic())
            lane.told("summary", None)
        except Exception as error:  # noqa: BLE001 - whatever it is, as above.
            with self.lock:
                lane.core.on_summary_failure(error, self.runtime.monotonic())
            lane.told("summary", error)
        self.pump()


def _on_fork() -> None:
    for engine in list(_engines):
        engine.forked = True
        for lane in engine.lanes:
            lane.core.aggregator.forget_routes()
    _engines.clear()


def _on_exit() -> None:
    """Say what is lost where a program ends without having closed its producers."""
    for engine in list(_engines):
        records = sum(lane.core.pending_records for lane in engine.lanes)
        if records:
            engine.events.emit(Undelivered(records=records, bytes=engine.budget.used))
            warnings.warn(
                f"the interpreter ends with {records} records in a producer that was not closed: they are lost",
                RuntimeWarning,
                stacklevel=1,
            )


atexit.register(_on_exit)
os.register_at_fork(after_in_child=_on_fork)
