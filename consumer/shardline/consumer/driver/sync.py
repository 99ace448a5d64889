"""Shard sync: leases for a new application, for a finished shard's children, and for holes that an audit found."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from shardline.common.errors import InvalidInput, ProtocolViolation, ServiceError, ShardlineError
from shardline.common.records import SHARD_END
from shardline.consumer.driver.context import attempt
from shardline.consumer.driver.several import several
from shardline.consumer.driver.tables import create_lease, lease_rows, read_lease, scan_items
from shardline.consumer.events import LeasesCreated
from shardline.consumer.lineage import (
    SNAPSHOT_S_MAX,
    Start,
    StartPoint,
    application_pin,
    child_leases,
    covers_everything,
    find_hole,
    initial_leases,
    missing_leases,
    unknown_parents,
)
from shardline.consumer.rounds import ShardsSynced
from shardline.consumer.stream_events import HashRangesFilled
from shardline.consumer.streams import Identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.common.hashing import Shard
    from shardline.common.ports.kinesis import ChildShard, ShardFilter, Stream
    from shardline.common.ports.lease_store import Item
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.leases.row import LeaseRow, NewLease

__all__ = ["ShardSync", "of_stream"]

_LIST_TIMEOUT_S = 10.0
_LIST_WITHIN_S = 120.0
_SNAPSHOT_TRIES = 5
_SNAPSHOT_PAUSE_S = 1.0
_PAGES_MAX = 10_000
_BUNCH = 100
_OTHERS_S = 1.0
_SAFE_START = Start(StartPoint.TRIM_HORIZON)
"""Where a missing lease starts if the application's start is no longer told: nothing is skipped."""


