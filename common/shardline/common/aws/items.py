# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""DynamoDB items, conditions and updates as the wire wants them. Pure; imports no SDK.

Values map both ways by type (`shardline.common.ports.lease_store`): S, N, B, SS, L, M, BOOL, NULL; NS and BS come back
as `Foreign`. Numbers are written canonically, because Java reads them: integers as plain digits, floats rounded half-up
to six decimals without exponent, as the KCL rounds `throughputKBps` (`kcl.md` 1.2). Stored integers of any spelling
(``12``, ``12.0``, ``1E1``) come back as `int`, others as `float`.

Invariants: an update names only what it changes, so attributes of others survive; an empty string, set or key, a number
that is not finite, and a `Foreign` value are refused with `InvalidInput` before anything is sent.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from math import isfinite
from typing import TYPE_CHECKING, Any

from shardline.common.aws.kinesis_wire import blob, broken
from shardline.common.errors import InvalidInput
from shardline.common.ports.lease_store import Absent, Delete, Equals, Exists, Foreign, Put, UpdateItem

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Condition, Item, Key, Update, Value, Write

__all__ = ["from_item", "from_value", "key_fields", "request_of", "to_item", "to_value"]

FLOAT_DECIMALS = 6
_STEP = Decimal(1).scaleb(-FLOAT_DECIMALS)
_WIDE = Context(prec=64)
NUMBER_DIGITS_MAX = 38
"""DynamoDB's precision for numbers."""


def number_text(value: float) -> str:
    """Return a number as we write it: plain digits, floats rounded half-up to six decimals."""
    if isinstance(value, int):
        if len(str(abs(value))) > NUMBER_DIGITS_MAX:
            raise InvalidInput("value", f"a number of at most {NUMBER_DIGITS_MAX} digits")
        return str(value)
    if not isfinite(value):
        raise InvalidInput("value", "a finite number")
    if abs(value) >= 10 ** (NUMBER_DIGITS_MAX - FLOAT_DECIMALS):
        raise InvalidInput("value", f"a number of at most {NUMBER_DIGITS_MAX - FLOAT_DECIMALS} digits before the point")
    text = format(Decimal(repr(value)).quantize(_STEP, ROUND_HALF_UP, _WIDE), "f").rstrip("0")
    text = text + "0" if text.endswith(".") else text
    return "0.0" if text == "-0.0" else text


def _number(text: Any) -> int | float:
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS_MAX:
        return int(text)  # What nearly every number of a lease table is; the way below costs five times as much.
    try:
        value = Decimal(text)
        whole = value == value.to_integral_value()
    except (InvalidOperation, TypeError, ValueError) as error:
        raise broken("a number attribute that is none") from error
    if not value.is_finite():
        raise broken("a number attribute that is not finite")
    return int(value) if whole and abs(value) < 10**NUMBER_DIGITS_MAX else float(value)


def to_value(name: str, value: Value) -> dict[str, Any]:  # noqa: PLR0911 - one return per DynamoDB type.
    """Return the typed wire value; `name` is the attribute's, for the error's sake."""
    if isinstance(value, Foreign):
        raise InvalidInput(name, "a value that we understand", value.type_name)
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | float():
            return {"N": number_text(value)}
        case bytes():
            return {"B": b64encode(value).decode()}
        case frozenset():
            if not value:
                raise InvalidInput(name, "left out rather than an empty set")
            return {"SS": sorted(value)}
        case Mapping():
            return {"M": {key: to_value(f"{name}.{key}", one) for key, one in value.items()}}
        case Sequence():
            return {"L": [to_value(name, one) for one in value]}
        case _:
            raise InvalidInput(name, "a type that DynamoDB stores", type(value).__name__)


