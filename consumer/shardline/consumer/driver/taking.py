"""Membership by lease rows alone: the 2.x taker's loop, with the audit for missing leases by the 2.x leader."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shardline.common.records import SHARD_END
from shardline.consumer.driver.beginning import begin_again
from shardline.consumer.driver.former import FormerCleaner
from shardline.consumer.driver.sync import of_stream
from shardline.consumer.driver.tables import lease_rows, scan_items
from shardline.consumer.fleet.shuffle_leader import is_shuffle_leader
from shardline.consumer.fleet.startup import Place
from shardline.consumer.leases.reader import RowReader
from shardline.consumer.leases.row import LEASE_KEY
from shardline.consumer.leases.taker import Observer, Taker
from shardline.consumer.lineage import Hole, find_hole
from shardline.consumer.outlived import judge_rows
from shardline.consumer.rounds import TakingRound

if TYPE_CHECKING:
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.holding import Holdings
    from shardline.consumer.driver.sync import ShardSync
    from shardline.consumer.leases.row import LeaseRow
    from shardline.consumer.leases.taker import TakePlan

__all__ = ["Auditor", "TakingLoop"]


class Auditor:
    """Looks for hash keys that no unfinished lease covers; the same hole seen often enough has its leases created."""

    def __init__(self, context: Context, sync: ShardSync) -> None:
        self._context = context
        self._sync = sync
        self._next_at = context.runtime.monotonic() + context.config.leases.audit_s / 2
        self._seen: dict[str | None, tuple[Hole, int]] = {}

    async def audit(self, rows: list[LeaseRow]) -> None:
        """Look at the rows of a scan, if it is time."""
        now = self._context.runtime.monotonic()
        if now < self._next_at:
            return
        self._next_at = now + self._context.config.leases.audit_s
        for plan in self._context.streams:
            await self._audit(plan, of_stream(plan, rows))

    async def _audit(self, plan: StreamPlan, rows: list[LeaseRow]) -> None:
        if any(row.hash_range is None and row.checkpoint != SHARD_END for row in rows):
            rows = await self._sync.fill_hash_ranges(plan, rows)
        ranges = [row.hash_range for row in rows if row.checkpoint != SHARD_END and row.hash_range is not None]
        hole = find_hole(ranges)
        if hole is None:
            self._seen.pop(plan.lease_prefix, None)
            return
        before, count = self._seen.get(plan.lease_prefix, (hole, 0))
        count = count + 1 if before == hole else 1
        self._seen[plan.lease_prefix] = (hole, count)
        if count >= self._context.config.leases.audit_confirmations or not rows:
            del self._seen[plan.lease_prefix]
            if rows and not self._context.streams.multi:
                shards = await self._sync.list_shards(plan.stream)
                identity = self._sync.identity(plan)
                found = judge_rows(shards, rows, identity=identity, recreated=False, settled=True)
                await begin_again(self._context, found, self._sync.mark(plan))
            await self._sync.repair(plan)


class TakingLoop:
    """Scans the lease table, adopts what is ours, takes what is free, expired or due to us."""

    def __init__(self, context: Context, holdings: Holdings, sync: ShardSync) -> None:
        leases = context.config.leases
        self._context = context
        self._holdings = holdings
        self._observer = Observer()
        self._reader = RowReader()
        self._auditor = Auditor(context, sync)
        self._former = FormerCleaner(context, Place(context.table, LEASE_KEY))
        self._taker = Taker(
            context.me,
            failover_s=leases.failover_s,
            leases_max=leases.leases_max,
            steal_max=leases.steal_max,
            random=context.runtime.random,
            observer=self._observer,
        )

    async def run(self) -> None:
        """Run for ever; a scan that fails raises, and whoever supervises starts over (what was observed is kept)."""
        while True:
            await self._round()
            await asyncio.sleep(self._context.times.take_s)

    async def _round(self) -> None:
        context, runtime = self._context, self._context.runtime
        started = runtime.monotonic()
        rows = lease_rows(context, await scan_items(context), self._reader)
        everybodys, rows = rows, context.streams.own(rows)
        self._observer.observe(rows, started)
        for row in rows:
            if row.owner == context.me and row.checkpoint_owner is None and row.key not in self._holdings:
                self._holdings.adopt(row)
        held = len(self._holdings)
        plan = self._taker.plan(started, held)
        taken = sum([self._holdings.take(row) for row in plan.take])
        self._tell(rows, plan, held=held, taken=taken, started=started)
        if is_shuffle_leader(context.me, [row.owner for row in rows]):
            await self._auditor.audit(rows)
            await self._former.look(everybodys)
        else:
            self._former.reset()

    def _tell(self, rows: list[LeaseRow], plan: TakePlan, *, held: int, taken: int, started: float) -> None:
        context = self._context
        failover_s = context.config.leases.failover_s
        expired = [
            row
            for row in rows
            if row.actual_owner != context.me
            and (row.owner is None or self._observer.age_s(row.key, started) > failover_s)
        ]
        context.events.emit(
            TakingRound(
                worker_id=context.me,
                leases=len(rows),
                workers=len({row.owner for row in rows if row.owner is not None} | {context.me}),
                expired=len(expired),
                needed=max(0, plan.target - held),
                wanted=len(plan.take),
                spillover=plan.spillover,
                taken=taken,
                seconds=context.runtime.monotonic() - started,
            )
        )
