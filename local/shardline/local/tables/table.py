"""One table: items with their recent past, a scan order, global secondary indexes, statuses in time."""

from __future__ import annotations

import copy
from bisect import bisect_right, insort
from dataclasses import dataclass, field
from hashlib import md5
from itertools import islice
from typing import TYPE_CHECKING, Any

from shardline.common.attributes import item_bytes
from shardline.common.limits import DYNAMODB_ITEM_BYTES_MAX
from shardline.common.ports.lease_store import Absent, Equals, Exists, IndexDescription, TableDescription
from shardline.local.tables.values import equal, frozen, type_name, wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardline.common.ports.lease_store import Condition, IndexSpec, Item, Key, TableSpec, Update, Value

__all__ = ["Table", "holds", "updated"]

_SEGMENT_SPACE = 2**32
_NESTED = {dict, list}


def holds(condition: Condition, item: Item | None) -> bool:
    """Say whether every clause holds for an item (None: no item)."""
    present = item or {}
    for clause in condition:
        name = clause.attribute
        if isinstance(clause, Absent):
            good = name not in present
        elif isinstance(clause, Exists):
            good = name in present
        else:
            assert isinstance(clause, Equals)
            good = name in present and equal(present[name], clause.value)
        if not good:
            return False
    return True


def updated(item: Item | None, key: Key, update: Update) -> dict[str, Value]:
    """Return the item after an update; a missing item starts as its key alone."""
    touched = [*update.set, *update.remove, *update.add]
    if len(set(touched)) != len(touched):
        raise wrong("Invalid UpdateExpression: Two document paths overlap with each other.")
    if key.attribute in touched:
        raise wrong(f"Cannot update attribute {key.attribute}. This attribute is part of the key.")
    after: dict[str, Any] = dict(item) if item is not None else {key.attribute: key.value}
    for name, value in update.set.items():
        after[name] = frozen(value)
    for name in update.remove:
        after.pop(name, None)
    for name, amount in update.add.items():
        before = after.get(name, 0)
        if type_name(before) != "N":
            raise wrong("An operand in the update expression has an incorrect data type.")
        after[name] = frozen(before + amount)
    return after


@dataclass(slots=True)
class _Version:
    """An item as it stood from `since_s` (epoch seconds) on, None for none; its size, once somebody asked for it.

    `flat`: it holds nothing that could be changed, so that a copy of the item alone is a copy of all.
    """

    since_s: float
    item: Item | None
    size: int = -1
    flat: bool | None = None

    def counted(self) -> int:
        """Return the item's size in bytes: counted once, for every scan that shows it."""
        if self.size < 0 and self.item is not None:
            self.size = item_bytes(self.item)
        return self.size

    def copy(self) -> Item | None:
        """Return what a reader may keep."""
        if self.item is None:
            return None
        if self.flat is None:
            self.flat = not any(type(value) in _NESTED for value in self.item.values())
        return dict(self.item) if self.flat else {name: _whole(value) for name, value in self.item.items()}


_NEVER = _Version(float("-inf"), None)


def _since(version: _Version) -> float:
    return version.since_s


@dataclass(slots=True)
class _Row:
    """An item and what it was before, newest last."""

    versions: list[_Version]

    def at(self, moment_s: float | None) -> _Version:
        """Return what stood there at a moment, or stands there now."""
        if moment_s is None:
            return self.versions[-1]
        index = bisect_right(self.versions, moment_s, key=_since)
        return self.versions[index - 1] if index else _NEVER


