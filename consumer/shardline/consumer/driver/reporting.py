"""The worker's own metrics row: without it a leader gives a worker nothing (`kcl.md` 4.1, 4.6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from shardline.common.errors import ShardlineError
from shardline.common.ports.lease_store import Delete, Equals, Key
from shardline.consumer.driver.context import attempt
from shardline.consumer.driver.processor import read_processor
from shardline.consumer.fleet.cpu import CpuSampler
from shardline.consumer.fleet.worker_metrics import report
from shardline.consumer.rounds import WorkerReported

if TYPE_CHECKING:
    from shardline.consumer.driver.context import Context
    from shardline.consumer.fleet.startup import Place

__all__ = ["Reporter"]

_NO_SAMPLES: Final[dict[str, list[float]]] = {}
"""Legal, and weighed by throughput."""
_CPU: Final = "C"
_CAPTURE_S: Final = 1.0


class Reporter:
    """Reports at once, then every `report_s`; `withdraw` takes the row away when the worker leaves."""

    def __init__(self, context: Context, place: Place) -> None:
        self._context = context
        self._place = place
        self._written_s: int | None = None
        self._due_at = context.runtime.monotonic()
        self._cpu = CpuSampler() if context.config.leases.cpu_metrics else None

    async def run(self) -> None:
        """Report for ever, sampling the processor load in between if asked to."""
        while True:
            await self._capture(self._due_at)
            await self.report()

    async def _capture(self, until: float) -> None:
        runtime = self._context.runtime
        while (left := until - runtime.monotonic()) > 0:
            if self._cpu is None:
                await asyncio.sleep(left)
                continue
            reading = await runtime.run_blocking(read_processor)
            self._cpu.on_reading(reading, runtime.monotonic())
            await asyncio.sleep(min(_CAPTURE_S, left))

    async def report(self) -> None:
        """Write the row once; raises what the service says when retrying did not help."""
        context, place = self._context, self._place
        wall, started = context.runtime.wall(), context.runtime.monotonic()
        samples = _NO_SAMPLES
        if self._cpu is not None and self._written_s is not None:  # The first report comes before any sample.
            samples = {_CPU: self._cpu.report()}
        write = report(place.table, place.key_attribute, context.me, samples, wall)
        timeout_s = context.times.timeout_s
        await attempt(
            context,
            "worker.report",
            lambda: context.store.write(write, timeout_s=timeout_s),
            within_s=context.config.leases.report_s / 2,
        )
        self._written_s = int(wall)
        now = context.runtime.monotonic()
        self._due_at = now + context.config.leases.report_s
        context.events.emit(WorkerReported(worker_id=context.me, seconds=now - started))

    async def withdraw(self) -> None:
        """Delete the row as last written, so that no leader gives leases to a worker that is leaving."""
        if self._written_s is None:
            return
        key = Key(self._place.key_attribute, self._context.me)
        write = Delete(self._place.table, key, (Equals("lut", self._written_s),))
        try:
            await self._context.store.write(write, timeout_s=self._context.times.timeout_s)
        except ShardlineError as error:
            self._context.report("worker.withdraw", error)  # It goes stale by itself within a minute.
