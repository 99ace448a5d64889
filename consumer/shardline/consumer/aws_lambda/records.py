"""What a Lambda handler is given: a record with everything known of it, and what its batch came to."""

from __future__ import annotations

from shardline.common.errors import ShardlineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from shardline.common.envelopes import Origin

__all__ = ["BatchStopped", "Record", "Tally"]


class Record:
    """One user record.

    `data` are its bytes, `partition_key` is None on streams that place records themselves, `explicit_hash_key` decimal
    text or None, `sub_sequence_number` its place in its aggregate (0 for a plain record), `misplaced` whether its hash
    key lies outside the shard's range where that is known, `headers` the aggregate's tags, `origin` the Kinesis record.
    """

    __slots__ = (
        "data",
        "explicit_hash_key",
        "headers",
        "misplaced",
        "origin",
        "partition_key",
        "sub_sequence_number",
    )

    def __init__(
        self,
        origin: Origin,
        data: bytes,
        partition_key: str | None,
        explicit_hash_key: str | None,
        sub_sequence_number: int,
        misplaced: bool,  # noqa: FBT001 - positional, since `map` makes the records.
        headers: Mapping[str, str],
    ) -> None:
        self.origin = origin
        self.data = data
        self.partition_key = partition_key
        self.explicit_hash_key = explicit_hash_key
        self.sub_sequence_number = sub_sequence_number
        self.misplaced = misplaced
        self.headers = headers

    @property
    def sequence_number(self) -> str:
        """The Kinesis record's sequence number, decimal text; all records of one aggregate share it."""
        return self.origin.sequence_number or ""

    @property
    def shard_id(self) -> str:
        """The shard's id."""
        return self.origin.shard_id

    @property
    def stream_arn(self) -> str:
        """The stream's ARN."""
        return self.origin.stream_arn

    @property
    def arrival_time_s(self) -> float | None:
        """ApproximateArrivalTimestamp in epoch seconds."""
        return self.origin.arrival_time_s

    @property
    def id(self) -> str:
        """A stable id of the record in its stream: ``SHARD:SEQUENCE:SUB``; the same on every delivery."""
        return f"{self.origin.shard_id}:{self.origin.sequence_number}:{self.sub_sequence_number}"

    def text(self) -> str:
        """Return the data as UTF-8 text; raises `UnicodeDecodeError`."""
        return self.data.decode()

    def json(self) -> Any:
        """Return the data parsed as JSON; raises `ValueError`."""
        import json

        return json.loads(self.data)

    def __repr__(self) -> str:
        return f"Record({self.id}, {len(self.data)} bytes)"


class BatchStopped(ShardlineError):
    """A batch handler raises it to say how far it came: everything before `record` is done, `record` is not."""

    def __init__(self, record: Record) -> None:
        self.record = record
        super().__init__(f"stopped at {record.id}")


class Tally:
    """What one invocation came to; counts of Kinesis records and of user records.

    `checksum` counts blobs with the magic but another digest, `key_length` keys that no service admits.
    """

    __slots__ = (
        "checksum",
        "dropped",
        "failed",
        "key_length",
        "kinesis_records",
        "malformed",
        "misplaced",
        "out_of_time",
        "parked",
        "processed",
        "skipped",
    )

    def __init__(self) -> None:
        self.kinesis_records = 0
        self.processed = 0
        self.failed = 0
        self.parked = 0
        self.skipped = 0
        self.dropped = 0
        self.malformed = 0
        self.misplaced = 0
        self.checksum = 0
        self.key_length = 0
        self.out_of_time = False

    def __repr__(self) -> str:
        return "Tally(" + ", ".join(f"{name}={getattr(self, name)}" for name in sorted(self.__slots__)) + ")"
