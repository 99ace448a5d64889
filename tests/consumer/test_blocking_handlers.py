"""Blocking handlers on real threads: one that hangs holds its own shard, nothing else, and no one's stop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.consumer.config import DeliveryConfig, WorkerConfig
from shardline.consumer.worker import Worker
from shardline.local.doors.services import LocalServices

if TYPE_CHECKING:
    from shardline.consumer.handler import Record

SHARDS = 40
NAME = "orders"


async def _stream(services: LocalServices) -> None:
    services.state.create_stream(NAME, SHARDS, now=services.clock())
    async with services.kinesis() as kinesis:
        step = 2**128 // SHARDS
        entries = [PutEntry(b"", "key", str(step * number)) for number in range(SHARDS)]
        await kinesis.put_records(Stream.of(NAME), entries, timeout_s=5)


def test_hanging_handlers_hold_up_neither_other_shards_nor_the_workers_leaving() -> None:
    """Forty handlers hang at once: each has its thread, and the worker leaves in its time although none returns."""
    services, release = LocalServices(), threading.Event()
    begun: set[str] = set()
    all_begun = threading.Event()
    worker = Worker(
        "billing",
        streams=NAME,
        start="TRIM_HORIZON",
        connection=services,
        config=WorkerConfig(delivery=DeliveryConfig(stop_timeout_s=0.2)),
    )

    @worker.handler(NAME)
    def hangs(record: Record) -> None:
        begun.add(record.shard_id)
        if len(begun) == SHARDS:
            all_begun.set()
        release.wait(120)

    async def main() -> bool:
        await _stream(services)
        async with worker:
            await asyncio.to_thread(all_begun.wait, 60)
        return not release.is_set()

    try:
        assert asyncio.run(main())
    finally:
        release.set()
    assert len(begun) == SHARDS
