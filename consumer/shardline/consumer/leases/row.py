"""The lease row: between items of the KCL's lease table and `LeaseRow`, attribute by attribute (`kcl.md` 1.2).

Invariants: a row is written whole only at its creation (`new_item`); every later write names single attributes
(`writes`), so that attributes we do not know survive. An item of another kind gives None, a lease item that cannot be
understood gives `Quarantined`, and neither ever raises: one bad row must not harm the others (F39).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeGuard

from shardline.common.errors import InvalidInput
from shardline.common.hashing import HashRange
from shardline.common.records import Position, parse_sequence_number

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Item, Value

__all__ = [
    "ENTITY_LEASE",
    "LEASE_KEY",
    "LeaseRow",
    "NewLease",
    "Pending",
    "Quarantined",
    "new_item",
    "read_row",
    "with_news",
]

LEASE_KEY: Final = "leaseKey"
OWNER: Final = "leaseOwner"
COUNTER: Final = "leaseCounter"
CHECKPOINT: Final = "checkpoint"
CHECKPOINT_SUB: Final = "checkpointSubSequenceNumber"
PENDING: Final = "pendingCheckpoint"
PENDING_SUB: Final = "pendingCheckpointSubSequenceNumber"
PENDING_STATE: Final = "pendingCheckpointState"
OWNER_SWITCHES: Final = "ownerSwitchesSinceCheckpoint"
PARENTS: Final = "parentShardId"
CHILDREN: Final = "childShardIds"
HASH_START: Final = "startingHashKey"
HASH_END: Final = "endingHashKey"
THROUGHPUT: Final = "throughputKBps"
CHECKPOINT_OWNER: Final = "checkpointOwner"
ENTITY_TYPE: Final = "entityType"
STREAM_NAME: Final = "streamName"
SHARD_ID: Final = "shardId"
LATEST_PIN: Final = "shardlineLatestPinMillis"
"""Private: epoch milliseconds of the application's first start at LATEST, so that a restart cannot jump forward."""
STREAM_MARK: Final = "shardlineStream"
"""Private, in single-stream mode: the stream that the row's checkpoints are of, as multi-stream mode names it."""

ENTITY_LEASE: Final = "LEASE"
_INTEGER_END: Final = 2**63  # Java's Long.


class Pending(NamedTuple):
    """A prepared (two-phase) checkpoint and the application's bytes that came with it."""

    position: Position
    state: bytes | None

    def __repr__(self) -> str:
        return f"Pending({self.position}, {'no' if self.state is None else len(self.state)} bytes)"


class Quarantined(NamedTuple):
    """A row of the lease table that cannot be understood; it is reported and never written."""

    key: str
    reason: str


class LeaseRow(NamedTuple):
    """One lease as the table holds it; `shard_id` is bare, also in multi-stream mode.

    A tuple, because a large fleet's leader makes one per lease and look, and each renewal of a lease makes one.
    """

    key: str
    counter: int
    checkpoint: Position
    owner: str | None = None
    checkpoint_owner: str | None = None
    owner_switches: int = 0
    parents: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    hash_range: HashRange | None = None
    pending: Pending | None = None
    throughput_kbps: float | None = None
    stream_name: str | None = None
    shard_id: str = ""
    latest_pin_s: float | None = None
    stream_mark: str | None = None
    entity_type: str | None = None

    @property
    def actual_owner(self) -> str | None:
        """The worker that may renew and checkpoint: `checkpoint_owner` during a hand-off, else `owner`."""
        return self.checkpoint_owner or self.owner

    def sibling_key(self, shard_id: str) -> str:
        """Return the lease key of another shard of the same stream."""
        return f"{self.stream_name}:{shard_id}" if self.stream_name else shard_id


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLease:
    """A lease to create: unowned, counter 0; `latest_pin_s` (epoch seconds) only with a checkpoint of LATEST."""

    shard_id: str
    checkpoint: Position
    parents: tuple[str, ...]
    hash_range: HashRange | None
    stream_name: str | None = None
    latest_pin_s: float | None = None
    stream_mark: str | None = None

    @property
    def key(self) -> str:
        """The lease key: the shard id, after the serialised stream identifier in multi-stream mode."""
        return f"{self.stream_name}:{self.shard_id}" if self.stream_name else self.shard_id


def new_item(lease: NewLease) -> Item:
    """Return the whole item of a lease that does not exist yet, as KCL 3.5 writes it."""
    item: dict[str, Value] = {
        LEASE_KEY: lease.key,
        COUNTER: 0,
        CHECKPOINT: lease.checkpoint.text,
        CHECKPOINT_SUB: 0 if lease.checkpoint.is_sentinel else lease.checkpoint.sub_sequence_number,
        OWNER_SWITCHES: 0,
        ENTITY_TYPE: ENTITY_LEASE,
    }
    if lease.parents:
        item[PARENTS] = frozenset(lease.parents)
    if lease.hash_range is not None:
        item[HASH_START] = str(lease.hash_range.start)
        item[HASH_END] = str(lease.hash_range.end)
    if lease.stream_name is not None:
        item[STREAM_NAME] = lease.stream_name
        item[SHARD_ID] = lease.shard_id
    if lease.latest_pin_s is not None:
        item[LATEST_PIN] = int(lease.latest_pin_s * 1000)
    if lease.stream_mark is not None:
        item[STREAM_MARK] = lease.stream_mark
    return item