class ShardSync:
    """Creates leases; every creation is conditional, so that many workers may do the same at once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._identities: dict[str, Identity] = {}
        self._pins: dict[str | None, float] = {}
        self._began_s = context.runtime.wall()

    async def list_shards(self, stream: Stream, shard_filter: ShardFilter | None = None) -> list[Shard]:
        """Return all shards of a stream, every page of them; raises what the service says in the end."""
        context = self._context
        shards: list[Shard] = []
        token: str | None = None
        for _ in range(_PAGES_MAX):
            at = token
            page = await attempt(
                context,
                "stream.list_shards",
                lambda at=at: context.kinesis.list_shards(  # type: ignore[misc]  # A default binds the loop's value.
                    stream,
                    shard_filter=None if at else shard_filter,
                    next_token=at,
                    timeout_s=_LIST_TIMEOUT_S,
                ),
                within_s=_LIST_WITHIN_S,
            )
            shards.extend(page.shards)
            token = page.next_token
            if token is None:
                return list({shard.shard_id: shard for shard in shards}.values())
        raise ShardlineError(f"stream {stream} lists more than {_PAGES_MAX} pages of shards")

    def check_start(self, plan: StreamPlan, rows: Sequence[LeaseRow]) -> None:
        """Raise `InvalidInput` for a stream that has no lease among `rows`, and no start position either."""
        if plan.start is None and not of_stream(plan, rows):
            choices = "TRIM_HORIZON, LATEST, or a time (epoch seconds) for AT_TIMESTAMP"
            raise InvalidInput("start", f"given for a new application: {choices}")

    async def initialize(self, plan: StreamPlan, rows: Sequence[LeaseRow]) -> None:
        """Create the leases of a stream that has none among `rows`, nor when its shards are listed."""
        await self.identify(plan)
        self._pins[plan.lease_prefix] = application_pin(of_stream(plan, rows), self._began_s)
        if plan.start is None:
            return
        if mine := of_stream(plan, rows):
            await self._complete(plan, mine)
            return
        started = self._context.runtime.monotonic()
        shards = await self._snapshot(plan, plan.start)
        if mine := of_stream(plan, await self.rows()):
            await self._complete(plan, mine)
            return  # Another worker was quicker, perhaps by a list from before a reshard: its leases stand.
        pin = application_pin((), self._context.runtime.wall())
        self._pins[plan.lease_prefix] = pin
        leases = initial_leases(shards, plan.start, pin=pin, stream_name=plan.lease_prefix)
        tried, _ = await self._create_all(plan, leases, "initial", until=started + SNAPSHOT_S_MAX)
        if tried < len(leases):
            await self.repair(plan)
        self._synced(started)

    async def _complete(self, plan: StreamPlan, rows: Sequence[LeaseRow]) -> None:
        """Create what a worker left out that stopped in the middle of the first leases; an audit would, but later."""
        ranges = [row.hash_range for row in rows if row.hash_range is not None and row.checkpoint != SHARD_END]
        if len(ranges) == len(rows) and find_hole(ranges) is not None:
            await self.repair(plan)

    async def items(self) -> list[Item]:
        """Return the lease table as it stands, consistently read."""
        return await scan_items(self._context, consistent=True, within_s=_LIST_WITHIN_S)

    async def rows(self) -> list[LeaseRow]:
        """Return the lease rows as they stand, consistently read."""
        return lease_rows(self._context, await self.items())

    async def _snapshot(self, plan: StreamPlan, start: Start) -> list[Shard]:
        for _ in range(_SNAPSHOT_TRIES):
            shards = await self.list_shards(plan.stream, start.shard_filter)
            if covers_everything(shards):
                return shards
            await asyncio.sleep(_SNAPSHOT_PAUSE_S)
        raise ShardlineError(f"ListShards of {plan.stream} does not cover every hash key; is it being resharded?")

    async def identify(self, plan: StreamPlan) -> Identity | None:
        """Return which stream a plan's name means now, as far as Kinesis says it; asked for once, as a note on rows."""
        context = self._context
        if plan.lease_prefix is None and plan.stream.name not in self._identities:
            try:
                summary = await context.kinesis.describe_stream_summary(plan.stream, timeout_s=_LIST_TIMEOUT_S)
            except (ServiceError, ProtocolViolation) as error:
                context.report("stream.describe", error)
            else:
                self.know(plan, Identity.of(summary))
        return self.identity(plan)

    def know(self, plan: StreamPlan, identity: Identity) -> None:
        """Take what a plan's name means."""
        if plan.lease_prefix is None:
            self._identities[plan.stream.name] = identity

    def identity(self, plan: StreamPlan) -> Identity | None:
        """Return which stream a plan's name means, as far as known; None in multi-stream mode: the rows say it."""
        return self._identities.get(plan.stream.name)

    def mark(self, plan: StreamPlan) -> str | None:
        """Return the note on rows of that stream."""
        identity = self.identity(plan)
        return None if identity is None else str(identity)

    async def repair(self, plan: StreamPlan) -> bool:
        """Create the leases that are missing beside those in the table, level by level, until none is missing.

        False where that is not known: no list of shards came that shows each hash key once, close to its rows.
        """
        started = self._context.runtime.monotonic()
        shards = await self.list_shards(plan.stream)
        listed_at, whole = started, False
        for _ in range(len(shards) + 1):
            rows = await self.rows()
            until = listed_at + SNAPSHOT_S_MAX
            if self._context.runtime.monotonic() <= until:
                missing = self._missing(plan, shards, of_stream(plan, rows))
                tried, made = await self._create_all(plan, missing, "repair", until=until)
                if tried == len(missing) and not made:
                    whole = covers_everything(shard for shard in shards if shard.is_open)
                    break
            listed_at = self._context.runtime.monotonic()
            shards = await self.list_shards(plan.stream)
        self._synced(started)
        return whole

    def _missing(self, plan: StreamPlan, shards: Sequence[Shard], rows: Sequence[LeaseRow]) -> list[NewLease]:
        pin = min(application_pin(rows, self._began_s), self._pins.get(plan.lease_prefix, self._began_s))
        return missing_leases(shards, rows, plan.start or _SAFE_START, pin=pin, stream_name=plan.lease_prefix)

    def _synced(self, started: float) -> None:
        context = self._context
        context.events.emit(ShardsSynced(worker_id=context.me, seconds=context.runtime.monotonic() - started))

    async def fill_hash_ranges(self, plan: StreamPlan, rows: list[LeaseRow]) -> list[LeaseRow]:
        """Write the hash ranges that unfinished rows lack, as the KCL's leader does; return the rows with them.

        The write names the two attributes only and needs the row to exist: no owner notices it.
        """
        context = self._context
        listed = {shard.shard_id: shard.hash_range for shard in await self.list_shards(plan.stream)}
        filled: dict[str, LeaseRow] = {}
        for row in rows:
            found = listed.get(row.shard_id)
            if row.hash_range is not None or row.checkpoint == SHARD_END or found is None or found.start >= found.end:
                continue  # The KCL refuses a range of one key.
            result = await context.store.write(context.writes.hash_range(row, found), timeout_s=context.times.timeout_s)
            if result.applied:
                filled[row.key] = row._replace(hash_range=found)
        if filled:
            context.events.emit(HashRangesFilled(leases=tuple(filled)))
        return [filled.get(row.key, row) for row in rows]

    async def merge_waits(self, plan: StreamPlan, row: LeaseRow, children: Sequence[ChildShard]) -> bool:
        """Say whether a child must wait: its other parent, which Kinesis still lists, has no lease yet."""
        for child in children:
            names = (child.shard_id, *child.parent_shard_ids)
            rows = {name: await read_lease(self._context, row.sibling_key(name)) for name in names}
            unknown = unknown_parents(child, rows)
            if unknown and {shard.shard_id for shard in await self.list_shards(plan.stream)}.intersection(unknown):
                await self.repair(plan)
                return True
        return False

    async def create_children(self, plan: StreamPlan, row: LeaseRow, children: Sequence[ChildShard]) -> tuple[str, ...]:
        """Create a finished shard's child leases and note them on its row; returns the children's ids."""
        context = self._context
        names = tuple(sorted(child.shard_id for child in children))
        await self._create(plan, child_leases(children, row.stream_name), "children")
        if names and row.children != names:
            write = context.writes.children(row, names)
            timeout_s = context.times.timeout_s
            await attempt(
                context,
                "lease.children",
                lambda: context.store.write(write, timeout_s=timeout_s),
                within_s=10 * timeout_s,
            )
        return names

    async def _create_all(
        self, plan: StreamPlan, leases: Sequence[NewLease], reason: str, *, until: float
    ) -> tuple[int, int]:
        """Create leases bunch by bunch; return how many were asked for, and how many of them this worker made.

        It ends early where the list that they follow from has grown old (`until`, monotonic), and where somebody else
        is at it: the whole fleet of a new application starts at once, and each lease would be written by each worker.
        """
        tried = made = 0
        while tried < len(leases) and self._context.runtime.monotonic() <= until:
            bunch = leases[tried : tried + _BUNCH]
            new = await self._create(plan, bunch, reason)
            tried, made = tried + len(bunch), made + new
            if new < len(bunch) and tried < len(leases):
                return (len(leases) if await self._others_do(leases[tried:]) else tried), made
        return tried, made

    async def _others_do(self, leases: Sequence[NewLease]) -> bool:
        """Wait for as long as leases appear that others create; say whether all of these are there in the end."""
        before, missing = len(leases) + 1, len(leases)
        while 0 < missing < before:
            await asyncio.sleep(_OTHERS_S * (0.5 + self._context.runtime.random.random()))
            there = {row.key for row in await self.rows()}
            before, missing = missing, sum(lease.key not in there for lease in leases)
        return not missing

    async def _create(self, plan: StreamPlan, leases: Sequence[NewLease], reason: str) -> int:
        context, mark = self._context, self.mark(plan)
        noted = [replace(lease, stream_mark=mark) for lease in leases]
        applied = await several(context.runtime, "create", noted, lambda lease: create_lease(context, lease))
        made = tuple(lease.key for lease, new in zip(noted, applied, strict=True) if new)
        if made:
            context.events.emit(LeasesCreated(leases=made, reason=reason))
        return len(made)


def of_stream(plan: StreamPlan, rows: Sequence[LeaseRow]) -> list[LeaseRow]:
    """Return the rows of one stream."""
    return [row for row in rows if row.stream_name == plan.lease_prefix]
