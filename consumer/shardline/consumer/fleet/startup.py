"""The start-up decision (`kcl.md` 4.5): which tables this fleet lives in, and which algorithms it runs.

The driver gathers `Evidence` (descriptions and consistent reads), `decide` answers with a `Plan` or refuses. Writing
a non-lease item into the lease table of a live 2.x fleet breaks it, and creating a coordinator table beside a
single-table fleet gives it two leaders; so nothing here ever asks for a legacy table, and doubt is an error that
names the choices.

Invariants: a client version found in the table is never overwritten by another one (3X_WITH_ROLLBACK stays); in
CLIENT_VERSION_INIT no non-lease item is written at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from shardline.common.errors import InvalidInput, ProtocolViolation
from shardline.common.ports.lease_store import Absent, Put

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Item, Value

__all__ = [
    "CLIENT_VERSION_KEY",
    "TABLE_MIGRATION_KEY",
    "ClientVersion",
    "Evidence",
    "Fleet",
    "Place",
    "Plan",
    "TableStatus",
    "claim_version",
    "decide",
    "parse_client_version",
    "parse_table_status",
]

CLIENT_VERSION_KEY = "Migration3.0"
TABLE_MIGRATION_KEY = "TableMigration3.5"
LEASE_KEY = "leaseKey"


class Fleet(StrEnum):
    """The operator's word on what else may be running on the lease table."""

    AUTO = "auto"
    KCL2 = "kcl2"
    KCL3 = "kcl3"


class ClientVersion(StrEnum):
    """The client-version states (`kcl.md` 4.3)."""

    INIT = "CLIENT_VERSION_INIT"
    V2X = "CLIENT_VERSION_2X"
    UPGRADE_FROM_2X = "CLIENT_VERSION_UPGRADE_FROM_2X"
    V3X_WITH_ROLLBACK = "CLIENT_VERSION_3X_WITH_ROLLBACK"
    V3X = "CLIENT_VERSION_3X"

    @property
    def takes_leases(self) -> bool:
        """Say whether workers take leases themselves (the 2.x taker) instead of being assigned them."""
        return self in (ClientVersion.INIT, ClientVersion.V2X, ClientVersion.UPGRADE_FROM_2X)

    @property
    def reports_metrics(self) -> bool:
        """Say whether workers write worker-metrics items."""
        return self not in (ClientVersion.INIT, ClientVersion.V2X)

    @property
    def may_change(self) -> bool:
        """Say whether the stored version must be polled."""
        return self not in (ClientVersion.INIT, ClientVersion.V3X)


class TableStatus(StrEnum):
    """The table-migration states (`kcl.md` 4.4)."""

    INIT = "TABLE_MIGRATION_STATUS_INIT"
    DEPLOYED = "TABLE_MIGRATION_STATUS_DEPLOYED"
    PENDING = "TABLE_MIGRATION_STATUS_PENDING"
    COMPLETE = "TABLE_MIGRATION_STATUS_COMPLETE"


class Place(NamedTuple):
    """A table and the name of its key attribute."""

    table: str
    key_attribute: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the driver found, by consistent reads; items are None where they do not exist.

    `lease_rows` says whether the lease table holds any lease, `untyped_rows` whether some of them lack `entityType`.
    """

    lease_table: str
    lease_rows: bool
    untyped_rows: bool
    version_in_lease_table: Item | None
    coordinator_table: str
    coordinator_exists: bool
    version_in_coordinator: Item | None = None
    table_migration: Item | None = None
    metrics_table: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where everything stands and what runs; `writes_version` asks for the client-version item to be created."""

    version: ClientVersion
    status: TableStatus
    lock: Place
    metrics: Place
    metrics_read: tuple[Place, ...]
    coordinator: Place
    writes_version: bool

    @property
    def single_table(self) -> bool:
        """Say whether everything lives in the lease table."""
        return self.status is TableStatus.COMPLETE


def decide(evidence: Evidence, fleet: Fleet) -> Plan:
    """Return the plan; raise `InvalidInput` where only the operator can tell a 2.x fleet from none."""
    status = TableStatus.COMPLETE
    if evidence.coordinator_exists:
        status = _effective(parse_table_status(evidence.table_migration))
    stored = _stored_version(evidence, status)
    if stored is None and status is TableStatus.COMPLETE and evidence.untyped_rows and fleet is Fleet.AUTO:
        raise InvalidInput(
            "fleet",
            "kcl2 (run beside 2.x workers: lease rows only) or kcl3 (no 2.x worker is alive): "
            f"the leases of table {evidence.lease_table} carry no entityType and no migration state, "
            "so they may belong to a live 2.x fleet, which any other item would break",
            "auto",
        )
    version = stored or (ClientVersion.INIT if fleet is Fleet.KCL2 else ClientVersion.V3X)
    leases = Place(evidence.lease_table, LEASE_KEY)
    legacy = status is not TableStatus.COMPLETE
    coordinator = Place(evidence.coordinator_table, "key") if legacy else leases
    metrics = Place(evidence.metrics_table, "wid") if legacy else leases
    return Plan(
        version=version,
        status=status,
        lock=coordinator,
        metrics=metrics,
        metrics_read=(metrics, leases) if legacy else (leases,),
        coordinator=coordinator,
        writes_version=stored is None and version is ClientVersion.V3X,
    )


def claim_version(place: Place, worker_id: str, wall_ms: int) -> Put:
    """Return the write that creates the client-version item of a new 3.x application, if nobody else was quicker."""
    item: dict[str, Value] = {
        place.key_attribute: CLIENT_VERSION_KEY,
        "entityType": "CLIENT_VERSION_MIGRATION",
        "cv": ClientVersion.V3X.value,
        "mb": worker_id,
        "mts": wall_ms,
        "h": [{"cv": ClientVersion.INIT.value, "mb": worker_id, "mts": wall_ms}],
    }
    return Put(place.table, item, (Absent(place.key_attribute),))


def parse_client_version(item: Item | None) -> ClientVersion | None:
    """Return the stored client version, None without an item; raise `ProtocolViolation` for one we do not know."""
    if item is None:
        return None
    stored = item.get("cv")
    if not isinstance(stored, str) or stored not in ClientVersion.__members__.values():
        raise ProtocolViolation(f"item {CLIENT_VERSION_KEY} holds no client version that shardline knows")
    return ClientVersion(stored)


def parse_table_status(item: Item | None) -> TableStatus | None:
    """Return the stored table-migration status, None without an item; raise `ProtocolViolation` for an unknown one."""
    if item is None:
        return None
    stored = item.get("tm")
    if not isinstance(stored, str) or stored not in TableStatus.__members__.values():
        raise ProtocolViolation(f"item {TABLE_MIGRATION_KEY} holds no status that shardline knows")
    return TableStatus(stored)


def _effective(stored: TableStatus | None) -> TableStatus:
    """Return the local status of a worker that does not migrate tables itself (`kcl.md` 4.4, flag false)."""
    if stored is TableStatus.COMPLETE:
        return stored
    return TableStatus.INIT if stored in (None, TableStatus.INIT) else TableStatus.DEPLOYED


def _stored_version(evidence: Evidence, status: TableStatus) -> ClientVersion | None:
    """Read the version where this status keeps it: legacy first while not complete, the lease table after."""
    in_leases = parse_client_version(evidence.version_in_lease_table)
    if status is TableStatus.COMPLETE:
        return in_leases
    return parse_client_version(evidence.version_in_coordinator) or in_leases
