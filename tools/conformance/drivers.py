# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""The calls that the script makes, as one small interface: over any endpoint with boto3, and straight on our state."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from botocore.exceptions import ClientError

from shardline.common.errors import ServiceError
from shardline.common.ports.kinesis import PutEntry, ShardFilter, ShardFilterKind, StartAt, StartKind, Stream
from shardline.local.state.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from shardline.local import InProcessKinesis, KinesisState

T = TypeVar("T")
CALL_S = 30.0
ACTIVE_S = 10.0


class Failed(Exception):
    """A call was refused; `code` is the service's name for why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Entry(NamedTuple):
    """One record to put."""

    data: bytes
    key: str | None = "k"
    hash_key: str | None = None


class Put(NamedTuple):
    """The fate of one record."""

    shard: int | None
    number: str | None
    code: str | None


class Shard(NamedTuple):
    """One shard, its ids as numbers."""

    which: int
    parents: tuple[int, ...]
    start: int
    end: int
    is_open: bool
    first_number: int
    last_number: int | None


class Page(NamedTuple):
    """One answer of GetRecords."""

    data: list[bytes]
    keys: list[str | None]
    numbers: list[str]
    following: str | None
    behind_ms: int
    children: list[tuple[int, tuple[int, ...]]]


class Kinesis(Protocol):
    """What the script asks of a Kinesis; every refusal is `Failed`."""

    def create(self, name: str, shards: int, *, on_demand: bool = False) -> None:
        """Make a stream and wait until it is ACTIVE."""
        ...

    def delete(self, name: str) -> None:
        """Delete a stream."""
        ...

    def split(self, name: str, shard: int, key: str) -> None:
        """Split a shard and wait."""
        ...

    def merge(self, name: str, shard: int, other: int) -> None:
        """Merge two shards and wait."""
        ...

    def scale(self, name: str, shards: int) -> None:
        """UpdateShardCount and wait."""
        ...

    def put(self, name: str, entries: Sequence[Entry], *, dry_run: bool = False) -> list[Put]:
        """PutRecords."""
        ...

    def shards(self, name: str, kind: str = "FROM_TRIM_HORIZON", *, page_max: int | None = None) -> list[Shard]:
        """All pages of ListShards."""
        ...

    def iterator(self, name: str, shard: int, kind: str, number: str | None = None, at_s: float | None = None) -> str:
        """GetShardIterator."""
        ...

    def read(self, name: str, iterator: str, limit: int = 10_000) -> Page:
        """GetRecords."""
        ...

    def summary(self, name: str) -> tuple[str, int, int]:
        """Status, open shards and largest record in KiB of DescribeStreamSummary."""
        ...

    def grow_records(self, name: str, kib: int) -> None:
        """UpdateMaxRecordSize and wait."""
        ...

    def register(self, name: str, consumer: str) -> None:
        """RegisterStreamConsumer."""
        ...

    def now(self) -> float:
        """Return epoch seconds."""
        ...


def index(shard_id: str) -> int:
    """Return the number in a shard's id."""
    return int(shard_id.rpartition("-")[2])


def shard_id(number: int) -> str:
    """Return a shard's id."""
    return f"shardId-{number:012d}"


