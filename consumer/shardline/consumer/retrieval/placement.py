"""Is everything in an aggregate at home in its shard? Answered per aggregate, for next to nothing per record.

Almost every aggregate is; only for one that is not, each record must be judged (`iterate(..., hash_range=...)`). Keys
found inside are remembered, and the decoder is told of them (`known`): it makes no text of such a key anew, and names
the others, so that the usual aggregate costs no digest and no further look at its keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shardline.common.hashing import FULL_RANGE, hash_key_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardline.common.deaggregation import Validation
    from shardline.common.hashing import HashRange

__all__ = ["Placement"]

_KEYS_MAX: Final = 16_384
_KEY_BYTES_MAX: Final = 1024
"""A key of the service has up to 256 characters."""


class Placement:
    """One shard's hash range, and the keys that were found inside it (bounded in number and length)."""

    __slots__ = ("_first", "_hash_keys", "_known", "_last", "hash_range")

    def __init__(self, hash_range: HashRange | None) -> None:
        """None, or the full range: nothing can be misplaced."""
        self.hash_range = None if hash_range is None or hash_range == FULL_RANGE else hash_range
        start, end = self.hash_range or FULL_RANGE
        self._first = start.to_bytes(16, "big")
        self._last = end.to_bytes(16, "big")
        self._known: dict[bytes, str] = {}
        self._hash_keys: set[str] = set()

    @property
    def known(self) -> Mapping[bytes, str]:
        """The partition keys found inside, each with its text: for `Validation`."""
        return self._known

    def to_judge(self, check: Validation) -> HashRange | None:
        """Return the range that each record of a validated blob must be judged by, or None if all are at home."""
        if self.hash_range is None or check.kind != "aggregate":
            return None
        strangers = check.columns.strangers(self._known)
        if strangers is None:
            return self.hash_range
        keys, hash_keys = strangers
        if (not keys and self._hash_keys.issuperset(hash_keys)) or self._learn(keys, hash_keys):
            return None
        return self.hash_range

    def _learn(self, keys: list[str], hash_keys: list[str]) -> bool:
        """Judge keys, remember those inside, and say whether all are."""
        hash_range = self.hash_range
        assert hash_range is not None, "asked only where there is a range"
        inside = [key for key in keys if self._first <= hash_key_bytes(key) <= self._last]
        hash_keys_inside = [key for key in hash_keys if int(key) in hash_range]
        self._remember(inside, hash_keys_inside)
        return len(inside) == len(keys) and len(hash_keys_inside) == len(hash_keys)

    def _remember(self, keys: list[str], hash_keys: list[str]) -> None:
        """Keep what was found inside; of keys that no service admits (empty, or very long) nothing is kept."""
        if len(self._known) + len(keys) > _KEYS_MAX:
            self._known.clear()
        for key in keys[:_KEYS_MAX]:
            raw = key.encode()
            if 0 < len(raw) <= _KEY_BYTES_MAX:
                self._known[raw] = key
        if len(self._hash_keys) + len(hash_keys) > _KEYS_MAX:
            self._hash_keys.clear()
        self._hash_keys.update(hash_keys[:_KEYS_MAX])
