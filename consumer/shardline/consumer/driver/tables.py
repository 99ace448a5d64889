"""The lease table itself: made where it is missing, checked where it stands, read whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shardline.common.errors import (
    AlreadyExists,
    Ambiguous,
    InUse,
    InvalidInput,
    ProtocolViolation,
    ServiceError,
    ShardlineError,
    Throttled,
    Unreachable,
)
from shardline.common.ports.lease_store import Key, TableSpec
from shardline.consumer.driver.context import attempt
from shardline.consumer.events import RowQuarantined
from shardline.consumer.leases.row import LEASE_KEY, LeaseRow, Quarantined, read_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.common.ports.lease_store import Item, TableDescription
    from shardline.consumer.driver.context import Context
    from shardline.consumer.leases.row import NewLease

__all__ = ["create_lease", "ensure_table", "lease_rows", "read_lease", "scan_items"]

_HEALTHY = ("ACTIVE", "UPDATING")
_POLL_S = 1.0
_CONTROL_S = 10.0
_SCAN_PAGES_MAX = 100_000


async def ensure_table(context: Context) -> bool:
    """Make the lease table if there is none, wait until it can be used, and return whether this call asked for it.

    Raises `InvalidInput` where a table of that name has another key, `ShardlineError` when it does not become usable in
    time, and what the service says (`Denied`, `LimitExceeded`).
    """
    described = await _describe(context)
    created = described is None
    if described is None:
        await _create(context)
    deadline = context.runtime.monotonic() + context.config.table.create_timeout_s
    while described is None or described.status not in _HEALTHY:
        if context.runtime.monotonic() >= deadline:
            raise ShardlineError(f"table {context.table} did not become ACTIVE in time")
        await asyncio.sleep(_POLL_S if created else _POLL_S / 2)
        described = await _describe(context)
        if described is None:
            await _create(context)  # Still none: the request was lost.
    if described.key_attributes != (LEASE_KEY,):
        raise InvalidInput("table", f"a lease table: its one key is {LEASE_KEY}", ", ".join(described.key_attributes))
    if created and context.config.table.point_in_time_recovery:
        await _enable_recovery(context)
    return created


async def _describe(context: Context) -> TableDescription | None:
    return await attempt(
        context,
        "table.describe",
        lambda: context.store.describe_table(context.table, timeout_s=_CONTROL_S),
        within_s=context.config.table.create_timeout_s,
    )


async def _create(context: Context) -> None:
    settings = context.config.table
    spec = TableSpec(
        name=context.table,
        key_attribute=LEASE_KEY,
        read_capacity=settings.read_capacity,
        write_capacity=settings.write_capacity,
        deletion_protection=settings.deletion_protection,
        tags=settings.tags,
    )
    try:
        await context.store.create_table(spec, timeout_s=_CONTROL_S)
    except (AlreadyExists, InUse, Ambiguous, Throttled, Unreachable) as error:
        context.report("table.create", error)  # Another was quicker, or it is to be asked again: describing tells.


async def _enable_recovery(context: Context) -> None:
    """Turn point-in-time recovery on; a store that cannot (an emulator) is reported, not fatal."""
    try:
        await context.store.enable_point_in_time_recovery(context.table, timeout_s=_CONTROL_S)
    except ServiceError as error:
        context.report("table.enable_point_in_time_recovery", error)


async def scan_items(
    context: Context, *, consistent: bool = False, table: str | None = None, within_s: float = 0.0
) -> list[Item]:
    """Return every item of a table (the lease table unless named), following the pages of one scan.

    A failing page is asked for again for `within_s` seconds; by default not at all, for whoever scans periodically.
    """
    items: list[Item] = []
    start = None
    for _ in range(_SCAN_PAGES_MAX):
        at = start
        page = await attempt(
            context,
            "table.scan",
            lambda at=at: context.store.scan_page(  # type: ignore[misc]  # A default binds the loop's value.
                table or context.table, start=at, consistent=consistent, timeout_s=_CONTROL_S
            ),
            within_s=within_s,
        )
        items.extend(page.items)
        start = page.next_start
        if start is None:
            return items
    raise ShardlineError(f"table {table or context.table} has more than {_SCAN_PAGES_MAX} pages")


def lease_rows(context: Context, items: Sequence[Item]) -> list[LeaseRow]:
    """Return the lease rows among the items, sorted by key; rows that cannot be understood are reported."""
    rows: list[LeaseRow] = []
    for item in items:
        row = read_row(item)
        if isinstance(row, Quarantined):
            context.events.emit(RowQuarantined(lease=row.key, reason=row.reason))
        elif row is not None:
            rows.append(row)
    return sorted(rows, key=lambda row: row.key)


async def read_lease(context: Context, key: str) -> LeaseRow | None:
    """Return a lease's row as it stands, None where there is none; repeats what can be repeated.

    Raises `ProtocolViolation` for a row that cannot be understood: nothing may be concluded from it.
    """
    timeout_s = context.times.timeout_s
    item = await attempt(
        context,
        "lease.read",
        lambda: context.store.get(context.table, Key(LEASE_KEY, key), consistent=True, timeout_s=timeout_s),
        within_s=10 * timeout_s,
    )
    row = None if item is None else read_row(item)
    if isinstance(row, Quarantined):
        raise ProtocolViolation(f"lease row {key} cannot be understood: {row.reason}")
    return row


async def create_lease(context: Context, lease: NewLease) -> bool:
    """Create a lease unless its row exists; True if this call (as far as is known) made it. Repeating it is safe."""
    write = context.writes.create(lease)
    timeout_s = context.times.timeout_s
    result = await attempt(
        context, "lease.create", lambda: context.store.write(write, timeout_s=timeout_s), within_s=10 * timeout_s
    )
    return result.applied
