"""The aggregation format in names: magic, digest, tags, varints, and the bounds both sides of the codec keep.

A blob is ``magic | protobuf message AggregatedRecord | MD5 of the message`` (`kpl.md` 1.1, 1.2)::

    AggregatedRecord  1 partition_key_table (string*)  2 explicit_hash_key_table (string*)  3 records (Record*)
    Record            1 partition_key_index (varint, required)  2 explicit_hash_key_index (varint)
                      3 data (bytes, required)  4 tags (Tag*)
    Tag               1 key (string, required)  2 value (string)

Shared by `aggregation` (writes) and `deaggregation` (reads); imports nothing that a Lambda would notice.
"""

from __future__ import annotations

from hashlib import md5

MAGIC = b"\xf3\x89\x9a\xc2"
MAGIC_BYTES = 4
DIGEST_BYTES = 16
OVERHEAD_BYTES = MAGIC_BYTES + DIGEST_BYTES
OUTER_PARTITION_KEY = "a"
"""An aggregate's own partition key: it routes nothing beside the explicit hash key, so the shortest legal one."""

# Tag bytes (field number << 3 | wire type) of the three messages.
KEY_ENTRY = 0x0A
HASH_KEY_ENTRY = 0x12
RECORD_ENTRY = 0x1A
RECORD_KEY_INDEX = 0x08
RECORD_HASH_INDEX = 0x10
RECORD_DATA = 0x1A
RECORD_TAG = 0x22
TAG_KEY = 0x0A
TAG_VALUE = 0x12

HEADERS_MAX = 1024
"""Tags of one user record: ours, since the format has no bound and a dictionary weighs 20 times its bytes."""
TEXT_BYTES_MAX = 1024 * 1024
"""Of one key or tag: ours, so that checking it takes a few milliseconds; the service admits keys of 256 characters."""
HASH_KEY_DIGITS_MAX = 39
"""Digits of 2^128 - 1 (API PutRecordsRequestEntry, pattern of ExplicitHashKey)."""


_MORE = 128  # Set in every byte of a varint but the last.


def digest(data: bytes | memoryview) -> bytes:
    """Return the 16 bytes of MD5: an integrity check and a spreading function, never security (works under FIPS)."""
    return md5(data, usedforsecurity=False).digest()


def varint(value: int) -> bytes:
    """Return a number of 0 or more as a protobuf varint, in its shortest form."""
    out = bytearray()
    while value >= _MORE:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint_length(value: int) -> int:
    """Return how many bytes `varint(value)` has."""
    return (value.bit_length() + 6) // 7 or 1


def is_aggregate(data: bytes) -> bool:
    """Say whether a blob carries the magic and a matching digest, so that every consumer would unpack it."""
    if data[:MAGIC_BYTES] != MAGIC or len(data) <= OVERHEAD_BYTES:
        return False
    return digest(memoryview(data)[MAGIC_BYTES:-DIGEST_BYTES]) == data[-DIGEST_BYTES:]
