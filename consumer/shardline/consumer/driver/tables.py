"""The tables themselves: made where missing, checked where they stand; the lease table read whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

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
from shardline.consumer.leases.reader import RowReader
from shardline.consumer.leases.row import LEASE_KEY, Quarantined, read_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.common.ports.lease_store import Item, LeaseStore, TableDescription
    from shardline.consumer.config import TableConfig
    from shardline.consumer.driver.context import Caller, Context
    from shardline.consumer.leases.row import LeaseRow, NewLease

__all__ = ["Maker", "create_lease", "ensure_table", "lease_rows", "read_lease", "scan_items"]

_HEALTHY = ("ACTIVE", "UPDATING")
_POLL_S = 1.0
_CONTROL_S = 10.0
_SCAN_PAGES_MAX = 100_000


async def ensure_table(context: Context) -> bool:
    """Make the lease table if there is none; see `Maker.ensure`."""
    return await Maker(context, context.store, context.config.table, context.table, LEASE_KEY).ensure()


class Maker(NamedTuple):
    """Makes one table as `settings` say (whose name is not used); `key_attribute` is its one key."""

    caller: Caller
    store: LeaseStore
    settings: TableConfig
    table: str
    key_attribute: str

    async def ensure(self) -> bool:
        """Make the table if there is none, wait until it can be used, and return whether it is new.

        Raises `InvalidInput` where a table of that name has another key, `ShardlineError` when it does not become
        usable in time, and what the service says (`Denied`, `LimitExceeded`).
        """
        described = await self._describe()
        created = described is None or described.status == "CREATING"  # Or who asked for it died before what follows.
        if described is None:
            await self._create()
        monotonic = self.caller.runtime.monotonic
        deadline = monotonic() + self.settings.create_timeout_s
        while described is None or described.status not in _HEALTHY:
            if monotonic() >= deadline:
                raise ShardlineError(f"table {self.table} did not become ACTIVE in time")
            await asyncio.sleep(_POLL_S if created else _POLL_S / 2)
            described = await self._describe()
            if described is None:
                await self._create()  # Still none: the request was lost.
        if described.key_attributes != (self.key_attribute,):
            keys = ", ".join(described.key_attributes)
            raise InvalidInput("table", f"one whose only key is {self.key_attribute}; {self.table} is another", keys)
        if created and self.settings.point_in_time_recovery:
            await self._enable_recovery()
        return created

    async def _describe(self) -> TableDescription | None:
        return await attempt(
            self.caller,
            "table.describe",
            lambda: self.store.describe_table(self.table, timeout_s=_CONTROL_S),
            within_s=self.settings.create_timeout_s,
        )

    async def _create(self) -> None:
        settings = self.settings
        spec = TableSpec(
            name=self.table,
            key_attribute=self.key_attribute,
            read_capacity=settings.read_capacity,
            write_capacity=settings.write_capacity,
            deletion_protection=settings.deletion_protection,
            tags=settings.tags,
        )
        try:
            await self.store.create_table(spec, timeout_s=_CONTROL_S)
        except (AlreadyExists, InUse, Ambiguous, Throttled, Unreachable) as error:
            self.caller.report(
                "table.create", error
            )  # Another was quicker, or it is to be asked again: describing tells.

    async def _enable_recovery(self) -> None:
        """Turn point-in-time recovery on; a store that cannot (an emulator) is reported, not fatal."""
        try:
            await self.store.enable_point_in_time_recovery(self.table, timeout_s=_CONTROL_S)
        except ServiceError as error:
            self.caller.report("table.enable_point_in_time_recovery", error)


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


def lease_rows(context: Context, items: Sequence[Item], reader: RowReader | None = None) -> list[LeaseRow]:
    """Return the lease rows among the items, sorted by key; rows that cannot be understood are reported.

    `reader` is for whoever scans again and again.
    """
    rows: list[LeaseRow] = []
    for row in (reader or RowReader()).read(items):
        if isinstance(row, Quarantined):
            context.events.emit(RowQuarantined(lease=row.key, reason=row.reason))
        else:
            rows.append(row)
    return sorted(rows, key=_key)


def _key(row: LeaseRow) -> str:
    return row.key


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
