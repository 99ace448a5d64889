"""Steering a shard that is being read: pauses and seeks, as a core; and the rule of seek.

A seek moves the reading position, never the stored checkpoint. Back: records come again, and the checkpoint moves only
past its old value (a crash resumes at the stored one). Forward, or to a sink's own position above the checkpoint: only
as an explicit skip, told with its range before anything behind it is delivered.

Invariants: `mark` is the highest position up to which everything was done or skipped on purpose, and never moves back;
a reading that was not asked to skip delivers nothing above a gap; a pause is the worker's own, not the lease's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from shardline.common.errors import InvalidInput, SeekAhead
from shardline.common.ports.kinesis import StartAt, StartKind
from shardline.common.records import LATEST, SHARD_END, TRIM_HORIZON, Position, parse_sequence_number
from shardline.consumer.shards import ShardEvent, ShardState

if TYPE_CHECKING:
    from shardline.consumer.shards import ShardLife

__all__ = ["Course", "Pauses", "Read", "SeekRefusal", "Skipped", "Sought", "Target"]

_ALLOWED: Final = "TRIM_HORIZON, LATEST, epoch seconds, a record, a position or a sequence number"


def _next(position: Position) -> Position:
    return Position(position.sequence_number, position.sub_sequence_number + 1)


def _just_below(position: Position) -> Position:
    """Return what separates `position` from everything before it; its sub-sequence number may be -1."""
    return Position(position.sequence_number, position.sub_sequence_number - 1)


def _position(text: object) -> Position:
    """Return the position that ``number`` or ``number/sub-sequence number`` means, or TRIM_HORIZON."""
    if not isinstance(text, str):
        raise InvalidInput("position", _ALLOWED, type(text).__name__)
    if text == TRIM_HORIZON.text:
        return TRIM_HORIZON
    number, _, sub = text.partition("/")
    return Position(parse_sequence_number(number), parse_sequence_number(sub) if sub else 0)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a seek goes: where to read from, and the first position to be delivered where that is known before."""

    start: StartAt
    first: Position | None = None

    @classmethod
    def of(cls, to: Position | str | float) -> Target:
        """Return the target for a sentinel's name, a time (epoch seconds), a position, or a sequence number as text.

        Raises `InvalidInput` for anything else.
        """
        if isinstance(to, Position):
            if to in (TRIM_HORIZON, LATEST):
                return cls.of(to.text)
            if to.is_sentinel or to.sub_sequence_number < 0:
                raise InvalidInput("position", _ALLOWED)
            return cls(StartAt(StartKind.AT_SEQUENCE_NUMBER, str(to.sequence_number)), to)
        if isinstance(to, int | float) and not isinstance(to, bool):
            if not (isfinite(to) and to >= 0):
                raise InvalidInput("position", "a time as epoch seconds, 0 or more")
            return cls(StartAt(StartKind.AT_TIMESTAMP, timestamp_s=float(to)))
        if to in (TRIM_HORIZON.text, LATEST.text):
            return cls(StartAt(StartKind(to)))
        return cls.of(_position(to))

    @classmethod
    def behind(cls, done: Position | str) -> Target:
        """Return the target of a sink that has everything up to `done`, which is TRIM_HORIZON if it has nothing.

        Raises `InvalidInput` for anything else but a record's position.
        """
        at = done if isinstance(done, Position) else _position(done)
        return cls.of(TRIM_HORIZON if at == TRIM_HORIZON else at if at == SHARD_END else _next(at))


class Read(NamedTuple):
    """Begin to read at `start`, leaving out what lies at or below `after`.

    `expected` is the sequence number of a record that was there: if another comes first, retention took some.
    `sought` says that a seek leads there.
    """

    start: StartAt
    after: Position | None = None
    expected: int | None = None
    sought: bool = False


class Sought(NamedTuple):
    """A seek has arrived: everything up to `mark` had been done before, the next record is at or after `first`."""

    mark: Position | None
    first: Position


class Skipped(NamedTuple):
    """A seek has arrived and left out, on purpose, everything above `after` and below `before`."""

    after: Position | None
    before: Position


class SeekRefusal(NamedTuple):
    """A seek is not followed: it would have skipped what lies between, or nobody can read there."""

    mark: Position | None
    first: Position | None


_Arrival: TypeAlias = "Sought | Skipped | SeekRefusal | None"


class _Seek(NamedTuple):
    target: Target
    skip: bool


