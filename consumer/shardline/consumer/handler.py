"""What a handler gets: records with everything known about them, in batches.

Invariants: records of one shard come in order, one batch at a time; records are made while iterating, so that a batch
costs little until it is read; `repr` shows lengths and positions, never payloads or keys.
"""

from __future__ import annotations

from itertools import chain, count, islice, repeat
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from shardline.common.deaggregation import NO_HEADERS
from shardline.common.errors import MalformedAggregate
from shardline.common.records import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from shardline.common.deaggregation import UserRecords

__all__ = ["Batch", "FullRecord", "Handler", "Origin", "Piece", "Record"]

Handler: TypeAlias = "Callable[..., Any]"
"""A function of one `Record`, or of one `Batch`; asynchronous, or blocking (then it runs on a thread).

With a codec, of the decoded value and, if it takes two arguments, the `Record`; or of a list of values and the `Batch`.
"""


class Origin(NamedTuple):
    """The Kinesis record that user records came in; `token` is the fencing token of the lease they were read under."""

    stream: str
    shard_id: str
    sequence_number: str
    number: int
    arrival_time_s: float
    token: int


class Record:
    """One user record.

    `data`, `partition_key` and `explicit_hash_key` (None where none was given) are the producer's; `headers` are the
    aggregate's tags; `misplaced` says that the hash key lies outside the shard.
    """

    __slots__ = ("_origin", "data", "partition_key", "sub_sequence_number")

    # What few records have stands in `FullRecord`: one is made per record, and each field costs.
    explicit_hash_key: str | None = None
    misplaced: bool = False
    headers: Mapping[str, str] = NO_HEADERS

    def __init__(self, origin: Origin, data: bytes, partition_key: str | None, sub_sequence_number: int) -> None:
        self._origin = origin
        self.data = data
        self.partition_key = partition_key
        self.sub_sequence_number = sub_sequence_number

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self._origin.stream

    @property
    def shard_id(self) -> str:
        """The shard's id."""
        return self._origin.shard_id

    @property
    def sequence_number(self) -> str:
        """The Kinesis record's sequence number; records of one aggregate share it."""
        return self._origin.sequence_number

    @property
    def arrival_time_s(self) -> float:
        """When the stream took the Kinesis record, in epoch seconds, by the service's clock (approximate)."""
        return self._origin.arrival_time_s

    @property
    def token(self) -> int:
        """The fencing token: strictly increasing per shard from owner to owner; a sink can refuse a lower one."""
        return self._origin.token

    @property
    def position(self) -> Position:
        """The record's place in its shard."""
        return Position(self._origin.number, self.sub_sequence_number)

    @property
    def id(self) -> str:
        """A name for this record that is the same at every delivery: ``stream/shard/sequence/sub-sequence``."""
        origin = self._origin
        return f"{origin.stream}/{origin.shard_id}/{origin.sequence_number}/{self.sub_sequence_number}"

    def __reduce__(self) -> tuple[type[Record], tuple[object, ...]]:
        return Record, (self._origin, self.data, self.partition_key, self.sub_sequence_number)

    def __repr__(self) -> str:
        key = "no key" if self.partition_key is None else f"key of {len(self.partition_key)}"
        return f"Record({self.shard_id} {self.position}, {len(self.data)} bytes, {key})"


class FullRecord(Record):
    """A record that may have an explicit hash key and headers, and may be misplaced."""

    __slots__ = ("explicit_hash_key", "headers", "misplaced")

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
        super().__init__(origin, data, partition_key, sub_sequence_number)
        self.explicit_hash_key = explicit_hash_key
        self.misplaced = misplaced
        self.headers = headers

    def __reduce__(self) -> tuple[type[Record], tuple[object, ...]]:
        return FullRecord, (
            self._origin,
            self.data,
            self.partition_key,
            self.explicit_hash_key,
            self.sub_sequence_number,
            self.misplaced,
            dict(self.headers),
        )


class Piece(NamedTuple):
    """The user records of one Kinesis record (of `size` bytes) that are still to be delivered, `skip` to `stop`."""

    origin: Origin
    records: UserRecords
    skip: int
    size: int
    stop: int

    @property
    def pending(self) -> int:
        """How many records are still to be delivered."""
        return max(0, self.stop - self.skip)

    @property
    def last(self) -> Position:
        """The position of the last user record."""
        return Position(self.origin.number, max(0, self.stop - 1))

    def make(self) -> Iterator[Record]:
        """Make the records."""
        pairs = self.records.pairs()
        if pairs is not None:
            made: Iterator[Record] = map(Record, repeat(self.origin), *pairs, count())
        else:
            made = map(FullRecord, repeat(self.origin), *self.records.columns())
        return islice(made, self.skip, self.stop) if self.skip or self.stop < len(self.records) else made


