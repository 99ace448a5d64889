"""Hash keys, ranges of them, and the map from a hash key to the open shard that owns it.

A hash key is the MD5 of the partition key's UTF-8 bytes, read big-endian as an unsigned 128-bit number, or the caller's
explicit hash key. Ranges are inclusive at both ends, as in the Kinesis API. Pure: no input or output, no clock.
"""

from __future__ import annotations

from bisect import bisect_left
from hashlib import md5
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from shardline.common.errors import InvalidInput
from shardline.common.limits import HASH_KEY_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FULL_RANGE", "HashRange", "Shard", "ShardMap", "hash_key", "hash_key_bytes", "parse_explicit_hash_key"]

_DIGITS = frozenset("0123456789")


def hash_key_bytes(partition_key: str) -> bytes:
    """Return the 16 bytes that order like the hash key of `partition_key` (big-endian)."""
    return md5(partition_key.encode(), usedforsecurity=False).digest()


def hash_key(partition_key: str) -> int:
    """Return the hash key of `partition_key`, 0 to 2^128 - 1."""
    return int.from_bytes(hash_key_bytes(partition_key), "big")


def parse_explicit_hash_key(value: int | str) -> int:
    """Return an explicit hash key as a number; raise `InvalidInput` unless it is an integer from 0 to 2^128 - 1.

    Text must be plain ASCII digits without leading zeros (the KPL's daemon reads ``0123`` as octal); bools, floats,
    signs and exponents are refused.
    """
    allowed = f"an integer from 0 to {HASH_KEY_MAX} (2^128 - 1)"
    if isinstance(value, str):
        canonical = value != "" and _DIGITS.issuperset(value) and (value == "0" or value[0] != "0")
        if not canonical or len(value) > len(str(HASH_KEY_MAX)):
            raise InvalidInput("explicit_hash_key", allowed + ", as plain digits")
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput("explicit_hash_key", allowed, type(value).__name__)
    if not 0 <= value <= HASH_KEY_MAX:
        raise InvalidInput("explicit_hash_key", allowed)
    return value


class HashRange(NamedTuple):
    """The hash keys from `start` to `end`, both included."""

    start: int
    end: int

    def __contains__(self, key: object) -> bool:
        """Say whether a hash key (an int) lies in the range."""
        return isinstance(key, int) and self.start <= key <= self.end

    @property
    def width(self) -> int:
        """How many hash keys the range holds."""
        return self.end - self.start + 1

    def meets(self, other: HashRange) -> bool:
        """Say whether the two ranges lie side by side without gap or overlap (what MergeShards asks for)."""
        return self.end + 1 == other.start or other.end + 1 == self.start

    def overlaps(self, other: HashRange) -> bool:
        """Say whether the two ranges share a hash key."""
        return self.start <= other.end and other.start <= self.end


FULL_RANGE = HashRange(0, HASH_KEY_MAX)


class Shard(NamedTuple):
    """One shard as ListShards tells of it; `ending_sequence_number` is None while it is open."""

    shard_id: str
    hash_range: HashRange
    parent_shard_id: str | None = None
    adjacent_parent_shard_id: str | None = None
    starting_sequence_number: str = "0"
    ending_sequence_number: str | None = None

    @property
    def is_open(self) -> bool:
        """Say whether new records can still arrive."""
        return self.ending_sequence_number is None

    @property
    def parent_shard_ids(self) -> tuple[str, ...]:
        """The shard's parents: none, one (after a split) or two (after a merge)."""
        return tuple(p for p in (self.parent_shard_id, self.adjacent_parent_shard_id) if p)


class ShardMap:
    """An immutable map of a stream's open shards; `locate` answers in one bisection over byte strings.

    Invariant: shards are sorted by range and do not overlap; `complete` says whether they cover every hash key.
    """

    __slots__ = ("_by_id", "_ends", "shards")

    def __init__(self, shards: Iterable[Shard]) -> None:
        ordered = sorted((s for s in shards if s.is_open), key=lambda s: s.hash_range.start)
        for left, right in pairwise(ordered):
            if left.hash_range.overlaps(right.hash_range):
                raise InvalidInput("shards", "open shards with ranges that do not overlap")
        self.shards: tuple[Shard, ...] = tuple(ordered)
        self._ends = [s.hash_range.end.to_bytes(16, "big") for s in ordered]
        self._by_id = {s.shard_id: s for s in ordered}

    @property
    def complete(self) -> bool:
        """Say whether the open shards cover 0 to 2^128 - 1 without a gap."""
        expected = 0
        for shard in self.shards:
            if shard.hash_range.start != expected:
                return False
            expected = shard.hash_range.end + 1
        return expected == HASH_KEY_MAX + 1

    def locate(self, key: bytes) -> Shard | None:
        """Return the open shard that owns a hash key given as 16 big-endian bytes, or None where the map has a gap."""
        index = bisect_left(self._ends, key)
        if index == len(self.shards):
            return None
        shard = self.shards[index]
        return shard if shard.hash_range.start <= int.from_bytes(key, "big") else None

    def get(self, shard_id: str) -> Shard | None:
        """Return the open shard of that id, or None."""
        return self._by_id.get(shard_id)

    def __len__(self) -> int:
        return len(self.shards)

    def __repr__(self) -> str:
        return f"ShardMap({len(self.shards)} open, complete={self.complete})"
