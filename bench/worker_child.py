"""Our worker as a child of `make bench-java`: counts user records, and tells its parent as each mark is passed.

A worker as users run it: leases in DynamoDB, polling, checkpoints, and a batch handler that touches every record.
"""

from __future__ import annotations

import asyncio

from shardline.cli.demo.child import Parent
from shardline.cli.demo.messages import Done, Note, Ready
from shardline.common.connection import Connection, Credentials
from shardline.consumer import Batch, TableConfig, Worker, WorkerConfig


async def _work() -> None:
    parent = Parent()
    settings = parent.settings
    marks: list[int] = list(settings["marks"])
    worker = Worker(
        settings["application"],
        streams=settings["stream"],
        start="TRIM_HORIZON",
        connection=Connection(
            region_name="us-east-1",
            endpoint_url=settings["url"],
            credentials=Credentials(access_key_id="a", secret_access_key="b"),
        ),
        config=WorkerConfig(worker_id=settings["name"], table=TableConfig(point_in_time_recovery=False)),
    )
    seen = size = 0

    @worker.handler(batch=True)
    async def handle(batch: Batch) -> None:
        nonlocal seen, size
        for record in batch:
            seen += 1
            size += len(record.data) + len(record.partition_key or "")
        while marks and seen >= marks[0]:
            del marks[0]
            parent.say(Note(parent.now(), str(seen)))

    async with worker:
        parent.say(Ready(parent.now()))
        await parent.stop()
    parent.say(Done(parent.now(), {}))


if __name__ == "__main__":
    asyncio.run(_work())
