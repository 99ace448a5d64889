"""Is everything in an aggregate at home in its shard? Answered per aggregate, for a few nanoseconds per record.

Almost every aggregate is; only for one that is not, each record must be judged (`iterate(..., hash_range=...)`). Keys
known to lie inside are remembered, so that the usual aggregate costs one set comparison and no digest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shardline.common.hashing import FULL_RANGE, hash_key_bytes

if TYPE_CHECKING:
    from shardline.common.deaggregation import Validation
    from shardline.common.hashing import HashRange

__all__ = ["Placement"]

_KEYS_MAX: Final = 16_384
_KEY_LENGTH_MAX: Final = 256


class Placement:
    """One shard's hash range, and the keys that were found inside it (bounded in number and length)."""

    __slots__ = ("_first", "_hash_keys", "_keys", "_last", "hash_range")

    def __init__(self, hash_range: HashRange | None) -> None:
        """None, or the full range: nothing can be misplaced."""
        self.hash_range = None if hash_range is None or hash_range == FULL_RANGE else hash_range
        start, end = self.hash_range or FULL_RANGE
        self._first = start.to_bytes(16, "big")
        self._last = end.to_bytes(16, "big")
        self._keys: set[str] = set()
        self._hash_keys: set[str] = set()

    def to_judge(self, check: Validation) -> HashRange | None:
        """Return the range that each record of a validated blob must be judged by, or None if all are at home."""
        if self.hash_range is None or check.kind != "aggregate":
            return None
        if not (check.columns.keys.all_kept and check.columns.hash_keys.all_kept):
            return self.hash_range
        if self._keys.issuperset(check.columns.keys.kept) and self._hash_keys.issuperset(check.columns.hash_keys.kept):
            return None
        return None if self._learn(check) else self.hash_range

    def _learn(self, check: Validation) -> bool:
        """Judge the keys that are new, remember those inside, and say whether all are."""
        hash_range = self.hash_range
        assert hash_range is not None, "asked only where there is a range"
        new = [key for key in check.columns.keys.kept if key not in self._keys]
        inside = [key for key in new if self._first <= hash_key_bytes(key) <= self._last]
        hashes = [key for key in check.columns.hash_keys.kept if key not in self._hash_keys]
        hashes_inside = [key for key in hashes if int(key) in hash_range]
        _remember(self._keys, inside)
        _remember(self._hash_keys, hashes_inside)
        return len(inside) == len(new) and len(hashes_inside) == len(hashes)


def _remember(known: set[str], keys: list[str]) -> None:
    if len(known) + len(keys) > _KEYS_MAX:
        known.clear()
    known.update([key for key in keys[:_KEYS_MAX] if len(key) <= _KEY_LENGTH_MAX])
