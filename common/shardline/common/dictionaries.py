"""`deaggregate(event)`: the records of an event as dictionaries of the event's own shape, aggregates taken apart.

Plain records come out as the very dictionaries that came in. A sub-record is a copy of its record's dictionary with its
own data, keys, `subSequenceNumber` and `aggregated`, and an `eventID` of its own (``SHARD:SEQUENCE:SUB``), so that
tools that tell records apart by it do. Firehose and Analytics records keep their `recordId`. Data are base64 text where
the event has base64 text, bytes where it has bytes, for plain and aggregated records alike.
"""

from __future__ import annotations

from binascii import b2a_base64
from itertools import repeat

from shardline.common.deaggregation import Validation, iterate
from shardline.common.envelopes import BOTO3, FIREHOSE, Origin, origins_of
from shardline.common.errors import InvalidInput
from shardline.common.limits import AGGREGATE_SUB_RECORDS_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from shardline.common.deaggregation import MalformedPolicy, UserRecords

__all__ = ["Dictionaries", "deaggregate"]


class Dictionaries:
    """The user records of an event as dictionaries; iterate as often as needed, each time sub-records are made anew.

    `len()` is their number. Made while iterating, so that a hostile aggregate cannot fill the memory.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: list[tuple[Origin, UserRecords | None]]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for origin, records in self._parts:
            if records is None or not records.aggregated:
                yield origin.raw
            else:
                yield from _MAKERS.get(origin.shape, _stream)(origin, records)

    def __len__(self) -> int:
        return sum(1 if records is None else len(records) for _, records in self._parts)

    def __repr__(self) -> str:
        return f"Dictionaries({len(self)} of {len(self._parts)} Kinesis records)"


def deaggregate(
    event: Any,
    *,
    malformed: MalformedPolicy = "deliver_raw",
    max_sub_records: int = AGGREGATE_SUB_RECORDS_MAX,
) -> Dictionaries:
    """Return the user records of a Lambda, Firehose or Analytics event, a GetRecords answer, or a list of its records.

    Every aggregate is checked whole before this returns. What is malformed, or not base64, comes out as it came in, or
    raises `MalformedAggregate` (`InvalidInput` for base64) with ``malformed="raise"``. Raises `InvalidInput` for an
    event of another shape.
    """
    return Dictionaries([(one, _records(one, malformed, max_sub_records)) for one in origins_of(event)])


def _records(origin: Origin, malformed: MalformedPolicy, max_sub_records: int) -> UserRecords | None:
    if origin.data is None:
        if malformed == "raise":
            raise InvalidInput("data", f"base64 text ({origin.problem})")
        return None
    check = Validation(origin.data, max_sub_records=max_sub_records).run()
    return iterate(check, origin.partition_key, malformed=malformed)


def _stream(origin: Origin, records: UserRecords) -> Iterator[dict[str, Any]]:
    """Make dictionaries of the event source mapping's shape."""
    outer = {name: value for name, value in origin.raw.items() if name != "kinesis"}
    inner = dict(origin.raw["kinesis"])
    inner["aggregated"] = True
    stem = f"{origin.event_id or origin.sequence_number}:"
    data, keys, hash_keys, numbers, _, _ = records.columns()
    for blob, key, hash_key, number in zip(data, keys, hash_keys, numbers, strict=False):
        kinesis = inner.copy()
        kinesis["partitionKey"] = key
        kinesis["data"] = str(b2a_base64(blob, newline=False), "ascii")
        kinesis["explicitHashKey"] = hash_key
        kinesis["subSequenceNumber"] = number
        record = outer.copy()
        record["kinesis"] = kinesis
        record["eventID"] = f"{stem}{number}"
        yield record


def _firehose(origin: Origin, records: UserRecords) -> Iterator[dict[str, Any]]:
    """Make dictionaries of Firehose's or Analytics' shape; all keep the `recordId` that an answer must name."""
    outer = dict(origin.raw)
    name = "kinesisStreamRecordMetadata" if "kinesisStreamRecordMetadata" in outer else "kinesisRecordMetadata"
    metadata = dict(outer.get(name) or {})
    data, keys, hash_keys, numbers, _, _ = records.columns()
    for blob, key, hash_key, number in zip(data, keys, hash_keys, numbers, strict=False):
        record = outer.copy()
        record["data"] = str(b2a_base64(blob, newline=False), "ascii")
        record[name] = {
            **metadata,
            "partitionKey": key,
            "explicitHashKey": hash_key,
            "subSequenceNumber": number,
            "aggregated": True,
        }
        yield record


def _boto3(origin: Origin, records: UserRecords) -> Iterator[dict[str, Any]]:
    """Make dictionaries of GetRecords' shape: bytes in, bytes out."""
    data, keys, hash_keys, numbers, _, _ = records.columns()
    for raw, blob, key, hash_key, number in zip(repeat(origin.raw), data, keys, hash_keys, numbers, strict=False):
        yield {
            **raw,
            "Data": blob,
            "PartitionKey": key,
            "ExplicitHashKey": hash_key,
            "SubSequenceNumber": number,
            "Aggregated": True,
        }


_MAKERS = {FIREHOSE: _firehose, BOTO3: _boto3}
