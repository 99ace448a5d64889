"""Sends what was accumulated, once per interval: to CloudWatch, or to anything else that takes PutMetricData (EMF).

A driver: the accumulator decides what there is, the `Runtime` gives clock and task. Requests go one after the other
(concurrent ones throttle each other, `kcl.md` 11); a request that fails is counted, said once as an event, and its data
are given up, so that a metrics outage costs neither memory nor the work's time. Leaving sends what is left, within
`final_timeout_s`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from math import isfinite
from threading import Lock
from typing import TYPE_CHECKING, ClassVar

from shardline.common.errors import InvalidInput, ServiceError
from shardline.common.events import Event
from shardline.common.limits import PUT_METRIC_DATA_MAX
from shardline.common.metrics.accumulator import Accumulator, AccumulatorSettings
from shardline.common.metrics.measure import Level, measurements_of
from shardline.common.metrics.settings import check_namespace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from shardline.common.events import Events
    from shardline.common.ports.metrics import Datum, MetricsApi
    from shardline.common.ports.runtime import Runtime

__all__ = ["MetricsLost", "MetricsPublisher"]

PRODUCER_INTERVAL_S = 60.0
"""The KPL's MetricsUploadDelay."""
WORKER_INTERVAL_S = 10.0
"""The KCL's metricsBufferTimeMillis."""
_GRACE_S = 1.0
"""An endpoint gets this long beyond a request's time-out before the publisher gives the request up itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsLost(Event):
    """A request with metrics failed, or was not made in time; its data are gone."""

    name: ClassVar[str] = "metrics.lost"
    level: ClassVar[str] = "warning"
    data: int
    code: str


class MetricsPublisher:
    """A listener that sums events up, and a task that sends the sums; use as ``events.subscribe(publisher)``.

    `published`, `lost` count data sent and given up. Raises `InvalidInput` for a namespace CloudWatch would refuse or
    numbers out of range.
    """

    def __init__(
        self,
        *,
        namespace: str,
        runtime: Runtime,
        settings: AccumulatorSettings | None = None,
        interval_s: float = PRODUCER_INTERVAL_S,
        request_timeout_s: float = 5.0,
        final_timeout_s: float = 5.0,
        batch_max: int = 150,
        events: Events | None = None,
    ) -> None:
        check_namespace(namespace)
        for field, value in (
            ("interval_s", interval_s),
            ("request_timeout_s", request_timeout_s),
            ("final_timeout_s", final_timeout_s),
        ):
            if not (isfinite(value) and value > 0):
                raise InvalidInput(field, "a finite number of seconds above 0")
        if not 1 <= batch_max <= PUT_METRIC_DATA_MAX:
            raise InvalidInput("batch_max", f"from 1 to {PUT_METRIC_DATA_MAX}")
        self._namespace = namespace
        self._runtime = runtime
        self._settings = settings or AccumulatorSettings()
        self._interval_s = interval_s
        self._request_timeout_s = request_timeout_s
        self._final_timeout_s = final_timeout_s
        self._batch_max = batch_max
        self._events = events
        self._accumulator = Accumulator(self._settings)
        self._lock = Lock()
        self._leaving = asyncio.Event()
        self.unsubscribe: Callable[[], None] = _nothing
        self.published = 0
        self.lost = 0

    def __repr__(self) -> str:
        counts = f"published={self.published}, lost={self.lost}"
        return f"MetricsPublisher({self._namespace!r}, {self._accumulator!r}, {counts})"

    def __call__(self, event: Event, /) -> None:
        """Take one event, on any thread."""
        measurements = measurements_of(event)
        if measurements and self._settings.level > Level.NONE:
            with self._lock:
                self._accumulator.add(measurements)

    @property
    def dropped(self) -> int:
        """Samples that found no room for a further series."""
        return self._accumulator.dropped

    @asynccontextmanager
    async def running(self, api: MetricsApi, group: asyncio.TaskGroup) -> AsyncGenerator[None]:
        """Send to `api` at every interval while inside, from a task in `group`; leaving sends the rest.

        Leaving by cancellation or an error sends the rest too, within `final_timeout_s`; cancellation then goes on.
        """
        self._leaving.clear()
        task = self._runtime.spawn(group, self._repeat(api), name="metrics publisher")
        try:
            yield
        finally:
            self._leaving.set()
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._final_timeout_s):
                        await asyncio.wait([task])  # An upload that is under way ends first.
                        await self.publish(api)
            finally:
                task.cancel()

    async def _repeat(self, api: MetricsApi) -> None:
        due = self._runtime.monotonic() + self._interval_s
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - self._runtime.monotonic())):
                    await self._leaving.wait()
            if self._leaving.is_set():
                return
            await self.publish(api)
            # On the grid of intervals, but never in a hurry after a slow endpoint.
            due = max(due + self._interval_s, self._runtime.monotonic())

    async def publish(self, api: MetricsApi) -> None:
        """Send what was counted since the last time; failures are counted and never raised, cancellation is."""
        with self._lock:
            data = self._accumulator.take(self._runtime.wall())
        done = 0
        try:
            for start in range(0, len(data), self._batch_max):
                batch = data[start : start + self._batch_max]
                await self._send(api, batch)
                done += len(batch)
        finally:
            if done < len(data):  # Cancelled, or out of time.
                self._lose(len(data) - done, "Cancelled")

    async def _send(self, api: MetricsApi, batch: Sequence[Datum]) -> None:
        timeout_s = self._request_timeout_s
        try:
            async with asyncio.timeout(timeout_s + _GRACE_S):
                await api.put_metric_data(self._namespace, batch, timeout_s=timeout_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, a watcher must never stop the work (F40).
            self._lose(len(batch), error.code if isinstance(error, ServiceError) else type(error).__name__)
        else:
            self.published += len(batch)

    def _lose(self, count: int, code: str) -> None:
        self.lost += count
        if self._events is not None:
            self._events.emit(MetricsLost(data=count, code=code))


def _nothing() -> None:
    """Do nothing."""
