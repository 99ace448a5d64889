"""Joining a fleet: what the tables say, the start-up decision, and the index that a 3.x worker finds its leases by.

A worker that loses a race for the migration item or the index reads again and goes on (`kcl.md` 14, correction 1: Java
workers that lose it die or turn into zombies).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from shardline.common.errors import AlreadyExists, Ambiguous, InUse, ShardlineError, Throttled, Unreachable
from shardline.common.ports.lease_store import IndexSpec, Key
from shardline.consumer.driver.context import attempt
from shardline.consumer.fleet.startup import (
    CLIENT_VERSION_KEY,
    TABLE_MIGRATION_KEY,
    ClientVersion,
    Evidence,
    Fleet,
    Place,
    Plan,
    claim_version,
    decide,
    parse_client_version,
)
from shardline.consumer.leases.row import LEASE_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.common.ports.lease_store import Item
    from shardline.consumer.driver.context import Context
    from shardline.consumer.leases.row import LeaseRow

__all__ = ["OWNER_INDEX", "ensure_index", "join", "rejoin"]

OWNER_INDEX: Final = IndexSpec("LeaseOwnerToLeaseKeyIndex", "leaseOwner", LEASE_KEY)
_CONTROL_S: Final = 10.0
_WITHIN_S: Final = 60.0
_INDEX_POLL_S: Final = 1.0
_INDEX_WAIT_S: Final = 3600.0  # As the KCL since 3.5.1.
_LEGACY_KEY: Final = "key"


async def join(context: Context, rows: Sequence[LeaseRow]) -> Plan:
    """Return which tables and algorithms this fleet uses, having claimed the client version of a new one.

    `rows` are the lease table's, read consistently. Raises `InvalidInput` where only the operator can tell a live 2.x
    fleet from none; then nothing was written.
    """
    plan = decide(await _evidence(context, rows), context.config.leases.fleet)
    if not plan.writes_version:
        return plan
    claim = claim_version(plan.coordinator, context.me, int(context.runtime.wall() * 1000))
    result = await attempt(
        context, "fleet.claim", lambda: context.store.write(claim, timeout_s=_CONTROL_S), within_s=_WITHIN_S
    )
    if result.applied:
        return plan
    return replace(plan, version=await _read_version(context, plan.coordinator) or plan.version)


async def rejoin(context: Context, plan: Plan) -> Plan:
    """Return the plan as the tables say it now: version rolled back or forward, tables migrated by a Java leader."""
    found = decide(await _evidence(context, ()), Fleet.KCL2 if plan.version is ClientVersion.INIT else Fleet.KCL3)
    return replace(found, writes_version=False)


async def _read_version(context: Context, place: Place) -> ClientVersion | None:
    """Return the fleet's client version as stored, None where there is none."""
    return parse_client_version(await _get(context, place.table, place.key_attribute, CLIENT_VERSION_KEY))


async def _get(context: Context, table: str, key_attribute: str, key: str) -> Item | None:
    return await attempt(
        context,
        "fleet.read",
        lambda: context.store.get(table, Key(key_attribute, key), consistent=True, timeout_s=_CONTROL_S),
        within_s=_WITHIN_S,
    )


async def _evidence(context: Context, rows: Sequence[LeaseRow]) -> Evidence:
    leases = context.config.leases
    coordinator = leases.coordinator_table or f"{context.application}-CoordinatorState"
    described = await attempt(
        context,
        "fleet.describe",
        lambda: context.store.describe_table(coordinator, timeout_s=_CONTROL_S),
        within_s=_WITHIN_S,
    )
    there = described is not None
    return Evidence(
        lease_table=context.table,
        lease_rows=bool(rows),
        untyped_rows=any(row.entity_type is None for row in rows),
        version_in_lease_table=await _get(context, context.table, LEASE_KEY, CLIENT_VERSION_KEY),
        coordinator_table=coordinator,
        coordinator_exists=there,
        version_in_coordinator=await _get(context, coordinator, _LEGACY_KEY, CLIENT_VERSION_KEY) if there else None,
        table_migration=await _get(context, coordinator, _LEGACY_KEY, TABLE_MIGRATION_KEY) if there else None,
        metrics_table=leases.metrics_table or f"{context.application}-WorkerMetricStats",
    )


async def ensure_index(context: Context, *, wait: bool) -> None:
    """Create the owner index unless it is there, and wait until it can be queried if asked to.

    Raises `ShardlineError` when it does not become usable in an hour.
    """
    deadline = context.runtime.monotonic() + _INDEX_WAIT_S
    while True:
        described = await attempt(
            context,
            "index.describe",
            lambda: context.store.describe_table(context.table, timeout_s=_CONTROL_S),
            within_s=_WITHIN_S,
        )
        found = [one for one in (described.indexes if described else ()) if one.name == OWNER_INDEX.name]
        if not found:
            await _create_index(context)
        elif not wait or found[0].status == "ACTIVE":
            return
        if context.runtime.monotonic() >= deadline:
            raise ShardlineError(f"index {OWNER_INDEX.name} of table {context.table} did not become ACTIVE in time")
        await asyncio.sleep(_INDEX_POLL_S)


async def _create_index(context: Context) -> None:
    try:
        await context.store.create_index(context.table, OWNER_INDEX, timeout_s=_CONTROL_S)
    except (AlreadyExists, InUse, Ambiguous, Throttled, Unreachable) as error:
        context.report("index.create", error)  # Another was quicker, or it is to be asked again: describing tells.
