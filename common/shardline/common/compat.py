"""A drop-in for `aws_kinesis_agg`: the same names and shapes, right where that package is wrong (`peers.md` 2.3).

    from shardline.common.compat import RecordAggregator, deaggregate_records, iter_deaggregate_records

What differs, on purpose:

* nothing is dropped: a bad aggregate comes out whole, a record near the size limit is accepted or refused, never both;
* sizes count the partition key, as the API does, and are exact;
* an aggregate holds records of one hash key only, since a KCL drops aggregates that straddle shards and this interface
  knows no shards; with ``consumers="any"`` keys are mixed, for readers that deaggregate without a range check. For full
  aggregates that are always safe use `shardline.producer`;
* aggregated records carry `data` as text, so that they serialise to JSON, an `eventID` of their own, and their own
  explicit hash key or none;
* callbacks run in order on the calling thread; no module path or descriptor pool is touched, and nothing is printed.
"""

from __future__ import annotations

from binascii import b2a_base64

from shardline.common.aggregation import AggregateBuilder
from shardline.common.dictionaries import deaggregate
from shardline.common.envelopes import as_dictionary, metadata_of
from shardline.common.errors import InvalidInput
from shardline.common.hashing import hash_key, parse_explicit_hash_key
from shardline.common.limits import RECORD_BYTES_MAX_DEFAULT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, Literal

__all__ = ["AggRecord", "RecordAggregator", "deaggregate_records", "iter_deaggregate_records"]

_SIZE_MIN = 64


def deaggregate_records(
    records: Mapping[str, Any] | Iterable[Mapping[str, Any]], data_format: str | None = None
) -> list[dict[str, Any]]:
    """Return `iter_deaggregate_records` as a list."""
    return list(iter_deaggregate_records(records, data_format))


