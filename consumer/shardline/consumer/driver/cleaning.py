"""Deletes the leases of finished shards that this worker holds, as soon as nothing needs them as proof any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shardline.common.ports.lease_store import Key
from shardline.common.records import SHARD_END
from shardline.consumer.driver.key_parking import forget_keys
from shardline.consumer.events import LeasesCleanedUp
from shardline.consumer.leases.held import HeldState
from shardline.consumer.leases.row import LEASE_KEY, LeaseRow, read_row
from shardline.consumer.lineage import FINISHED_KEPT_S, may_clean_up

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.consumer.driver.context import Context
    from shardline.consumer.driver.holding import Holding, Holdings
    from shardline.consumer.driver.sync import ShardSync

__all__ = ["Cleaner"]


class Cleaner:
    """Looks at held leases that are at SHARD_END, every `clean_up_s`; the deletion goes through the lease itself."""

    def __init__(self, context: Context, holdings: Holdings, sync: ShardSync) -> None:
        self._context = context
        self._holdings = holdings
        self._sync = sync
        self._finished_at: dict[str, float] = {}
        """When each held lease was first seen at SHARD_END: at the latest a clean-up period after its end."""

    async def run(self) -> None:
        """Clean up for ever; what fails raises, and whoever supervises starts over."""
        while True:
            await asyncio.sleep(self._context.config.leases.clean_up_s)
            cleaned = [holding.lease.key for holding in self._finished() if await self._clean(holding)]
            if cleaned:
                self._context.events.emit(LeasesCleanedUp(leases=tuple(cleaned)))

    def _finished(self) -> list[Holding]:
        held = [one for one in self._holdings.all() if one.lease.state is HeldState.HELD]
        finished = [one for one in held if one.lease.stored == SHARD_END]
        now, earlier = self._context.runtime.monotonic(), self._finished_at
        self._finished_at = {one.lease.key: earlier.get(one.lease.key, now) for one in finished}
        return [one for one in finished if now - self._finished_at[one.lease.key] >= FINISHED_KEPT_S]

    async def _clean(self, holding: Holding) -> bool:
        row = await self._read(holding.lease.key)
        if row is None:
            return False
        finished_s = self._context.runtime.monotonic() - self._finished_at[row.key]
        children = row.children or await self._look_up(row)
        rows = await self._rows(row, children)
        if not may_clean_up(row, rows, await self._rows(row, row.parents), finished_s=finished_s):
            return False
        deleted = await holding.keeper.delete()
        if deleted:
            await forget_keys(self._context, row, children)
        return deleted

    async def _look_up(self, row: LeaseRow) -> tuple[str, ...]:
        """Return the children that ListShards knows; a row that the KCL has finished may not name them."""
        plan = self._context.plan_for(row)
        if plan is None:
            return ()
        shards = await self._sync.list_shards(plan.stream)
        return tuple(sorted(shard.shard_id for shard in shards if row.shard_id in shard.parent_shard_ids))

    async def _rows(self, row: LeaseRow, shard_ids: Iterable[str]) -> dict[str, LeaseRow | None]:
        return {shard_id: await self._read(row.sibling_key(shard_id)) for shard_id in shard_ids}

    async def _read(self, key: str) -> LeaseRow | None:
        context = self._context
        item = await context.store.get(
            context.table, Key(LEASE_KEY, key), consistent=True, timeout_s=context.times.timeout_s
        )
        row = None if item is None else read_row(item)
        return row if isinstance(row, LeaseRow) else None
