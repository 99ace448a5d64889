"""Parked keys: the item of the state table that holds those of one lease, and what a change of it lacks. Pure.

One item per lease (kind ``parked-keys``, named by the lease key), claimed by the lease's owner before it delivers. Each
key takes up to three attributes, named after a digest of the key, so that single ones come and go; the key itself
stands inside, as bytes. A child's item begins with the keys of its parents': all of them, because an explicit hash key
can send a key's records to either child.

Invariants: a key stands here before its first record enters the lot, and `last` before each of its records does, so
whoever releases a key whose `last` has been replayed leaves none behind; an owner that finds a key gone knows that it
was released; `last` never moves back within a shard. At most `KEYS_MAX` keys: a shard with more has another trouble.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from shardline.common.errors import InvalidInput
from shardline.common.ports.lease_store import Update
from shardline.common.ports.state_store import StateKey
from shardline.common.records import Position

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from shardline.common.ports.lease_store import Value
    from shardline.common.ports.state_store import StateItem

__all__ = [
    "KEYS_MAX",
    "PARKED_KEYS",
    "ParkedKey",
    "Place",
    "following",
    "has_begun",
    "inheriting",
    "keys_of",
    "parking",
    "releasing",
    "replaying",
    "state_key",
]

PARKED_KEYS: Final = "parked-keys"
KEYS_MAX: Final = 256
"""Of one shard. Keys of 1 KiB then fill three quarters of an item; a merge of two such shards may have to wait."""

STREAM: Final = "stream"
INHERITED: Final = "inherited"
_KEY: Final = "key:"
_LAST: Final = "last:"
_REPLAYED: Final = "replayed:"


class Place(NamedTuple):
    """A user record's place: its shard, and where it stands there."""

    shard_id: str
    position: Position

    @classmethod
    def parse(cls, text: str) -> Place:
        """Return the place that `text` stands for; raises `InvalidInput` for anything else."""
        shard_id, _, rest = text.rpartition("/")
        shard_id, _, sequence = shard_id.rpartition("/")
        if not shard_id or not (rest.isascii() and rest.isdigit()):
            raise InvalidInput("place", "a shard id, a sequence and a sub-sequence number")
        return cls(shard_id, Position.parse(sequence, int(rest)))

    def __str__(self) -> str:
        return f"{self.shard_id}/{self.position}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedKey:
    """A partition key whose records go to the lot; `first` and `last` are the first and last of them.

    `lease` is the lease that it stands under, `replayed` how far replays have come in each shard, `reason` and
    `attempts` are the first record's.
    """

    stream: str
    partition_key: str = field(repr=False)
    lease: str
    first: Place
    last: Place
    parked_at_s: float
    reason: str
    attempts: int
    replayed: Mapping[str, Position] = field(default_factory=dict[str, Position], repr=False)

    @property
    def digest(self) -> str:
        """What the key is called where it must not be shown."""
        return _digest(self.partition_key)

    def takes(self, place: Place) -> bool:
        """Say whether the key's record there follows it; one before the first was handled, and comes again."""
        return not _precedes(place, self.first)


def state_key(lease_key: str) -> StateKey:
    """Return the key of the item that holds a lease's parked keys."""
    return StateKey.of(PARKED_KEYS, lease_key)


def keys_of(item: StateItem) -> dict[str, ParkedKey]:
    """Return the parked keys of an item by partition key; raises `InvalidInput` for one that cannot be understood."""
    found: dict[str, ParkedKey] = {}
    for name, value in item.fields.items():
        if name.startswith(_KEY) and isinstance(value, Mapping):
            key = _read(item, name.removeprefix(_KEY), value)
            found[key.partition_key] = key
    return found


def _read(item: StateItem, digest: str, value: Mapping[str, Value]) -> ParkedKey:
    key, since = value.get("key"), value.get("parkedAtMillis")
    if not isinstance(key, bytes) or not isinstance(since, int):
        raise InvalidInput("parked key", "bytes and a time in milliseconds")
    return ParkedKey(
        stream=str(item.fields.get(STREAM, "")),
        partition_key=key.decode("utf-8", "surrogatepass"),
        lease=item.key.name,
        first=Place.parse(str(value.get("first"))),
        last=Place.parse(str(item.fields.get(_LAST + digest))),
        parked_at_s=since / 1000,
        reason=str(value.get("reason")),
        attempts=_count(value.get("attempts")),
        replayed=_replayed(item, digest),
    )