def iter_deaggregate_records(
    records: Mapping[str, Any] | Iterable[Mapping[str, Any]], data_format: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the user records of Kinesis records in Lambda's shape; other shapes are turned into it first.

    `records` is one record or several, of a Lambda, Analytics or Firehose event or (known by ``Data``; `data_format`
    need not say ``Boto3``) of GetRecords. Raises `InvalidInput` for a record of no known shape.
    """
    del data_format  # Each record tells its own shape.
    several = [records] if hasattr(records, "keys") else records
    for record in several:
        yield from deaggregate([_lambda_shape(record)])


def _lambda_shape(given: Any) -> Any:
    """Return a record in the shape of the event source mapping; one of no known shape as it is."""
    record = as_dictionary(given)
    if record is None or "kinesis" in record:
        return given
    if "Data" in record:
        return {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "sequenceNumber": record.get("SequenceNumber"),
                "partitionKey": record.get("PartitionKey"),
                "approximateArrivalTimestamp": record.get("ApproximateArrivalTimestamp"),
                "data": b2a_base64(record["Data"], newline=False).decode("ascii"),
            }
        }
    metadata = metadata_of(record)
    if metadata is None:
        return given
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "sequenceNumber": metadata.get("sequenceNumber"),
            "partitionKey": metadata.get("partitionKey"),
            "approximateArrivalTimestamp": metadata.get("approximateArrivalTimestamp"),
            "shardId": metadata.get("shardId"),
            "data": record.get("data"),
            "recordId": record.get("recordId"),
        }
    }


def _text(field: str, value: str | bytes) -> str:
    """Return a key as text; raise `InvalidInput` for bytes that are no UTF-8."""
    if isinstance(value, str):
        return value
    try:
        return str(value, "utf-8")
    except (UnicodeDecodeError, TypeError) as error:
        raise InvalidInput(field, "text, or bytes of UTF-8") from error


class AggRecord:
    """One Kinesis record in the making; `max_size` bounds its data and partition key together, in bytes."""

    def __init__(self, max_size: int = RECORD_BYTES_MAX_DEFAULT, *, consumers: Literal["kcl", "any"] = "kcl") -> None:
        if not _SIZE_MIN <= max_size <= RECORD_BYTES_MAX_DEFAULT:
            raise InvalidInput("max_size", f"from {_SIZE_MIN} to {RECORD_BYTES_MAX_DEFAULT} bytes", str(max_size))
        if consumers not in {"kcl", "any"}:
            raise InvalidInput("consumers", "kcl or any")
        self.max_size = max_size
        self._mixes = consumers == "any"
        self.clear()

    def clear(self) -> None:
        """Forget everything that was added."""
        self._builder = AggregateBuilder(self.max_size - 1)  # The outer partition key weighs one byte.
        self._hash_key: int | None = None

    def get_num_user_records(self) -> int:
        """Return how many user records were added."""
        return len(self._builder)

    def get_size_bytes(self) -> int:
        """Return the exact size of the data that `get_contents` would give; 0 while empty."""
        return self._builder.size

    def get_partition_key(self) -> str | None:
        """Return the Kinesis record's partition key, None while empty."""
        return self._builder.seal().partition_key if len(self._builder) else None

    def get_explicit_hash_key(self) -> str | None:
        """Return the Kinesis record's explicit hash key as decimal text, None while empty."""
        return self._builder.seal().explicit_hash_key if len(self._builder) else None

    def get_contents(self) -> tuple[str | None, str | None, bytes]:
        """Return (partition key, explicit hash key, data) for PutRecord; the record stays as it is.

        Raises `InvalidInput` while empty.
        """
        if not len(self._builder):
            raise InvalidInput("record", "one with at least one user record")
        sealed = self._builder.seal()
        return sealed.partition_key, sealed.explicit_hash_key, sealed.data

    def add_user_record(
        self, partition_key: str | bytes, data: str | bytes, explicit_hash_key: str | bytes | None = None
    ) -> bool:
        """Add a user record; return False, changing nothing, if it belongs into the next Kinesis record.

        Raises `InvalidInput` (a ValueError) for keys that Kinesis refuses and for a record that no Kinesis record of
        `max_size` can hold.
        """
        key = _text("partition_key", partition_key)
        given = (
            None
            if explicit_hash_key is None
            else str(parse_explicit_hash_key(_text("explicit_hash_key", explicit_hash_key)))
        )
        blob = data.encode() if isinstance(data, str) else bytes(data)
        if len(blob) + len(key.encode("utf-8", "replace")) > self.max_size:
            raise InvalidInput("data", f"at most {self.max_size} bytes together with the partition key", str(len(blob)))
        if self._belongs_elsewhere(key, given) or not self._builder.try_append(key, blob, given):
            return False
        if self._hash_key is None:
            self._hash_key = _effective(key, given)
        return True

    def _belongs_elsewhere(self, key: str, given: str | None) -> bool:
        """Say whether a record may lie in another shard than what is here already."""
        return not self._mixes and self._hash_key is not None and _effective(key, given) != self._hash_key


def _effective(key: str, given: str | None) -> int:
    return hash_key(key) if given is None else int(given)


class RecordAggregator:
    """Gathers user records and hands out a Kinesis record each time one is full. Not thread-safe."""

    def __init__(self, max_size: int = RECORD_BYTES_MAX_DEFAULT, *, consumers: Literal["kcl", "any"] = "kcl") -> None:
        self.max_size = max_size
        self._consumers: Literal["kcl", "any"] = consumers
        self.current_record = AggRecord(max_size, consumers=consumers)
        self.callbacks: list[Callable[[AggRecord], object]] = []

    def on_record_complete(
        self,
        callback: Callable[[AggRecord], object],
        execute_on_new_thread: bool = False,  # noqa: FBT001, FBT002 - the original's signature.
    ) -> None:
        """Call `callback` with each full record, on the calling thread; the same callback is kept once."""
        del execute_on_new_thread  # A thread per record lost order, and records at exit.
        if callback not in self.callbacks:
            self.callbacks.append(callback)

    def clear_callbacks(self) -> None:
        """Forget all callbacks."""
        self.callbacks.clear()

    def get_num_user_records(self) -> int:
        """Return how many user records wait in the present Kinesis record."""
        return self.current_record.get_num_user_records()

    def get_size_bytes(self) -> int:
        """Return the present Kinesis record's exact size."""
        return self.current_record.get_size_bytes()

    def clear_record(self) -> None:
        """Forget the present Kinesis record."""
        self.current_record = AggRecord(self.max_size, consumers=self._consumers)

    def clear_and_get(self) -> AggRecord | None:
        """Return the present Kinesis record, full or not, and start anew; None where nothing waits."""
        if not self.get_num_user_records():
            return None
        record = self.current_record
        self.clear_record()
        return record

    def add_user_record(
        self, partition_key: str | bytes, data: str | bytes, explicit_hash_key: str | bytes | None = None
    ) -> AggRecord | None:
        """Add a user record; return the Kinesis record that it completed, or None.

        The record given is always accepted, or refused with `InvalidInput`; it is never dropped.
        """
        if self.current_record.add_user_record(partition_key, data, explicit_hash_key):
            return None
        full = self.clear_and_get()
        accepted = self.current_record.add_user_record(partition_key, data, explicit_hash_key)
        assert accepted, "an empty record takes what passed the size check"
        if full is not None:
            for callback in self.callbacks:
                callback(full)
        return full
