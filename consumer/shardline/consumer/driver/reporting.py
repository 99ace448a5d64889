"""The worker's own metrics row: without it a leader gives a worker nothing (`kcl.md` 4.1, 4.6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from shardline.common.errors import ShardlineError
from shardline.common.ports.lease_store import Delete, Equals, Key
from shardline.consumer.driver.context import attempt
from shardline.consumer.fleet.worker_metrics import report

if TYPE_CHECKING:
    from shardline.consumer.driver.context import Context
    from shardline.consumer.fleet.startup import Place

__all__ = ["Reporter"]

_NO_SAMPLES: Final[dict[str, list[float]]] = {}
"""Legal, and weighed by throughput."""


class Reporter:
    """Reports at once, then every `report_s`; `withdraw` takes the row away when the worker leaves."""

    def __init__(self, context: Context, place: Place) -> None:
        self._context = context
        self._place = place
        self._written_s: int | None = None

    async def run(self) -> None:
        """Report for ever."""
        while True:
            await self.report()
            await asyncio.sleep(self._context.config.leases.report_s)

    async def report(self) -> None:
        """Write the row once; raises what the service says when retrying did not help."""
        context, place = self._context, self._place
        wall = context.runtime.wall()
        write = report(place.table, place.key_attribute, context.me, _NO_SAMPLES, wall)
        timeout_s = context.times.timeout_s
        await attempt(
            context,
            "worker.report",
            lambda: context.store.write(write, timeout_s=timeout_s),
            within_s=context.config.leases.report_s / 2,
        )
        self._written_s = int(wall)

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
