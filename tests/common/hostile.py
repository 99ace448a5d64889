"""Blobs that cost a decoder as much as their bytes can: for the tests of memory and steps, and for the bench."""

from __future__ import annotations

from typing import NamedTuple

from tests.common.aggregates import blob, field, key, record
from tests.common.aggregates import hash_key as hash_entry


class Hostile(NamedTuple):
    """A blob of repeated pieces."""

    head: bytes
    piece: bytes
    tail: bytes

    def build(self, length: int) -> bytes:
        """Return the blob at about `length` bytes."""
        return blob(self.head + self.piece * (length // len(self.piece)) + self.tail)


def wrapped(piece: bytes) -> Hostile:
    """Return a blob of one record of 256 KiB that holds repeated pieces."""
    return Hostile(key("a"), record(0, b"", extra=piece * (2**18 // len(piece))), b"")


HOSTILE = {
    "records": Hostile(key("a"), record(0, b""), b""),
    "records out of order": Hostile(key("a"), field(3, field(3, b"") + field(1, 0)), b""),
    "hashed records": Hostile(key("a") + hash_entry("0"), record(0, b"", 0), b""),
    "empty keys": Hostile(b"", key(""), record()),
    "keys": Hostile(b"", key("ab"), record()),
    "long keys": Hostile(b"", key("é" * 500), record()),
    "hash keys": Hostile(key("a"), hash_entry("0"), record()),
    "tags": Hostile(key("a"), record(0, b"", extra=field(4, field(1, b"")) * 1024), b""),
    "unknown fields": Hostile(key("a") + record(), field(9, 0), b""),
    "unknown fields in records": wrapped(field(9, 0)),
    "unknown fields in tags": wrapped(field(4, field(1, b"k") + field(9, 0) * 30_000)),
    "groups": wrapped(b"\x4b\x4c"),
    "one group": wrapped(b"\x4b" + b"\x48\x00" * 10_000 + b"\x4c"),
}
