"""Index a stretch of a stream again: `python examples/backfill_index.py STREAM FROM UNTIL FILE` (ISO times, UTC).

A backfill is an application of its own: the live consumers of the stream notice nothing. It ends by itself and says
what it did. Stopped, killed, or started several times over, it goes on with what is left; the index is keyed by
`record.id`, so what comes twice is stored once. PACE=500 in the environment caps it at so many records a second.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shardline.consumer import Pace, backfill

if TYPE_CHECKING:
    from shardline.consumer import Batch


def seconds(text: str) -> float:
    """Return a time as epoch seconds."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


async def main(stream: str, start: float, until: float, path: str) -> None:
    """Read the stretch into a table of the SQLite file, and print what was done."""
    index = sqlite3.connect(path, check_same_thread=False)
    index.execute("CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, arrived REAL, data BLOB)")
    one_at_a_time = threading.Lock()  # A plain function runs on a thread, one per shard.

    def store(batch: Batch) -> None:
        rows = [(record.id, record.arrival_time_s, record.data) for record in batch]
        with one_at_a_time, index:  # One transaction per batch; the handler returns after its commit.
            index.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", rows)

    summary = await backfill(
        f"index-{stream}-{start:.0f}-{until:.0f}",  # The same bounds are the same run.
        store,
        batch=True,
        streams=stream,
        start=start,
        until=until,
        pace=Pace(records_per_s=float(os.environ["PACE"])) if "PACE" in os.environ else None,
    )
    (count,) = index.execute("SELECT count(*) FROM records").fetchone()
    index.close()
    print(f"{summary.records} records handled here in {summary.seconds:.0f} s, {count} in the index")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], seconds(sys.argv[2]), seconds(sys.argv[3]), sys.argv[4]))
