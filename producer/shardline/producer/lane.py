"""One stream's core in the engine, with everything that waits for it: barriers, the first map, callers for room.

Invariants: only the loop's thread hands out; what the core has decided is taken under the lock, told outside it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from shardline.common.checks import TIMEOUT_S_MAX, check_number
from shardline.common.errors import NotFound
from shardline.producer.accept import encoded
from shardline.producer.awaitable import settle
from shardline.producer.budget import Share
from shardline.producer.pipeline import Pipeline
from shardline.producer.report import FlushReport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shardline.common.ports.kinesis import Stream
    from shardline.producer.config import StreamSettings
    from shardline.producer.driver import Engine

__all__ = ["Lane"]

_QUESTIONS: Final = ("map", "summary")


class Lane:
    """One stream's core with everything that waits for it: barriers, the first map, callers for room."""

    def __init__(self, engine: Engine, stream: Stream, settings: StreamSettings) -> None:
        self.engine = engine
        self.stream = stream
        self.share = Share(engine.budget, None, settings.buffer_records_max)
        self.core = Pipeline(
            stream.name,
            settings,
            self.share,
            engine.slots,
            engine.runtime.random,
            engine.runtime.monotonic(),
            engine.new_delivery,
        )
        self._codec = settings.codec if settings.codec is not None else engine.codec
        self.core.settler.failures.kept_max = engine.settings.fail_kept_max
        self.on_room: Callable[[], None] = _nothing
        """Called on the loop's thread when there may be room again."""
        self._known: dict[str, BaseException | None] = {}
        self._ready: list[asyncio.Future[None]] = []
        self._barriers: list[tuple[int, asyncio.Future[None]]] = []

    def encoded(self, data: object, headers: Mapping[str, str] | None) -> tuple[object, Mapping[str, str] | None]:
        """Return an object as bytes and headers, by the stream's codec, else the producer's; bytes and text as given.

        Raises `EncodeFailure` where the codec cannot; headers of the caller's own win over the codec's.
        """
        return encoded(data, headers, self._codec)

    def tell(self) -> None:
        """Hand out what the core has decided: events, finished deliveries, passed barriers, room."""
        core, engine = self.core, self.engine
        if core.events:
            with engine.lock:
                events, core.events = core.events, []
            for event in events:
                engine.events.emit(event)
        if core.done:
            with engine.lock:
                done, core.done = core.done, []
            for delivery in done:
                engine.callback_failures += delivery.wake()
        if self._barriers:
            with engine.lock:
                passed = [future for number, future in self._barriers if core.passed(number)]
            self._barriers = [one for one in self._barriers if one[1] not in passed]
            for future in passed:
                settle(future)

    def told(self, question: str, error: BaseException | None) -> None:
        """Note that a question about the stream was answered, or failed."""
        self._known[question] = error
        if len(self._known) == len(_QUESTIONS):
            ready, self._ready = self._ready, []
            for future in ready:
                settle(future)

    async def ready(self) -> None:
        """Wait until the stream was asked about; raise `NotFound` without one, `InvalidInput` for misfit settings.

        A stream whose shards we may not list is ready all the same.
        """
        if len(self._known) < len(_QUESTIONS):
            future = asyncio.get_running_loop().create_future()
            self._ready.append(future)
            await future
        for error in self._known.values():
            if isinstance(error, NotFound):
                raise error
        if self.core.refusal is not None:
            raise self.core.refusal

    async def flush(self, timeout_s: float | None, *, closing: bool = False) -> FlushReport:
        """Send everything accepted so far, wait for it, and report; `InvalidInput` for a time-out that is none."""
        if timeout_s is not None:
            check_number("timeout_s", timeout_s, 0, TIMEOUT_S_MAX, "seconds")
        engine = self.engine
        with engine.lock:
            now = engine.runtime.monotonic()
            number = self.core.close(now) if closing else self.core.flush(now)
            passed = self.core.passed(number)
        if not passed:
            future = asyncio.get_running_loop().create_future()
            self._barriers.append((number, future))
            engine.pump()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await future
            self._barriers = [one for one in self._barriers if one[1] is not future]
        return self.report(number)

    def report(self, number: int) -> FlushReport:
        """Return what was not delivered since the last report, and what is still open before a barrier."""
        with self.engine.lock:
            undelivered = self.core.settler.failures.take()
            pending = sum(1 for one in self.core.deliveries if one <= number)
        return FlushReport(undelivered, pending)

    def abort(self) -> None:
        """Give up everything unresolved."""
        with self.engine.lock:
            self.core.abort(self.engine.runtime.monotonic())
        self.tell()


def _nothing() -> None:
    """Do nothing."""