def read_row(item: Item) -> LeaseRow | Quarantined | None:
    """Return an item's lease, `Quarantined` for a lease that cannot be understood, None for items of other kinds."""
    key = item.get(LEASE_KEY)
    if item.get(ENTITY_TYPE, ENTITY_LEASE) != ENTITY_LEASE:
        return None
    if not isinstance(key, str) or not key:
        return Quarantined("", f"{LEASE_KEY} is not text")
    try:
        return _read_lease(key, item)
    except InvalidInput as error:
        return Quarantined(key, str(error))


def _read_lease(key: str, item: Item) -> LeaseRow:
    stream_name = _text(item, STREAM_NAME)
    throughput = item.get(THROUGHPUT)
    pin, mark = _integer(item, LATEST_PIN, None), item.get(STREAM_MARK)
    return LeaseRow(
        key=key,
        counter=_require(_integer(item, COUNTER, None), COUNTER),
        checkpoint=_checkpoint(item),
        owner=_text(item, OWNER),
        checkpoint_owner=_text(item, CHECKPOINT_OWNER),
        owner_switches=_integer(item, OWNER_SWITCHES, 0) or 0,
        parents=_names(item, PARENTS),
        children=_names(item, CHILDREN),
        hash_range=_hash_range(item),
        pending=_pending(item),
        throughput_kbps=float(throughput) if _is_number(throughput) else None,
        stream_name=stream_name,
        shard_id=_text(item, SHARD_ID) or _bare(key, stream_name),
        latest_pin_s=None if pin is None else pin / 1000,
        stream_mark=mark if isinstance(mark, str) else None,
        entity_type=_text(item, ENTITY_TYPE),
    )


def with_news(row: LeaseRow, item: Item) -> LeaseRow:
    """Return `row` with what each write to a lease changes, as the item has it now; raises `InvalidInput`.

    For an item of the same lease whose other attributes are those that `row` was read from, without a prepared
    checkpoint.
    """
    throughput = item.get(THROUGHPUT)
    return row._replace(
        counter=_require(_integer(item, COUNTER, None), COUNTER),
        checkpoint=_checkpoint(item),
        owner_switches=_integer(item, OWNER_SWITCHES, 0) or 0,
        throughput_kbps=float(throughput) if _is_number(throughput) else None,
    )


def _bare(key: str, stream_name: str | None) -> str:
    return key.removeprefix(f"{stream_name}:") if stream_name else key


def _is_number(value: Value) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(value: int | None, attribute: str) -> int:
    if value is None:
        raise InvalidInput(attribute, "present")
    return value


def _text(item: Item, attribute: str) -> str | None:
    value = item.get(attribute)
    if isinstance(value, str) and value:
        return value
    if value is None and attribute not in item:
        return None
    raise InvalidInput(attribute, "text that is not empty")


def _integer(item: Item, attribute: str, default: int | None) -> int | None:
    value = item.get(attribute)
    if type(value) is int and 0 <= value < _INTEGER_END:
        return value
    if value is None and attribute not in item:
        return default
    raise InvalidInput(attribute, "an integer of 0 or more (64 bits)")


def _names(item: Item, attribute: str) -> tuple[str, ...]:
    value = item.get(attribute)
    if value is None and attribute not in item:
        return ()
    if not isinstance(value, frozenset):
        raise InvalidInput(attribute, "a set of strings")
    return tuple(sorted(value))


def _checkpoint(item: Item) -> Position:
    text = _text(item, CHECKPOINT)
    if text is None:
        raise InvalidInput(CHECKPOINT, "present")
    return Position.parse(text, _integer(item, CHECKPOINT_SUB, 0) or 0)


def _pending(item: Item) -> Pending | None:
    text = _text(item, PENDING)
    if text is None:
        return None
    state = item.get(PENDING_STATE)
    if state is not None and not isinstance(state, bytes):
        raise InvalidInput(PENDING_STATE, "binary")
    return Pending(Position.parse(text, _integer(item, PENDING_SUB, 0) or 0), state)


def _hash_range(item: Item) -> HashRange | None:
    start, end = _text(item, HASH_START), _text(item, HASH_END)
    if start is None or end is None:
        return None
    both = HashRange(parse_sequence_number(start), parse_sequence_number(end))
    if both.start > both.end:
        raise InvalidInput(HASH_END, f"not below {HASH_START}")
    return both
