"""The records of an aggregate by columns: where keys and data stand in the blob.

Invariant: `key_indexes`, `starts`, `stops` (and `hash_indexes`, once there is one) are equally long. They are lists in
a blob of the usual size, arrays of four bytes each in a large one: numbers in a list weigh up to thirteen times the
bytes that they stand for, but need not be made anew each time they are read.
"""

from __future__ import annotations

from array import array
from itertools import repeat

from shardline.common._texts import Texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    Column = list[int] | array[int]

POSITION_MAX = 2**32 - 1
LISTS_BLOB_BYTES_MAX = 256 * 1024
"""Up to this length of the blob columns are lists."""
NO_HASH_KEY = POSITION_MAX
"""Stands for "none given" in the column of explicit hash key indexes; no table can be that long."""


class Columns:
    """Tables and columns, filled by `Validation` while it reads and complete once its verdict stands."""

    __slots__ = (
        "_top_hash",
        "_top_key",
        "empty_keys",
        "hash_indexes",
        "hash_keys",
        "key_indexes",
        "keys",
        "long_keys",
        "starts",
        "stops",
        "tagged",
        "tagged_starts",
        "tagged_stops",
        "tags",
    )

    def __init__(self, blob: bytes) -> None:
        self.keys = Texts(blob)
        self.hash_keys = Texts(blob)
        large = len(blob) > LISTS_BLOB_BYTES_MAX
        self.key_indexes: Column = array("I") if large else []  # Of each record: where its key stands in `keys`,
        self.starts: Column = array("I") if large else []  # and from where to where its data stand in the blob.
        self.stops: Column = array("I") if large else []
        self.hash_indexes: array[int] | None = None  # From the first explicit hash key on; NO_HASH_KEY for none.
        self.tagged: Column = array("I") if large else []  # The records with tags, by number, and where they stand.
        self.tagged_starts: Column = array("I") if large else []
        self.tagged_stops: Column = array("I") if large else []
        self.tags = 0
        self.empty_keys = 0  # Keys of lengths that no service admits.
        self.long_keys = 0
        self._top_key = -1
        self._top_hash = -1

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def closed(self) -> bool:
        """Say whether every index points into its table."""
        return self._top_key < len(self.keys) and self._top_hash < len(self.hash_keys)

    def add_run(self, keys: list[int], starts: list[int], stops: list[int], hashed: list[tuple[int, int]]) -> None:
        """Append a run of records; `hashed` are (number within the run, explicit hash key index)."""
        if not keys:
            return
        before = len(self)
        self.key_indexes.extend(keys)
        self.starts.extend(starts)
        self.stops.extend(stops)
        self._top_key = max(self._top_key, max(keys))  # noqa: PLW3301 - flattened, it would copy the list.
        if hashed or self.hash_indexes is not None:
            self._pad_hash_indexes()
            for number, index in hashed:
                self._set_hash_index(before + number, index)

    def add(self, key: int, hash_index: int, start: int, stop: int) -> None:
        """Append one record; `hash_index` is negative where it has no explicit hash key."""
        self._top_key = max(self._top_key, key)
        self.key_indexes.append(min(key, POSITION_MAX))
        self.starts.append(start)
        self.stops.append(stop)
        if hash_index >= 0:
            self._set_hash_index(len(self) - 1, hash_index)
        elif self.hash_indexes is not None:
            self._pad_hash_indexes()

    def add_tags(self, tags: int, start: int, stop: int) -> None:
        """Note that the last record, at blob[start:stop], has tags; they are read when it is delivered."""
        self.tags += tags
        self.tagged.append(len(self) - 1)
        self.tagged_starts.append(start)
        self.tagged_stops.append(stop)

    def _pad_hash_indexes(self) -> array[int]:
        """Return the column of explicit hash key indexes, made as long as the others."""
        column = self.hash_indexes
        if column is None:
            column = self.hash_indexes = array("I")
        column.extend(repeat(NO_HASH_KEY, len(self) - len(column)))
        return column

    def _set_hash_index(self, number: int, index: int) -> None:
        self._top_hash = max(self._top_hash, index)
        self._pad_hash_indexes()[number] = min(index, POSITION_MAX)
