"""Text for a terminal: nothing that came from outside may steer it. Pure."""

from __future__ import annotations

__all__ = ["escape"]


def escape(text: str) -> str:
    """Return `text` with every character that does not print (escapes, line breaks, lone surrogates) spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
