"""Sizes of items as DynamoDB counts them (its developer guide, "Item sizes and formats"), to a few bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from shardline.common.ports.lease_store import Foreign

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Value

__all__ = ["item_bytes"]

_NUMBER_BYTES_MAX: Final = 21


def item_bytes(item: Mapping[str, Value]) -> int:
    """Return an item's size in bytes: attribute names and values."""
    size = 0
    for name, value in item.items():  # Not a generator: this runs for each item that is written or scanned.
        size += len(name) if name.isascii() else len(name.encode())
        if type(value) is str:
            size += len(value) if value.isascii() else len(value.encode())
        elif type(value) is int:
            size += min(_NUMBER_BYTES_MAX, len(str(value)) // 2 + 2)
        else:
            size += _bytes(value)
    return size


def _bytes(value: Value) -> int:
    if value is None or isinstance(value, bool | Foreign):
        size = 1
    elif isinstance(value, str):
        size = len(value.encode())
    elif isinstance(value, bytes):
        size = len(value)
    elif isinstance(value, int | float):
        size = min(_NUMBER_BYTES_MAX, len(str(value)) // 2 + 2)
    elif isinstance(value, Mapping):
        size = 3 + sum(len(k.encode()) + _bytes(v) + 1 for k, v in value.items())
    else:
        size = 3 + sum(_bytes(v) + 1 for v in value)
    return size
