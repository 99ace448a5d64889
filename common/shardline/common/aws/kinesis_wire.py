# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Kinesis requests and answers as bytes: ``application/x-amz-json-1.1`` and ``application/x-amz-cbor-1.1``.

Pure: bytes in, values out; imports no SDK. Written by hand where it pays: a PutRecords body is joined from base64 text
that needs no escaping, and GetRecords answers have their blobs cut out before the JSON parser sees them. CBOR carries
bytes as they are; its timestamps are tag 1 with seconds or (as the AWS SDK for Java writes them) milliseconds.

Invariant: a value that does not have the shape the service documents raises `Ambiguous` ("BrokenAnswer"), never a
KeyError, and no part of such an answer is used.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Literal

from shardline.common.errors import Ambiguous
from shardline.common.records import KinesisRecord

try:  # Three times faster; absent in a plain installation.
    import pybase64 as _base64
except ModuleNotFoundError:
    import base64 as _base64  # type: ignore[no-redef]  # The two calls we make are the same in both.

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shardline.common.ports.kinesis import PutEntry

__all__ = [
    "CBOR_AVAILABLE",
    "CONTENT_TYPES",
    "Encoding",
    "blob",
    "broken",
    "decode",
    "decode_records",
    "encode",
    "encode_put_records",
    "epoch_s",
    "fault",
    "records",
]

Encoding = Literal["json", "cbor"]
CONTENT_TYPES: dict[Encoding, str] = {"json": "application/x-amz-json-1.1", "cbor": "application/x-amz-cbor-1.1"}
CBOR_AVAILABLE = find_spec("cbor2") is not None
MILLISECONDS_FROM = 1e11
"""An epoch number from here on counts milliseconds: as seconds it would lie after the year 5138."""
_DATA = b'"Data":"'


def broken(what: str) -> Ambiguous:
    """Return the error for an answer that is not what it should be."""
    return Ambiguous("BrokenAnswer", what)


def encode(encoding: Encoding, fields: Mapping[str, Any]) -> bytes:
    """Return a small request's body; None values are left out."""
    present = {name: value for name, value in fields.items() if value is not None}
    if encoding == "cbor":
        return _cbor_dumps(present)
    return json.dumps(present, separators=(",", ":")).encode()


def encode_put_records(encoding: Encoding, stream: Mapping[str, str], entries: Sequence[PutEntry]) -> list[bytes]:
    """Return the body of PutRecords for `stream` (StreamName or StreamARN) in pieces, each blob one of its own."""
    return (_cbor_put_records if encoding == "cbor" else _json_put_records)(stream, entries)


def _json_put_records(stream: Mapping[str, str], entries: Sequence[PutEntry]) -> list[bytes]:
    text = encode_basestring_ascii
    pieces: list[bytes] = [json.dumps(dict(stream), separators=(",", ":"))[:-1].encode(), b',"Records":[']
    separator = b'{"Data":"'
    for data, partition_key, explicit_hash_key in entries:
        tail = '"'
        if partition_key is not None:
            tail += ',"PartitionKey":' + text(partition_key)
        if explicit_hash_key is not None:
            tail += ',"ExplicitHashKey":' + text(explicit_hash_key)
        pieces += (separator, _base64.b64encode(data), tail.encode())
        separator = b'},{"Data":"'
    pieces.append(b"}]}")
    return pieces


def _cbor_put_records(stream: Mapping[str, str], entries: Sequence[PutEntry]) -> list[bytes]:
    """Return the pieces of the body; by hand, because the library's writer copies each blob several times."""
    pieces: list[bytes] = [_cbor_head(_CBOR_MAP, len(stream) + 1)]
    for name, value in stream.items():
        pieces += (_cbor_text(name), _cbor_text(value))
    pieces += (_cbor_text("Records"), _cbor_head(_CBOR_ARRAY, len(entries)))
    for data, partition_key, explicit_hash_key in entries:
        fields, tail = 1, b""
        if partition_key is not None:
            fields, tail = 2, _CBOR_PARTITION_KEY + _cbor_text(partition_key)
        if explicit_hash_key is not None:
            fields, tail = fields + 1, tail + _CBOR_EXPLICIT_HASH_KEY + _cbor_text(explicit_hash_key)
        pieces += (_CBOR_ENTRIES[fields] + _cbor_head(_CBOR_BYTES, len(data)), data, tail)
    return pieces


_CBOR_BYTES, _CBOR_TEXT, _CBOR_ARRAY, _CBOR_MAP = 0x40, 0x60, 0x80, 0xA0
"""CBOR's major types (RFC 8949, section 3.1), as they stand in the first byte of an item."""
_CBOR_SHORT = 24
"""Lengths below it stand in that byte; from it on it says in 1, 2, 4 or 8 bytes behind it."""


def _cbor_head(major: int, length: int) -> bytes:
    """Return the first bytes of an item, its length in the shortest form."""
    if length < _CBOR_SHORT:
        return bytes((major | length,))
    if length < 1 << 8:
        return bytes((major | _CBOR_SHORT, length))
    size = 2 if length < 1 << 16 else 4 if length < 1 << 32 else 8
    return bytes((major | _CBOR_SHORT - 1 + size.bit_length(),)) + length.to_bytes(size, "big")


