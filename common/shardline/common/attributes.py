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
    for name, value in item.items():  # Not a generator: this runs for each item of each page.
        size += _text_bytes(name) + (_text_bytes(value) if type(value) is str else _bytes(value))
    return size


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


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
