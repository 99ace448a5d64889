"""Looks, once at start, whether workers of another kind share the fleet, and says what they will not honour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common.errors import ServiceError
from shardline.consumer.driver.tables import scan_items
from shardline.consumer.fleet.worker_metrics import ENTITY_TYPE, parse_row
from shardline.consumer.mixed import other_members, unheeded
from shardline.consumer.stream_events import MixedFleet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.common.ports.lease_store import Item
    from shardline.consumer.driver.context import Context
    from shardline.consumer.driver.tracked import Tracked
    from shardline.consumer.fleet.startup import Place, Plan
    from shardline.consumer.fleet.worker_metrics import MetricsRow
    from shardline.consumer.leases.row import LeaseRow

__all__ = ["look_around", "metrics_rows"]

_NAMED_MAX = 20


async def look_around(
    context: Context, tracked: Tracked, plan: Plan, items: Sequence[Item], rows: Sequence[LeaseRow]
) -> None:
    """Say so if others share the fleet; `items` is the lease table, the metrics table of a legacy layout is read too.

    A metrics table that cannot be read is reported; its workers are then known by their leases only.
    """
    metrics = metrics_rows(items, plan.metrics_read[-1])
    for place in plan.metrics_read[:-1]:
        try:
            metrics += metrics_rows(await scan_items(context, table=place.table), place, typed=False)
        except ServiceError as error:
            context.report("fleet.metrics", error)
    others = other_members(
        rows,
        metrics,
        context.me,
        context.runtime.wall(),
        report_s=context.config.leases.report_s,
        reports=plan.version.reports_metrics,
    )
    if others:
        starts = [one.start for one in context.streams]
        features = unheeded(tracked.handlers, starts, context.config)
        context.events.emit(MixedFleet(others=others[:_NAMED_MAX], unheeded=features))


def metrics_rows(items: Sequence[Item], place: Place, *, typed: bool = True) -> list[MetricsRow]:
    """Return the legal metrics rows among the items; in the lease table only what says that it is one."""
    found = [item for item in items if not typed or item.get("entityType") == ENTITY_TYPE]
    rows = (parse_row(item, place.key_attribute) for item in found)
    return [row for row in rows if row is not None]
