"""Items of the state table: from and to attributes, and the conditions that fence them. Pure.

Invariants: what cannot be understood raises `UnknownSchema` or is `Quarantined`, and is never written; every write sets
token and version, and its condition names both as they were read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shardline.common.attributes import item_bytes
from shardline.common.errors import InvalidInput, UnknownSchema
from shardline.common.limits import DYNAMODB_ITEM_BYTES_MAX
from shardline.common.ports.lease_store import Absent, Delete, Equals, Key, Update, UpdateItem
from shardline.common.ports.state_store import Quarantined, StateItem, StateKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardline.common.ports.lease_store import Condition, Item, Value

__all__ = ["SCHEMA", "STATE_KEY", "delete_of", "read_item", "require_item", "state_table_name", "write_of"]

STATE_KEY: Final = "stateKey"
KIND: Final = "kind"
SCHEMA_VERSION: Final = "schema"
TOKEN: Final = "token"  # noqa: S105 - an attribute's name.
VERSION: Final = "version"
_FENCE: Final = frozenset({STATE_KEY, KIND, SCHEMA_VERSION, TOKEN, VERSION})

SCHEMA: Final = 1
"""The schema that this version of shardline writes, and the only one that it understands."""


def state_table_name(application: str) -> str:
    """Return the name of an application's state table."""
    return f"{application}-shardline"


def read_item(item: Item) -> StateItem | Quarantined:
    """Return the item, or `Quarantined` for one that cannot be understood; never raises."""
    text, kind, schema = item.get(STATE_KEY), item.get(KIND), item.get(SCHEMA_VERSION)
    if not isinstance(text, str):
        return Quarantined("", f"{STATE_KEY} is not text")
    if schema != SCHEMA or isinstance(schema, bool):
        return Quarantined(text, "its schema is unknown")
    if not isinstance(kind, str) or not text.startswith(f"{kind}/"):
        return Quarantined(text, f"{KIND} is not the key's")
    token, version = item.get(TOKEN), item.get(VERSION)
    if not _is_count(token) or not _is_count(version):
        return Quarantined(text, f"{TOKEN} or {VERSION} is no number")
    assert isinstance(token, int)
    assert isinstance(version, int)
    fields = {name: value for name, value in item.items() if name not in _FENCE}
    return StateItem(key=StateKey(kind, text.removeprefix(f"{kind}/")), token=token, version=version, fields=fields)


def _is_count(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def require_item(item: Item | None) -> StateItem | None:
    """Return the item or None; raises `UnknownSchema` for one that cannot be understood."""
    read = None if item is None else read_item(item)
    if isinstance(read, Quarantined):
        raise UnknownSchema(read.key, read.reason)
    return read


def write_of(table: str, key: StateKey, update: Update, expect: StateItem | None, token: int) -> UpdateItem:
    """Return the write that changes the item under `token` if it stands as `expect` says.

    Raises `InvalidInput` for fields that are the fence's, and for an item that would be too large.
    """
    if taken := _FENCE.intersection((*update.set, *update.remove, *update.add)):
        raise InvalidInput("update", "of fields that are not the fence's", ", ".join(sorted(taken)))
    version = 1 if expect is None else expect.version + 1
    fence: dict[str, Value] = {KIND: key.kind, SCHEMA_VERSION: SCHEMA, TOKEN: token, VERSION: version}
    kept: Mapping[str, Value] = {} if expect is None else expect.fields
    size = item_bytes({STATE_KEY: key.text, **fence, **kept, **update.set})
    if size > DYNAMODB_ITEM_BYTES_MAX:
        raise InvalidInput("update", f"of an item of at most {DYNAMODB_ITEM_BYTES_MAX} bytes", f"{size} bytes")
    whole = Update(set={**fence, **update.set}, remove=update.remove, add=update.add)
    condition: Condition = (Absent(STATE_KEY),) if expect is None else _as_read(expect)
    return UpdateItem(table, Key(STATE_KEY, key.text), whole, condition)


def delete_of(table: str, item: StateItem) -> Delete:
    """Return the write that deletes an item if it stands as it was read."""
    return Delete(table, Key(STATE_KEY, item.key.text), _as_read(item))


def _as_read(item: StateItem) -> Condition:
    return (Equals(VERSION, item.version), Equals(TOKEN, item.token), Equals(SCHEMA_VERSION, SCHEMA))
