"""`LeaseStore`: tables at the level of items, condition values and update values.

The cores build conditions and updates as values; adapters only carry them out. So the simulator exercises the very
conditions that DynamoDB will judge. Attribute values map to DynamoDB types by Python type, both ways::

    str S | int, float N (canonical text) | bytes B | frozenset[str] SS | list L | dict M | bool BOOL | None NULL

Other types in a stored item (NS, BS) come back as `Foreign` and are never written. A failed condition is a value
(`WriteResult.applied` False), not an exception. All tables used have one hash key and no range key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

__all__ = [
    "ALWAYS",
    "Absent",
    "Condition",
    "Delete",
    "Equals",
    "Exists",
    "Foreign",
    "IndexDescription",
    "IndexSpec",
    "Item",
    "Key",
    "LeaseStore",
    "Page",
    "Put",
    "TableDescription",
    "TableSpec",
    "Update",
    "UpdateItem",
    "Value",
    "Write",
    "WriteResult",
]


class Foreign(NamedTuple):
    """A stored value of a type that shardline does not use, by DynamoDB type name; kept out of every write."""

    type_name: str


Value: TypeAlias = (
    "str | int | float | bytes | bool | frozenset[str] | Sequence[Value] | Mapping[str, Value] | Foreign | None"
)
Item: TypeAlias = "Mapping[str, Value]"


class Key(NamedTuple):
    """An item's key: the hash-key attribute's name and its value."""

    attribute: str
    value: str


class Equals(NamedTuple):
    """The attribute exists and equals the value."""

    attribute: str
    value: str | int


class Absent(NamedTuple):
    """The attribute does not exist."""

    attribute: str


class Exists(NamedTuple):
    """The attribute exists."""

    attribute: str


Condition: TypeAlias = "tuple[Equals | Absent | Exists, ...]"
"""All clauses hold (ANDed); the empty tuple always holds."""

ALWAYS: Condition = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What an update does to single attributes; everything not named is kept (unknown attributes survive)."""

    set: Mapping[str, Value] = field(default_factory=dict[str, "Value"])
    remove: frozenset[str] = frozenset()
    add: Mapping[str, int] = field(default_factory=dict[str, int])


class WriteResult(NamedTuple):
    """Outcome of a conditional write.

    `applied` says whether the condition held; `item` is the whole item after an applied put or update (None after a
    delete), and the item as it stands after a failed condition (None where there is none).
    """

    applied: bool
    item: Item | None


class Page(NamedTuple):
    """One page of a scan or query; `next_start` continues it, None ends it."""

    items: Sequence[Item]
    next_start: Mapping[str, Value] | None


class IndexSpec(NamedTuple):
    """A global secondary index to create: string hash and range key, KEYS_ONLY projection."""

    name: str
    hash_attribute: str
    range_attribute: str


class IndexDescription(NamedTuple):
    """An index as it stands; `status` is CREATING, UPDATING, DELETING or ACTIVE."""

    name: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A table to create with one string hash key; on-demand unless both capacities are given."""

    name: str
    key_attribute: str
    read_capacity: int | None = None
    write_capacity: int | None = None
    deletion_protection: bool = False
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDescription:
    """A table as it stands; `status` is CREATING, UPDATING, DELETING or ACTIVE, `key_attributes` hash key first."""

    name: str
    arn: str
    status: str
    key_attributes: tuple[str, ...]
    indexes: tuple[IndexDescription, ...] = ()
    read_capacity: int | None = None
    write_capacity: int | None = None
    deletion_protection: bool = False


class Put(NamedTuple):
    """A whole item to write."""

    table: str
    item: Item
    condition: Condition = ALWAYS


class UpdateItem(NamedTuple):
    """An update to make."""

    table: str
    key: Key
    update: Update
    condition: Condition = ALWAYS


class Delete(NamedTuple):
    """An item to delete."""

    table: str
    key: Key
    condition: Condition = ALWAYS


Write: TypeAlias = "Put | UpdateItem | Delete"


class LeaseStore(Protocol):
    """Items of DynamoDB tables; see the module's and the package's docstrings for values and errors.

    `NotFound` is raised where the table (or index) does not exist, `Rejected` where its key schema is another one.
    """

    async def get(self, table: str, key: Key, *, consistent: bool, timeout_s: float) -> Item | None:
        """Return the item or None."""
        ...

    async def write(self, write: Write, *, timeout_s: float) -> WriteResult:
        """Carry out one conditional write."""
        ...

    async def transact(self, writes: Sequence[Write], *, timeout_s: float) -> bool:
        """Carry out up to 100 writes together or none; return False when a condition failed."""
        ...

    async def scan_page(
        self,
        table: str,
        *,
        start: Mapping[str, Value] | None = None,
        segment: int = 0,
        total_segments: int = 1,
        consistent: bool = False,
        timeout_s: float,
    ) -> Page:
        """Return one page of a (parallel) scan, 1 MiB at most; eventually consistent unless asked otherwise."""
        ...

    async def query_index(
        self,
        table: str,
        index: IndexSpec,
        hash_value: str,
        *,
        start: Mapping[str, Value] | None = None,
        timeout_s: float,
    ) -> Page:
        """Return one page of the keys of `index` under `hash_value`; always eventually consistent."""
        ...

    async def describe_table(self, table: str, *, timeout_s: float) -> TableDescription | None:
        """Return the table as it stands, or None where there is none."""
        ...

    async def create_table(self, spec: TableSpec, *, timeout_s: float) -> None:
        """Ask for a table; raises `AlreadyExists` or `InUse` where it is there or on its way, `LimitExceeded`."""
        ...

    async def create_index(self, table: str, index: IndexSpec, *, timeout_s: float) -> None:
        """Ask for a global secondary index; raises `AlreadyExists` if it is there, `InUse` while the table changes."""
        ...

    async def enable_point_in_time_recovery(self, table: str, *, timeout_s: float) -> None:
        """Turn on continuous back-ups with point-in-time recovery."""
        ...

    async def delete_table(self, table: str, *, timeout_s: float) -> None:
        """Delete a table (only ever one that this process made: demo and tests)."""
        ...