class Course:
    """Where one shard is read in one tenure of its lease, as orders say; the driver reads, and reports.

    `start` is where reading begins while nothing has been done. LATEST there is turned into a time from the second
    reading on, so that a pause does not skip what came meanwhile; `began_s` is that time.
    """

    __slots__ = ("_life", "_restart", "_seek", "_sought", "_start", "at", "closed", "mark", "paused")

    def __init__(self, life: ShardLife, checkpoint: Position, start: StartAt, *, began_s: float) -> None:
        self._life = life
        self._start = start
        latest = start.kind is StartKind.LATEST
        self._restart = StartAt(StartKind.AT_TIMESTAMP, timestamp_s=began_s) if latest else start
        self.at = None if checkpoint.is_sentinel else checkpoint
        self.mark = self.at
        self._seek: _Seek | None = None
        self._sought: _Seek | None = None
        self.paused = False
        self.closed = False

    # --- orders ------------------------------------------------------------------------------------------------------

    def seek(self, target: Target, *, skip: bool) -> None:
        """Order a seek; it replaces one that has not arrived.

        Raises `SeekAhead` where it is known to lead above what was done, and may not skip.
        """
        if not skip and (target.start.kind is StartKind.LATEST or (target.first is not None and self._ahead(target))):
            raise SeekAhead("LATEST" if target.first is None else str(target.first), str(self.mark or "the start"))
        self._seek = _Seek(target, skip)

    def place(self, target: Target) -> None:
        """Take where the handler's own sink stands, before the first reading; at the checkpoint nothing follows."""
        if self.mark is None or target.first != _next(self.mark):
            self._seek = self._seek or _Seek(target, skip=True)

    @property
    def interrupted(self) -> bool:
        """Say whether the reading under way must end, after the handler call that is running."""
        return self.paused or self._seek is not None

    def close(self) -> None:
        """Take that the shard was read to its end: no seek is followed any more."""
        self.closed = True

    # --- what to do --------------------------------------------------------------------------------------------------

    def next_reading(self) -> Read | None:
        """Return what to read next, no reading being under way; None while paused. Moves the shard's life."""
        state = self._life.state
        if self.paused:
            self._seek, self._sought = self._seek or self._sought, None
            if state is not ShardState.PAUSED:
                self._life.move(ShardEvent.PAUSE)
            return None
        if self._seek is not None:
            self._sought, self._seek = self._seek, None
            self._life.move(ShardEvent.SEEK)
            target = self._sought.target
            return Read(target.start, None if target.first is None else _just_below(target.first), sought=True)
        if state is ShardState.PAUSED:
            self._life.move(ShardEvent.RESUME)
        elif state is ShardState.SEEKING:
            self._life.move(ShardEvent.SOUGHT)
        return self._go_on()

    def _go_on(self) -> Read:
        at, start = self.at, self._start
        self._start = self._restart
        if at is None:
            return Read(start)
        number = at.sequence_number
        # A position just below a record, where a seek arrived, was none of a record that must be there.
        expected = number if at.sub_sequence_number >= 0 else None
        return Read(StartAt(StartKind.AT_SEQUENCE_NUMBER, str(number)), at, expected)

    def begin_anew(self) -> None:
        """Take note that the reading under way ended for a reason of its own: a seek that it was to follow is kept."""
        self._seek, self._sought = self._seek or self._sought, None

    # --- what happened -----------------------------------------------------------------------------------------------

    def on_reached(self, position: Position) -> None:
        """Take how far the handler is done in the reading under way."""
        self.at = position
        if self.mark is None or position > self.mark:
            self.mark = position

    def on_first(self, first: Position) -> _Arrival:
        """Take the first record's position in a reading (SHARD_END: there is none), before it is delivered.

        After a `SeekRefusal` nothing of this reading may be delivered: ask `next_reading`.
        """
        sought, self._sought = self._sought, None
        if sought is None:
            return None
        target, mark = sought.target, self.mark
        ahead = self._ahead(target, first)
        if ahead and not sought.skip:
            return SeekRefusal(mark, first)
        self._life.move(ShardEvent.SOUGHT)
        began = target.first or first
        if began != SHARD_END:
            self.at = _just_below(began)
        if not ahead:
            return Sought(mark, began)
        if began != SHARD_END:
            self.mark = self.at
        return Skipped(mark, began)

    def on_unreadable(self) -> SeekRefusal | None:
        """Take that the service refuses to read where a seek led; None if no seek did."""
        if self._sought is None:
            return None
        refused, self._sought = self._sought, None
        return SeekRefusal(self.mark, refused.target.first)

    def _ahead(self, target: Target, found: Position | None = None) -> bool:
        """Say whether reading from `target` may leave something out that was neither done nor skipped."""
        if target.start.kind is StartKind.TRIM_HORIZON:
            return False
        first = target.first or found
        if self.mark is not None:
            return first is None or first > _next(self.mark)
        since_s, to_s = self._restart.timestamp_s, target.start.timestamp_s
        return since_s is None or to_s is None or to_s > since_s


class Pauses:
    """A worker's standing orders to pause: of everything, a stream, or a shard; the last one that covers a shard holds.

    They outlive leases: a shard that comes (back) to this worker is paused if they say so. Another worker reads it.
    """

    __slots__ = ("_orders",)

    def __init__(self) -> None:
        self._orders: dict[tuple[str | None, str | None], bool] = {}

    def order(self, stream: str | None, shard: str | None, *, paused: bool) -> None:
        """Take an order; those that it covers are forgotten."""
        for known in [known for known in self._orders if _covers((stream, shard), known)]:
            del self._orders[known]
        if self.holds(stream, shard) != paused:
            self._orders[stream, shard] = paused

    def holds(self, stream: str | None, shard: str | None) -> bool:
        """Say whether a shard is paused."""
        for scope, paused in reversed(self._orders.items()):
            if _covers(scope, (stream, shard)):
                return paused
        return False


def _covers(wide: tuple[str | None, str | None], narrow: tuple[str | None, str | None]) -> bool:
    return all(one is None or one == other for one, other in zip(wide, narrow, strict=True))
