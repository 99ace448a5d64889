"""Looks into doubts about streams: whether one is there, whether it is the same, whose checkpoints are in the table.

Readers doubt (`Streams.doubt`) where a shard or its iterator is not found, or a position is refused; this loop asks
Kinesis, at most every few seconds per worker, and acts: a stream that is gone has its readers wait, without calls; one
that was created again under its name is read from its beginning, and rows of the old one are set back, each by a
conditional write, so that all workers may do it at once. Other streams are not touched.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from shardline.common.errors import NotFound, ProtocolViolation, ServiceError
from shardline.consumer.driver.beginning import begin_again
from shardline.consumer.driver.context import pause
from shardline.consumer.driver.mixing import metrics_rows
from shardline.consumer.driver.registration import choose_retrieval
from shardline.consumer.driver.sync import of_stream
from shardline.consumer.driver.tables import lease_rows
from shardline.consumer.driver.tracking import FROM_THE_BEGINNING
from shardline.consumer.fleet.startup import Place
from shardline.consumer.leases.row import LEASE_KEY
from shardline.consumer.lineage import covers_everything
from shardline.consumer.mixed import other_members
from shardline.consumer.outlived import judge_rows
from shardline.consumer.stream_events import RowsDisputed, StreamBack, StreamGone, StreamRecreated
from shardline.consumer.streams import Identity, StreamLife, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.common.ports.lease_store import Item
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.holding import Holdings
    from shardline.consumer.driver.sync import ShardSync
    from shardline.consumer.driver.tracking import Tracking
    from shardline.consumer.leases.row import LeaseRow
    from shardline.consumer.outlived import Outlived

__all__ = ["Inspector"]

_CALL_S: Final = 10.0
_EVERY_S: Final = 10.0
"""At most one look at the streams in doubt in this time."""
_SETTLED: Final = 4
_SOON_S: Final = 60.0


class Inspector:
    """One worker's; `run` never ends."""

    def __init__(self, context: Context, holdings: Holdings, sync: ShardSync, tracking: Tracking) -> None:
        self._context = context
        self._holdings = holdings
        self._sync = sync
        self._tracking = tracking
        self._lives: dict[str | None, StreamLife] = {}
        self._due: set[str | None] = set()
        self._disputed_by: tuple[str, ...] = ()
        self._counters: dict[str, tuple[int, float]] = {}
        self._doubts: dict[str | None, tuple[int, float]] = {}

    async def run(self) -> None:
        """Look whenever a stream is in doubt, and after those that are gone."""
        context, streams = self._context, self._context.streams
        while True:
            await pause(streams.doubted, context.config.tracking.poll_s if streams.gone() else None)
            in_doubt = dict.fromkeys(streams.gone(), False)
            in_doubt.update(streams.doubts())
            for plan, refused in in_doubt.items():
                await self._look(plan, position_refused=refused)
            await asyncio.sleep(_EVERY_S)

    async def _look(self, plan: StreamPlan, *, position_refused: bool) -> None:
        context, streams = self._context, self._context.streams
        life = self._lives.setdefault(plan.lease_prefix, StreamLife(self._epoch(plan)))
        was_gone = life.gone
        try:
            verdict = await self._ask(plan, life)
        except (ServiceError, ProtocolViolation) as error:
            context.report("stream.describe", error)
            verdict = None
        if verdict is Verdict.GONE and streams.mark_gone(plan.lease_prefix):
            identity = plan.lease_prefix or ""
            context.events.emit(StreamGone(stream=plan.stream.name, identity=identity, worker_id=context.me))
        elif verdict is Verdict.RECREATED and streams.multi:
            self._lives.pop(plan.lease_prefix)
            await self._tracking.replace_stream(plan)
        elif verdict is Verdict.RECREATED or plan.lease_prefix in self._due:
            self._due.add(plan.lease_prefix)  # Until it is done: a call may fail on the way.
            if await self._begin_again(plan, recreated=True):
                self._due.discard(plan.lease_prefix)
        elif verdict in (None, Verdict.PRESENT) and not streams.multi:
            settled = self._is_settled(plan)
            if position_refused or settled:
                await self._begin_again(plan, recreated=None, settled=settled)
        if was_gone and not life.gone:
            if verdict is Verdict.PRESENT:
                context.events.emit(StreamBack(stream=plan.stream.name, worker_id=context.me))
            streams.mark_present(plan.lease_prefix)

    async def _ask(self, plan: StreamPlan, life: StreamLife) -> Verdict:
        try:
            summary = await self._context.kinesis.describe_stream_summary(plan.stream, timeout_s=_CALL_S)
        except NotFound:
            verdict = life.on_missing(self._context.runtime.monotonic())
            if verdict is Verdict.UNSURE:
                self._context.streams.doubt(plan)  # Until it is sure: a reader may be asleep.
            return verdict
        self._sync.know(plan, Identity.of(summary))
        return life.on_described(summary.created_at_s)

    def _is_settled(self, plan: StreamPlan) -> bool:
        """Say whether the stream has been in doubt several times in a row although it is there."""
        now = self._context.runtime.monotonic()
        count, last = self._doubts.get(plan.lease_prefix, (0, now))
        count = count + 1 if now - last < _SOON_S else 1
        self._doubts[plan.lease_prefix] = (count % _SETTLED, now)
        return count >= _SETTLED

    async def _begin_again(self, plan: StreamPlan, *, recreated: bool | None, settled: bool = False) -> bool:
        """In single-stream mode: set the rows right, and this worker's own leases free; False to be asked again."""
        context, sync = self._context, self._sync
        shards = await sync.list_shards(plan.stream)
        if not covers_everything(shard for shard in shards if shard.is_open):
            context.streams.doubt(plan, position_refused=True)  # A list read during a reshard proves nothing.
            return False
        identity = sync.identity(plan)
        items = await sync.items()
        rows = of_stream(plan, lease_rows(context, items))
        found = judge_rows(shards, rows, identity=identity, recreated=recreated, settled=settled)
        if found.recreated and not (recreated or found.marked) and self._is_disputed(items, rows):
            return True
        if not recreated and self._are_held(found):
            if found.recreated:
                await self._holdings.abandon_stream(plan.lease_prefix, but=sync.mark(plan))
            context.streams.doubt(plan, position_refused=True)
            return False
        if found.recreated:
            await self._holdings.abandon_stream(plan.lease_prefix, but=sync.mark(plan))
            rows = of_stream(plan, await sync.rows())
            found = judge_rows(shards, rows, identity=identity, recreated=True)
            after = sync.mark(plan) or ""
            context.events.emit(StreamRecreated(stream=plan.stream.name, before="", after=after, worker_id=context.me))
            arn = await choose_retrieval(context, plan.stream)
            plan = replace(plan, start=FROM_THE_BEGINNING, consumer_arn=arn)
            context.streams.put(plan)
        await begin_again(context, found, sync.mark(plan))
        if found.recreated:
            await sync.repair(plan)
        return True

    def _are_held(self, found: Outlived) -> bool:
        """Say whether others hold such rows, and renew them: then they read well what we believe to be gone.

        This worker may be the one that is wrong (another region, another endpoint), so it only lets its own go. Whoever
        saw the stream change, or starts where nobody holds them, sets them right.
        """
        context, now = self._context, self._context.runtime.monotonic()
        holders: set[str] = set()
        for row in (*(row for row, _ in found.resets), *found.drops):
            counter, since = self._counters.get(row.key, (-1, now))
            if counter != row.counter:
                self._counters[row.key] = (row.counter, now)
            if row.actual_owner in (None, context.me):
                continue
            if counter != row.counter or now - since <= context.times.failover_s:
                holders.add(row.actual_owner or "")
        self._dispute(tuple(sorted(holders)))
        return bool(holders)

    def _dispute(self, others: tuple[str, ...]) -> None:
        if others and others != self._disputed_by:
            self._context.events.emit(RowsDisputed(table=self._context.table, others=others))
        self._disputed_by = others

    def _is_disputed(self, items: Sequence[Item], rows: Sequence[LeaseRow]) -> bool:
        """Say whether rows that say nothing of themselves may be another application's, which is alive; tell it once.

        They may be a former stream's as well. Nothing is overwritten on such a doubt: readers go on to fail, loudly.
        """
        context = self._context
        metrics = metrics_rows(items, Place(context.table, LEASE_KEY))
        wall, report_s = context.runtime.wall(), context.config.leases.report_s
        others = other_members(rows, metrics, context.me, wall, report_s=report_s, reports=True)
        self._dispute(others)
        return bool(others)

    def _epoch(self, plan: StreamPlan) -> int | None:
        named = plan.lease_prefix
        identity = self._sync.identity(plan) if named is None else Identity.parse(named)
        return None if identity is None else identity.epoch
