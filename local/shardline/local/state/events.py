"""The event log: what happened to the state, told to a callable sink at the very moment it applies.

The oracle of simulations sits at this hook. Without a sink nothing is built and nothing costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Item, Write
    from shardline.common.records import KinesisRecord

__all__ = [
    "ConditionFailed",
    "ItemApplied",
    "RecordRefused",
    "RecordStored",
    "RecordsRead",
    "RecordsTrimmed",
    "ShardClosed",
    "ShardOpened",
    "Sink",
    "StateEvent",
    "StreamStatus",
]


class RecordStored(NamedTuple):
    """A record has its place: `number` orders it in its shard; `hash_key` is the 16 bytes that placed it."""

    at_s: float
    stream: str
    shard_id: str
    number: int
    hash_key: bytes
    record: KinesisRecord


class RecordRefused(NamedTuple):
    """One entry of a PutRecords was refused with an error code; it is not stored and never will be."""

    at_s: float
    stream: str
    shard_id: str
    code: str


class RecordsRead(NamedTuple):
    """An answer with that many records was given (GetRecords or a subscription), numbers `first` to `last`."""

    at_s: float
    stream: str
    shard_id: str
    records: int
    first: int
    last: int


class RecordsTrimmed(NamedTuple):
    """That many records fell out of retention; `last` is the number of the newest of them."""

    at_s: float
    stream: str
    shard_id: str
    records: int
    last: int


class ShardOpened(NamedTuple):
    """A shard takes writes from now on."""

    at_s: float
    stream: str
    shard_id: str
    parents: tuple[str, ...]


class ShardClosed(NamedTuple):
    """A shard takes no more writes; `ending_number` lies above all its records."""

    at_s: float
    stream: str
    shard_id: str
    ending_number: int
    records: int


class StreamStatus(NamedTuple):
    """A stream's status changed (CREATING, ACTIVE, UPDATING, DELETING; GONE once it is removed)."""

    at_s: float
    stream: str
    status: str


class ItemApplied(NamedTuple):
    """A write to the lease table was applied: the item before and after (None: no item)."""

    at_s: float
    table: str
    key: str
    before: Item | None
    after: Item | None
    write: Write


class ConditionFailed(NamedTuple):
    """A write to the lease table found its condition false; `item` is what stood there."""

    at_s: float
    table: str
    key: str
    item: Mapping[str, object] | None
    write: Write


StateEvent: TypeAlias = (
    RecordStored
    | RecordRefused
    | RecordsRead
    | RecordsTrimmed
    | ShardOpened
    | ShardClosed
    | StreamStatus
    | ItemApplied
    | ConditionFailed
)
Sink: TypeAlias = Callable[[StateEvent], None]
