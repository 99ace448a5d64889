"""Write a clickstream: `python examples/clickstream_produce.py STREAM [EVENTS]`.

Events of one user share a partition key, so they stay in order. Aggregation, batching and retries are the producer's
business; leaving the `async with` waits until every event is in the stream, and raises with those that are not.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from datetime import UTC, datetime

from shardline.producer import Producer


def event(rng: random.Random) -> dict[str, str]:
    """Return one page event of a random user."""
    return {
        "user_id": f"user-{rng.randint(1, 1000)}",
        "page": rng.choice(["/home", "/products", "/cart", "/checkout", "/profile"]),
        "action": rng.choice(["view", "click", "scroll", "submit"]),
        "session_id": f"sess-{rng.randint(1, 100)}",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "device": rng.choice(["mobile", "desktop", "tablet"]),
        "country": rng.choice(["KR", "US", "JP", "DE"]),
    }


async def main(stream: str, events: int) -> None:
    """Put `events` events."""
    rng = random.Random()
    async with Producer(stream) as producer:
        for _ in range(events):
            one = event(rng)
            await producer.put(json.dumps(one).encode(), one["user_id"])
    print(f"{events} events are in the stream")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000))