class Batch:
    """Consecutive user records of one shard, in order; iterate as often as needed (each time they are made anew)."""

    __slots__ = ("_count", "_drop_misplaced", "_pieces", "millis_behind_latest", "shard_id", "stream", "token")

    def __init__(
        self,
        pieces: Sequence[Piece],
        *,
        stream: str,
        shard_id: str,
        token: int,
        millis_behind_latest: int | None = None,
        drop_misplaced: bool = False,
    ) -> None:
        self._pieces = tuple(pieces)
        self._count = sum([piece.pending for piece in pieces])
        self._drop_misplaced = drop_misplaced
        self.stream = stream
        self.shard_id = shard_id
        self.token = token
        self.millis_behind_latest = millis_behind_latest

    def __iter__(self) -> Iterator[Record]:
        made = chain.from_iterable(piece.make() for piece in self._pieces)
        return (one for one in made if not one.misplaced) if self._drop_misplaced else made

    def numbered(self) -> Iterator[tuple[int, Record | None]]:
        """Yield each record with how many of the batch end with it; None for one that is dropped."""
        drop = self._drop_misplaced
        made = chain.from_iterable(piece.make() for piece in self._pieces)
        for number, record in enumerate(made, 1):
            yield number, None if drop and record.misplaced else record

    def __len__(self) -> int:
        """Return how many records iterating gives (with dropping, an upper bound)."""
        return self._count

    @property
    def last(self) -> Position:
        """The position of the last record."""
        return self._pieces[-1].last

    @property
    def first(self) -> Position:
        """The position of the first record."""
        piece = self._pieces[0]
        return Position(piece.origin.number, piece.skip)

    @property
    def size(self) -> int:
        """The bytes of the Kinesis records' data that the batch came in."""
        return sum([piece.size for piece in self._pieces])

    @property
    def kinesis_records(self) -> int:
        """How many Kinesis records the batch came in."""
        return len(self._pieces)

    @property
    def malformed(self) -> MalformedAggregate | None:
        """What is wrong with the malformed aggregate that the batch consists of, if it does."""
        piece = self._pieces[0]
        reason = piece.records.reason if len(self._pieces) == 1 else None
        return None if reason is None else MalformedAggregate(reason, piece.size)

    def notes(self) -> dict[str, int]:
        """Return what is worth counting, by code: ``misplaced``, ``malformed``, ``checksum``, ``key-length``."""
        found: dict[str, int] = {}
        for piece in self._pieces:
            if piece.records.reason is not None:
                found["malformed"] = found.get("malformed", 0) + 1
            for code, number in piece.records.notes().items():
                found[code] = found.get(code, 0) + number
        return found

    def after(self, position: Position) -> Batch:
        """Return the rest of the batch above `position`; empty when it is all done."""
        rest = [
            piece if piece.origin.number > position.sequence_number else _above(piece, position)
            for piece in self._pieces
            if piece.last > position
        ]
        return self._of(rest)

    def before(self, position: Position) -> Batch:
        """Return the part of the batch below `position`; empty when nothing is."""
        return self.head(sum(_below(piece, position) for piece in self._pieces))

    def head(self, count: int) -> Batch:
        """Return the first `count` records (misplaced ones included) as a batch; the batch itself if it has no more."""
        if count >= len(self):
            return self
        part: list[Piece] = []
        for piece in self._pieces:
            taken = min(count, piece.pending)
            count -= taken
            if taken:
                part.append(piece._replace(stop=piece.skip + taken))
        return self._of(part)

    def halves(self) -> tuple[Batch, Batch]:
        """Return the batch as two of about equal size, in order; only for two records or more."""
        left: list[Piece] = []
        right: list[Piece] = []
        room = len(self) // 2
        for piece in self._pieces:
            taken = min(room, piece.pending)
            room -= taken
            if taken:
                left.append(piece._replace(stop=piece.skip + taken))
            if taken < piece.pending:
                right.append(piece._replace(skip=piece.skip + taken))
        return self._of(left), self._of(right)

    def _of(self, pieces: Sequence[Piece]) -> Batch:
        return Batch(
            pieces,
            stream=self.stream,
            shard_id=self.shard_id,
            token=self.token,
            millis_behind_latest=self.millis_behind_latest,
            drop_misplaced=self._drop_misplaced,
        )

    def __repr__(self) -> str:
        return f"Batch({self.shard_id}, {len(self)} records)"


def _above(piece: Piece, position: Position) -> Piece:
    return piece._replace(skip=max(piece.skip, position.sub_sequence_number + 1))


def _below(piece: Piece, position: Position) -> int:
    """Return how many of a piece's records lie below `position`."""
    if piece.origin.number != position.sequence_number:
        return piece.pending if piece.origin.number < position.sequence_number else 0
    return max(0, min(piece.stop, position.sub_sequence_number) - piece.skip)
