"""The leader's duty towards streams that nobody tracks any more: their leases are deleted after a waiting period.

Every deletion is conditional on counter and both owners as read in the scan before it: a row that moved stays, and is
looked at again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common.errors import ProtocolViolation, ServiceError
from shardline.consumer.stream_events import FormerLeasesDeleted, StreamsNotListed, StreamsTracked
from shardline.consumer.streams import FormerLeases, FormerStreams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.common.ports.lease_store import Delete
    from shardline.consumer.driver.context import Context
    from shardline.consumer.fleet.startup import Place
    from shardline.consumer.leases.row import LeaseRow

__all__ = ["FormerCleaner"]


class FormerCleaner:
    """Looks at each scan of a leader; `place` is where a KCL leader's stream items stand."""

    def __init__(self, context: Context, place: Place) -> None:
        self._context = context
        self._place = place
        self._former = FormerLeases(context.config.tracking)

    def reset(self) -> None:
        """Begin anew, with leadership: the waiting period is this leader's own."""
        self._former.reset()

    async def look(self, rows: Sequence[LeaseRow]) -> None:
        """Delete what is due, of all leases in the table."""
        context, config = self._context, self._context.config.tracking
        if not context.streams.multi:
            return
        if config.former is FormerStreams.KEEP:
            self._tell()
            return
        try:
            named = frozenset[str]() if config.former is FormerStreams.DETECT else await self._named()
        except Exception as error:  # noqa: BLE001 - the program's function may raise anything; nothing is deleted then.
            context.events.emit(StreamsNotListed(reason=type(error).__name__))
            return
        stored = {row.stream_name for row in rows if row.stream_name is not None}
        tracked = [name for name in stored if context.streams.is_tracked(name)]
        for name in self._former.on_scan(stored, tracked, named, context.runtime.monotonic()):
            await self._delete(name, [row for row in rows if row.stream_name == name])
        self._tell()

    def _tell(self) -> None:
        context = self._context
        pending = self._former.pending
        context.events.emit(StreamsTracked(worker_id=context.me, active=len(context.streams), pending=pending))

    async def _named(self) -> frozenset[str]:
        return await self._context.runtime.run_blocking(self._context.config.tracking.names)

    async def _delete(self, name: str, rows: Sequence[LeaseRow]) -> None:
        context = self._context
        deleted = [row.key for row in rows if await self._applied(context.writes.delete_former(row), row.key)]
        context.events.emit(FormerLeasesDeleted(stream=name, leases=tuple(deleted), kept=len(rows) - len(deleted)))
        if len(deleted) == len(rows):
            await self._applied(context.writes.delete_stream_info(self._place, name), name)

    async def _applied(self, write: Delete, key: str) -> bool:
        """Say whether a row was deleted; one that could not be is left for the next scan."""
        context = self._context
        try:
            result = await context.store.write(write, timeout_s=context.times.timeout_s)
        except (ServiceError, ProtocolViolation) as error:
            context.report("lease.delete_former", error, key)
            return False
        return result.applied
