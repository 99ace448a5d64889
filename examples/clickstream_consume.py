"""Count page views of a clickstream: `python examples/clickstream_consume.py STREAM`; Ctrl-C or SIGTERM stops it.

Start it several times: the processes share the shards through a lease table (named after the application), take over
from one that dies, and follow splits and merges. A record counts as processed when its handler returns; if it raises,
it gets the same record again.
"""

from __future__ import annotations

import json
import sys
from collections import Counter

from shardline.consumer import Record, Worker

views: Counter[str] = Counter()


async def count(record: Record) -> None:
    """Count one event, and raise an alarm for each order that was submitted."""
    event = json.loads(record.data)
    if event["action"] == "view":
        views[event["page"]] += 1
    elif event["action"] == "submit" and event["page"] == "/checkout":
        print(f"submit at /checkout in {record.shard_id} at {record.position}", flush=True)


def main(stream: str) -> None:
    """Consume until a signal comes, then print the counts."""
    worker = Worker("clickstream-views", streams=stream, start="TRIM_HORIZON")
    worker.add_handler(count)
    worker.run()
    for page, number in sorted(views.items()):
        print(f"{number:>8} {page}")


if __name__ == "__main__":
    main(sys.argv[1])
