"""One stream of a producer, for asyncio: `put` and its kin, back-pressure, flush."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable
from threading import RLock
from typing import TYPE_CHECKING, Final, TypeVar

from shardline.common._encoding import SIZES_WIDE
from shardline.common.checks import check_callable, check_whole
from shardline.common.errors import BufferFull, Closed
from shardline.producer.awaitable import AwaitableDelivery, RecordDelivery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from shardline.producer.lane import Lane
    from shardline.producer.outcome import Delivered, Outcome
    from shardline.producer.places import Buffer
    from shardline.producer.report import FlushReport
    from shardline.producer.stats import Stats

__all__ = ["WINDOW_MAX", "StreamProducer"]

T = TypeVar("T")

WINDOW_MAX: Final = 1_000_000
"""The most records that `put_many` keeps open: each holds a delivery of its own."""


class Putting:
    """`put`, for `StreamProducer` and the short form of `Producer`: a call handed on would cost a tenth of a record.

    `_short` is owned by the thread whose puts may go the short way, and by nobody while somebody waits for room: then
    nobody overtakes. Asking a lock whether it is ours costs half of asking for the thread's number.
    """

    _short: RLock
    _routes: Mapping[str, Buffer]
    """Leads nowhere where there is no open aggregate, or no stream."""

    async def put(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        headers: Mapping[str, str] | None = None,
        callback: Callable[[Outcome], object] | None = None,
    ) -> AwaitableDelivery:
        """Accept a record; return the delivery that it shares with the other records of its aggregate.

        Waits only while the buffer is full (and now and then lets the loop run once). `callback` is called with the
        record's own outcome. Cancelling a waiting `put` accepts nothing.
        """
        # Nothing is keyword-only here: such parameters' defaults are looked up by name at every call.
        if (  # One condition, and `Aggregator.offer` written out: a call costs a twentieth of a record.
            explicit_hash_key is None
            and headers is None
            and callback is None
            and type(data) is bytes
            and self._short._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001  # See the class.
        ):
            try:
                buffer = self._routes[partition_key]  # type: ignore[index]  # No route leads from None, nor from a list.
                room = buffer.room - SIZES_WIDE[len(data)]
            except (KeyError, TypeError, IndexError):
                pass
            else:
                datas = buffer.datas
                if room >= 0 and len(datas) < buffer.count_max:
                    buffer.room = room
                    buffer.waiting.append(partition_key)  # type: ignore[arg-type]  # A route leads from text.
                    datas.append(data)
                    return buffer.delivery  # type: ignore[return-value]  # The engine makes awaitable ones.
                if buffer.offer(partition_key, data):  # type: ignore[arg-type]  # As above.
                    return buffer.delivery  # type: ignore[return-value]  # As above.
        if callback is not None:
            check_callable("callback", callback, "a function of an outcome")
        delivery, index = await self._put(data, partition_key, explicit_hash_key, headers)
        if callback is not None:
            delivery.add_callback(index, callback)
        return delivery

    async def _put(
        self,
        data: object,
        partition_key: str | None,
        explicit_hash_key: int | str | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[AwaitableDelivery, int]:
        """Accept a record with all checks; return its delivery and its index there."""
        raise NotImplementedError


class StreamProducer(Putting):
    """Writes records to one stream; made by `Producer.stream`, or by `Producer("name")` itself.

    Methods that accept a record raise `InvalidInput` for what the service would refuse (nothing is buffered then) and
    `Closed` after closing, from another loop, thread or process.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._core = lane.core
        self._loop: asyncio.AbstractEventLoop | None = lane.engine.loop
        self._short = RLock()
        self._shorten()
        self._routes = lane.core.aggregator.routes
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._waiting = 0
        self._yield_at = 0
        lane.on_room = self._on_room

    def put_nowait(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> AwaitableDelivery:
        """Accept a record as `put` does, but raise `BufferFull` where `put` would wait."""
        self._check_place()
        data, headers = self._lane.encoded(data, headers)
        found = None if self._waiting else self._try(data, partition_key, explicit_hash_key, headers)
        if found is None:
            raise BufferFull("the producer's buffer is full")
        self._lane.engine.pump_soon()
        return found[0]

    async def send(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> RecordDelivery:
        """Accept a record as `put` does; return a delivery of its own."""
        if explicit_hash_key is None and headers is None and self._short._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001  # As in `put`.
            quick = self._core.aggregator.offer_at(partition_key, data)  # type: ignore[arg-type]  # As in `put`.
            if quick is not None:
                return RecordDelivery(*quick)  # type: ignore[arg-type]  # The engine makes awaitable ones.
        delivery, index = await self._put(data, partition_key, explicit_hash_key, headers)
        return RecordDelivery(delivery, index)

    async def send_and_wait(
        self,
        data: object,
        partition_key: str | None = None,
        explicit_hash_key: int | str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Delivered:
        """Accept a record and wait until it is delivered; raise `DeliveryError` if it is not, or nobody knows.

        Cancelling the wait changes nothing about the record.
        """
        return await (await self.send(data, partition_key, explicit_hash_key, headers=headers))

    async def put_many(
        self,
        items: Iterable[T] | AsyncIterable[T],
        key: Callable[[T], str | None],
        *,
        explicit_hash_key: Callable[[T], int | str | None] | None = None,
        window: int = 10_000,
    ) -> AsyncIterator[Outcome]:
        """Accept all items and yield their outcomes in the order of the input, at most `window` of them open at once.

        `key` (and `explicit_hash_key`) tell each item's. Raises as `put`, at the item that cannot be put.
        """
        check_callable("key", key, "a function of an item that returns its partition key")
        check_whole("window", window, 1, WINDOW_MAX, "records")
        open_ones: deque[RecordDelivery] = deque()
        async for item in _each(items):
            hash_key = explicit_hash_key(item) if explicit_hash_key is not None else None
            open_ones.append(await self.send(item, key(item), hash_key))
            while open_ones and (len(open_ones) >= window or open_ones[0].outcome is not None):
                yield await _outcome(open_ones.popleft())
        while open_ones:
            yield await _outcome(open_ones.popleft())

    async def flush(self, timeout_s: float | None = None) -> FlushReport:
        """Send everything accepted before this call, wait for it (at most `timeout_s` seconds), and report.

        Cancelling it leaves everything as it is.
        """
        self._check_place()
        return await self._lane.flush(timeout_s)

    async def ready(self) -> None:
        """Wait for the first shard map; raise `NotFound` without a stream, `InvalidInput` for misfit settings."""
        await self._lane.ready()

    def release(self, partition_key: str, explicit_hash_key: int | str | None = None) -> None:
        """Let a key's (or its shard's) records be sent again after one failed; only where an order is kept."""
        self._core.release(partition_key, explicit_hash_key)

    def stats(self) -> Stats:
        """Return the counters since the start."""
        return self._core.stats

    @property
    def way_in(self) -> tuple[RLock, Mapping[str, Buffer]]:
        """What `Putting` goes by, for the short form of `Producer`."""
        return self._short, self._routes

    @property
    def pending_records(self) -> int:
        """Records accepted and not resolved."""
        return self._core.pending_records

    @property
    def oldest_record_age_s(self) -> float:
        """Seconds since the oldest unresolved record was put, 0 if there is none."""
        oldest = self._core.oldest_at()
        return 0.0 if oldest is None else self._lane.engine.runtime.monotonic() - oldest

    def __repr__(self) -> str:
        return f"StreamProducer({self._lane.stream.name}, {self.pending_records} records pending)"

    # ---- inside -----------------------------------------------------------------------------------------------------

    async def _put(
        self,
        data: object,
        partition_key: str | None,
        explicit_hash_key: int | str | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[AwaitableDelivery, int]:
        self._check_place()
        data, headers = self._lane.encoded(data, headers)
        found = None if self._waiting else self._try(data, partition_key, explicit_hash_key, headers)
        if found is None:
            found = await self._wait_and_put(data, partition_key, explicit_hash_key, headers)
        await self._after_put()
        return found

    def _try(
        self,
        data: object,
        partition_key: str | None,
        explicit_hash_key: int | str | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[AwaitableDelivery, int] | None:
        now = self._lane.engine.runtime.monotonic()
        return self._core.put(data, partition_key, explicit_hash_key, headers, now)  # type: ignore[return-value]  # The engine makes awaitable ones.

    async def _wait_and_put(
        self,
        data: object,
        partition_key: str | None,
        explicit_hash_key: int | str | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[AwaitableDelivery, int]:
        """Wait in line for room; the head of the line tries again whenever something was resolved."""
        assert self._loop is not None
        self._waiting += 1
        if self._short._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001  # As in `put`.
            self._short.release()
        first = True
        try:
            self._lane.engine.pump()  # Once, before anybody waits: a pump tells of room, and would end its own wait.
            found = None if self._waiters else self._try(data, partition_key, explicit_hash_key, headers)
            if found is not None:
                return found
            while True:
                future = self._loop.create_future()
                (self._waiters.append if first else self._waiters.appendleft)(future)
                first = False
                try:
                    await future
                finally:
                    if future in self._waiters:
                        self._waiters.remove(future)
                self._check_place()
                found = self._try(data, partition_key, explicit_hash_key, headers)
                if found is not None:
                    return found
        finally:
            self._waiting -= 1
            if self._waiting:
                self._on_room()  # There may be room for the next as well.
            else:
                self._shorten()

    def _shorten(self) -> None:
        """Let puts of this thread go the short way, if it is the one that our loop runs in."""
        if self._loop is not None and _running() is self._loop:
            self._short.acquire(blocking=False)

    def _on_room(self) -> None:
        if self._waiters:
            future = self._waiters.popleft()
            if not future.done():
                future.set_result(None)

    async def _after_put(self) -> None:
        """Send what is due; let the loop run once in a while, for the caller may never wait for anything."""
        engine = self._lane.engine
        core = self._core
        if not engine.must_pump(core):
            return
        engine.pump()
        if core.stats.kinesis_records >= self._yield_at:
            self._yield_at = core.stats.kinesis_records + 1
            await asyncio.sleep(0)

    def _check_place(self) -> None:
        """Raise unless this is the loop, and the process, that the producer was opened in."""
        if self._lane.engine.forked:
            raise Closed("the producer belongs to the parent process: open one after the fork")
        if self._loop is None or self._lane.engine.loop is None:
            raise Closed("the producer is closed")
        if _running() is not self._loop:
            raise Closed("the producer belongs to another event loop or thread")


def _running() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, None where none does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _outcome(delivery: RecordDelivery) -> Outcome:
    await delivery.delivery.wait()
    outcome = delivery.outcome
    assert outcome is not None
    return outcome


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