def _cbor_text(text: str) -> bytes:
    content = text.encode()
    return _cbor_head(_CBOR_TEXT, len(content)) + content


_CBOR_ENTRIES = [_cbor_head(_CBOR_MAP, fields) + _cbor_text("Data") for fields in range(4)]
_CBOR_PARTITION_KEY = _cbor_text("PartitionKey")
_CBOR_EXPLICIT_HASH_KEY = _cbor_text("ExplicitHashKey")


def decode(content_type: str, body: bytes) -> dict[str, Any]:
    """Return the answer's fields, read as its content type says; raises `Ambiguous` for anything but one object."""
    try:
        value = _decode_cbor(body) if content_type == CONTENT_TYPES["cbor"] else json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise broken(f"{len(body)} bytes that are not {content_type or 'JSON'}") from error
    if not isinstance(value, dict):
        raise broken("no object")
    return value


def _cbor_dumps(value: Any) -> bytes:
    import cbor2  # noqa: PLC0415 - an extra, asked for only where CBOR_AVAILABLE says it is there.

    return cbor2.dumps(value)


def _decode_cbor(body: bytes) -> Any:
    if not CBOR_AVAILABLE:
        raise ValueError("cbor2 is not installed")
    import cbor2  # noqa: PLC0415 - an extra.

    try:
        return cbor2.loads(body, semantic_decoders={1: _plain}, max_depth=16)
    except (cbor2.CBORDecodeError, EOFError) as error:
        raise ValueError("no CBOR") from error


def _plain(value: Any, _immutable: bool) -> Any:  # noqa: FBT001 - cbor2's signature.
    """Keep a timestamp as the number it is: milliseconds would be out of range for a date."""
    return value


def epoch_s(value: Any) -> float:
    """Return a timestamp in epoch seconds; raises `Ambiguous` for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise broken("a timestamp that is no number")
    return value / 1000 if value >= MILLISECONDS_FROM else float(value)


def fault(content_type: str, body: bytes) -> tuple[object, str]:
    """Return the ``__type`` and message of a refusal, as far as they can be read."""
    try:
        fields = decode(content_type, body)
    except Ambiguous:
        return None, ""
    message = fields.get("message", fields.get("Message", ""))
    return fields.get("__type"), message if isinstance(message, str) else ""


def decode_records(content_type: str, body: bytes) -> tuple[dict[str, Any], list[KinesisRecord]]:
    """Return the fields of a GetRecords answer (Records left out) and its records."""
    if content_type == CONTENT_TYPES["cbor"]:
        fields = decode(content_type, body)
        return fields, records(fields.pop("Records", None), blob)
    fields, blobs = _cut(body)
    raw = fields.pop("Records", None)
    if isinstance(raw, list) and len(raw) == len(blobs):
        supply = iter(blobs)
        return fields, records(raw, lambda _blob: next(supply))
    fields = decode(content_type, body)
    return fields, records(fields.pop("Records", None), blob)


def _cut(body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Return the answer with every blob emptied, and the blobs in order; `{}` where cutting does not work.

    Inside a JSON string a quotation mark is escaped, so the bytes ``"Data":"`` open a blob wherever they stand.
    """
    blobs: list[bytes] = []
    pieces: list[bytes] = []
    position = 0
    view = memoryview(body)
    find = body.find
    try:
        while (start := find(_DATA, position)) >= 0:
            start += len(_DATA)
            end = find(b'"', start)
            blobs.append(_base64.b64decode(view[start:end], validate=True))
            pieces.append(body[position:start])
            position = end
        pieces.append(body[position:])
        value = json.loads(b"".join(pieces))
    except (ValueError, RecursionError):
        return {}, []
    return (value, blobs) if isinstance(value, dict) else ({}, [])


def blob(value: Any) -> bytes:
    """Return the bytes of a blob: base64 text in JSON, a byte string in CBOR; raises `Ambiguous` for anything else."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise broken("data that is neither text nor bytes")
    try:
        return _base64.b64decode(value, validate=True)
    except ValueError as error:
        raise broken("data that is no base64") from error


def records(raw: Any, data: Callable[[Any], bytes]) -> list[KinesisRecord]:
    """Return the records of a parsed list, `data` turning each blob into bytes; `Ambiguous` for a wrong shape."""
    if not isinstance(raw, list):
        raise broken("no list of records")
    try:
        found = [
            KinesisRecord(
                one["SequenceNumber"],
                data(one["Data"]),
                one.get("PartitionKey"),
                one.get("ApproximateArrivalTimestamp", 0),
            )
            for one in raw
        ]
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise broken("a record without sequence number or data") from error
    return [_checked(record) for record in found]


def _checked(record: KinesisRecord) -> KinesisRecord:
    number, _, key, arrival = record
    if number.__class__ is not str or not number.isdigit() or not (key is None or key.__class__ is str):
        raise broken("a record whose sequence number or key is no text")
    if arrival.__class__ is float and 0 <= arrival < MILLISECONDS_FROM:
        return record
    return record._replace(arrival_time_s=epoch_s(arrival))
