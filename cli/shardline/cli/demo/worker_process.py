"""One worker of the demo's fleet, in a process of its own; run by `shardline demo` as ``python -m``.

The handler does its work (page views, alarms) and tells the parent what it was given, before it returns: what a
checkpoint can cover has been told, whatever kills the process.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shardline.cli.demo.child import Parent
from shardline.cli.demo.clickstream import PageViews, parse_event
from shardline.cli.demo.messages import Delivered, Done, Note, Ready, ShardEnded, ShardStarted, ShardStopped
from shardline.cli.demo.place import connection_of
from shardline.cli.demo.report import DeliveredRecord
from shardline.cli.demo.settings import CALL_TIMEOUT_S, PARENT_POLL_S, ProcessSettings
from shardline.consumer import Fleet, LeaseConfig, Retrieval, TableConfig, Worker, WorkerConfig
from shardline.consumer import events as of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.common.events import Event
    from shardline.consumer import Batch, Record

__all__: list[str] = []


class _Handler:
    """Counts page views, and tells the parent which records it was given."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent

    async def __call__(self, batch: Batch) -> None:
        """Take one batch of one shard; done with it when this returns."""
        views = PageViews()
        records, misplaced = _compact(batch, views)
        stamp = self._parent.now()
        self._parent.say(Delivered(stamp, batch.shard_id, misplaced, tuple(records), dict(views.views), views.alarms))


def _compact(batch: Iterable[Record], views: PageViews) -> tuple[list[DeliveredRecord], int]:
    """Return the batch's positions, ids and keys (a run of sub-sequence numbers each), and how many are misplaced."""
    records: list[DeliveredRecord] = []
    ids: list[int] = []
    keys: list[str] = []
    expected = (-1, 0)
    misplaced = 0
    for one in batch:
        position = one.position
        if position != expected:
            ids, keys = [], []
            records.append(DeliveredRecord(position.sequence_number, position.sub_sequence_number, ids, keys))
        expected = (position.sequence_number, position.sub_sequence_number + 1)
        event_id, page, action = parse_event(one.data, one.partition_key)
        ids.append(event_id)
        keys.append(one.partition_key or "")
        views.add(page, action)
        misplaced += one.misplaced
    return records, misplaced


class _Watch:
    """Tells the parent of what the worker does to its leases, and of trouble."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent

    def __call__(self, event: Event) -> None:
        """Take one event of the worker's."""
        now = self._parent.now()
        if isinstance(event, of.LeaseAcquired):
            self._parent.say(ShardStarted(now, event.lease, event.checkpoint))
        elif isinstance(event, of.LeaseLost):
            self._parent.say(ShardStopped(now, event.lease, event.reason))
        elif isinstance(event, of.ShardEnded):
            self._parent.say(ShardEnded(now, event.lease))
        elif event.level in ("warning", "error"):
            fields = ", ".join(f"{name} {value}" for name, value in event.as_fields().items())
            self._parent.say(Note(now, f"{event.name}: {fields}"))


async def _work() -> None:
    parent = Parent()
    settings = ProcessSettings.of(parent.settings)
    worker = Worker(
        settings.stream,
        streams=settings.stream,
        start="TRIM_HORIZON",
        connection=connection_of(settings),
        config=WorkerConfig(
            worker_id=settings.name,
            retrieval=Retrieval(settings.retrieval),
            table=TableConfig(deletion_protection=False, point_in_time_recovery=False),
            leases=LeaseConfig(
                failover_s=settings.failover_s,
                call_timeout_s=CALL_TIMEOUT_S,
                parent_poll_s=PARENT_POLL_S,
                fleet=Fleet(settings.fleet),
            ),
        ),
        listeners=[_Watch(parent)],
    )
    worker.add_handler(_Handler(parent), batch=True)
    async with worker:
        parent.say(Ready(parent.now()))
        await parent.stop()
    parent.say(Done(parent.now(), {}))


if __name__ == "__main__":
    asyncio.run(_work())