@dataclass(slots=True)
class Table:
    """A table with one string hash key; `history_s` is how far stale reads can look back."""

    spec: TableSpec
    arn: str
    ready_s: float
    history_s: float
    indexes: dict[str, tuple[IndexSpec, float]] = field(default_factory=dict[str, tuple["IndexSpec", float]])
    gone_s: float = float("inf")
    point_in_time_recovery: bool = False
    _rows: dict[str, _Row] = field(default_factory=dict[str, "_Row"])
    _by_value: dict[str, dict[str, set[str]]] = field(default_factory=dict[str, dict[str, set[str]]])
    """The keys of the present items by an index's name and hash value."""
    _order: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    # --- statuses ---

    def status(self, now: float) -> str:
        """Return CREATING, UPDATING, DELETING or ACTIVE."""
        if self.gone_s != float("inf"):
            return "DELETING"
        if now < self.ready_s:
            return "CREATING"
        return "UPDATING" if any(now < ready for _, ready in self.indexes.values()) else "ACTIVE"

    def describe(self, now: float) -> TableDescription:
        """Return the table as DescribeTable tells of it."""
        indexes = (
            IndexDescription(n, "ACTIVE" if now >= ready else "CREATING") for n, (_, ready) in self.indexes.items()
        )
        return TableDescription(
            name=self.spec.name,
            arn=self.arn,
            status=self.status(now),
            key_attributes=(self.spec.key_attribute,),
            indexes=tuple(indexes),
            read_capacity=self.spec.read_capacity,
            write_capacity=self.spec.write_capacity,
            deletion_protection=self.spec.deletion_protection,
        )

    # --- items ---

    def check_key(self, attribute: str, value: object) -> str:
        """Return the hash key's value; raise for another key schema."""
        if attribute != self.spec.key_attribute or not isinstance(value, str) or not value:
            raise wrong("The provided key element does not match the schema.")
        return value

    def current(self, key: str) -> Item | None:
        """Return the item as it stands, as stored (the caller must not change it)."""
        row = self._rows.get(key)
        return None if row is None else row.versions[-1].item

    def get(self, key: str, moment_s: float | None) -> Item | None:
        """Return a copy of the item, now or as it stood at a moment."""
        row = self._rows.get(key)
        return None if row is None else row.at(moment_s).copy()

    def check_item(self, item: Item) -> dict[str, Value]:
        """Return the item to store; raise for a wrong key, index key or size."""
        return self.checked({name: frozen(value) for name, value in item.items()})

    def checked(self, stored: dict[str, Value]) -> dict[str, Value]:
        """Return an item in the form in which it is stored; raise for a wrong key, index key or size."""
        self.check_key(self.spec.key_attribute, stored.get(self.spec.key_attribute))
        for spec, _ in self.indexes.values():
            for name in (spec.hash_attribute, spec.range_attribute):
                if name in stored and not (isinstance(stored[name], str) and stored[name]):
                    raise wrong(f"One or more parameter values were invalid: index key {name} must be a string.")
        if item_bytes(stored) > DYNAMODB_ITEM_BYTES_MAX:
            raise wrong("Item size has exceeded the maximum allowed size")
        return stored

    def add_index(self, index: IndexSpec, ready_s: float) -> None:
        """Add an index that can be queried from a moment on."""
        self.indexes[index.name] = (index, ready_s)
        self._by_value[index.name] = {}
        for key, row in self._rows.items():
            self._enter(index, key, None, row.versions[-1].item)

    def _enter(self, index: IndexSpec, key: str, before: Item | None, after: Item | None) -> None:
        was, now = _text_of(before, index.hash_attribute), _text_of(after, index.hash_attribute)
        if was == now:
            return
        found = self._by_value[index.name]
        if was is not None:
            found[was].discard(key)
        if now is not None:
            found.setdefault(now, set()).add(key)

    def store(self, key: str, item: Item | None, now: float) -> None:
        """Replace the item (None deletes it), keeping what stale reads may still need."""
        row = self._rows.get(key)
        if row is None:
            if item is None:
                return
            row = self._rows[key] = _Row([])
            insort(self._order, (_place(key), key))
        before = row.versions[-1].item if row.versions else None
        for index, _ in self.indexes.values():
            self._enter(index, key, before, item)
        row.versions.append(_Version(now, item))
        keep_from = bisect_right(row.versions, now - self.history_s, key=_since) - 1
        if keep_from > 0:
            del row.versions[:keep_from]

    def scan(
        self, moment_s: float | None, start: str | None, segment: int, segments: int
    ) -> Iterator[tuple[Item, int]]:
        """Yield copies of a segment's items after the key `start`, in the table's (hash) order, with their sizes."""
        low = (segment * _SEGMENT_SPACE + segments - 1) // segments
        high = ((segment + 1) * _SEGMENT_SPACE + segments - 1) // segments
        begin = bisect_right(self._order, (low, ""))
        if start is not None:
            begin = max(begin, bisect_right(self._order, (_place(start), start)))
        for place, key in islice(self._order, begin, None):
            if place >= high:
                break
            version = self._rows[key].at(moment_s)
            item = version.copy()
            if item is not None:
                yield item, version.counted()

    def query(self, spec: IndexSpec, hash_value: str, moment_s: float | None) -> list[Item]:
        """Return the keys of an index under one hash value, in order of the range key."""
        wanted = {spec.hash_attribute, spec.range_attribute, self.spec.key_attribute}
        found: list[Item] = []
        for key in self._rows if moment_s is not None else self._by_value[spec.name].get(hash_value, ()):
            item = self._rows[key].at(moment_s).item
            if item is not None and item.get(spec.hash_attribute) == hash_value and spec.range_attribute in item:
                found.append({name: item[name] for name in wanted if name in item})
        return sorted(found, key=lambda i: (str(i[spec.range_attribute]), str(i[self.spec.key_attribute])))

    def __repr__(self) -> str:
        return f"Table({self.spec.name}, {len(self._rows)} keys)"


def _text_of(item: Item | None, name: str) -> str | None:
    value = None if item is None else item.get(name)
    return value if isinstance(value, str) else None


def _place(key: str) -> int:
    """Return where a key lies in the scan order: by a hash, as partitions do."""
    return int.from_bytes(md5(key.encode(), usedforsecurity=False).digest()[:4], "big")


def _whole(value: Any) -> Any:  # noqa: ANN401 - a recursive value; the caller knows its kind.
    """Return a copy of a frozen value that shares nothing which could be changed."""
    return copy.deepcopy(value) if type(value) in _NESTED else value
