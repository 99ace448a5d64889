"""Text for logs and terminals: nothing that came from outside may forge a line or steer a terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["escape", "printable"]


def escape(text: str) -> str:
    """Return `text` with every character that does not print (escapes, line breaks, lone surrogates) spelled out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable(value: object) -> object:
    """Return numbers and None as they are, sequences as lists, anything else as text without control characters."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Sequence | AbstractSet) and not isinstance(value, str | bytes):
        return [printable(one) for one in cast("Iterable[object]", value)]
    return escape(str(value))
