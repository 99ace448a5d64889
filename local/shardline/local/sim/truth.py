"""What is true in a simulated world, whatever any client believes: shards, leases, epochs, tenures, outcomes.

Filled by `oracle` from the events of the fake stream and table at the moment they apply, and from the test's own
producers and handlers. Nothing here judges.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from shardline.common.records import SHARD_END, Position

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Epoch", "Lease", "Place", "ShardTruth", "Started", "Tenure", "UserId"]


class UserId(NamedTuple):
    """What a test's user record says of itself: a unique id, its key, and its number among that key's records."""

    id: str
    key: str
    number: int


class Place(NamedTuple):
    """Where a copy of a user record stands in the stream."""

    shard_id: str
    position: Position


class Started(NamedTuple):
    """Why an ownership epoch began: ``free``, ``released``, ``expired``, ``stolen``; and when."""

    kind: str
    at_s: float


@dataclass(slots=True)
class ShardTruth:
    """One shard: its user records in order, which of them were delivered and done, and how far they are done whole."""

    shard_id: str
    parents: tuple[str, ...]
    closed: bool = False
    closed_s: float = float("inf")
    """When it was closed, by the service's clock."""
    records: list[UserId] = field(default_factory=list[UserId])
    positions: list[Position] = field(default_factory=list[Position])
    index_of: dict[Position, int] = field(default_factory=dict[Position, int])
    delivered: bytearray = field(default_factory=bytearray)
    done: bytearray = field(default_factory=bytearray)
    under: list[int] = field(default_factory=list[int])
    """The serial number of the tenure in which each record was last processed; 0 for none."""
    trimmed: int = 0
    """How many of the records are gone from the stream."""
    by_key: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    key_at: dict[str, int] = field(default_factory=dict[str, int])
    keyless: set[int] = field(default_factory=set[int])
    """The records whose keys the service did not keep: it placed them itself (AUTO)."""
    whole: int = 0
    reached: int = 0
    late: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """By worker: what it is through with although it was superseded, which counts for nothing but its own order."""
    log: deque[tuple[object, ...]] = field(default_factory=lambda: deque[tuple[object, ...]](maxlen=200))

    def add(self, user: UserId, position: Position, *, keyless: bool = False) -> None:
        """Take a user record that the stream has stored, perhaps without its key."""
        self.index_of[position] = index = len(self.records)
        self.records.append(user)
        self.positions.append(position)
        self.delivered.append(0)
        self.done.append(0)
        self.under.append(0)
        if keyless:
            self.keyless.add(index)
        else:
            self.by_key.setdefault(user.key, []).append(index)

    def first_not_done(self) -> int:
        """Return the index of the first record that is not done; the number of records if all are."""
        while self.whole < len(self.done) and self.done[self.whole]:
            self.whole += 1
        return self.whole

    def due(self, worker: str, index: int, *, in_turn: bool) -> int:
        """Return which record has to be the first to be delivered now, if one of its kind is: perhaps `index` itself.

        Of records that come `in_turn` that is the shard's first that was not delivered yet, else the key's. One
        without a key may come at any time: nobody who reads it can tell which others it belongs to. What the worker is
        through with in its own eyes comes before what follows, too.
        """
        if not in_turn and index in self.keyless:
            return index
        for earlier in self._undelivered(index, in_turn=in_turn):
            if (worker, earlier) not in self.late:
                return earlier
        return index

    def _undelivered(self, index: int, *, in_turn: bool) -> Iterator[int]:
        """Yield the records before that one, of the shard or of its key, that were not delivered yet."""
        if in_turn:
            while self.reached < index and self.delivered[self.reached]:
                self.reached += 1
            yield from (one for one in range(self.reached, index) if not self.delivered[one])
            return
        key = self.records[index].key
        mine, at = self.by_key[key], self.key_at.get(key, 0)
        while mine[at] < index and self.delivered[mine[at]]:
            at += 1
        self.key_at[key] = at
        yield from (one for one in takewhile(index.__gt__, mine[at:]) if not self.delivered[one])

    def tenure_begins(self, worker: str) -> None:
        """Take that a worker has the lease, anew perhaps: nothing that it did late before counts any more."""
        self.late = {one for one in self.late if one[0] != worker}

    def is_through(self, worker: str, index: int) -> bool:
        """Say whether a worker may go on to what follows: the record is done, or done in that worker's own eyes."""
        return bool(self.done[index]) or (worker, index) in self.late

    def excuse(self, upto: int) -> list[UserId]:
        """Count the records before that index as delivered and done (trimmed, skipped); return the new ones."""
        excused = [self.records[i] for i in range(upto) if not self.done[i]]
        for index in range(upto):
            self.delivered[index] = self.done[index] = 1
        return excused


