"""What stands around each batch of a shard: the worker's pace before it, the event after it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from shardline.consumer.events import BatchProcessed

if TYPE_CHECKING:
    from shardline.consumer.driver.context import Context
    from shardline.consumer.handler import Batch

__all__ = ["paced", "tell_processed"]


async def paced(context: Context, batch: Batch, stopping: asyncio.Event) -> bool:
    """Wait until the worker's pace lets a batch go; False when stopped before."""
    pace, monotonic = context.pace, context.runtime.monotonic
    while pace is not None and (wait := pace.take(monotonic(), len(batch), batch.size)):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await stopping.wait()
        if stopping.is_set():
            return False
    return True


def tell_processed(context: Context, lease: str, batch: Batch, started: float) -> None:
    """Emit that the handler is done with a batch."""
    notes = batch.notes()
    context.events.emit(
        BatchProcessed(
            lease=lease,
            records=len(batch),
            kinesis_records=batch.kinesis_records,
            bytes=batch.size,
            last=str(batch.last),
            millis_behind_latest=batch.millis_behind_latest,
            seconds=context.runtime.monotonic() - started,
            misplaced=notes.get("misplaced", 0),
            malformed=notes.get("malformed", 0),
            dropped=notes.get("misplaced", 0) if context.config.delivery.drop_misplaced else 0,
        )
    )
