"""The front door for asyncio: `Producer("orders")`, or one producer for many streams on one connection."""

from __future__ import annotations

import asyncio
from threading import RLock
from typing import TYPE_CHECKING, TypeVar

from shardline.common.checks import TIMEOUT_S_MAX, check_kind, check_number, check_services
from shardline.common.errors import Closed, InvalidInput
from shardline.common.events import Events
from shardline.common.ports.kinesis import Stream
from shardline.producer.config import ProducerSettings, StreamSettings
from shardline.producer.driver import Engine
from shardline.producer.report import FlushReport, UndeliveredError
from shardline.producer.stream import Putting, StreamProducer

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Any, Self

    from shardline.common.codec import Codec
    from shardline.common.ports.runtime import Runtime
    from shardline.common.ports.services import Services
    from shardline.producer.awaitable import AwaitableDelivery, RecordDelivery
    from shardline.producer.delivery import Delivery
    from shardline.producer.lane import Lane
    from shardline.producer.outcome import Delivered, Outcome
    from shardline.producer.stats import Stats

__all__ = ["Producer"]

T = TypeVar("T")


class Producer(Putting):
    """Writes records to Kinesis streams: aggregated, batched, retried; each record's fate is told.

    ::

        async with Producer("orders") as orders:
            delivery = await orders.put(b"...", "customer-1")
            print(await delivery)

        async with Producer(connection) as producer:
            orders = producer.stream("orders", StreamSettings(linger_s=0.02))

    With a stream's name or ARN it writes that stream, by the default `Connection` or the one given. Leaving the context
    sends everything and waits for it, at most `close_timeout_s` seconds; what was not delivered by then is raised as
    `UndeliveredError`, records included (as a note on the exception, if one is leaving the context already). That
    holds for cancellation too; a second one gives up at once.
    """

    def __init__(
        self,
        target: str | Stream | Services,
        settings: StreamSettings | None = None,
        *,
        connection: Services | None = None,
        producer_settings: ProducerSettings | None = None,
        events: Events | None = None,
        runtime: Runtime | None = None,
        codec: Codec | None = None,
        close_timeout_s: float = 60.0,
    ) -> None:
        _check(target, settings, connection, producer_settings, events, close_timeout_s)
        self._stream = Stream.of(target) if isinstance(target, str | Stream) else None
        self._settings = settings if settings is not None else StreamSettings()
        services = connection if isinstance(target, str | Stream) else target
        if services is None:
            from shardline.common.connection import Connection  # noqa: PLC0415 - only where no connection is given.

            services = Connection()
        self.engine = Engine(
            services, producer_settings or ProducerSettings(), events=events, runtime=runtime, codec=codec
        )
        self._close_timeout_s = close_timeout_s
        self._streams: dict[Stream, StreamProducer] = {}
        self._only: StreamProducer | None = None
        self._short, self._routes = RLock(), {}

    def bind(self, lock: AbstractContextManager[Any], delivery: Callable[[int, float], Delivery]) -> None:
        """Have the engine use a lock and make another kind of delivery; for the blocking producer, before `open`."""
        self.engine.lock, self.engine.new_delivery = lock, delivery

    async def open(self) -> Lane | None:
        """Open the connection and, in the short form, the stream; raises what its being asked about raises."""
        await self.engine.open()
        try:
            if self._stream is None:
                return None
            lane = self.lane(self._stream, self._settings)
            await lane.ready()
        except BaseException:
            await self._leave(drain=False)
            raise
        return lane

    def lane(self, stream: str | Stream, settings: StreamSettings | None = None) -> Lane:
        """Return what the engine keeps of a stream, opened if need be."""
        if self.engine.loop is None:
            raise Closed("the producer is not open: use it as a context manager")
        return self.engine.lane(Stream.of(stream), settings if settings is not None else self._settings)

    async def __aenter__(self) -> Self:
        lane = await self.open()
        if lane is not None:
            self._only = self._of(lane)
            self._short, self._routes = self._only.way_in
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            report = await self._leave(drain=True)
        except BaseException:
            await self._leave(drain=False)
            raise
        if report.ok:
            return
        undelivered = UndeliveredError(report)
        if error is None:
            raise undelivered
        error.add_note(str(undelivered))

    def stream(self, stream: str | Stream, settings: StreamSettings | None = None) -> StreamProducer:
        """Return the producer of one stream; the first call for a stream opens it, at once and without waiting."""
        return self._of(self.lane(stream, settings))

    def _of(self, lane: Lane) -> StreamProducer:
        if lane.stream not in self._streams:
            self._streams[lane.stream] = StreamProducer(lane)
        return self._streams[lane.stream]

    def put_nowait(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> AwaitableDelivery:
        """`StreamProducer.put_nowait` of the one stream."""
        return self._one.put_nowait(data, partition_key, explicit_hash_key, headers=headers)

    async def send(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> RecordDelivery:
        """`StreamProducer.send` of the one stream."""
        return await self._one.send(data, partition_key, explicit_hash_key, headers=headers)

    async def send_and_wait(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Delivered:
        """`StreamProducer.send_and_wait` of the one stream."""
        return await self._one.send_and_wait(data, partition_key, explicit_hash_key, headers=headers)

    def put_many(
        self,
        items: Iterable[T] | AsyncIterable[T],
        key: Callable[[T], str | None],
        *,
        explicit_hash_key: Callable[[T], int | str | None] | None = None,
        window: int = 10_000,
    ) -> AsyncIterator[Outcome]:
        """`StreamProducer.put_many` of the one stream."""
        return self._one.put_many(items, key, explicit_hash_key=explicit_hash_key, window=window)

    async def flush(self, timeout_s: float | None = None) -> FlushReport:
        """Send everything accepted before this call on all streams, wait for it, and report."""
        lanes = self.engine.lanes
        return _sum(await asyncio.gather(*(lane.flush(timeout_s) for lane in lanes)))

    def release(self, partition_key: str, explicit_hash_key: int | str | None = None) -> None:
        """`StreamProducer.release` of the one stream."""
        self._one.release(partition_key, explicit_hash_key)

    def stats(self) -> dict[str, Stats]:
        """Return each stream's counters since the start, by its name."""
        return {lane.stream.name: lane.core.stats for lane in self.engine.lanes}

    @property
    def pending_records(self) -> int:
        """Records accepted on all streams and not resolved."""
        return sum(lane.core.pending_records for lane in self.engine.lanes)

    @property
    def oldest_record_age_s(self) -> float:
        """Seconds since the oldest unresolved record of all streams was put, 0 if there is none."""
        return max((one.oldest_record_age_s for one in self._streams.values()), default=0.0)

    def __repr__(self) -> str:
        return f"Producer({len(self.engine.lanes)} streams, {self.engine.budget!r})"

    @property
    def _one(self) -> StreamProducer:
        if self._only is None:
            if self._stream is not None:
                raise Closed("the producer is not open: use it inside `async with Producer(...) as producer`")
            raise Closed("no stream: open it with Producer(name), or put through producer.stream(name)")
        return self._only

    async def _put(
        self,
        data: object,
        partition_key: str | None,
        explicit_hash_key: int | str | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[AwaitableDelivery, int]:
        return await self._one._put(data, partition_key, explicit_hash_key, headers)  # noqa: SLF001 - two ends of one way.

    async def _leave(self, *, drain: bool) -> FlushReport:
        """Drain, give up the rest, close the connection; without draining at once."""
        engine = self.engine
        reports: list[FlushReport] = []
        if drain:
            reports += await asyncio.gather(*(lane.flush(self._close_timeout_s, closing=True) for lane in engine.lanes))
        for lane in engine.lanes:
            lane.abort()
            reports.append(lane.report(0))
        engine.cancel_requests()
        await engine.close()
        self._routes = {}
        return _sum(reports)._replace(pending=0)


def _check(
    target: object,
    settings: object,
    connection: object,
    producer_settings: object,
    events: object,
    close_timeout_s: object,
) -> None:
    """Raise `InvalidInput` for what no producer can be made of."""
    if not isinstance(target, str | Stream):
        check_services("target", target, "a stream's name or ARN, or a connection")
        if connection is not None or settings is not None:
            raise InvalidInput("target", "a stream's name or ARN where settings or a connection are given")
    if connection is not None:
        check_services("connection", connection, "a Connection")
    if settings is not None:
        check_kind("settings", settings, StreamSettings)
    if producer_settings is not None:
        check_kind("producer_settings", producer_settings, ProducerSettings)
    if events is not None:
        check_kind("events", events, Events, what="an Events(listener, ...)")
    check_number("close_timeout_s", close_timeout_s, 0, TIMEOUT_S_MAX, "seconds")


def _sum(reports: list[FlushReport]) -> FlushReport:
    return FlushReport([pair for one in reports for pair in one.undelivered], sum(one.pending for one in reports))
