"""Finds the leases that a leader has assigned to this worker, by the owner index (`kcl.md` 3.3).

Those of streams that this worker does not read are given back: nobody else would renew them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from shardline.common.errors import ProtocolViolation, ServiceError
from shardline.common.ports.lease_store import Key
from shardline.consumer.driver.joining import OWNER_INDEX
from shardline.consumer.driver.several import several
from shardline.consumer.leases.row import LEASE_KEY, LeaseRow, read_row
from shardline.consumer.rounds import DiscoveryRound
from shardline.consumer.streams import StrayLeases

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardline.common.ports.lease_store import Value
    from shardline.consumer.driver.context import Context
    from shardline.consumer.driver.holding import Holdings

__all__ = ["Discovery"]

_EAGER_ROUNDS: Final = 10
"""A worker that has just started looks five times as often, twice the fail-over time long; so does one that leases are
being handed to, as long as it waits for them."""
_PAGES_MAX: Final = 1000
_LAST_LOOKS: Final = 5


class Discovery:
    """Queries the index, reads what is new consistently, adopts it if no hand-off is pending, gives back strays."""

    def __init__(self, context: Context, holdings: Holdings) -> None:
        self._context = context
        self._holdings = holdings
        self._rounds = 0
        self._stray_leases = StrayLeases(context.times.failover_s)
        self._stray_rows: dict[str, LeaseRow] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            waits = await self._round()
            self._rounds = 0 if waits and self._rounds > _EAGER_ROUNDS else self._rounds + 1
            period = self._context.times.discover_s
            await asyncio.sleep(period / 5 if self._rounds < _EAGER_ROUNDS else period)

    async def _round(self) -> bool:
        """Adopt what is assigned to us; say whether some of it is still being handed over."""
        context = self._context
        started = context.runtime.monotonic()
        new = [key for key in await self._assigned() if key not in self._holdings]
        self._stray_rows.clear()
        settled = await several(context.runtime, "look at", new, self._look)
        await self._give_back_strays()
        seconds = context.runtime.monotonic() - started
        context.events.emit(DiscoveryRound(worker_id=context.me, found=len(new), seconds=seconds))
        return not all(settled)

    async def _assigned(self) -> list[str]:
        context = self._context
        keys: list[str] = []
        start: Mapping[str, Value] | None = None
        for _ in range(_PAGES_MAX):
            page = await context.store.query_index(
                context.table, OWNER_INDEX, context.me, start=start, timeout_s=context.times.timeout_s
            )
            keys.extend(str(item[LEASE_KEY]) for item in page.items)
            start = page.next_start
            if start is None:
                break
        return sorted(keys)

    async def _look(self, key: str) -> bool:
        """Adopt a lease if it is ours by now; False while its former owner has it."""
        context = self._context
        row = await self._read(key)
        if row is None or row.owner != context.me:
            return True
        if context.plan_for(row) is None:
            self._stray_rows[key] = row
            return True
        if row.checkpoint_owner is None:
            self._holdings.adopt(row)
        return row.checkpoint_owner is None

    async def _read(self, key: str) -> LeaseRow | None:
        context = self._context
        item = await context.store.get(
            context.table, Key(LEASE_KEY, key), consistent=True, timeout_s=context.times.timeout_s
        )
        row = None if item is None else read_row(item)
        return row if isinstance(row, LeaseRow) else None

    async def _give_back_strays(self) -> None:
        """Unown what is due; one that cannot be is tried again in the next round."""
        counters = {key: row.counter for key, row in self._stray_rows.items()}
        for key in self._stray_leases.on_round(counters, self._context.runtime.monotonic()):
            try:
                await self._unown(self._stray_rows[key])
            except (ServiceError, ProtocolViolation) as error:
                self._context.report("lease.give_back", error, key)

    async def _unown(self, row: LeaseRow) -> None:
        context = self._context
        await context.store.write(context.writes.evict(row), timeout_s=context.times.timeout_s)

    async def give_back(self) -> None:
        """As a worker that has left: unown what was assigned to it a moment before, and never begun.

        Looks until there is nothing, a few times at most: the leader may still have it in mind. What this misses is
        taken as from the dead. One that is still being handed over is its former owner's.
        """
        try:
            for _ in range(_LAST_LOOKS):
                keys = [key for key in await self._assigned() if not self._holdings.let_go(key)]
                rows = [row for key in keys if (row := await self._read(key)) is not None]
                mine = [row for row in rows if row.owner == self._context.me and row.checkpoint_owner is None]
                if not mine:
                    return
                for row in mine:
                    await self._unown(row)
        except (ServiceError, ProtocolViolation) as error:
            self._context.report("lease.give_back", error)