def from_value(raw: Any) -> Value:  # noqa: PLR0911 - one return per DynamoDB type.
    """Return the value of a typed wire value; raises `Ambiguous` for one that is none."""
    if not isinstance(raw, dict) or len(raw) != 1:
        raise broken("an attribute without a type")
    ((kind, value),) = raw.items()
    match kind, value:
        case "S", str():
            return value
        case "N", _:
            return _number(value)
        case "B", _:
            return blob(value)
        case "BOOL", bool():
            return value
        case "NULL", _:
            return None
        case "SS", list():
            return frozenset(map(str, value))
        case "M", dict():
            return {str(key): from_value(one) for key, one in value.items()}
        case "L", list():
            return [from_value(one) for one in value]
        case (("NS" | "BS"), _):
            return Foreign(kind)
        case _:
            raise broken("an attribute of unknown type")


def to_item(item: Item) -> dict[str, Any]:
    """Return a whole item for the wire."""
    return {name: to_value(name, value) for name, value in item.items()}


def from_item(raw: Any) -> dict[str, Value]:
    """Return an item of the wire; raises `Ambiguous` for what is none."""
    if not isinstance(raw, dict):
        raise broken("an item that is no map")
    item: dict[str, Value] = {}
    for name, value in raw.items():
        text = value.get("S") if type(value) is dict and len(value) == 1 else None
        item[str(name)] = text if type(text) is str else from_value(value)
    return item


def key_fields(key: Key) -> dict[str, Any]:
    """Return a key for the wire; raises `InvalidInput` for an empty one."""
    if not key.value:
        raise InvalidInput(key.attribute, "a non-empty key")
    return {key.attribute: {"S": key.value}}


class _Names:
    """Placeholders of one request: attribute names are never written into an expression (some are reserved words)."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, Any] = {}

    def name(self, attribute: str) -> str:
        return self._names.setdefault(attribute, f"#n{len(self._names)}")

    def value(self, attribute: str, value: Value) -> str:
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = to_value(attribute, value)
        return placeholder

    def fields(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._names:
            found["ExpressionAttributeNames"] = {placeholder: name for name, placeholder in self._names.items()}
        if self._values:
            found["ExpressionAttributeValues"] = self._values
        return found


def _condition(condition: Condition, names: _Names) -> str:
    clauses: list[str] = []
    for clause in condition:
        name = names.name(clause.attribute)
        match clause:
            case Equals():
                clauses.append(f"{name} = {names.value(clause.attribute, clause.value)}")
            case Absent():
                clauses.append(f"attribute_not_exists({name})")
            case Exists():
                clauses.append(f"attribute_exists({name})")
    return " AND ".join(clauses)


def _update(update: Update, names: _Names) -> str:
    sets = [f"{names.name(name)} = {names.value(name, value)}" for name, value in update.set.items()]
    removes = [names.name(name) for name in sorted(update.remove)]
    adds = [f"{names.name(name)} {names.value(name, value)}" for name, value in update.add.items()]
    parts = [
        f"{verb} {', '.join(terms)}" for verb, terms in (("SET", sets), ("REMOVE", removes), ("ADD", adds)) if terms
    ]
    if not parts:
        raise InvalidInput("update", "an update that changes something")
    touched = [*update.set, *update.remove, *update.add]
    if len(touched) != len(set(touched)):
        raise InvalidInput("update", "an update that names each attribute once")
    return " ".join(parts)


def request_of(write: Write) -> tuple[str, dict[str, Any]]:
    """Return the operation's kind (Put, Update, Delete) and its fields, the same within a transaction or alone."""
    names = _Names()
    fields: dict[str, Any] = {"TableName": write.table}
    condition = _condition(write.condition, names)
    match write:
        case Put():
            kind = "Put"
            fields["Item"] = to_item(write.item)
        case UpdateItem():
            kind = "Update"
            fields["Key"] = key_fields(write.key)
            fields["UpdateExpression"] = _update(write.update, names)
        case Delete():
            kind = "Delete"
            fields["Key"] = key_fields(write.key)
    if condition:
        fields["ConditionExpression"] = condition
    return kind, fields | names.fields()
