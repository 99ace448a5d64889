"""`shardline leases`: what an application's lease table says, read and never written; for who is on call.

AWS is where every AWS tool finds it (environment, profile, role).
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Final

from shardline.cli.lease_report import report
from shardline.common.connection import Connection
from shardline.common.errors import InvalidInput, ShardlineError
from shardline.consumer.config import TableConfig, WorkerConfig, check_application
from shardline.consumer.leases.row import LEASE_KEY

if TYPE_CHECKING:
    from shardline.cli.lease_report import LeaseReport
    from shardline.common.ports.lease_store import Item, LeaseStore

__all__ = ["run"]

_CALL_S: Final = 10.0
_PAGES_MAX: Final = 100_000


def run(application: str, *, table: str | None, wait_s: int) -> int:
    """Print the leases and the fleet, one JSON object per line; returns 1 where nobody reads a shard that is due."""
    config = WorkerConfig(table=TableConfig(name=table))
    check_application(application, config)
    found = asyncio.run(_look_twice(table or application, wait_s))
    for line in (*found.leases, found.fleet):
        print(json.dumps(line))
    return 1 if found.troubled else 0


async def _look_twice(table: str, wait_s: int) -> LeaseReport:
    async with Connection().lease_store() as store:
        described = await store.describe_table(table, timeout_s=_CALL_S)
        if described is None:
            raise InvalidInput("application", f"one that has a lease table: there is no table {table} here")
        if described.key_attributes != (LEASE_KEY,):
            raise InvalidInput("application", f"one with a lease table: {table} has another key than {LEASE_KEY}")
        before = await _items(store, table)
        await asyncio.sleep(wait_s)
        after = await _items(store, table) if wait_s else before
        return report(before, after, time.time(), judged=wait_s > 0)


async def _items(store: LeaseStore, table: str) -> list[Item]:
    items: list[Item] = []
    start = None
    for _ in range(_PAGES_MAX):
        page = await store.scan_page(table, start=start, consistent=True, timeout_s=_CALL_S)
        items.extend(page.items)
        start = page.next_start
        if start is None:
            return items
    raise ShardlineError(f"table {table} has more than {_PAGES_MAX} pages")
