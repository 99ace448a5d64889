"""Pieces of an aggregate as bytes, and their sizes: looked up where they are short, computed where they are not."""

from __future__ import annotations

from shardline.common._wire import (
    HEADERS_MAX,
    KEY_ENTRY,
    RECORD_DATA,
    RECORD_ENTRY,
    RECORD_HASH_INDEX,
    RECORD_KEY_INDEX,
    RECORD_TAG,
    TAG_KEY,
    TAG_VALUE,
    TEXT_BYTES_MAX,
    varint,
    varint_length,
)
from shardline.common.errors import InvalidInput
from shardline.common.limits import PARTITION_KEY_LENGTH_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TWO_BYTES = 128
"""From here on a varint has two bytes,"""
_THREE_BYTES = 16_384
"""and from here on three."""
TABLE = _THREE_BYTES
"""Varints, and what depends on them, are looked up below this (all of two bytes) and computed from it on."""
_ONE_BYTE = [bytes((value,)) for value in range(128)]
VARINTS = _ONE_BYTE + [bytes((value & 127 | 128, value >> 7)) for value in range(128, TABLE)]


def record_size(inner: int) -> int:
    """Return the bytes of a record whose fields have `inner` bytes: tag, length, fields."""
    return 1 + varint_length(inner) + inner


def usual_size(length: int, index_length: int) -> int:
    """Return the bytes of a record of `length` bytes of data and a key index of `index_length`."""
    return record_size(2 + index_length + varint_length(length) + length)


def _usual_sizes(index_length: int) -> list[int]:
    """Return `usual_size` of every length in the table."""
    short = [length + index_length + 3 for length in range(128)] + [
        length + index_length + 4 for length in range(128, TABLE)
    ]
    return [inner + (2 if inner < TWO_BYTES else 3 if inner < _THREE_BYTES else 4) for inner in short]


def record_head(size: int) -> bytes:
    """Return tag, length and the key index's tag of a record of `size` bytes in all."""
    inner = size - 2
    while record_size(inner) > size:
        inner -= 1
    return _RECORD + varint(inner) + _RECORD_KEY


def data_head(length: int) -> bytes:
    return _RECORD_DATA + varint(length)


_RECORD = bytes((RECORD_ENTRY,))
_RECORD_KEY = bytes((RECORD_KEY_INDEX,))
_RECORD_DATA = bytes((RECORD_DATA,))
SIZES = _usual_sizes(1)
SIZES_WIDE = _usual_sizes(2)
# By the size of the record; fields of 0 to 127 bytes are preceded by two bytes, then by three.
HEADS = [b""] * TABLE
HEADS[2:130] = [_RECORD + head + _RECORD_KEY for head in _ONE_BYTE]
HEADS[131:] = [_RECORD + head + _RECORD_KEY for head in VARINTS[128 : TABLE - 3]]
HEADS.extend(record_head(size) for size in range(TABLE, SIZES_WIDE[-1] + 1))  # So that whoever has a size has a head.
DATA_HEADS = [_RECORD_DATA + head for head in VARINTS]
_ENTRY_HEADS = [chr(KEY_ENTRY) + chr(length) for length in range(128)]


def entry(tag: int, content: bytes) -> bytes:
    """Return a length-prefixed field."""
    return bytes((tag,)) + varint(len(content)) + content


def key_bytes(partition_key: str | None) -> bytes:
    """Return a partition key as it stands in the table; raise `InvalidInput` for one that no service takes."""
    if partition_key is None:
        return b""
    if not 0 < len(partition_key) <= PARTITION_KEY_LENGTH_MAX:
        allowed = f"1 to {PARTITION_KEY_LENGTH_MAX} characters, or None on a stream that places records itself"
        raise InvalidInput("partition_key", allowed, f"{len(partition_key)} characters")
    return text_bytes("partition_key", partition_key)


def text_bytes(field: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        # `from None`: the original message quotes the text.
        raise InvalidInput(field, "valid Unicode", f"a surrogate at position {error.start}") from None


def key_entry_size(partition_key: str | None) -> int:
    length = len(key_bytes(partition_key))
    return 1 + varint_length(length) + length


def key_table(keys: Iterable[str | None]) -> bytes:
    """Return the table of partition keys; as one text while its keys are ASCII and shorter than 128."""
    texts = [key or "" for key in keys]
    parts = [""] * (2 * len(texts))
    try:
        parts[0::2] = [_ENTRY_HEADS[len(text)] for text in texts]
    except IndexError:
        pass
    else:
        parts[1::2] = texts
        table = "".join(parts)
        if table.isascii():
            return table.encode()
    return b"".join([entry(KEY_ENTRY, text.encode()) for text in texts])


def hash_field(index: int) -> bytes:
    """Return a record's explicit hash key index as a field; nothing for -1."""
    return b"" if index < 0 else bytes((RECORD_HASH_INDEX,)) + varint(index)


def tag_fields(headers: Mapping[str, str]) -> bytes:
    """Return headers as the fields of a record; raise `InvalidInput` for what the decoder would refuse."""
    if len(headers) > HEADERS_MAX:
        raise InvalidInput("headers", f"at most {HEADERS_MAX}", str(len(headers)))
    out: list[bytes] = []
    for key, value in headers.items():
        pair = [text_bytes("headers", text) for text in (key, value)]
        if max(map(len, pair)) > TEXT_BYTES_MAX:
            raise InvalidInput("headers", f"texts of at most {TEXT_BYTES_MAX} bytes", f"{max(map(len, pair))} bytes")
        out.append(entry(RECORD_TAG, entry(TAG_KEY, pair[0]) + entry(TAG_VALUE, pair[1])))
    return b"".join(out)
