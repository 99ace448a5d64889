"""Sets rows right that outlived their stream, or whose checkpoints cannot be: what `outlived` judged, written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.consumer.driver.context import attempt
from shardline.consumer.stream_events import RowsBegunAgain

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Write
    from shardline.consumer.driver.context import Context
    from shardline.consumer.outlived import Outlived

__all__ = ["begin_again"]


async def begin_again(context: Context, found: Outlived, stream_mark: str | None) -> None:
    """Set rows back to the beginning of their shards, and delete those whose shards are no more; each as read.

    `stream_mark` says of which stream they are from now on, where that is known.
    """
    writes: list[tuple[str, Write]] = [
        (row.key, context.writes.begin_again(row, shard, stream_mark)) for row, shard in found.resets
    ]
    begun = [key for key, write in writes if await _applied(context, write)]
    deleted = [row.key for row in found.drops if await _applied(context, context.writes.delete_former(row))]
    if begun or deleted:
        context.events.emit(RowsBegunAgain(leases=tuple(begun), deleted=tuple(deleted)))


async def _applied(context: Context, write: Write) -> bool:
    timeout_s = context.times.timeout_s
    result = await attempt(
        context, "lease.begin_again", lambda: context.store.write(write, timeout_s=timeout_s), within_s=10 * timeout_s
    )
    return result.applied