def _replayed(item: StateItem | None, digest: str) -> dict[str, Position]:
    value = None if item is None else item.fields.get(_REPLAYED + digest)
    places = [Place.parse(str(text)) for text in value.values()] if isinstance(value, Mapping) else []
    return dict(places)


def _count(value: Value) -> int:
    return value if isinstance(value, int) else 0


# --- what a change lacks: None once the item is as it should be ---


def has_begun(item: StateItem) -> bool:
    """Say whether a lease's item holds what its parents' held: some owner has claimed it."""
    return INHERITED in item.fields


def inheriting(item: StateItem | None, stream: str, parents: Iterable[StateItem]) -> Update | None:
    """Return what makes a lease's first item of its parents'; None where it has begun already."""
    if item is not None and has_begun(item):
        return None
    fields: dict[str, Value] = {STREAM: stream, INHERITED: True}
    for parent in parents:
        for name, value in parent.fields.items():
            if name.startswith((_KEY, _LAST, _REPLAYED)):
                fields[name] = value if name not in fields else _both(name, fields[name], value)
    return Update(set=fields)


def _both(name: str, one: Value, other: Value) -> Value:
    """Return what stands for a key that both parents of a merge had parked: from the first on, up to the last."""
    if name.startswith(_LAST):
        return max(one, other, key=lambda text: Place.parse(str(text)).position)
    assert isinstance(one, Mapping)
    assert isinstance(other, Mapping)
    if name.startswith(_REPLAYED):
        return {**one, **other}
    return min(one, other, key=lambda value: Place.parse(str(value.get("first"))).position)


def parking(item: StateItem | None, key: ParkedKey) -> Update | None:
    """Return what makes `key` parked from `key.first` on, with `key.last` among its records."""
    fields: Mapping[str, Value] = {} if item is None else item.fields
    place = Place.parse(str(fields.get(_LAST + key.digest, key.last)))
    last = key.last if place.shard_id != key.last.shard_id or place.position < key.last.position else place
    stands = fields.get(_KEY + key.digest)
    if isinstance(stands, Mapping) and not _precedes(key.first, Place.parse(str(stands.get("first")))):
        return None if last == place else Update(set={_LAST + key.digest: str(last)})
    value: dict[str, Value] = {
        "key": key.partition_key.encode("utf-8", "surrogatepass"),
        "first": str(key.first),
        "parkedAtMillis": int(key.parked_at_s * 1000),
        "reason": key.reason,
        "attempts": key.attempts,
    }
    return Update(set={_KEY + key.digest: value, _LAST + key.digest: str(last)})


def _precedes(one: Place, other: Place) -> bool:
    """Say whether a place lies before another one in the same shard."""
    return one.shard_id == other.shard_id and one.position < other.position


def following(item: StateItem | None, partition_key: str, place: Place) -> Update | None:
    """Return what makes `place` the last record of a parked key; None also where the key is not parked any more."""
    digest = _digest(partition_key)
    fields: Mapping[str, Value] = {} if item is None else item.fields
    if _KEY + digest not in fields:
        return None
    last = Place.parse(str(fields.get(_LAST + digest)))
    if last.shard_id == place.shard_id and last.position >= place.position:
        return None
    return Update(set={_LAST + digest: str(place)})


def replaying(item: StateItem | None, key: ParkedKey, place: Place) -> Update | None:
    """Return what notes that a replay has come up to `place`; None where the key is gone, or a replay came as far."""
    fields: Mapping[str, Value] = {} if item is None else item.fields
    if _KEY + key.digest not in fields:
        return None
    replayed = _replayed(item, key.digest)
    if place.shard_id in replayed and replayed[place.shard_id] >= place.position:
        return None
    replayed[place.shard_id] = place.position
    value = {shard_id: str(Place(shard_id, position)) for shard_id, position in replayed.items()}
    return Update(set={_REPLAYED + key.digest: value})


def releasing(item: StateItem | None, key: ParkedKey, replayed: Container[Place] | None) -> Update | None:
    """Return what releases a key, if its last record is among those `replayed` (None: in any case).

    None where it is released already, and where a record has followed that was not replayed.
    """
    digest = key.digest
    fields: Mapping[str, Value] = {} if item is None else item.fields
    if _KEY + digest not in fields:
        return None
    if replayed is not None and Place.parse(str(fields.get(_LAST + digest))) not in replayed:
        return None
    return Update(remove=frozenset({_KEY + digest, _LAST + digest, _REPLAYED + digest} & fields.keys()))


def _digest(partition_key: str) -> str:
    return sha256(partition_key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
