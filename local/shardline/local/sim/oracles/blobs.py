"""Malformed aggregates: each is delivered whole, as the bytes it is; never in part, never dropped without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from shardline.common.records import AT_TIMESTAMP, LATEST, TRIM_HORIZON, Position

if TYPE_CHECKING:
    from shardline.local.sim.judge import Judge

__all__ = ["INVARIANTS", "Blobs"]

INVARIANTS: Final = {
    "I14": "A malformed aggregate is delivered whole, byte for byte, before a checkpoint covers it: never dropped.",
}
_NOWHERE: Final = frozenset({AT_TIMESTAMP, LATEST, TRIM_HORIZON})
"""Checkpoints that name no record."""


class _Place(NamedTuple):
    shard_id: str
    number: int


class Blobs:
    """Judges the records that a world stored past every producer."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._stored: dict[_Place, bytes] = {}
        self._done: set[_Place] = set()

    def stored(self, shard_id: str, number: int, data: bytes) -> None:
        """Note a malformed record that was stored."""
        self._stored[_Place(shard_id, number)] = data

    def delivered(self, shard_id: str, position: Position, data: bytes) -> None:
        """Take a delivery of a record in which nobody's mark stands."""
        place = _Place(shard_id, position.sequence_number)
        if position.sub_sequence_number or self._stored.get(place) != data:
            self._judge.violate("I14", shard_id, f"{position} was delivered with {len(data)} bytes, not as it is")
        self._judge.reached["malformed aggregate delivered whole"] += 1

    def processed(self, shard_id: str, position: Position) -> None:
        """Take that a handler, or a lot, is through with such a record."""
        self._done.add(_Place(shard_id, position.sequence_number))

    def skipped(self, shard_id: str, after: int, before: int) -> None:
        """Take that the numbers between these need no delivery: a told skip, or what retention took."""
        self._done |= {place for place in self._stored if place.shard_id == shard_id and after < place.number < before}

    def covered(self, shard_id: str, checkpoint: Position) -> None:
        """Judge a checkpoint that was stored: what it covers comes no more, and retention may take it unseen."""
        if checkpoint in _NOWHERE:
            return
        for place in self._stored.keys() - self._done:
            if place.shard_id == shard_id and Position(place.number, 0) <= checkpoint:
                what = f"{checkpoint} was stored, and the malformed record {place.number} is not done"
                self._judge.violate("I14", shard_id, what)

    def pending(self) -> int:
        """Return how many are not done."""
        return len(self._stored) - len(self._done)

    def finish(self) -> None:
        """Judge the end: every one was delivered, and handled."""
        for place in self._stored.keys() - self._done:
            self._judge.violate("I14", place.shard_id, f"the malformed record {place.number} was never done")
