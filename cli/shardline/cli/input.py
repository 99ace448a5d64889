"""Checks of what people type, each refusal a one-line `InvalidInput` that names the option and its range. Pure."""

from __future__ import annotations

from shardline.common.errors import InvalidInput
from shardline.common.ports.kinesis import Stream
from shardline.common.printing import escape

__all__ = ["PORT", "STREAM_SHARDS", "WAIT", "stream_name", "stream_spec", "whole_number"]

PORT = (0, 65_535)
WAIT = (0, 600)
STREAM_SHARDS = (1, 10_000)
_DIGITS_MAX = 20
_SHOWN_MAX = 40


def whole_number(option: str, text: str, low: int, high: int) -> int:
    """Return the number that `text` spells in plain ASCII digits, if it is within `low` to `high`."""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX and low <= int(text) <= high:
        return int(text)
    raise InvalidInput(option, f"a whole number from {low} to {high}", _shown(text))


def stream_name(option: str, text: str) -> str:
    """Return a stream's name that AWS takes."""
    try:
        return Stream(text).name
    except InvalidInput as error:
        raise InvalidInput(option, "a name of 1 to 128 characters of a-z A-Z 0-9 _ . -", _shown(text)) from error


def stream_spec(option: str, text: str) -> tuple[str, int]:
    """Return name and shards of ``NAME:SHARDS`` (``NAME`` alone means one shard)."""
    name, colon, shards = text.partition(":")
    name = stream_name(f"{option}'s NAME", name)
    return name, whole_number(f"{option} {name}'s SHARDS", shards, *STREAM_SHARDS) if colon else 1


def _shown(text: str) -> str:
    """Return what was typed, short and harmless to a terminal."""
    shown = escape(text)
    return "'" + (shown if len(shown) <= _SHOWN_MAX else shown[:_SHOWN_MAX] + "...") + "'"
