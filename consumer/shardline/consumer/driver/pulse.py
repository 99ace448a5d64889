"""Tells at an interval how the worker stands: what no single call or batch says."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from shardline.consumer.health import Health
from shardline.consumer.rounds import WorkerPulse

if TYPE_CHECKING:
    from shardline.consumer.driver.context import Context
    from shardline.consumer.driver.holding import Holdings
    from shardline.consumer.driver.membership import Membership

__all__ = ["Pulse"]


class Pulse:
    """Emits a `WorkerPulse` as often as leases are renewed: a third of the fail-over time."""

    def __init__(self, context: Context, holdings: Holdings, membership: Membership) -> None:
        self._context = context
        self._holdings = holdings
        self._membership = membership

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            await asyncio.sleep(self._context.times.failover_s / 3)
            if self._context.events.hears(WorkerPulse):
                self._tell()

    def _tell(self) -> None:
        health = tuple(holding.health() for holding in self._holdings.all())
        whole = Health(worker_id=self._context.me, running=True, leads=self._membership.leads, leases=health)
        self._context.events.emit(
            WorkerPulse(
                worker_id=self._context.me,
                leases=sum(one.valid for one in health),
                leads=self._membership.leads,
                lags=tuple((one.lease, one.lag_ms) for one in health if one.lag_ms is not None),
                streams=tuple(whole.lags.items()),
                reading=tuple(sorted(Counter(one.reading for one in health if one.reading).items())),
            )
        )
