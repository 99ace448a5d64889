"""Sequence numbers in the service's own 56-digit layout (version 2).

Bits from the top: 2 | shard creation second (36) | low nibble of the shard's index (4) | record index (64) | 0 (8) |
record second (36) | shard index (32) | 2 (4). Invariants: within a shard numbers grow with the record index; a shard
whose creation second is later has only greater numbers, and a child's creation second is later than its parents'.
"""

from __future__ import annotations

__all__ = ["CREATED_MAX", "RECORD_SHIFT", "Numbering", "shard_index"]

RECORD_SHIFT = 80
_END_INDEX = (1 << 63) - 1  # The record index of an ending number: above every record's.
_INDEX_MASK = (1 << 64) - 1
CREATED_MAX = (1 << 36) - 1


def shard_index(shard_id: str) -> int:
    """Return the number in ``shardId-000000000012``."""
    return int(shard_id.rpartition("-")[2])


class Numbering:
    """Gives the sequence numbers of one shard; `created_s` is its logical creation second."""

    __slots__ = ("_base", "created_s")

    def __init__(self, created_s: int, index: int) -> None:
        assert 0 <= created_s <= CREATED_MAX
        self.created_s = created_s
        self._base = (2 << 184) | (created_s << 148) | ((index & 0xF) << 144) | ((index & 0xFFFFFFFF) << 4) | 2

    def number(self, record_index: int, now: float) -> int:
        """Return the number of the record at `record_index` (1 and up) that arrived at `now`."""
        return self._base | (record_index << RECORD_SHIFT) | (int(now) << 36)

    def starting(self) -> int:
        """Return StartingSequenceNumber: below every record's number."""
        return self._base | (self.created_s << 36)

    def ending(self, now: float) -> int:
        """Return EndingSequenceNumber: above every record's number, below every child's."""
        return self._base | (_END_INDEX << RECORD_SHIFT) | (int(now) << 36)

    def owns(self, number: int) -> bool:
        """Say whether `number` can be one of this shard (same creation second and shard index)."""
        varying = (_INDEX_MASK << RECORD_SHIFT) | (0xFF << 72) | (CREATED_MAX << 36)
        return number & ~varying == self._base
