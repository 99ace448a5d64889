"""Ends a bounded run: notes in the state table which shards were left at their bound, and stops when all are done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from shardline.common.errors import ProtocolViolation, ServiceError
from shardline.common.ports.lease_store import Update
from shardline.common.ports.state_store import StateKey
from shardline.consumer.bounds import unfinished

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.ports.state_store import StateItem
    from shardline.consumer.bounds import Bounds
    from shardline.consumer.driver.context import Context
    from shardline.consumer.driver.sync import ShardSync
    from shardline.consumer.leases.held import HeldLease

__all__ = ["BoundedRun", "note_reached"]

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
        context = self._context
        assert context.state is not None, "a bounded run has a state table"
        try:
            rows = await self._sync.rows()
            for row in unfinished(rows, self._reached):
                if _reached(await context.state.get(_key(row.key), timeout_s=context.times.timeout_s), self._bounds):
                    self._reached.add(row.key)
        except (ServiceError, ProtocolViolation) as error:
            context.report("run.look", error)
            return False
        return bool(rows) and not unfinished(rows, self._reached)
