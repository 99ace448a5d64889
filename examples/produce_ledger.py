"""Write a ledger in order, and keep what could not be written: `python examples/produce_ledger.py STREAM [ENTRIES]`.

By key: entries of one account are never reordered, whatever fails. When one is not delivered, the account stops until
it is released, so that the entry can be put aside first.
"""

from __future__ import annotations

import asyncio
import json
import sys

from shardline.producer import Delivered, Ordering, Producer, StreamSettings


async def main(stream: str, entries: int) -> None:
    """Put `entries` entries of ten accounts."""
    rows = [{"account": f"account-{number % 10}", "entry": str(number)} for number in range(entries)]
    async with Producer(stream, StreamSettings(ordering=Ordering.BY_KEY, linger_s=0.02)) as producer:
        written = 0
        outcomes = producer.put_many(rows, key=lambda row: row["account"])
        position = 0
        async for outcome in outcomes:
            row = rows[position]
            position += 1
            if isinstance(outcome, Delivered):
                written += 1
            else:
                print("kept aside:", json.dumps(row), outcome.reason)
                producer.release(row["account"])
    print(f"{written} of {entries} entries are in the stream")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000))
