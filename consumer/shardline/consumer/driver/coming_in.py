"""A worker's first steps, in their order: its streams, its table, what stands there, the fleet, the first leases.

Nothing is written before the streams are known, nothing but the table itself before its rows were judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.consumer.driver.joining import join
from shardline.consumer.driver.mixing import look_around
from shardline.consumer.driver.tables import ensure_table, lease_rows

if TYPE_CHECKING:
    from shardline.consumer.driver.context import Context
    from shardline.consumer.driver.sync import ShardSync
    from shardline.consumer.driver.tracked import Tracked
    from shardline.consumer.driver.tracking import Tracking
    from shardline.consumer.fleet.startup import Plan

__all__ = ["come_in"]


async def come_in(context: Context, tracked: Tracked, sync: ShardSync, tracking: Tracking) -> Plan:
    """Return which tables and algorithms the fleet uses, the streams having their leases; raises as a start does."""
    await tracking.open()
    await ensure_table(context)
    items = await sync.items()
    rows = lease_rows(context, items)
    tracking.admit(rows, sync)
    plan = await join(context, rows)
    await tracking.initialize(rows, sync)
    await look_around(context, tracked, plan, items, rows)
    return plan
