"""`LeaseTables`: DynamoDB as the `LeaseStore` port sees it, pure and synchronous; every call takes `now`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shardline.common.attributes import item_bytes
from shardline.common.errors import InvalidInput
from shardline.common.limits import DYNAMODB_PAGE_BYTES, DYNAMODB_TRANSACT_WRITES_MAX
from shardline.common.ports.lease_store import Delete, Page, Put, WriteResult
from shardline.local.state.events import ConditionFailed, ItemApplied
from shardline.local.state.refusal import Refusal, in_use, not_found
from shardline.local.tables.table import Table, holds, updated
from shardline.local.tables.values import wrong

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shardline.common.ports.lease_store import IndexSpec, Item, Key, TableDescription, TableSpec, Value, Write
    from shardline.local.state.events import Sink

__all__ = ["LeaseTables", "TableOptions"]

_SEGMENTS_MAX: Final = 1_000_000  # API Scan, TotalSegments.
_HISTORY_SPARE_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """How the tables behave; seconds everywhere.

    The `..._staleness_s` say how old the moment is that an eventually consistent scan, index query or get shows;
    `history_s` bounds them. `page_items_max` makes pages short. Raises `InvalidInput` on construction.
    """

    region: str = "us-east-1"
    account_id: str = "123456789012"
    creating_s: float = 0.0
    index_creating_s: float = 0.0
    deleting_s: float = 0.0
    scan_staleness_s: float = 0.0
    index_staleness_s: float = 0.0
    get_staleness_s: float = 0.0
    history_s: float = 15.0
    page_items_max: int = 1_000_000

    def __post_init__(self) -> None:
        for name in ("scan_staleness_s", "index_staleness_s", "get_staleness_s"):
            if not 0 <= getattr(self, name) <= self.history_s:
                raise InvalidInput(name, f"from 0 to history_s ({self.history_s:g}) seconds")
        if self.page_items_max < 1:
            raise InvalidInput("page_items_max", "1 or more")


class LeaseTables:
    """Tables by name; each call returns a copy or raises `Refusal`, having changed nothing."""

    def __init__(self, options: TableOptions | None = None, sink: Sink | None = None) -> None:
        self.options = options or TableOptions()
        self.sink = sink
        self.tables: dict[str, Table] = {}

    # --- tables ---

    def _find(self, name: str, now: float) -> Table | None:
        table = self.tables.get(name)
        if table is not None and table.gone_s <= now:
            del self.tables[name]
            return None
        return table

    def _usable(self, name: str, now: float) -> Table:
        table = self._find(name, now)
        if table is None or table.status(now) in {"CREATING", "DELETING"}:
            raise not_found("Requested resource not found")
        return table

    def describe_table(self, name: str, now: float) -> TableDescription | None:
        """Return the table as it stands, or None."""
        table = self._find(name, now)
        return None if table is None else table.describe(now)

    def create_table(self, spec: TableSpec, now: float) -> None:
        """Make a table, CREATING for `options.creating_s`; one that is there is an error, by its state."""
        table = self._find(spec.name, now)
        if table is not None:
            if table.status(now) == "ACTIVE":
                raise Refusal("TableAlreadyExistsException", f"Table already exists: {spec.name}")
            raise in_use(f"Table is {table.status(now)}: {spec.name}")
        options = self.options
        arn = f"arn:aws:dynamodb:{options.region}:{options.account_id}:table/{spec.name}"
        self.tables[spec.name] = Table(spec, arn, now + options.creating_s, options.history_s + _HISTORY_SPARE_S)

    def create_index(self, name: str, index: IndexSpec, now: float) -> None:
        """Add a global secondary index, CREATING for `options.index_creating_s`."""
        table = self._find(name, now)
        if table is None:
            raise not_found("Requested resource not found")
        if index.name in table.indexes:
            raise Refusal("TableAlreadyExistsException", f"Index already exists: {index.name}")
        if table.status(now) != "ACTIVE":
            raise in_use(f"Table is {table.status(now)}: {name}")
        table.add_index(index, now + self.options.index_creating_s)

    def enable_point_in_time_recovery(self, name: str, now: float) -> None:
        """Turn on point-in-time recovery."""
        self._usable(name, now).point_in_time_recovery = True

    def delete_table(self, name: str, now: float) -> None:
        """Delete a table, DELETING for `options.deleting_s`; a protected one is refused."""
        table = self._find(name, now)
        if table is None:
            raise not_found("Requested resource not found")
        if table.spec.deletion_protection:
            raise wrong(f"Resource cannot be deleted as it is currently protected against deletion: {name}")
        if table.status(now) != "ACTIVE":
            raise in_use(f"Table is {table.status(now)}: {name}")
        table.gone_s = now + self.options.deleting_s

    # --- items ---

    def get(self, name: str, key: Key, now: float, *, consistent: bool) -> Item | None:
        """Return a copy of the item or None; not consistent: as it stood `options.get_staleness_s` ago."""
        table = self._usable(name, now)
        stale_s = self.options.get_staleness_s
        moment = None if consistent or not stale_s else now - stale_s
        return table.get(table.check_key(key.attribute, key.value), moment)

    def write(self, write: Write, now: float) -> WriteResult:
        """Judge the condition and apply the write in one step."""
        table, key, before, after = self._plan(write, now)
        if not holds(write.condition, before):
            self._failed(write, key, before, now)
            return WriteResult(False, table.get(key, None))
        self._apply(table, write, key, before, after, now)
        return WriteResult(True, table.get(key, None))

    def _plan(self, write: Write, now: float) -> tuple[Table, str, Item | None, Item | None]:
        """Return the table, the key, the item before and the item the write would leave; raise for a wrong write."""
        table = self._usable(write.table, now)
        if isinstance(write, Put):
            item = table.check_item(write.item)
            key = str(item[table.spec.key_attribute])
            return table, key, table.current(key), item
        key = table.check_key(write.key.attribute, write.key.value)
        before = table.current(key)
        if isinstance(write, Delete):
            return table, key, before, None
        if not holds(write.condition, before):
            return table, key, before, before  # A false condition comes before a wrong operand, as in DynamoDB.
        return table, key, before, table.checked(updated(before, write.key, write.update))

    def _apply(self, table: Table, write: Write, key: str, before: Item | None, after: Item | None, now: float) -> None:
        table.store(key, after, now)
        if self.sink is not None:
            self.sink(ItemApplied(now, table.spec.name, key, before, after, write))

    def _failed(self, write: Write, key: str, item: Item | None, now: float) -> None:
        if self.sink is not None:
            self.sink(ConditionFailed(now, write.table, key, item, write))

    def transact(self, writes: Sequence[Write], now: float) -> bool:
        """Apply all writes or none; False when a condition failed."""
        if not 1 <= len(writes) <= DYNAMODB_TRANSACT_WRITES_MAX:
            raise wrong(f"A transaction must have from 1 to {DYNAMODB_TRANSACT_WRITES_MAX} writes.")
        plans = [(write, *self._plan(write, now)) for write in writes]
        if len({(write.table, key) for write, _, key, _, _ in plans}) != len(plans):
            raise wrong("Transaction request cannot include multiple operations on one item")
        failed = [(write, key, before) for write, _, key, before, _ in plans if not holds(write.condition, before)]
        for write, key, before in failed:
            self._failed(write, key, before, now)
        if failed:
            return False
        for write, table, key, before, after in plans:
            self._apply(table, write, key, before, after, now)
        return True

    def scan_page(
        self,
        name: str,
        now: float,
        *,
        start: Mapping[str, Value] | None = None,
        segment: int = 0,
        total_segments: int = 1,
        consistent: bool = False,
    ) -> Page:
        """Return one page of a segment; not consistent: as the table stood `options.scan_staleness_s` ago."""
        table = self._usable(name, now)
        if not (1 <= total_segments <= _SEGMENTS_MAX and 0 <= segment < total_segments):
            raise wrong("The Segment parameter must be from 0 to TotalSegments - 1.")
        stale_s = self.options.scan_staleness_s
        moment = None if consistent or not stale_s else now - stale_s
        attribute = table.spec.key_attribute
        after = None if start is None else table.check_key(attribute, start.get(attribute))
        return self._page(table.scan(moment, after, segment, total_segments), (attribute,))

    def query_index(
        self, name: str, index: IndexSpec, hash_value: str, now: float, start: Mapping[str, Value] | None = None
    ) -> Page:
        """Return one page of an index, as it stood `options.index_staleness_s` ago."""
        table = self._usable(name, now)
        present = table.indexes.get(index.name)
        if present is None:
            raise not_found(f"The table does not have the specified index: {index.name}")
        spec, ready_s = present
        if now < ready_s:
            raise wrong(f"Cannot read from backfilling global secondary index: {index.name}")
        stale_s = self.options.index_staleness_s
        found = table.query(spec, hash_value, now - stale_s if stale_s else None)
        if start is not None:
            place = (str(start[spec.range_attribute]), str(start[table.spec.key_attribute]))
            found = [i for i in found if (str(i[spec.range_attribute]), str(i[table.spec.key_attribute])) > place]
        return self._page(
            ((item, item_bytes(item)) for item in found),
            (spec.hash_attribute, spec.range_attribute, table.spec.key_attribute),
        )

    def _page(self, items: Iterable[tuple[Item, int]], key: tuple[str, ...]) -> Page:
        """Return the items of one page, out of those with their sizes."""
        size = 0
        found: list[Item] = []
        for item, its_size in items:
            if len(found) >= self.options.page_items_max or (found and size > DYNAMODB_PAGE_BYTES):
                return Page(found, {name: found[-1][name] for name in key})
            size += its_size
            found.append(item)
        return Page(found, None)

    def __repr__(self) -> str:
        return f"LeaseTables({len(self.tables)} tables)"
