"""What a caller may put: every check before a record is accepted, each with an error that names field and range."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shardline.common.checks import check_mapping
from shardline.common.codec import encode
from shardline.common.errors import InvalidInput
from shardline.common.hashing import hash_key_bytes, parse_explicit_hash_key
from shardline.common.limits import PARTITION_KEY_LENGTH_MAX, PARTITION_KEY_LENGTH_MIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardline.common.codec import Codec

__all__ = ["Accepted", "accept", "accepted_again", "encoded"]

_VERBATIM: tuple[type, ...] = (bytes, bytearray, memoryview, str)  # None is no object either: `accept` refuses it.


class Accepted(NamedTuple):
    """A record that may be buffered: `hash_bytes` orders like its hash key, and is None where it has no key at all."""

    data: bytes
    partition_key: str | None
    explicit_hash_key: str | None
    headers: Mapping[str, str] | None
    hash_bytes: bytes | None
    key_bytes: int

    @property
    def size(self) -> int:
        """Data and partition key, as the service counts them."""
        return len(self.data) + self.key_bytes


def accept(
    data: object,
    partition_key: object,
    explicit_hash_key: int | str | None,
    headers: Mapping[str, str] | None,
    *,
    record_bytes_max: int,
    keyless: bool,
) -> Accepted:
    """Return the record as it is buffered; raise `InvalidInput` for anything the service or the format would refuse.

    `str` is encoded as UTF-8; `bytearray` and `memoryview` are copied: changing them afterwards changes nothing.
    `keyless` says whether the stream takes records without a partition key.
    """
    content = _content(data)
    key, key_bytes = _key(partition_key, keyless=keyless)
    hash_bytes = None
    hash_text = None
    if explicit_hash_key is not None:
        number = parse_explicit_hash_key(explicit_hash_key)
        hash_text, hash_bytes = str(number), number.to_bytes(16, "big")
    elif key is not None:
        hash_bytes = hash_key_bytes(key)
    size = len(content) + key_bytes
    if size > record_bytes_max:
        raise InvalidInput("data", f"at most {record_bytes_max} bytes with its partition key", f"{size} bytes")
    return Accepted(content, key, hash_text, _headers(headers), hash_bytes, key_bytes)


def encoded(data: object, headers: Mapping[str, str] | None, codec: Codec) -> tuple[object, Mapping[str, str] | None]:
    """Return an object as the codec's bytes, with its headers beside the caller's (which win); bytes and text as given.

    Raises `EncodeFailure` for what the codec refuses, `InvalidInput` for headers that are no mapping.
    """
    if headers is not None:
        check_mapping("headers", headers, "a mapping of str to str")
    if data is None or isinstance(data, _VERBATIM):
        return data, headers
    made = encode(data, codec)
    return made.data, {**(made.headers or {}), **(headers or {})} or None


def accepted_again(
    partition_key: str | None, data: bytes, explicit_hash_key: str | None, headers: Mapping[str, str] | None
) -> Accepted:
    """Return a record that was accepted before, from its fields."""
    hash_bytes = None
    if explicit_hash_key is not None:
        hash_bytes = int(explicit_hash_key).to_bytes(16, "big")
    elif partition_key is not None:
        hash_bytes = hash_key_bytes(partition_key)
    key_bytes = len(partition_key.encode()) if partition_key is not None else 0
    return Accepted(data, partition_key, explicit_hash_key, headers or None, hash_bytes, key_bytes)


def _content(data: object) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, bytearray | memoryview):
        return bytes(data)  # pyright: ignore[reportUnknownArgumentType]  # what a memoryview is of does not matter.
    if isinstance(data, str):
        return _utf8("data", data)
    raise InvalidInput("data", "bytes, str, bytearray or memoryview (or an object with a codec)", type(data).__name__)


def _key(key: object, *, keyless: bool) -> tuple[str | None, int]:
    allowed = f"{PARTITION_KEY_LENGTH_MIN} to {PARTITION_KEY_LENGTH_MAX} characters"
    if key is None and keyless:
        return None, 0
    if not isinstance(key, str):
        raise InvalidInput("partition_key", f"a str of {allowed}", type(key).__name__)
    if not PARTITION_KEY_LENGTH_MIN <= len(key) <= PARTITION_KEY_LENGTH_MAX:
        raise InvalidInput("partition_key", allowed, str(len(key)))
    return key, len(_utf8("partition_key", key))


def _utf8(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        # Not the codec's message: it quotes the text.
        raise InvalidInput(name, "text without lone surrogates", f"one at position {error.start}") from None


def _headers(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    if not headers:
        return None
    for name, value in headers.items():
        if not all(isinstance(text, str) for text in (name, value)):
            raise InvalidInput("headers", "a mapping of str to str", f"{type(name).__name__} to {type(value).__name__}")
    return dict(headers)
