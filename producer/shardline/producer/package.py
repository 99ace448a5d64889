"""A package: one Kinesis record on its way, an aggregate or a lone record, and what has happened to it so far.

Its life is a table: queued, in flight, waiting for the shard map to judge it, done; everything else is a bug.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, overload

from shardline.common.deaggregation import deaggregate
from shardline.common.hashing import HashRange, hash_key
from shardline.producer.budget import PACKAGE_OVERHEAD_BYTES
from shardline.producer.outcome import Attempt, Delivered, NotWritten, Unknown

if TYPE_CHECKING:
    from shardline.common.aggregation import Sealed
    from shardline.common.deaggregation import UserRecord
    from shardline.producer.delivery import Part
    from shardline.producer.outcome import Reason
    from shardline.producer.places import Place

__all__ = ["Package", "Records", "Stage"]

_HISTORY_HALF: Final = 3  # The first and the last attempts are kept; the count is exact.


class Stage(Enum):
    """Where a package is."""

    __hash__ = object.__hash__  # Each is one object; an enumeration's own hash is a call, several for each package.

    QUEUED = "queued"
    IN_FLIGHT = "in flight"
    UNJUDGED = "waiting for the shard map"
    DONE = "done"


_NEXT: Final = {
    Stage.QUEUED: frozenset({Stage.IN_FLIGHT, Stage.DONE}),
    Stage.IN_FLIGHT: frozenset({Stage.QUEUED, Stage.UNJUDGED, Stage.DONE}),
    Stage.UNJUDGED: frozenset({Stage.QUEUED, Stage.DONE}),
    Stage.DONE: frozenset[Stage](),
}


class Records(Sequence["UserRecord"]):
    """The user records `first` to `first` + `count` of a package, read from its bytes when asked for."""

    __slots__ = ("_count", "_first", "_package")

    def __init__(self, package: Package, first: int, count: int) -> None:
        self._package = package
        self._first = first
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> UserRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[UserRecord]: ...
    def __getitem__(self, index: int | slice) -> UserRecord | list[UserRecord]:
        return self._package.records()[self._first : self._first + self._count][index]

    def __repr__(self) -> str:
        return f"Records({self._count})"


class Package:
    """One Kinesis record to be, with the parts of deliveries that it carries, in order."""

    __slots__ = (
        "_stage",
        "aggregated",
        "attempts",
        "blob",
        "collect_by",
        "cost",
        "count",
        "doubt",
        "expires_at",
        "explicit_hash_key",
        "hash_range",
        "history",
        "keys",
        "landed",
        "misplaced",
        "partition_key",
        "parts",
        "put_at",
        "rank",
        "sent_at",
        "shard_id",
        "size",
        "uniform",
    )

    def __init__(
        self,
        sealed: Sealed,
        parts: list[Part],
        *,
        rank: int,
        place: Place,
        put_at: float,
        expires_at: float,
        collect_by: float,
    ) -> None:
        self.blob = sealed.data
        self.partition_key = sealed.partition_key
        self.explicit_hash_key = sealed.explicit_hash_key
        self.count = sealed.count
        self.aggregated = sealed.aggregated
        self.size = len(sealed.data) + (len(sealed.partition_key.encode()) if sealed.partition_key else 0)
        self.cost = self.size + PACKAGE_OVERHEAD_BYTES
        self.parts = parts
        self.rank = rank
        self.shard_id = place.shard_id
        self.hash_range = place.hash_range
        self.put_at = put_at
        self.expires_at = expires_at
        self.collect_by = collect_by
        self.uniform = place.uniform
        """All records have one hash key, so no shard map can ever cut it."""
        self.keys: tuple[bytes, ...] = ()
        """Hash keys of the records, where order by key asks for them."""
        self.attempts = 0
        self.history: list[Attempt] = []
        self.sent_at = put_at
        self.doubt = False
        """An attempt may have been applied, or was and a KCL would drop it: not "not written" any more."""
        self.misplaced = False
        self.landed: tuple[str, str] | None = None
        """Shard and sequence number of an answer that the shard map has yet to judge."""
        self._stage = Stage.QUEUED

    @property
    def stage(self) -> Stage:
        """Where the package is; setting it to a stage that cannot follow is a bug."""
        return self._stage

    @stage.setter
    def stage(self, stage: Stage) -> None:
        assert stage in _NEXT[self._stage], f"no way from {self._stage} to {stage}"
        self._stage = stage

    def __lt__(self, other: Package) -> bool:
        return self.rank < other.rank

    def records(self) -> list[UserRecord]:
        """Return the user records, read from the bytes."""
        if self.aggregated:
            return list(deaggregate(self.blob, None if self.explicit_hash_key is None else self.partition_key))
        from_blob = deaggregate(b"", self.partition_key, self.explicit_hash_key)
        (record,) = from_blob
        record.data = self.blob
        return [record]

    def hash_keys(self) -> list[int]:
        """Return the hash key of each user record that has one."""
        if not self.aggregated:
            return [] if self.explicit_hash_key is None else [int(self.explicit_hash_key)]
        known: dict[str, int] = {}
        found: list[int] = []
        for record in self.records():
            if record.explicit_hash_key is not None:
                found.append(int(record.explicit_hash_key))
            elif record.partition_key is not None:
                if record.partition_key not in known:
                    known[record.partition_key] = hash_key(record.partition_key)
                found.append(known[record.partition_key])
        return found

    def covers(self, other: Package) -> bool:
        """Say whether the two packages may hold records of the same hash key."""
        mine, theirs = self._range(), other._range()
        return mine is None or theirs is None or mine.overlaps(theirs)

    def _range(self) -> HashRange | None:
        if self.hash_range is not None or self.explicit_hash_key is None or not self.uniform:
            return self.hash_range
        return HashRange(int(self.explicit_hash_key), int(self.explicit_hash_key))

    def inherit(self, old: Package) -> None:
        """Take over what happened to a package of which this one is a piece."""
        self.rank = old.rank
        self.attempts = old.attempts
        self.history = list(old.history)
        self.sent_at = old.sent_at
        self.doubt = old.doubt
        self.misplaced = old.misplaced

    def note_attempt(self, now: float, code: str) -> None:
        """Remember an attempt that did not deliver."""
        if len(self.history) >= 2 * _HISTORY_HALF:
            del self.history[_HISTORY_HALF]
        self.history.append(Attempt(self.sent_at - self.put_at, now - self.sent_at, code))

    def delivered(self, shard_id: str, sequence_number: str) -> Delivered:
        """Return the outcome of its first record."""
        return Delivered(shard_id, sequence_number, 0, self.attempts, self.misplaced)

    def failed(self, reason: Reason, code: str) -> NotWritten | Unknown:
        """Return the outcome of giving up now: unknown if any attempt is in doubt."""
        kind = Unknown if self.doubt else NotWritten
        return kind(reason, code, self.attempts, tuple(self.history))

    def __repr__(self) -> str:
        return f"Package({self.count} records, {self.size} bytes, {self._stage.value}, shard={self.shard_id})"
