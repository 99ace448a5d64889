"""Ends a bounded run: notes in the state table which shards were left at their bound, and stops when all are done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from shardline.common.errors import ProtocolViolation, ServiceError
from shardline.common.ports.lease_store import Update
from shardline.common.ports.state_store import StateKey
from shardline.consumer.bounds import lies_beyond, unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shardline.common.ports.kinesis import ChildShard
    from shardline.common.ports.state_store import StateItem
    from shardline.consumer.bounds import Bounds
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.sync import ShardSync
    from shardline.consumer.leases.held import HeldLease
    from shardline.consumer.leases.row import LeaseRow

__all__ = ["BoundedRun", "note_reached", "waits_for_ever"]

_POLL_S: Final = 2.0
_UNTIL: Final = "until"


def _key(lease_key: str) -> StateKey:
    return StateKey.of("bounded-run", lease_key)


async def note_reached(context: Context, bounds: Bounds, lease: HeldLease) -> bool:
    """Note that a shard was left at its bound; False if the note stands otherwise now. Raises what the store raises."""
    assert context.state is not None, "a bounded run has a state table"
    timeout_s = context.times.timeout_s
    item = await context.state.get(_key(lease.key), timeout_s=timeout_s)
    if _reached(item, bounds):
        return True
    written = await context.state.write(
        _key(lease.key), Update(set={_UNTIL: bounds.text}), expect=item, token=lease.token, timeout_s=timeout_s
    )
    return written.applied or _reached(written.item, bounds)


def _reached(item: StateItem | None, bounds: Bounds) -> bool:
    return item is not None and item.fields.get(_UNTIL) == bounds.text


async def find_reached(context: Context, bounds: Bounds, rows: Sequence[LeaseRow], reached: set[str]) -> None:
    """Add to `reached` the leases among `rows` that were left at their bound. Raises what the store raises."""
    assert context.state is not None, "a bounded run has a state table"
    for row in unfinished(rows, reached):
        if _reached(await context.state.get(_key(row.key), timeout_s=context.times.timeout_s), bounds):
            reached.add(row.key)


async def waits_for_ever(
    context: Context, sync: ShardSync, plan: StreamPlan, row: LeaseRow, children: Sequence[ChildShard]
) -> bool:
    """Say whether a child of the shard has a parent beyond the bound: nobody creates that one's lease in this run."""
    bounds, reached = context.bounds, set[str]()
    if bounds is None:
        return False
    rows = await sync.rows()
    await find_reached(context, bounds, rows, reached)
    shards = await sync.list_shards(plan.stream)
    parents = {row.sibling_key(one.shard_id): [*map(row.sibling_key, one.parent_shard_ids)] for one in shards}
    others = {row.sibling_key(parent) for child in children for parent in child.parent_shard_ids}
    return any(lies_beyond(key, parents, reached) for key in others.difference(one.key for one in rows))


class BoundedRun:
    """Looks, every other second, whether every shard was read to its end or bound; then `stop` is called."""

    def __init__(self, context: Context, bounds: Bounds, sync: ShardSync, stop: Callable[[], None]) -> None:
        self._context = context
        self._bounds = bounds
        self._sync = sync
        self._stop = stop
        self._reached: set[str] = set()

    async def run(self) -> None:
        """Look until the run is done."""
        while not await self._is_done():  # noqa: ASYNC110 - tables of others change without an Event.
            await asyncio.sleep(_POLL_S)
        self._stop()

    async def _is_done(self) -> bool:
        """Say whether every shard within the bounds was read; one whose row somebody has deleted gets it back first."""
        try:
            if await self._are_done():
                repaired = [await self._sync.repair(plan) for plan in self._context.streams]
                return all(repaired) and await self._are_done()
        except (ServiceError, ProtocolViolation) as error:
            self._context.report("run.look", error)
        return False

    async def _are_done(self) -> bool:
        rows = await self._sync.rows()
        await find_reached(self._context, self._bounds, rows, self._reached)
        return bool(rows) and not unfinished(rows, self._reached)
