"""Attribute values as DynamoDB sees them: types, equality, and the refusal of what it would refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from shardline.common.ports.lease_store import Foreign
from shardline.local.state.refusal import Refusal

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Value

__all__ = ["equal", "frozen", "type_name", "wrong"]

_NUMBER_DIGITS_MAX = 38


def wrong(message: str) -> Refusal:
    """Return ValidationException, as DynamoDB says that a request is wrong."""
    return Refusal("ValidationException", message)


def type_name(value: Value) -> str:
    """Return DynamoDB's name of a value's type; raise `Refusal` for what it cannot hold."""
    known = _EXACT.get(type(value))
    if known is not None:
        return known
    if value is None:
        return "NULL"
    if isinstance(value, Foreign):
        raise wrong(f"A value of type {value.type_name} is never written.")
    for kind, name in _TYPES:
        if isinstance(value, kind):
            return name
    raise wrong(f"A value of Python type {type(value).__name__} cannot be stored.")


_TYPES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "BOOL"),  # Before numbers: Python's True is an int.
    (str, "S"),
    ((int, float), "N"),
    (bytes, "B"),
    (frozenset, "SS"),
    (Mapping, "M"),
    (Sequence, "L"),
)
_EXACT: dict[type, str] = {
    bool: "BOOL",
    str: "S",
    int: "N",
    float: "N",
    bytes: "B",
    frozenset: "SS",
    dict: "M",
    list: "L",
}
"""The same for what nearly every value is, at the price of one look-up."""


def frozen(value: Any) -> Any:  # noqa: ANN401 - a recursive value; the caller knows its kind.
    """Return a copy that nobody else holds, in the form a reader gets; raise `Refusal` for what cannot be stored."""
    kind = type_name(value)
    if kind == "N":
        return _number(value)
    if kind == "SS":
        if not value or not all(isinstance(v, str) for v in value):
            raise wrong("One or more parameter values were invalid: a string set may not be empty.")
        return value
    if kind == "M":
        return {k: frozen(v) for k, v in value.items()}
    if kind == "L":
        return [frozen(v) for v in value]
    return value


def _number(value: float) -> float:
    """Return the number as text and back would give it: a whole float is an int."""
    if isinstance(value, int):
        if len(str(abs(value)).rstrip("0")) > _NUMBER_DIGITS_MAX:
            raise wrong("Attempting to store more than 38 significant digits in a Number.")
        return value
    if not isfinite(value):
        raise wrong("The parameter cannot be converted to a numeric value.")
    return int(value) if value.is_integer() else value


def equal(stored: Value, wanted: Value) -> bool:
    """Say whether two values are equal as DynamoDB compares: types first."""
    return not isinstance(stored, Foreign) and type_name(stored) == type_name(wanted) and stored == wanted