@dataclass(slots=True)
class Epoch:
    """One ownership of a lease in the table, from the write that made it."""

    owner: str | None
    started: Started
    checkpoint: Position
    life: int = 0
    """Which of the row's lives it belongs to."""


@dataclass(slots=True)
class Lease:
    """One lease row, its epochs, and the checkpoint that stood at each value of its counter."""

    key: str
    shard_id: str
    present: bool = False
    counter: int = 0
    checkpoint: Position = SHARD_END
    changed_s: float = 0.0
    sent_s: float = 0.0
    """When the owner's last applied write was sent: what the lease may be counted from."""
    ended: bool = False
    epochs: list[Epoch] = field(default_factory=list[Epoch])
    moves: int = 0
    reply_lost_to: str | None = None
    """Whose last write on the row was applied although he was not told so."""
    lives: int = 0
    """How often the row was created: its counter starts over each time, so a token alone names no tenure."""
    cleaned_up: bool = False
    """The row is gone because a worker deleted it after SHARD_END."""
    _counters: list[int] = field(default_factory=list[int])
    _checkpoints: list[Position] = field(default_factory=list[Position])

    @property
    def owner(self) -> str | None:
        """Who the table says owns the lease."""
        return self.epochs[-1].owner if self.epochs else None

    def remember(self) -> None:
        """Note the present checkpoint under the present counter."""
        if not self._checkpoints or self._checkpoints[-1] != self.checkpoint:
            self._counters.append(self.counter)
            self._checkpoints.append(self.checkpoint)

    def checkpoint_at(self, counter: int) -> Position | None:
        """Return the checkpoint that stood when the counter had that value; None if it never had."""
        at = bisect_right(self._counters, counter)
        return self._checkpoints[at - 1] if at and counter <= self.counter else None

    def forget(self) -> None:
        """Begin anew: the row is gone."""
        self.present = False
        self._counters.clear()
        self._checkpoints.clear()

    def begin(self, owner: str | None, started: Started) -> None:
        """Note that an ownership epoch begins, at the present checkpoint."""
        self.epochs.append(Epoch(owner, started, self.checkpoint, self.lives))

    def life_of(self, worker: str) -> int:
        """Return the life of the row in which the worker owned it last; the present one if it never did."""
        return next((epoch.life for epoch in reversed(self.epochs) if epoch.owner == worker), self.lives)

    def superseded(self, worker: str) -> Epoch | None:
        """Return the epoch that ended the worker's last one, or None while it owns the lease or never did."""
        for index in range(len(self.epochs) - 1, -1, -1):
            if self.epochs[index].owner == worker:
                return self.epochs[index + 1] if index + 1 < len(self.epochs) else None
        return None


@dataclass(slots=True)
class Tenure:
    """One worker's hold on a lease under one fencing token: a serial number from 1, and where it began."""

    serial: int
    began: Position | None


def row_position(item: Mapping[str, object]) -> Position:
    """Return a lease row's stored checkpoint."""
    sub = item.get("checkpointSubSequenceNumber", 0)
    return Position.parse(str(item["checkpoint"]), sub if isinstance(sub, int) else 0)
