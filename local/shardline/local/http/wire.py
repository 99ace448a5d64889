"""The two wire formats of Kinesis: JSON 1.1, and the CBOR 1.1 that the Java SDK speaks by default.

In JSON a blob is base64 text and a time epoch seconds; in CBOR a blob is a byte string and a time tag 1 with epoch
*milli*seconds. The two big answers (PutRecords, GetRecords) are joined by hand in JSON: they are the hot path.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# (JSON and CBOR of any shape)

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Any, Final

import cbor2
import pybase64

from shardline.local.http.shapes import Moment
from shardline.local.state.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.common.ports.kinesis import PutOutcome
    from shardline.common.records import KinesisRecord

__all__ = ["CBOR", "JSON", "decode", "encode", "json_page", "json_puts"]

JSON: Final = "application/x-amz-json-1.1"
CBOR: Final = "application/x-amz-cbor-1.1"
_EPOCH_TAG: Final = 1
_MILLIS_FROM: Final = 1e11  # Above it a number of seconds would lie in the year 5138: it is milliseconds.


def decode(body: bytes | bytearray, content_type: str) -> dict[str, Any]:
    """Return a request's parameters; raise SerializationException for a body that is no object."""
    try:
        if content_type == CBOR:
            content = cbor2.loads(body, semantic_decoders={_EPOCH_TAG: _epoch}) if body else {}
        else:
            content = json.loads(body) if body else {}
    except (ValueError, EOFError, RecursionError, cbor2.CBORError):
        raise Refusal("SerializationException", "The body cannot be read.") from None
    if not isinstance(content, dict):
        raise Refusal("SerializationException", "The body is no object.")
    return content


def _epoch(value: object, _immutable: bool) -> float:  # noqa: FBT001 - cbor2's own signature.
    if not isinstance(value, int | float):
        raise Refusal("SerializationException", "A timestamp has a wrong type.")
    return value / 1000 if abs(value) > _MILLIS_FROM else value


def encode(fields: dict[str, Any] | None, content_type: str) -> bytes:
    """Return an answer's body; without fields it is empty in JSON and an empty map in CBOR."""
    if content_type == CBOR:
        return cbor2.dumps(_for_cbor(fields or {}))
    if fields is None:
        return b""
    return json.dumps(fields, separators=(",", ":"), default=_json_default).encode()


def _json_default(value: object) -> object:
    assert isinstance(value, bytes)
    return pybase64.b64encode_as_string(value)


def _for_cbor(value: Any) -> Any:  # noqa: ANN401 - a recursive structure.
    if isinstance(value, Moment):
        return cbor2.CBORTag(_EPOCH_TAG, round(value * 1000))
    if isinstance(value, dict):
        return {k: _for_cbor(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_for_cbor(v) for v in value]
    return value


def json_puts(outcomes: Sequence[PutOutcome]) -> bytes:
    """Return the JSON answer of a PutRecords."""
    failed = 0
    parts: list[str] = []
    for shard_id, number, code, message in outcomes:
        if code is None:
            parts.append(f'{{"SequenceNumber":"{number}","ShardId":"{shard_id}"}}')
        else:
            failed += 1
            parts.append(f'{{"ErrorCode":"{code}","ErrorMessage":{quote(message or "")}}}')
    joined = ",".join(parts)
    return f'{{"FailedRecordCount":{failed},"Records":[{joined}],"EncryptionType":"NONE"}}'.encode()


def json_record(item: KinesisRecord) -> str:
    """Return the JSON of one record."""
    number, data, key, arrival_s = item
    text = pybase64.b64encode_as_string(data)
    key_text = "" if key is None else f',"PartitionKey":{quote(key)}'
    return f'{{"SequenceNumber":"{number}","ApproximateArrivalTimestamp":{arrival_s:.3f},"Data":"{text}"{key_text}}}'


def json_page(records: Sequence[KinesisRecord], rest: dict[str, Any]) -> bytes:
    """Return the JSON of an answer with Records and other fields."""
    tail = json.dumps(rest, separators=(",", ":"), default=_json_default)[1:]
    return f'{{"Records":[{",".join(map(json_record, records))}],{tail}'.encode()
