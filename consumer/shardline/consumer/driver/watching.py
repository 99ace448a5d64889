"""Looks at the whole lease table: rescues leases that stand still, and, as leader, assigns and audits.

One scan serves both, so that leading costs a watcher no further reads (the call budget is in DESIGN.md). It also shows
that the leader has left, which is worth a look at the lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shardline.common.errors import ProtocolViolation, ServiceError, ShardlineError
from shardline.common.ports.lease_store import Delete, Equals, Key
from shardline.common.records import SHARD_END
from shardline.consumer.driver.context import pause
from shardline.consumer.driver.former import FormerCleaner
from shardline.consumer.driver.mixing import metrics_rows
from shardline.consumer.driver.several import several
from shardline.consumer.driver.tables import lease_rows, scan_items
from shardline.consumer.driver.taking import Auditor
from shardline.consumer.events import LeasesAssigned, LeasesRescued
from shardline.consumer.fleet.assignment import AssignmentManager, AssignmentSettings, DecisionKind
from shardline.consumer.fleet.gathering import Gathering
from shardline.consumer.fleet.leader_lock import LEADER_KEY
from shardline.consumer.fleet.model import ObservedLease
from shardline.consumer.fleet.rescue import LiveWorkers, StillRows, watch_period_s
from shardline.consumer.fleet.silence import SilentWorkers
from shardline.consumer.fleet.variance_policy import VarianceSettings
from shardline.consumer.fleet.worker_metrics import STALE_AFTER_S, MetricsRow, active_workers
from shardline.consumer.leases.reader import RowReader
from shardline.consumer.leases.row import LeaseRow, read_row
from shardline.consumer.rounds import AssignmentRound

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from shardline.consumer.driver.context import Context
    from shardline.consumer.driver.holding import Holdings
    from shardline.consumer.driver.leading import LockKeeper
    from shardline.consumer.driver.sync import ShardSync
    from shardline.consumer.fleet.assignment import Decision
    from shardline.consumer.fleet.model import WorkerLoad
    from shardline.consumer.fleet.startup import Plan

__all__ = ["Watch"]


class _Look(NamedTuple):
    """One whole scan: leases of the streams read here, and of all; the metrics rows; whether there was a lock row."""

    rows: list[LeaseRow]
    everybodys: list[LeaseRow]
    observed: list[ObservedLease]
    metrics: list[MetricsRow]
    locked: bool
    at: float


class Watch:
    """The loop that looks; `wake` makes it look now, `still_true` is asked before this worker first acts as leader."""

    def __init__(
        self,
        context: Context,
        holdings: Holdings,
        sync: ShardSync,
        plan: Plan,
        lock: LockKeeper,
        wake: asyncio.Event,
        still_true: Callable[[], Awaitable[bool]],
    ) -> None:
        leases = context.config.leases
        self._context = context
        self._holdings = holdings
        self._plan = plan
        self._lock = lock
        self._wake = wake
        self._still_true = still_true
        self._still = StillRows(leases.failover_s)
        self._live = LiveWorkers()
        self._auditor = Auditor(context, sync)
        self._former = FormerCleaner(context, plan.coordinator)
        settings = AssignmentSettings(
            failover_s=leases.failover_s,
            graceful_hand_off=leases.graceful_hand_off,
            hand_off_timeout_s=leases.hand_off_timeout_s,
            balance_every_runs=leases.balance_every_runs,
            strategy=leases.strategy,
            variance=VarianceSettings(leases_per_worker_max=leases.leases_max),
        )
        self._manager = AssignmentManager(settings, context.runtime.random)
        self._led = False
        self._assign_at = 0.0
        self._gathering = Gathering(leases.failover_s)
        self._reported: frozenset[str] = frozenset()
        self._silent = SilentWorkers(leases.failover_s)
        self._reader = RowReader()

    async def run(self) -> None:
        """Look for ever; a scan that fails raises, and whoever supervises starts over (what was seen is kept)."""
        runtime = self._context.runtime
        while True:
            await self._round()
            watcher = self._live.is_watcher(self._context.me, self._lock.lock.holder, runtime.monotonic())
            period = watch_period_s(self._context.times.failover_s, watcher=watcher, random=runtime.random)
            await pause(self._wake, period)

    async def _round(self) -> None:
        try:
            look = await self._look()
        except ShardlineError:
            await self._look_failed()
            raise
        self._live.on_scan([(row.worker_id, row.last_update_s) for row in look.metrics if row.ours], look.at)
        if self._leader_left(look):
            self._lock.hurry()
        self._rescue(look)
        self._manager.learn(look.observed, look.at)
        if self._lock.is_leader():
            await self._lead(look)
        elif self._led:
            self._led = False
            self._manager.reset()

    async def _look(self) -> _Look:
        context = self._context
        at = context.runtime.monotonic()
        items = await scan_items(context)
        everybodys = lease_rows(context, items, self._reader)
        rows = context.streams.own(everybodys)
        metrics = metrics_rows(items, self._plan.metrics_read[-1])
        for place in self._plan.metrics_read[:-1]:  # Legacy layout: they stand in a table of their own as well.
            metrics += metrics_rows(await scan_items(context, table=place.table), place, typed=False)
        locked = any(item.get(self._plan.lock.key_attribute) == LEADER_KEY for item in items)
        return _Look(rows, everybodys, [_observed(row) for row in rows], metrics, locked, at)

    async def _look_failed(self) -> None:
        """Count a run that a leader could not make, at the pace of its runs: one who cannot look must not lead."""
        now = self._context.runtime.monotonic()
        if self._led and now >= self._assign_at:
            self._assign_at = now + self._context.times.assign_s
            if self._manager.run_ended(failed=True):
                await self._lock.step_down()

    def _leader_left(self, look: _Look) -> bool:
        """Say whether the leader has left cleanly: its lock is gone, or, where that stands elsewhere, its report is.

        Otherwise its followers would learn it with their next heartbeat, up to 30 s later.
        """
        before = self._reported
        self._reported = frozenset(row.worker_id for row in look.metrics)
        if self._plan.lock.table == self._context.table:
            return not look.locked
        holder = self._lock.lock.holder
        self._reported |= before & {holder}  # It stays known until somebody else holds the lock.
        return holder in before and all(row.worker_id != holder for row in look.metrics)

    # --- rescue ------------------------------------------------------------------------------------------------------

    def _rescue(self, look: _Look) -> None:
        context = self._context
        leader = self._lock.lock.holder
        report = next((row.last_update_s for row in look.metrics if row.worker_id == leader), None)
        rows = self._still.on_scan(look.observed, look.at, leader=leader, leader_report=report)
        still = {lease.lease_key for lease in rows}
        room = context.config.leases.leases_max - len(self._holdings)
        rescued: list[str] = []
        for row in look.rows:
            if row.key not in still or row.key in self._holdings or len(rescued) >= room:
                continue
            if row.owner == context.me and row.checkpoint_owner is None:
                self._holdings.adopt(row)
            elif self._holdings.take(row, rescue=True):
                rescued.append(row.key)
        if rescued:
            context.events.emit(LeasesRescued(leases=tuple(rescued)))

    # --- leading -----------------------------------------------------------------------------------------------------

    async def _lead(self, look: _Look) -> None:
        if not self._led:
            if not await self._still_true():
                await self._lock.step_down()
                return
            self._led = True
            self._manager.reset()
            self._former.reset()
            self._gathering = Gathering(self._context.config.leases.failover_s)
            self._assign_at = look.at
        workers = self._able(look)
        self._gathering.on_look((worker.worker_id for worker in workers), look.at)
        waiting = self._manager.look(look.observed, look.at)
        if self._gathering.waits(waiting, look.at):
            return
        grown, regular = self._gathering.take_grown(), look.at >= self._assign_at
        if not (regular or waiting or grown):
            return
        if regular:
            self._assign_at = look.at + self._context.times.assign_s
        decisions = self._manager.run(look.observed, workers, look.at, rebalance=grown, regular=regular)
        failed, done = await self._write_all(decisions, {row.key: row for row in look.rows})
        self._tell(look, len(workers), failed, done)
        if not regular:
            return
        if self._manager.run_ended(failed=failed > 0):
            await self._lock.step_down()
            return
        await self._auditor.audit(look.rows)
        await self._former.look(look.everybodys)
        await self._drop_stale(look.metrics)

    def _tell(self, look: _Look, workers: int, failed: int, done: int) -> None:
        context = self._context
        context.events.emit(
            AssignmentRound(
                worker_id=context.me,
                leases=len(look.rows),
                workers=workers,
                unassigned=sum(row.actual_owner is None for row in look.rows),
                reassigned=done,
                failed=failed,
                seconds=context.runtime.monotonic() - look.at,
            )
        )

    def _able(self, look: _Look) -> list[WorkerLoad]:
        """Return the active workers, less those who report and let their leases stand still."""
        reports = {row.worker_id: row.last_update_s for row in look.metrics}
        silent = self._silent.on_scan(look.observed, reports, look.at)
        report_s = self._context.config.leases.report_s
        active = active_workers(look.metrics, self._context.runtime.wall(), report_s=report_s)
        return [worker for worker in active if worker.worker_id not in silent]

    async def _write_all(self, decisions: list[Decision], by_key: dict[str, LeaseRow]) -> tuple[int, int]:
        """Write the decisions, some at a time, while we lead; return how many calls failed, how many were applied."""

        async def write(decision: Decision) -> bool | None:
            try:
                return self._lock.is_leader() and await self._write(decision, by_key[decision.lease.lease_key])
            except (ServiceError, ProtocolViolation) as error:
                self._context.report("leader.assign", error, decision.lease.lease_key)
                return None

        written = await several(self._context.runtime, "assign", decisions, write)
        done = [decision for decision, applied in zip(decisions, written, strict=True) if applied]
        if done:
            moves = tuple(f"{one.kind.value} {one.lease.lease_key} to {one.worker_id}" for one in done)
            self._context.events.emit(LeasesAssigned(moves=moves))
        return written.count(None), len(done)

    async def _write(self, decision: Decision, row: LeaseRow) -> bool:
        context = self._context
        if decision.kind is DecisionKind.HAND_OFF:
            write = context.writes.hand_off(row, decision.worker_id)
        else:
            write = context.writes.assign(row, decision.worker_id)
        result = await context.store.write(write, timeout_s=context.times.timeout_s)
        if result.applied and decision.kind is DecisionKind.ASSIGN and decision.worker_id == context.me:
            assigned = None if result.item is None else read_row(result.item)
            if isinstance(assigned, LeaseRow):
                self._holdings.adopt(assigned)  # Our own share needs no discovery.
        return result.applied

    async def _drop_stale(self, metrics: list[MetricsRow]) -> None:
        """Delete metrics rows that nobody has written for a day, as read (`kcl.md` 3.5 step 2)."""
        context, place = self._context, self._plan.metrics
        for row in metrics:
            if context.runtime.wall() - row.last_update_s > STALE_AFTER_S:
                key = Key(place.key_attribute, row.worker_id)
                write = Delete(place.table, key, (Equals("lut", row.last_update_s),))
                await context.store.write(write, timeout_s=context.times.timeout_s)


def _observed(row: LeaseRow) -> ObservedLease:
    return ObservedLease(
        row.key,
        row.owner,
        row.checkpoint_owner,
        row.counter,
        row.throughput_kbps,
        finished=row.checkpoint == SHARD_END,
    )
