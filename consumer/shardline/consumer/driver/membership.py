"""Membership in a fleet: which loops run, by the fleet's client version; what changing or leaving asks for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shardline.common.errors import ProtocolViolation, ServiceError
from shardline.consumer.driver.cleaning import Cleaner
from shardline.consumer.driver.context import supervise
from shardline.consumer.driver.discovery import Discovery
from shardline.consumer.driver.joining import ensure_index, rejoin
from shardline.consumer.driver.leading import LockKeeper
from shardline.consumer.driver.reporting import Reporter
from shardline.consumer.driver.taking import TakingLoop
from shardline.consumer.driver.watching import Watch
from shardline.consumer.events import FleetVersionChanged
from shardline.consumer.fleet.startup import ClientVersion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shardline.consumer.driver.context import Context
    from shardline.consumer.driver.holding import Holdings
    from shardline.consumer.driver.sync import ShardSync
    from shardline.consumer.fleet.startup import Plan

__all__ = ["Membership"]


class Membership:
    """Runs the loops of the present client version: the 2.x taker, or index, lock and watch of 3.x."""

    def __init__(self, context: Context, holdings: Holdings, sync: ShardSync, plan: Plan) -> None:
        self._context = context
        self._holdings = holdings
        self._sync = sync
        self.plan = plan
        self._reporter = Reporter(context, plan.metrics)
        self._lock: LockKeeper | None = None
        self._discovery: Discovery | None = None
        self._look_again = asyncio.Event()

    async def prepare(self) -> None:
        """Do what must be done before leases may arrive: the index, and the first report."""
        version = self.plan.version
        if version in (ClientVersion.V3X, ClientVersion.UPGRADE_FROM_2X):
            await ensure_index(self._context, wait=version is ClientVersion.V3X)
        if version.reports_metrics:
            await self._reporter.report()

    async def run(self) -> None:
        """Take part for ever, and change sides when the fleet's version changes."""
        while True:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    self._context.runtime.spawn(group, supervise(self._context, name, work), name=name)
                    for name, work in self._loops()
                ]
                plan = await self._next_plan()
                for task in tasks:
                    task.cancel()
            await self._change(plan)

    @property
    def leads(self) -> bool:
        """Say whether this worker leads the fleet now."""
        return self._lock is not None and self._lock.is_leader()

    async def leave(self) -> None:
        """Withdraw from assignment and give up leadership, before the leases are given back."""
        await self._reporter.withdraw()
        if self._lock is not None:
            await self._lock.release()

    async def left(self) -> None:
        """Give back what was assigned to this worker while it gave the others back."""
        if self._discovery is not None:
            await self._discovery.give_back()

    def _loops(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        context, plan = self._context, self.plan
        loops: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        if plan.version.reports_metrics:
            loops.append(("reporter", self._reporter.run))
        if context.config.leases.clean_up:
            loops.append(("cleaner", Cleaner(context, self._holdings, self._sync).run))
        if plan.version.takes_leases:
            self._lock = self._discovery = None
            loops.append(("taker", TakingLoop(context, self._holdings, self._sync).run))
            return loops
        changed = asyncio.Event()
        lock = LockKeeper(context, plan.lock, changed)
        watch = Watch(context, self._holdings, self._sync, plan, lock, changed, self._still_true)
        self._lock, self._discovery = lock, Discovery(context, self._holdings)
        loops.append(("leader lock", lock.run))
        loops.append(("watch", watch.run))
        loops.append(("discovery", self._discovery.run))
        return loops

    async def _still_true(self) -> bool:
        """Say whether the plan holds, before acting as a new leader: the tables may have been migrated meanwhile.

        Otherwise there would be two leaders, one by each table's lock (`kcl.md` 4.5 item 5).
        """
        if self.plan.single_table:
            return True
        plan = await rejoin(self._context, self.plan)
        if plan.status is self.plan.status:
            return True
        self._look_again.set()
        return False

    async def _next_plan(self) -> Plan:
        """Wait until the tables say something else than at start; for ever where nothing can change."""
        while True:
            try:
                async with asyncio.timeout(self._context.config.leases.version_poll_s):
                    await self._look_again.wait()
            except TimeoutError:
                pass
            self._look_again.clear()
            if self.plan.single_table and not self.plan.version.may_change:
                continue
            try:
                plan = await rejoin(self._context, self.plan)
            except (ServiceError, ProtocolViolation) as error:
                self._context.report("fleet.version", error)
                continue
            if (plan.version, plan.status) != (self.plan.version, self.plan.status):
                return plan

    async def _change(self, plan: Plan) -> None:
        before, after = self.plan, plan
        names = [f"{one.version.value}, {one.status.value}" for one in (before, after)]
        self._context.events.emit(FleetVersionChanged(before=names[0], after=names[1]))
        if self._lock is not None:
            await self._lock.release()
        if before.metrics != after.metrics:
            await self._reporter.withdraw()
            self._reporter = Reporter(self._context, after.metrics)
        self.plan = plan
        if plan.version in (ClientVersion.V3X, ClientVersion.UPGRADE_FROM_2X):
            await ensure_index(self._context, wait=plan.version is ClientVersion.V3X)
