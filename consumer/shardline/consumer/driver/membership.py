"""Membership in a fleet: which loops run, by the fleet's client version; what changing or leaving asks for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from shardline.common.errors import ProtocolViolation, ServiceError
from shardline.consumer.driver.cleaning import Cleaner
from shardline.consumer.driver.context import supervise
from shardline.consumer.driver.discovery import Discovery
from shardline.consumer.driver.joining import ensure_index, read_version
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
                version = await self._next_version()
                for task in tasks:
                    task.cancel()
            await self._change(version)

    @property
    def leads(self) -> bool:
        """Say whether this worker leads the fleet now."""
        return self._lock is not None and self._lock.is_leader()

    async def leave(self) -> None:
        """Withdraw from assignment and give up leadership, before the leases are given back."""
        await self._reporter.withdraw()
        if self._lock is not None:
            await self._lock.release()

    def _loops(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        context, plan = self._context, self.plan
        loops: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        if plan.version.reports_metrics:
            loops.append(("reporter", self._reporter.run))
        if context.config.leases.clean_up:
            loops.append(("cleaner", Cleaner(context, self._holdings, self._sync).run))
        if plan.version.takes_leases:
            self._lock = None
            loops.append(("taker", TakingLoop(context, self._holdings, self._sync).run))
            return loops
        changed = asyncio.Event()
        lock = LockKeeper(context, plan.lock, changed)
        watch = Watch(context, self._holdings, self._sync, plan, lock, changed)
        self._lock = lock
        loops.append(("leader lock", lock.run))
        loops.append(("watch", watch.run))
        loops.append(("discovery", Discovery(context, self._holdings).run))
        return loops

    async def _next_version(self) -> ClientVersion:
        """Wait until another client version is stored; for ever where it cannot change."""
        while True:
            await asyncio.sleep(self._context.config.leases.version_poll_s)
            if not self.plan.version.may_change:
                continue
            try:
                version = await read_version(self._context, self.plan.coordinator)
            except (ServiceError, ProtocolViolation) as error:
                self._context.report("fleet.version", error)
                continue
            if version is not None and version is not self.plan.version:
                return version

    async def _change(self, version: ClientVersion) -> None:
        self._context.events.emit(FleetVersionChanged(before=self.plan.version.value, after=version.value))
        if self._lock is not None:
            await self._lock.release()
        self.plan = replace(self.plan, version=version)
        if version in (ClientVersion.V3X, ClientVersion.UPGRADE_FROM_2X):
            await ensure_index(self._context, wait=version is ClientVersion.V3X)
