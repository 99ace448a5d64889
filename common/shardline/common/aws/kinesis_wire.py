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


def encode_put_records(encoding: Encoding, stream: Mapping[str, str], entries: Sequence[PutEntry]) -> bytes:
    """Return the body of PutRecords for `stream` (StreamName or StreamARN)."""
    if encoding == "cbor":
        return _cbor_dumps({**stream, "Records": [_cbor_entry(*entry) for entry in entries]})
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
    return b"".join(pieces)


def _cbor_entry(data: bytes, partition_key: str | None, explicit_hash_key: str | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"Data": data}
    if partition_key is not None:
        entry["PartitionKey"] = partition_key
    if explicit_hash_key is not None:
        entry["ExplicitHashKey"] = explicit_hash_key
    return entry


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
