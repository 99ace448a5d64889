"""Tells at an interval how the worker stands: what no single call or batch says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

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
            self._tell()

    def _tell(self) -> None:
        health = [holding.health() for holding in self._holdings.all()]
        self._context.events.emit(
            WorkerPulse(
                worker_id=self._context.me,
                leases=sum(one.valid for one in health),
                leads=self._membership.leads,
                lags=tuple(
                    (one.lease, one.millis_behind_latest) for one in health if one.millis_behind_latest is not None
                ),
            )
        )
