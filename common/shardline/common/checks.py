"""Checks of settings and arguments: each returns what may be used, or raises `InvalidInput` with field and range.

For values whose annotation promises their type, too: most programs run without a type checker, and a wrong type that
is found deep inside names nothing that the caller knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, TypeVar, cast

from shardline.common.errors import InvalidInput

if TYPE_CHECKING:
    from enum import StrEnum

__all__ = [
    "TIMEOUT_S_MAX",
    "check_callable",
    "check_flag",
    "check_kind",
    "check_mapping",
    "check_number",
    "check_services",
    "check_whole",
    "choice_of",
]

E = TypeVar("E", bound="StrEnum")

TIMEOUT_S_MAX = 7 * 86_400.0
"""The longest time-out that is taken for one: a week."""


def check_number(name: str, value: object, low: float, high: float, unit: str = "") -> None:
    """Raise unless `value` is a finite number (no bool) from `low` to `high`."""
    allowed = f"from {low:g} to {high:g} {unit}".rstrip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(name, f"a number {allowed}", type(value).__name__)
    if not (isfinite(value) and low <= value <= high):
        raise InvalidInput(name, allowed, f"{value:g}")


def check_whole(name: str, value: object, low: int, high: int, unit: str = "") -> None:
    """Raise unless `value` is an integer (no bool) from `low` to `high`."""
    allowed = f"an integer from {low} to {high} {unit}".rstrip()
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(name, allowed, type(value).__name__)
    if not low <= value <= high:
        raise InvalidInput(name, allowed, str(value))


def check_flag(name: str, value: object) -> None:
    """Raise unless `value` is True or False."""
    if not isinstance(value, bool):
        raise InvalidInput(name, "True or False", type(value).__name__)


def check_kind(name: str, value: object, kind: type, *, what: str = "") -> None:
    """Raise unless `value` is an instance of `kind`, called `what` in the message (default: its name)."""
    if not isinstance(value, kind):
        raise InvalidInput(name, what or f"a {kind.__name__}", type(value).__name__)


def check_callable(name: str, value: object, what: str) -> None:
    """Raise unless `value` can be called; `what` says as what."""
    if not callable(value):
        raise InvalidInput(name, what, type(value).__name__)


def check_mapping(name: str, value: object, what: str) -> None:
    """Raise unless `value` is a mapping, described by `what`."""
    if not isinstance(value, Mapping):
        raise InvalidInput(name, what, type(value).__name__)


def check_services(name: str, value: object, what: str) -> None:
    """Raise unless `value` opens services, as a `Connection` does; `what` says all that may stand there."""
    if not hasattr(value, "kinesis"):
        raise InvalidInput(name, what, type(value).__name__)


def choice_of(name: str, value: object, kind: type[E]) -> E:
    """Return the member of `kind` that `value` is, or is the text of."""
    try:
        return kind(cast("str", value))
    except ValueError:
        got = "" if isinstance(value, str) else type(value).__name__
        raise InvalidInput(name, "one of " + ", ".join(one.value for one in kind), got) from None
