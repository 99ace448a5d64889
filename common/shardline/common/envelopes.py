"""Reading what Lambda is handed: one `Origin` for each Kinesis record of an event, checked, its bytes decoded.

Shapes: the event source mapping's (``Records[].kinesis``), Firehose's and Analytics' transformation events
(``records[]``), and boto3's GetRecords answer. Invariants: a record whose sequence number cannot be read fails the
whole event (it could not be named in an answer); one whose data cannot be decoded is kept, with its `problem`, so
that the answer can name it; base64 is strict: white space, the url-safe alphabet and missing padding are
problems, not guesses.
"""

from __future__ import annotations

import binascii

from shardline.common.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeGuard

__all__ = ["BOTO3", "FIREHOSE", "STREAM", "Origin", "as_dictionary", "metadata_of", "origins_of", "read_stream_event"]

STREAM = "stream"
FIREHOSE = "firehose"
BOTO3 = "boto3"

_EVENT_SOURCE = "aws:kinesis"
_METADATA = ("kinesisRecordMetadata", "kinesisStreamRecordMetadata")
_SEQUENCE_DIGITS_MAX = 129


class Origin:
    """One Kinesis record of an event; all user records in it share it.

    `data` is its bytes (None with a `problem` in words), `raw` the dictionary as it came. `sequence_number` is decimal
    text, None only for Firehose records that did not come from a stream.
    """

    __slots__ = (
        "arrival_time_s",
        "data",
        "event_id",
        "partition_key",
        "problem",
        "raw",
        "sequence_number",
        "shape",
        "shard_id",
        "stream_arn",
    )

    def __init__(self, raw: dict[str, Any], shape: str, fields: Mapping[str, Any]) -> None:
        self.raw = raw
        self.shape = shape
        self.sequence_number: str | None = fields.get("sequenceNumber")
        self.partition_key: str | None = fields.get("partitionKey") or None
        self.arrival_time_s: float | None = fields.get("approximateArrivalTimestamp")
        self.event_id: str = raw.get("eventID") or ""
        self.stream_arn: str = raw.get("eventSourceARN") or ""
        self.shard_id: str = fields.get("shardId") or self.event_id.partition(":")[0]
        self.data: bytes | None = None
        self.problem: str | None = None

    def decode(self, text: object) -> None:
        """Take in the base64 text of the record's data."""
        if not isinstance(text, str):
            self.problem = "data is not base64 text"
            return
        try:
            self.data = binascii.a2b_base64(text, strict_mode=True)
        except (binascii.Error, ValueError):
            self.problem = f"data of {len(text)} characters is not strict base64"

    def __repr__(self) -> str:
        size = self.problem if self.data is None else f"{len(self.data)} bytes"
        return f"Origin({self.shard_id}:{self.sequence_number}, {size})"


def as_dictionary(value: Any) -> dict[str, Any] | None:
    """Return `value` if it is a dictionary, else None."""
    return value if _is_dictionary(value) else None


def _is_dictionary(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: Any) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    return isinstance(value, (list, tuple))


def _as_list(value: Any) -> list[Any] | None:
    return list(value) if _is_list(value) else None


def read_stream_event(event: Any) -> list[Origin]:
    """Return the records of an event source mapping's event; raise `InvalidInput` for anything else.

    Every record must be Kinesis' and carry a sequence number, since only that can be named in an answer.
    """
    fields = as_dictionary(event) or {}
    records = _as_list(fields.get("Records"))
    if records is None:
        raise InvalidInput("event", "a Kinesis event with a list of Records", type(fields.get("Records")).__name__)
    return [_stream_origin(record, index) for index, record in enumerate(records)]


def origins_of(event: Any) -> list[Origin]:
    """Return the records of an event, answer or list of any known shape; raise `InvalidInput` for anything else."""
    fields = as_dictionary(event)
    records = _as_list(event if fields is None else fields.get("Records", fields.get("records", [fields])))
    if records is None:
        raise InvalidInput("event", "an event with Records or records, a GetRecords answer, or a list of records")
    return [_any_origin(record, index) for index, record in enumerate(records)]


def _any_origin(given: Any, index: int) -> Origin:
    record = as_dictionary(given) or {}
    if "kinesis" in record:
        return _stream_origin(record, index)
    if "Data" in record:
        return _boto3_origin(record)
    if "recordId" in record:
        return _firehose_origin(record)
    raise InvalidInput(f"Records[{index}]", "a Kinesis, Firehose, Analytics or GetRecords record")


def _stream_origin(given: Any, index: int) -> Origin:
    """Read one record of the event source mapping's shape."""
    record = as_dictionary(given) or {}
    kinesis = as_dictionary(record.get("kinesis"))
    if kinesis is None:
        raise InvalidInput(f"Records[{index}]", "a Kinesis record")
    if record.get("eventSource", _EVENT_SOURCE) != _EVENT_SOURCE:
        raise InvalidInput(f"Records[{index}].eventSource", _EVENT_SOURCE)
    number = kinesis.get("sequenceNumber")
    if not _is_sequence_number(number):
        raise InvalidInput(f"Records[{index}].kinesis.sequenceNumber", "decimal digits", type(number).__name__)
    origin = Origin(record, STREAM, kinesis)
    origin.decode(kinesis.get("data"))
    return origin


def metadata_of(record: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a Firehose or Analytics record says of its stream, or None."""
    for name in _METADATA:
        found = as_dictionary(record.get(name))
        if found is not None:
            return found
    return None


def _firehose_origin(record: dict[str, Any]) -> Origin:
    """Read one record of a Firehose or Analytics transformation event."""
    origin = Origin(record, FIREHOSE, metadata_of(record) or {})
    origin.decode(record.get("data"))
    return origin


def _boto3_origin(record: dict[str, Any]) -> Origin:
    """Read one record of a GetRecords answer; its data are bytes already."""
    fields = {"sequenceNumber": record.get("SequenceNumber"), "partitionKey": record.get("PartitionKey")}
    origin = Origin(record, BOTO3, fields)
    data = record["Data"]
    if isinstance(data, bytes):
        origin.data = data
    else:
        origin.problem = "Data is not bytes"
    return origin


def _is_sequence_number(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _SEQUENCE_DIGITS_MAX
