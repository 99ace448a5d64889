"""What `put` returns: one delivery for all records of an aggregate, exact per record on request.

A delivery begins as one *part*. When its aggregate is cut by a new shard map, each piece is a part with an outcome of
its own; a record's key, or its index, decides which part is its. Nothing is allocated per record. Awaiting is the
drivers' business: `AwaitableDelivery` (asyncio) and the blocking one derive from `Delivery`.

Invariant: a part is resolved exactly once (I7); a delivery is done when all its parts are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from shardline.common.hashing import hash_key, parse_explicit_hash_key
from shardline.producer.outcome import Delivered, DeliveryError, Outcome, together

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shardline.common.deaggregation import UserRecord
    from shardline.common.hashing import HashRange

    Callback = Callable[[Outcome], object]

__all__ = ["Delivery", "OwnDelivery", "Part"]


class Part:
    """Some records of a delivery that travel together; `indexes` are their places in the delivery, in order.

    `first` is the sub-sequence number of the first of them, `hash_range` the keys it holds where the delivery was cut.
    """

    __slots__ = ("delivery", "failed", "first", "hash_range", "indexes", "outcome")

    def __init__(self, delivery: Delivery, indexes: Sequence[int], hash_range: HashRange | None = None) -> None:
        self.delivery = delivery
        self.indexes = indexes
        self.hash_range = hash_range
        self.outcome: Outcome | None = None
        self.first = 0
        self.failed: Sequence[UserRecord] = ()

    def outcome_at(self, place: int) -> Outcome | None:
        """Return the outcome of the record at `place` of this part."""
        outcome = self.outcome
        if isinstance(outcome, Delivered):
            shard_id, sequence_number, _, attempts, misplaced = outcome
            return Delivered(shard_id, sequence_number, self.first + place, attempts, misplaced)
        return outcome

    def cut(self, pieces: Sequence[tuple[Sequence[int], HashRange | None]]) -> list[Part]:
        """Replace this part by one for each (places within this part, range), and return them."""
        assert self.outcome is None, "a resolved part cannot be cut"
        parts = [Part(self.delivery, [self.indexes[place] for place in places], within) for places, within in pieces]
        self.delivery.replace(self, parts)
        return parts

    def __repr__(self) -> str:
        return f"Part({len(self.indexes)} records, {self.outcome!r})"


class Delivery:
    """The shared delivery of an aggregate's records.

    `outcome` is None until every record's fate is known; then it is true of all of them: `Delivered` (of the first
    record, the others follow it in the same Kinesis record), `NotWritten`, or `Unknown`, also where the records ended
    differently (reason ``parts``). `result_for` and `result_at` are exact for one record.
    """

    __slots__ = ("_callbacks", "_parts", "_unresolved", "count", "number", "observed", "opened_at")

    def __init__(self, number: int, opened_at: float) -> None:
        self.number = number
        self.opened_at = opened_at
        self.count = 0  # Records; while the aggregate is open, those of closed segments only.
        self.observed = False
        self._parts: list[Part] = []
        self._unresolved = 0
        self._callbacks: list[tuple[int, Callback]] | None = None

    @property
    def done(self) -> bool:
        """Whether every record's fate is known."""
        return self._unresolved == 0 and bool(self._parts)

    @property
    def outcome(self) -> Outcome | None:
        """One outcome that is true of all records, or None while one is open."""
        if not self.done:
            return None
        return together([outcome for part in self._parts if (outcome := part.outcome_at(0)) is not None])

    def result_for(self, partition_key: str | None, explicit_hash_key: int | str | None = None) -> Outcome | None:
        """Return the outcome of the records with that key (and explicit hash key), or None while it is open."""
        self.observed = True
        parts = self._parts
        if len(parts) > 1 and partition_key is not None:
            key = hash_key(partition_key) if explicit_hash_key is None else parse_explicit_hash_key(explicit_hash_key)
            parts = [part for part in parts if part.hash_range is None or key in part.hash_range]
        outcomes = [part.outcome_at(0) for part in parts]
        known = [outcome for outcome in outcomes if outcome is not None]
        return together(known) if known and len(known) == len(outcomes) else None

    def result_at(self, index: int) -> Outcome | None:
        """Return the outcome of record number `index` of this delivery, or None while it is open."""
        found = self._find(index)
        return found[0].outcome_at(found[1]) if found else None

    def error_at(self, index: int) -> DeliveryError | None:
        """Return the error of record number `index`, with the record; None if it was delivered or is open."""
        outcome = self.result_at(index)
        if outcome is None or isinstance(outcome, Delivered):
            return None
        found = self._find(index)
        assert found is not None
        part, place = found
        return DeliveryError(outcome, part.failed[place] if place < len(part.failed) else None)

    @property
    def error(self) -> DeliveryError | None:
        """The error of the whole, with the first record that failed; None if all were delivered or one is open."""
        outcome = self.outcome
        if outcome is None or isinstance(outcome, Delivered):
            return None
        records = self.undelivered()
        return DeliveryError(outcome, records[0][0] if records else None)

    def checked(self) -> Delivered:
        """Return the outcome (of the first record), once done; raise `DeliveryError` unless delivered."""
        outcome = self.outcome
        if isinstance(outcome, Delivered):
            return outcome
        error = self.error
        assert error is not None, "asked before the delivery was done"
        raise error

    def checked_at(self, index: int) -> Delivered:
        """Return the outcome of record number `index`, once done; raise `DeliveryError` unless delivered."""
        outcome = self.result_at(index)
        if isinstance(outcome, Delivered):
            return outcome
        error = self.error_at(index)
        assert error is not None, "asked before the delivery was done"
        raise error

    def undelivered(self) -> list[tuple[UserRecord, Outcome]]:
        """Return the records that were not delivered, or perhaps not, each with its outcome."""
        return [
            (record, part.outcome)
            for part in self._parts
            if part.outcome is not None and not isinstance(part.outcome, Delivered)
            for record in part.failed
        ]

    def add_callback(self, index: int, callback: Callback) -> None:
        """Have `callback` called with the exact outcome of record number `index` once the delivery is done, or now."""
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append((index, callback))
        self.observed = True
        if self.done:  # Failed at once (a stopped key): nobody will wake it later.
            self.wake()

    # ---- for the cores and drivers ----------------------------------------------------------------------------------

    def new_part(self, indexes: Sequence[int]) -> Part:
        """Add a part that holds `indexes`."""
        part = Part(self, indexes)
        self._parts.append(part)
        self._unresolved += 1
        self.count += len(indexes)
        return part

    def replace(self, part: Part, parts: list[Part]) -> None:
        """Put `parts` in the place of `part`."""
        at = self._parts.index(part)
        self._parts[at : at + 1] = parts
        self._unresolved += len(parts) - 1

    def resolve(self, part: Part, outcome: Outcome, first: int, failed: Sequence[UserRecord]) -> bool:
        """Settle `part` and return whether the delivery is done now; a second time is a bug."""
        assert part.outcome is None, "a part is resolved once"
        part.outcome = outcome
        part.first = first
        part.failed = failed
        self._unresolved -= 1
        return self._unresolved == 0

    def wake(self) -> int:
        """Call the per-record callbacks, and return how many raised; drivers also wake who awaits."""
        callbacks, self._callbacks = self._callbacks, None
        raised = 0
        for index, callback in callbacks or ():
            outcome = self.result_at(index)
            assert outcome is not None
            try:
                callback(outcome)
            except Exception:  # noqa: BLE001 - a user's callback must never stop the work; it is counted.
                raised += 1
        return raised

    def _find(self, index: int) -> tuple[Part, int] | None:
        for part in self._parts:
            indexes = part.indexes
            if isinstance(indexes, range):
                if index in indexes:
                    return part, indexes.index(index)
            elif index in indexes:
                return part, list(indexes).index(index)
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.count} records, {'done' if self.done else 'open'})"


D = TypeVar("D", bound=Delivery)


class OwnDelivery(Generic[D]):
    """One record's own delivery: record number `index` of a shared one."""

    __slots__ = ("delivery", "index")

    def __init__(self, delivery: D, index: int) -> None:
        self.delivery = delivery
        self.index = index

    @property
    def outcome(self) -> Outcome | None:
        """The record's outcome, None while it is open."""
        self.delivery.observed = True
        return self.delivery.result_at(self.index)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.outcome!r})"
