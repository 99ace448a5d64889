"""The start-up decision of kcl.md 4.5, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from shardline.common.errors import InvalidInput, ProtocolViolation
from shardline.common.ports.lease_store import Absent
from shardline.consumer.fleet.startup import (
    ClientVersion,
    Evidence,
    Fleet,
    Place,
    TableStatus,
    claim_version,
    decide,
)

LEASES, COORDINATOR, METRICS = Place("app", "leaseKey"), Place("app-C", "key"), Place("app-W", "wid")


def evidence(**found: Any) -> Evidence:
    """Return what stands on an empty account, with changes."""
    base: dict[str, Any] = {
        "lease_table": "app",
        "lease_rows": False,
        "untyped_rows": False,
        "version_in_lease_table": None,
        "coordinator_table": "app-C",
        "coordinator_exists": False,
        "metrics_table": "app-W",
    }
    return Evidence(**{**base, **found})


def version(of: ClientVersion) -> dict[str, Any]:
    """Return a stored client-version item."""
    return {"leaseKey": "Migration3.0", "cv": of.value, "mb": "w", "mts": 1}


def test_a_new_application_is_a_single_table_fleet() -> None:
    """Nothing there: everything lives in the lease table and the version item is to be created."""
    plan = decide(evidence(), Fleet.AUTO)
    assert (plan.version, plan.single_table, plan.writes_version) == (ClientVersion.V3X, True, True)
    assert (plan.lock, plan.metrics, plan.metrics_read, plan.coordinator) == (LEASES, LEASES, (LEASES,), LEASES)


def test_rows_that_may_be_a_live_2x_fleet_stop_auto() -> None:
    """Leases without entityType and without migration state: auto refuses and names both choices."""
    with pytest.raises(InvalidInput, match=r"kcl2 .* or kcl3") as refused:
        decide(evidence(lease_rows=True, untyped_rows=True), Fleet.AUTO)
    assert refused.value.field == "fleet"


def test_the_operator_decides_for_2x() -> None:
    """kcl2 runs the 2.x taker and writes no item but leases."""
    plan = decide(evidence(lease_rows=True, untyped_rows=True), Fleet.KCL2)
    assert (plan.version, plan.writes_version) == (ClientVersion.INIT, False)
    assert plan.version.takes_leases
    assert not plan.version.reports_metrics
    assert not plan.version.may_change


def test_the_operator_decides_for_3x() -> None:
    """kcl3 takes the untyped rows as left behind."""
    plan = decide(evidence(lease_rows=True, untyped_rows=True), Fleet.KCL3)
    assert (plan.version, plan.writes_version, plan.single_table) == (ClientVersion.V3X, True, True)


def test_untyped_rows_under_a_3x_version_are_old_not_foreign() -> None:
    """A fleet that came from 3.4 keeps leases without entityType; its version item tells."""
    found = evidence(lease_rows=True, untyped_rows=True, version_in_lease_table=version(ClientVersion.V3X))
    plan = decide(found, Fleet.AUTO)
    assert (plan.version, plan.writes_version) == (ClientVersion.V3X, False)


@pytest.mark.parametrize(
    ("migration", "status"),
    [
        (None, TableStatus.INIT),
        (TableStatus.INIT, TableStatus.INIT),
        (TableStatus.DEPLOYED, TableStatus.DEPLOYED),
        (TableStatus.PENDING, TableStatus.DEPLOYED),
    ],
)
def test_a_coordinator_table_means_three_tables(migration: TableStatus | None, status: TableStatus) -> None:
    """Unless the move is complete, lock, metrics and version stand in the legacy tables; both are read."""
    item = None if migration is None else {"key": "TableMigration3.5", "tm": migration.value}
    found = evidence(
        lease_rows=True,
        untyped_rows=True,
        coordinator_exists=True,
        table_migration=item,
        version_in_coordinator=version(ClientVersion.V3X),
    )
    plan = decide(found, Fleet.AUTO)
    assert (plan.status, plan.single_table, plan.version) == (status, False, ClientVersion.V3X)
    assert (plan.lock, plan.metrics, plan.metrics_read) == (COORDINATOR, METRICS, (METRICS, LEASES))


def test_a_complete_move_means_one_table() -> None:
    """COMPLETE in the legacy table sends everything to the lease table."""
    found = evidence(
        coordinator_exists=True,
        table_migration={"tm": TableStatus.COMPLETE.value},
        version_in_lease_table=version(ClientVersion.V3X),
        version_in_coordinator=version(ClientVersion.V2X),
    )
    plan = decide(found, Fleet.AUTO)
    assert (plan.single_table, plan.version, plan.lock) == (True, ClientVersion.V3X, LEASES)


@pytest.mark.parametrize("stored", list(ClientVersion))
@pytest.mark.parametrize("fleet", list(Fleet))
def test_a_stored_version_is_obeyed(stored: ClientVersion, fleet: Fleet) -> None:
    """Whatever the setting says, what stands in the table is what runs, and it is not overwritten."""
    plan = decide(evidence(version_in_lease_table=version(stored)), fleet)
    assert (plan.version, plan.writes_version) == (stored, False)


@pytest.mark.parametrize("item", [{"cv": "CLIENT_VERSION_9X"}, {"cv": 3}, {}])
def test_an_unknown_version_stops_the_start(item: dict[str, Any]) -> None:
    """A version that nobody defined is never guessed at."""
    with pytest.raises(ProtocolViolation, match=r"Migration3\.0"):
        decide(evidence(version_in_lease_table=item), Fleet.AUTO)


def test_an_unknown_table_status_stops_the_start() -> None:
    """Nor is an unknown table status."""
    with pytest.raises(ProtocolViolation, match=r"TableMigration3\.5"):
        decide(evidence(coordinator_exists=True, table_migration={"tm": "?"}), Fleet.AUTO)


def test_the_version_item_is_the_kcls() -> None:
    """A new application's item has the attributes and types of Appendix A, put only if absent."""
    write = claim_version(LEASES, "worker-a", 1784000000123)
    assert write.condition == (Absent("leaseKey"),)
    assert write.item == {
        "leaseKey": "Migration3.0",
        "entityType": "CLIENT_VERSION_MIGRATION",
        "cv": "CLIENT_VERSION_3X",
        "mb": "worker-a",
        "mts": 1784000000123,
        "h": [{"cv": "CLIENT_VERSION_INIT", "mb": "worker-a", "mts": 1784000000123}],
    }
