"""The producer for code without asyncio: the same names, blocking; the same engine, on a thread of its own.

A blocking `put` appends to the very aggregator that the loop drains, under one lock, and wakes the loop only when an
aggregate begins or is sealed, or a deadline comes nearer. Any thread may put. Callbacks run on the loop's thread.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, TypeVar, cast

from shardline.common.checks import check_callable, check_whole
from shardline.common.errors import BufferFull, Closed
from shardline.common.loop_thread import LoopThread
from shardline.producer import producer as asynchronous
from shardline.producer.stream import WINDOW_MAX
from shardline.producer.waitable import BlockingDelivery, BlockingRecordDelivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from shardline.common.codec import Codec
    from shardline.common.events import Events
    from shardline.common.ports.kinesis import Stream
    from shardline.common.ports.runtime import Runtime
    from shardline.common.ports.services import Services
    from shardline.producer.config import ProducerSettings, StreamSettings
    from shardline.producer.driver import Engine
    from shardline.producer.lane import Lane
    from shardline.producer.outcome import Delivered, Outcome
    from shardline.producer.report import FlushReport
    from shardline.producer.stats import Stats

__all__ = ["BlockingDelivery", "BlockingRecordDelivery", "Producer", "StreamProducer"]

T = TypeVar("T")


class StreamProducer:
    """Writes records to one stream, from any thread; see `shardline.producer.stream.StreamProducer` for the rules."""

    def __init__(self, lane: Lane, thread: LoopThread, lock: threading.RLock) -> None:
        self._lane = lane
        self._engine = lane.engine
        self._core = lane.core
        self._thread = thread
        self._lock = lock
        self._room = threading.Condition(lock)
        self._offer = lane.core.aggregator.offer
        self._woken = False
        lane.on_room = self._on_room

    def put(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        headers: Mapping[str, str] | None = None,
        callback: Callable[[Outcome], object] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> BlockingDelivery:
        """Accept a record; return the delivery that it shares with the other records of its aggregate.

        Blocks only while the buffer is full; raises `BufferFull` after `timeout_s` seconds of that.
        """
        if explicit_hash_key is None and headers is None and callback is None and not self._engine.forked:
            with self._lock:
                quick = self._offer(partition_key, data)  # type: ignore[arg-type]  # It turns away what it cannot take.
            if quick is not None:
                return quick  # type: ignore[return-value]  # The engine makes blocking ones.
        if callback is not None:
            check_callable("callback", callback, "a function of an outcome")
        delivery, index = self._put(data, partition_key, explicit_hash_key, headers, timeout_s)
        if callback is not None:
            with self._lock:
                delivery.add_callback(index, callback)
        return delivery

    def put_nowait(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> BlockingDelivery:
        """Accept a record as `put` does, but raise `BufferFull` where `put` would block."""
        return self._put(data, partition_key, explicit_hash_key, headers, 0.0)[0]

    def send(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> BlockingRecordDelivery:
        """Accept a record as `put` does; return a delivery of its own."""
        return BlockingRecordDelivery(*self._put(data, partition_key, explicit_hash_key, headers, timeout_s))

    def send_and_wait(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Delivered:
        """Accept a record and wait until it is delivered; raise `DeliveryError` if it is not, or nobody knows."""
        return self.send(data, partition_key, explicit_hash_key, headers=headers).result(timeout_s)

    def put_many(
        self,
        items: Iterable[T],
        key: Callable[[T], str | None],
        *,
        explicit_hash_key: Callable[[T], int | str | None] | None = None,
        window: int = 10_000,
    ) -> Iterator[Outcome]:
        """Accept all items and yield their outcomes in the order of the input, at most `window` of them open."""
        check_callable("key", key, "a function of an item that returns its partition key")
        check_whole("window", window, 1, WINDOW_MAX, "records")
        open_ones: deque[BlockingRecordDelivery] = deque()
        for item in items:
            hash_key = explicit_hash_key(item) if explicit_hash_key is not None else None
            open_ones.append(self.send(item, key(item), hash_key))
            while open_ones and (len(open_ones) >= window or open_ones[0].outcome is not None):
                yield _outcome(open_ones.popleft())
        while open_ones:
            yield _outcome(open_ones.popleft())

    def flush(self, timeout_s: float | None = None) -> FlushReport:
        """Send everything accepted before this call, wait for it (at most `timeout_s` seconds), and report."""
        self._check_place()
        return self._thread.call(self._lane.flush(timeout_s))

    def release(self, partition_key: str, explicit_hash_key: int | str | None = None) -> None:
        """Let a key's (or its shard's) records be sent again after one failed; only where an order is kept."""
        with self._lock:
            self._core.release(partition_key, explicit_hash_key)

    def stats(self) -> Stats:
        """Return the counters since the start."""
        return self._core.stats

    @property
    def pending_records(self) -> int:
        """Records accepted and not resolved."""
        with self._lock:
            return self._core.pending_records

    @property
    def oldest_record_age_s(self) -> float:
        """Seconds since the oldest unresolved record was put, 0 if there is none."""
        with self._lock:
            oldest = self._core.oldest_at()
        return 0.0 if oldest is None else self._engine.runtime.monotonic() - oldest

    def __repr__(self) -> str:
        return f"StreamProducer({self._lane.stream.name}, {self.pending_records} records pending)"

    # ---- inside ---

    def _put(
        self,
        data: object,
        partition_key: str | None,
        explicit_hash_key: int | str | None,
        headers: Mapping[str, str] | None,
        timeout_s: float | None,
    ) -> tuple[BlockingDelivery, int]:
        self._check_place()
        data, headers = self._lane.encoded(data, headers)
        monotonic = self._engine.runtime.monotonic
        until = None if timeout_s is None else monotonic() + timeout_s
        with self._lock:
            while True:
                found = self._core.put(data, partition_key, explicit_hash_key, headers, monotonic())
                if found is not None:
                    break
                self._wake()
                left = None if until is None else until - monotonic()
                if left is not None and left <= 0:
                    raise BufferFull("the producer's buffer is full")
                self._room.wait(left)
                self._check_place()
            if self._engine.must_pump(self._core):
                self._wake()
        return cast("tuple[BlockingDelivery, int]", found)  # The engine makes blocking ones.

    def _wake(self) -> None:
        """Have the loop pump, once however often it is asked for before it does."""
        if not self._woken:
            self._woken = True
            self._thread.soon(self._pump)

    def _pump(self) -> None:
        with self._lock:
            self._woken = False
        self._engine.pump()

    def _on_room(self) -> None:
        with self._room:
            self._room.notify_all()

    def _check_place(self) -> None:
        if self._engine.forked:
            raise Closed("the producer belongs to the parent process: open one after the fork")
        if self._engine.loop is None:
            raise Closed("the producer is closed")


class Producer:
    """Writes records to Kinesis streams from code without asyncio; see `shardline.producer.Producer` for the rules.

    ::

        with Producer("orders") as orders:
            delivery = orders.put(b"...", "customer-1")
            print(delivery.result(timeout_s=5))
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
        self._lock = threading.RLock()
        self._inner = asynchronous.Producer(
            target,
            settings,
            connection=connection,
            producer_settings=producer_settings,
            events=events,
            runtime=runtime,
            codec=codec,
            close_timeout_s=close_timeout_s,
        )
        self._inner.bind(self._lock, BlockingDelivery)
        self._thread = LoopThread("shardline-producer")
        self._streams: dict[Lane, StreamProducer] = {}
        self._only: StreamProducer | None = None

    @property
    def _engine(self) -> Engine:
        return self._inner.engine

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            lane = self._thread.call(self._inner.open())
        except BaseException:
            self._thread.stop()
            raise
        if lane is not None:
            self._only = self._of(lane)
            # The short form costs no call more than the long one.
            self.put = self._only.put  # type: ignore[method-assign]  # Same signature.
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._thread.call(self._inner.__aexit__(kind, error, trace))
        finally:
            self.__dict__.pop("put", None)
            for one in self._streams.values():
                one._on_room()  # noqa: SLF001 - whoever still waits for room learns that there is none to come.
            self._thread.stop()

    def stream(self, stream: str | Stream, settings: StreamSettings | None = None) -> StreamProducer:
        """Return the producer of one stream; the first call for a stream opens it, without waiting for answers."""
        return self._of(self._thread.call(self._open_lane(stream, settings)))

    async def _open_lane(self, stream: str | Stream, settings: StreamSettings | None) -> Lane:
        return self._inner.lane(stream, settings)

    def _of(self, lane: Lane) -> StreamProducer:
        if lane not in self._streams:
            self._streams[lane] = StreamProducer(lane, self._thread, self._lock)
        return self._streams[lane]

    def put(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        headers: Mapping[str, str] | None = None,
        callback: Callable[[Outcome], object] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> BlockingDelivery:
        """`StreamProducer.put` of the one stream."""
        return self._one.put(
            data, partition_key, explicit_hash_key, headers=headers, callback=callback, timeout_s=timeout_s
        )

    def put_nowait(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> BlockingDelivery:
        """`StreamProducer.put_nowait` of the one stream."""
        return self._one.put_nowait(data, partition_key, explicit_hash_key, headers=headers)

    def send(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> BlockingRecordDelivery:
        """`StreamProducer.send` of the one stream."""
        return self._one.send(data, partition_key, explicit_hash_key, headers=headers, timeout_s=timeout_s)

    def send_and_wait(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Delivered:
        """`StreamProducer.send_and_wait` of the one stream."""
        return self._one.send_and_wait(data, partition_key, explicit_hash_key, headers=headers, timeout_s=timeout_s)

    def put_many(
        self,
        items: Iterable[T],
        key: Callable[[T], str | None],
        *,
        explicit_hash_key: Callable[[T], int | str | None] | None = None,
        window: int = 10_000,
    ) -> Iterator[Outcome]:
        """`StreamProducer.put_many` of the one stream."""
        return self._one.put_many(items, key, explicit_hash_key=explicit_hash_key, window=window)

    def flush(self, timeout_s: float | None = None) -> FlushReport:
        """Send everything accepted before this call on all streams, wait for it, and report."""
        return self._thread.call(self._inner.flush(timeout_s))

    def release(self, partition_key: str, explicit_hash_key: int | str | None = None) -> None:
        """`StreamProducer.release` of the one stream."""
        self._one.release(partition_key, explicit_hash_key)

    def stats(self) -> dict[str, Stats]:
        """Return each stream's counters since the start, by its name."""
        return self._inner.stats()

    @property
    def pending_records(self) -> int:
        """Records accepted on all streams and not resolved."""
        with self._lock:
            return self._inner.pending_records

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def _one(self) -> StreamProducer:
        if self._only is None:
            raise Closed("no stream: use Producer(name) inside `with`, or put through producer.stream(name)")
        return self._only


def _outcome(delivery: BlockingRecordDelivery) -> Outcome:
    delivery.delivery.wait()
    outcome = delivery.outcome
    assert outcome is not None
    return outcome