class Boto:
    """Any endpoint, by an unchanged boto3 client."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - boto3 ships no types.
        self._client = client

    def _call(self, operation: str, **parameters: object) -> Any:  # noqa: ANN401 - whatever the answer holds.
        given = {k: v for k, v in parameters.items() if v is not None}
        try:
            return getattr(self._client, operation)(**given)
        except ClientError as error:
            raise Failed(str(error.response["Error"]["Code"])) from None
        except Exception as error:  # noqa: BLE001 - whatever an emulator makes boto3 stumble over is its answer.
            raise Failed(type(error).__name__) from None

    def _active(self, name: str) -> None:
        until = time.monotonic() + ACTIVE_S
        while time.monotonic() < until:
            with suppress(Failed):
                if self.summary(name)[0] == "ACTIVE":
                    return
            time.sleep(0.03)
        raise Failed("NeverActive")

    def create(self, name: str, shards: int, *, on_demand: bool = False) -> None:
        """Make a stream and wait."""
        mode = {"StreamMode": "ON_DEMAND"} if on_demand else None
        self._call("create_stream", StreamName=name, ShardCount=None if on_demand else shards, StreamModeDetails=mode)
        self._active(name)

    def delete(self, name: str) -> None:
        """Delete a stream."""
        self._call("delete_stream", StreamName=name)

    def split(self, name: str, shard: int, key: str) -> None:
        """Split and wait."""
        self._call("split_shard", StreamName=name, ShardToSplit=shard_id(shard), NewStartingHashKey=key)
        self._active(name)

    def merge(self, name: str, shard: int, other: int) -> None:
        """Merge and wait."""
        self._call("merge_shards", StreamName=name, ShardToMerge=shard_id(shard), AdjacentShardToMerge=shard_id(other))
        self._active(name)

    def scale(self, name: str, shards: int) -> None:
        """Scale and wait."""
        self._call("update_shard_count", StreamName=name, TargetShardCount=shards, ScalingType="UNIFORM_SCALING")
        self._active(name)

    def put(self, name: str, entries: Sequence[Entry], *, dry_run: bool = False) -> list[Put]:
        """Put records."""
        named = [{"Data": e.data, "PartitionKey": e.key, "ExplicitHashKey": e.hash_key} for e in entries]
        records = [{k: v for k, v in one.items() if v is not None} for one in named]
        answer = self._call("put_records", StreamName=name, Records=records, DryRun=dry_run or None)
        return [
            Put(index(r["ShardId"]) if r.get("ShardId") else None, r.get("SequenceNumber"), r.get("ErrorCode"))
            for r in answer["Records"]
        ]

    def shards(self, name: str, kind: str = "FROM_TRIM_HORIZON", *, page_max: int | None = None) -> list[Shard]:
        """List shards, page by page."""
        wanted = None if kind == "FROM_TRIM_HORIZON" else {"Type": kind}
        answer = self._call("list_shards", StreamName=name, ShardFilter=wanted, MaxResults=page_max)
        found = list(answer["Shards"])
        while answer.get("NextToken"):
            answer = self._call("list_shards", NextToken=answer["NextToken"], MaxResults=page_max)
            found += answer["Shards"]
        return [_shard(s) for s in found]

    def iterator(self, name: str, shard: int, kind: str, number: str | None = None, at_s: float | None = None) -> str:
        """Get an iterator."""
        answer = self._call(
            "get_shard_iterator",
            StreamName=name,
            ShardId=shard_id(shard),
            ShardIteratorType=kind,
            StartingSequenceNumber=number,
            Timestamp=None if at_s is None else datetime.fromtimestamp(at_s, UTC),
        )
        return str(answer["ShardIterator"])

    def read(self, name: str, iterator: str, limit: int = 10_000) -> Page:
        """Get records."""
        del name
        page = self._call("get_records", ShardIterator=iterator, Limit=limit)
        records = page["Records"]
        return Page(
            [r["Data"] for r in records],
            [r.get("PartitionKey") for r in records],
            [r["SequenceNumber"] for r in records],
            page.get("NextShardIterator"),
            page.get("MillisBehindLatest", 0),
            [(index(c["ShardId"]), tuple(map(index, c["ParentShards"]))) for c in page.get("ChildShards", [])],
        )

    def summary(self, name: str) -> tuple[str, int, int]:
        """Describe the stream."""
        found = self._call("describe_stream_summary", StreamName=name)["StreamDescriptionSummary"]
        return found["StreamStatus"], found["OpenShardCount"], found.get("MaxRecordSizeInKiB", 0)

    def _arn(self, name: str) -> str:
        found = self._call("describe_stream_summary", StreamName=name)["StreamDescriptionSummary"]
        return str(found["StreamARN"])

    def grow_records(self, name: str, kib: int) -> None:
        """Let records be larger."""
        self._call("update_max_record_size", StreamARN=self._arn(name), MaxRecordSizeInKiB=kib)
        self._active(name)

    def register(self, name: str, consumer: str) -> None:
        """Register a consumer."""
        self._call("register_stream_consumer", StreamARN=self._arn(name), ConsumerName=consumer)

    def now(self) -> float:
        """Return epoch seconds."""
        return time.time()


def _shard(found: dict[str, Any]) -> Shard:
    numbers = found["SequenceNumberRange"]
    last = numbers.get("EndingSequenceNumber")
    parents = [found.get("ParentShardId"), found.get("AdjacentParentShardId")]
    return Shard(
        index(found["ShardId"]),
        tuple(index(p) for p in parents if p),
        int(found["HashKeyRange"]["StartingHashKey"]),
        int(found["HashKeyRange"]["EndingHashKey"]),
        last is None,
        int(numbers["StartingSequenceNumber"]),
        None if last is None else int(last),
    )


class InProcess:
    """Our state without a network: the port where it has the call, the state's own methods for the rest."""

    def __init__(self, door: InProcessKinesis, state: KinesisState, clock: Callable[[], float]) -> None:
        self._door = door
        self._state = state
        self.now = clock

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run(call)
        except ServiceError as error:
            raise Failed(error.code) from None

    def _do(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except Refusal as refusal:
            raise Failed(refusal.code) from None

    def create(self, name: str, shards: int, *, on_demand: bool = False) -> None:
        """Make a stream."""
        self._do(lambda: self._state.create_stream(name, shards, on_demand=on_demand, now=self.now()))

    def delete(self, name: str) -> None:
        """Delete a stream."""
        self._do(lambda: self._state.delete_stream(Stream(name), now=self.now()))

    def split(self, name: str, shard: int, key: str) -> None:
        """Split a shard."""
        self._do(lambda: self._state.split_shard(Stream(name), shard_id(shard), key, now=self.now()))

    def merge(self, name: str, shard: int, other: int) -> None:
        """Merge two shards."""
        self._do(lambda: self._state.merge_shards(Stream(name), shard_id(shard), shard_id(other), now=self.now()))

    def scale(self, name: str, shards: int) -> None:
        """Scale a stream."""
        self._do(lambda: self._state.update_shard_count(Stream(name), shards, now=self.now()))

    def put(self, name: str, entries: Sequence[Entry], *, dry_run: bool = False) -> list[Put]:
        """Put records."""
        mine = [PutEntry(*e) for e in entries]
        if dry_run:  # The port has no such call.
            self._do(lambda: self._state.put_records(Stream(name), mine, now=self.now(), dry_run=True))
        outcomes = self._run(self._door.put_records(Stream(name), mine, timeout_s=CALL_S))
        return [
            Put(None if o.shard_id is None else index(o.shard_id), o.sequence_number, o.error_code) for o in outcomes
        ]

    def shards(self, name: str, kind: str = "FROM_TRIM_HORIZON", *, page_max: int | None = None) -> list[Shard]:
        """List shards, page by page."""
        del page_max  # The port pages by the state's own size.
        wanted = ShardFilter(ShardFilterKind(kind))
        page = self._run(self._door.list_shards(Stream(name), shard_filter=wanted, timeout_s=CALL_S))
        found = list(page.shards)
        while page.next_token:
            page = self._run(self._door.list_shards(Stream(name), next_token=page.next_token, timeout_s=CALL_S))
            found += page.shards
        return [
            Shard(
                index(s.shard_id),
                tuple(map(index, s.parent_shard_ids)),
                s.hash_range.start,
                s.hash_range.end,
                s.is_open,
                int(s.starting_sequence_number),
                None if s.ending_sequence_number is None else int(s.ending_sequence_number),
            )
            for s in found
        ]

    def iterator(self, name: str, shard: int, kind: str, number: str | None = None, at_s: float | None = None) -> str:
        """Get an iterator."""
        start = StartAt(StartKind(kind), number, at_s)
        return self._run(self._door.get_shard_iterator(Stream(name), shard_id(shard), start, timeout_s=CALL_S))

    def read(self, name: str, iterator: str, limit: int = 10_000) -> Page:
        """Get records."""
        page = self._run(self._door.get_records(Stream(name), iterator, limit=limit, timeout_s=CALL_S))
        return Page(
            [r.data for r in page.records],
            [r.partition_key for r in page.records],
            [r.sequence_number for r in page.records],
            page.next_iterator,
            page.millis_behind_latest or 0,
            [(index(c.shard_id), tuple(map(index, c.parent_shard_ids))) for c in page.child_shards],
        )

    def summary(self, name: str) -> tuple[str, int, int]:
        """Describe the stream."""
        found = self._run(self._door.describe_stream_summary(Stream(name), timeout_s=CALL_S))
        return found.status, found.open_shards, found.record_bytes_max // 1024

    def grow_records(self, name: str, kib: int) -> None:
        """Let records be larger."""
        self._do(lambda: self._state.update_max_record_size(Stream(name), kib, now=self.now()))

    def register(self, name: str, consumer: str) -> None:
        """Register a consumer."""
        arn = self._state.stream_arn(name)
        self._run(self._door.register_stream_consumer(arn, consumer, timeout_s=CALL_S))
