"""The demo's endpoint in a process of its own: Kinesis, DynamoDB and CloudWatch from memory, on a free loopback port.

Run by `shardline demo` as ``python -m``; leaves when its standard input ends.
"""

from __future__ import annotations

import asyncio

from shardline.cli.demo.child import Parent
from shardline.cli.demo.messages import Ready
from shardline.local import LocalEndpoint, tune_collector

__all__: list[str] = []


async def _serve() -> None:
    parent = Parent()
    tune_collector()
    async with LocalEndpoint() as endpoint:
        parent.say(Ready(parent.now(), endpoint.url))
        await parent.stop()


if __name__ == "__main__":
    asyncio.run(_serve())
