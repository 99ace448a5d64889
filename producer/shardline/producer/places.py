"""Where records wait: a place of the stream, and the open aggregate there with the window through which puts go.

Invariants: a buffer outlives its aggregates, so that routes to it stay good; the window never lets in more than fits
the aggregate with the keys that are routed here, nor more records than the budget granted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from shardline.common._encoding import TWO_BYTES
from shardline.common.aggregation import AggregateBuilder

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from shardline.common.hashing import HashRange
    from shardline.producer.delivery import Delivery

__all__ = ["Buffer", "Place"]

_NO_WINDOW: Final = 2**40
"""More than any aggregate has room for."""


class Place:
    """Where records of a hash key go: a shard and its range, or neither where no map tells."""

    __slots__ = ("buffer_id", "hash_range", "shard_id", "uniform")

    def __init__(
        self, shard_id: str | None, hash_range: HashRange | None, buffer_id: Hashable, *, uniform: bool
    ) -> None:
        self.shard_id = shard_id
        self.hash_range = hash_range
        self.buffer_id = buffer_id
        self.uniform = uniform
        """Whether all records of this place have one hash key."""

    def __repr__(self) -> str:
        return f"Place({self.shard_id})"


class _Append(Protocol):
    """`AggregateBuilder.try_append`."""

    def __call__(
        self,
        partition_key: str | None,
        data: bytes,
        explicit_hash_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bool:
        """Add a record, or say that it does not fit."""
        ...


def _closed(
    partition_key: str | None,
    data: bytes,
    explicit_hash_key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bool:
    """Take nothing: the buffer has no open aggregate."""
    del partition_key, data, explicit_hash_key, headers
    return False


_EMPTY: Final = AggregateBuilder()


class Buffer:
    """One open aggregate; it outlives its aggregates, so that routes to it stay good."""

    __slots__ = (
        "append",
        "builder",
        "count_max",
        "datas",
        "delivery",
        "number",
        "opened_at",
        "place",
        "reserved",
        "room",
        "routed",
        "untried",
        "usual",
        "waiting",
    )

    def __init__(self, place: Place) -> None:
        self.place = place
        self.builder = _EMPTY
        self.append: _Append = _closed
        # The window: what may be added by appending to two lists. See `AggregateBuilder.room`.
        self.waiting = _EMPTY.waiting
        self.datas = _EMPTY.datas
        self.room = -1
        self.count_max = 0
        self.routed = 0
        """Bytes that the keys routed here take in an aggregate's table: kept free for those that are not in it yet."""
        self.untried = True
        """Whether the window was opened but once for this aggregate."""
        self.delivery: Delivery | None = None
        self.reserved = 0
        self.usual = 0
        """How many records an aggregate here is likely to hold: what is asked of the budget at once."""
        self.number = 0
        self.opened_at = 0.0

    def __len__(self) -> int:
        return len(self.builder.datas)

    def open(self) -> None:
        """Let puts into the aggregate."""
        self.append = self.builder.try_append
        self.waiting, self.datas = self.builder.waiting, self.builder.datas
        self.untried = True

    def close(self) -> None:
        """Let go of the aggregate; nothing goes in until there is another."""
        self.usual = len(self) + len(self) // 8
        self.builder = _EMPTY
        self.append = _closed
        self.waiting, self.datas = _EMPTY.waiting, _EMPTY.datas
        self.room = -1
        self.delivery = None
        self.reserved = 0
        self.number = 0

    def widen(self) -> None:
        """Open the window anew, after records were added otherwise or the bounds have changed.

        A key enters the table before it is routed here, so of the two sets one holds the other: the routed ones, or,
        after routes were forgotten, those of the table. Hence the bytes of routed keys that may still come.
        """
        builder = self.builder
        room = builder.room
        to_come = self.routed - builder.key_bytes
        self.room = room - to_come if to_come > 0 else room
        self.count_max = builder.count_max

    def route(self, key: str) -> None:
        """Take note that records of `key` may come through the window from now on."""
        usual = key.isascii() and len(key) < TWO_BYTES
        self.routed += 2 + len(key) if usual else _NO_WINDOW
        self.widen()

    def offer(self, key: str, data: bytes) -> bool:
        """Add a record beyond the window: weighed exactly.

        The first one opens the window once more: room was kept for keys that have come since.
        """
        self.room = -1  # What it was counts no more.
        added = self.append(key, data)
        if added and self.untried:
            self.untried = False
            self.widen()
        return added

    def __repr__(self) -> str:
        return f"Buffer({len(self)} records, shard={self.place.shard_id})"
