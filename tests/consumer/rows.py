"""Shared vocabulary: short ways to lease rows, golden items and an in-memory lease table judged as DynamoDB would."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from shardline.common.aggregation import AggregateBuilder
from shardline.common.hashing import FULL_RANGE
from shardline.common.ports.lease_store import Foreign, Key, TableSpec
from shardline.common.records import TRIM_HORIZON, Position
from shardline.consumer.leases.held import HeldLease, HeldState
from shardline.consumer.leases.row import LeaseRow, NewLease, read_row
from shardline.consumer.leases.times import LeaseTimes
from shardline.consumer.leases.writes import LeaseWrites
from shardline.local.tables.core import LeaseTables

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Item, UpdateItem, Value, Write, WriteResult

GOLDEN = Path(__file__).parent / "golden"
TABLE = "app"
WRITES = LeaseWrites(TABLE)
TIMES = LeaseTimes(failover_s=10.0)


def from_dynamodb(value: dict[str, Any]) -> Value:
    """Return one DynamoDB JSON value as the port gives it."""
    ((kind, content),) = value.items()
    if kind == "N":
        return int(content) if content.lstrip("-").isdigit() else float(content)
    if kind == "SS":
        return frozenset(content)
    if kind == "L":
        return [from_dynamodb(one) for one in content]
    if kind == "M":
        return {name: from_dynamodb(one) for name, one in content.items()}
    return content if kind in {"S", "BOOL"} else Foreign(kind)


def item_of(raw: dict[str, Any]) -> Item:
    """Return an item of DynamoDB JSON as the port gives it."""
    return {name: from_dynamodb(value) for name, value in raw.items()}


def golden_items(file: str, table: str) -> list[Item]:
    """Return the items of one table of a capture."""
    return [item_of(raw) for raw in json.loads((GOLDEN / file).read_text())[table]["items"]]


def lease(shard: int | str = 0, owner: str | None = None, counter: int = 0, **more: Any) -> LeaseRow:
    """Return a lease row with usual values."""
    key = shard if isinstance(shard, str) else f"shardId-{shard:012d}"
    values: dict[str, Any] = {"checkpoint": TRIM_HORIZON, "shard_id": key, "entity_type": "LEASE", **more}
    return LeaseRow(key=key, owner=owner, counter=counter, **values)


def at(number: int, sub: int = 0) -> Position:
    """Return a record's position."""
    return Position(number, sub)


@dataclass
class Book:
    """A lease table in memory, with time, and holders that write to it."""

    tables: LeaseTables = field(default_factory=LeaseTables)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.tables.create_table(TableSpec(name=TABLE, key_attribute="leaseKey"), 0.0)

    def create(self, shard: int = 0, checkpoint: Position = TRIM_HORIZON) -> LeaseRow:
        """Create a lease and return its row."""
        new = NewLease(shard_id=f"shardId-{shard:012d}", checkpoint=checkpoint, parents=(), hash_range=FULL_RANGE)
        assert self.write(WRITES.create(new)).applied
        return self.row(shard)

    def write(self, write: Write) -> WriteResult:
        """Carry out a write as DynamoDB would."""
        return self.tables.write(write, self.now)

    def item(self, shard: int = 0) -> Item | None:
        """Return the item as it stands."""
        return self.tables.get(TABLE, Key("leaseKey", f"shardId-{shard:012d}"), self.now, consistent=True)

    def row(self, shard: int = 0) -> LeaseRow:
        """Return the row as it stands."""
        item = self.item(shard)
        assert item is not None
        row = read_row(item)
        assert isinstance(row, LeaseRow)
        return row

    def holder(self, me: str, first: UpdateItem, shard: int = 0) -> HeldLease:
        """Return a holder that has not sent anything yet."""
        row = self.row(shard)
        return HeldLease(row, me, first, writes=WRITES, times=TIMES, random=Random(7), now=self.now)

    def taken(self, me: str, shard: int = 0) -> HeldLease:
        """Return a holder that has taken the lease."""
        lease = self.holder(me, WRITES.take(self.row(shard), me), shard)
        self.step(lease)
        assert lease.state is HeldState.HELD
        return lease

    def step(self, lease: HeldLease) -> None:
        """Let a holder make its next call, with a table that answers at once."""
        op = lease.next_op(self.now)
        assert op is not None, "nothing is due"
        if op.write is None:
            lease.on_read(self.tables.get(TABLE, Key("leaseKey", lease.key), self.now, consistent=True), self.now)
        else:
            lease.on_result(op, self.write(op.write), self.now)


def aggregate(*records: tuple[str, bytes]) -> bytes:
    """Return an aggregate of (partition key, data)."""
    builder = AggregateBuilder(1_000_000)
    for key, data in records:
        assert builder.try_append(key, data)
    return builder.seal().data
