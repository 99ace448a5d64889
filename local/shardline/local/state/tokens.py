"""Shard iterators and next tokens: opaque, self-contained text; the state keeps no table of them.

An iterator names its stream (and that stream's creation), shard, position and time of issue, under a checksum: garbage,
or a token cut or altered on the way, is refused as the service refuses it.
"""

from __future__ import annotations

import binascii
import json
import zlib
from base64 import b64decode, b64encode
from typing import Any, NamedTuple

from shardline.local.state.refusal import invalid

__all__ = ["IteratorState", "decode_iterator", "decode_token", "encode_iterator", "encode_token"]

_CHECK_BYTES = 4
_FIELDS = 6


class IteratorState(NamedTuple):
    """What an iterator says; `position` counts the shard's records from 0, the `..._ms` are epoch milliseconds."""

    stream: str
    created_ms: int
    shard_index: int
    position: int
    issued_ms: int
    serial: int = 0


def _seal(body: bytes) -> str:
    return b64encode(zlib.crc32(body).to_bytes(_CHECK_BYTES, "big") + body).decode()


def _unseal(text: str) -> bytes | None:
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    body = raw[_CHECK_BYTES:]
    return body if zlib.crc32(body).to_bytes(_CHECK_BYTES, "big") == raw[:_CHECK_BYTES] else None


def encode_iterator(state: IteratorState) -> str:
    """Return the iterator's text."""
    return _seal(b"i\0" + "\0".join(map(str, state)).encode())


def decode_iterator(text: str) -> IteratorState:
    """Return what an iterator says; raise InvalidArgumentException for anything that is none."""
    body = _unseal(text)
    parts = body[2:].decode().split("\0") if body is not None and body[:2] == b"i\0" else []
    if len(parts) != _FIELDS:
        raise invalid("Invalid ShardIterator.")
    return IteratorState(parts[0], *map(int, parts[1:]))


def encode_token(content: dict[str, Any]) -> str:
    """Return a next token that carries `content`."""
    return _seal(b"t\0" + json.dumps(content, separators=(",", ":")).encode())


def decode_token(text: str) -> dict[str, Any]:
    """Return what a next token carries; raise InvalidArgumentException for anything that is none."""
    body = _unseal(text)
    if body is None or body[:2] != b"t\0":
        raise invalid("Invalid NextToken.")
    content: dict[str, Any] = json.loads(body[2:])
    return content
