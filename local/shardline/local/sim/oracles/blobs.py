"""Malformed aggregates: each is delivered whole, as the bytes it is; never in part, never dropped without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from shardline.common.records import Position
    from shardline.local.sim.judge import Judge

__all__ = ["INVARIANTS", "Blobs"]

INVARIANTS: Final = {
    "I14": "A malformed aggregate is delivered whole, byte for byte, or reported whole: never in part, never dropped.",
}


class _Place(NamedTuple):
    shard_id: str
    number: int


class Blobs:
    """Judges the records that a world stored past every producer."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._stored: dict[_Place, bytes] = {}
        self._delivered: set[_Place] = set()

    def stored(self, shard_id: str, number: int, data: bytes) -> None:
        """Note a malformed record that was stored."""
        self._stored[_Place(shard_id, number)] = data

    def delivered(self, shard_id: str, position: Position, data: bytes) -> None:
        """Take a delivery of a record in which nobody's mark stands."""
        place = _Place(shard_id, position.sequence_number)
        if position.sub_sequence_number or self._stored.get(place) != data:
            self._judge.violate("I14", shard_id, f"{position} was delivered with {len(data)} bytes, not as it is")
        self._judge.reached["malformed aggregate delivered whole"] += 1
        self._delivered.add(place)

    def skipped(self, shard_id: str, after: int, before: int) -> None:
        """Take that the numbers between these need no delivery: a told skip, or what retention took."""
        self._delivered |= {
            place for place in self._stored if place.shard_id == shard_id and after < place.number < before
        }

    def pending(self) -> int:
        """Return how many have not been delivered."""
        return len(self._stored) - len(self._delivered)

    def finish(self) -> None:
        """Judge the end: every one was delivered."""
        for place in self._stored.keys() - self._delivered:
            self._judge.violate("I14", place.shard_id, f"the malformed record {place.number} was never delivered")
