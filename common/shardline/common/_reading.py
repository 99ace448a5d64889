"""Reading protobuf's wire format: varints, tags, length-prefixed bytes, unknown fields. No recursion, no copy.

Every reader takes the position where to stop and raises `Malformed` rather than pass it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

GROUP_DEPTH_MAX = 100
"""As protobuf's runtimes have it."""

_VARINT_BYTES_MAX = 10
_SHORT_VARINT_BYTES_MAX = 5  # Of tags and lengths.
_VARINT_MASK = 2**64 - 1
_TAG_MIN = 1 << 3  # Field number 1.
_TAG_MAX = 2**32 - 1
_MORE = 128  # Set in every byte of a varint but the last.
_VARINT, _FIXED64, _SPAN, _GROUP, _GROUP_END, _FIXED32 = range(6)


class Malformed(Exception):
    """The blob is not a whole aggregate; the argument is the reason code. A signal: it never leaves the codec."""


def read_varint(blob: bytes, at: int, end: int, bytes_max: int = _VARINT_BYTES_MAX) -> tuple[int, int]:
    """Return (value, next position) of the varint at `at`; raise `Malformed` if it passes `end` or `bytes_max`."""
    if at < end and blob[at] < _MORE:
        return blob[at], at + 1
    value = shift = 0
    for position in range(at, min(end, at + bytes_max)):
        byte = blob[position]
        value |= (byte & ~_MORE) << shift
        if byte < _MORE:
            return value & _VARINT_MASK, position + 1
        shift += 7
    raise Malformed("wire")


def read_tag(blob: bytes, at: int, end: int) -> tuple[int, int]:
    """Return (tag, next position) of the field at `at`; raise `Malformed` for field number 0 or a broken tag."""
    tag, at = read_varint(blob, at, end, _SHORT_VARINT_BYTES_MAX)
    if tag < _TAG_MIN or tag > _TAG_MAX:
        raise Malformed("wire")
    return tag, at


def read_span(blob: bytes, at: int, end: int) -> tuple[int, int]:
    """Return (start, stop) of the length-prefixed bytes at `at`; raise `Malformed` if they pass `end`."""
    size, start = read_varint(blob, at, end, _SHORT_VARINT_BYTES_MAX)
    if size > end - start:
        raise Malformed("wire")
    return start, start + size


def skip_field(blob: bytes, tag: int, at: int, stop: int) -> Generator[None, None, int]:
    """Pass over the rest of an unknown field; yields once for each field within a group, returns where it ends."""
    groups: list[int] = []
    while True:
        wire = tag & 7
        if wire == _VARINT:
            _, at = read_varint(blob, at, stop)
        elif wire == _SPAN:
            _, at = read_span(blob, at, stop)
        elif wire in {_FIXED64, _FIXED32}:
            at += 8 if wire == _FIXED64 else 4
        elif wire == _GROUP and len(groups) < GROUP_DEPTH_MAX:
            groups.append(tag >> 3)
        elif wire != _GROUP_END or not groups or groups.pop() != tag >> 3:
            raise Malformed("wire")
        if at > stop:
            raise Malformed("wire")
        if not groups:
            return at
        yield
        tag, at = read_tag(blob, at, stop)
