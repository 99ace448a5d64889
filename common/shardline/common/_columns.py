"""The records of an aggregate by columns: where keys and data stand in the blob.

Invariant: `_key_indexes`, `_starts`, `_stops` (and `_hash_indexes`, once there is one) are equally long. They are
arrays of four bytes each: numbers in a list weigh up to thirteen times the bytes that they stand for. An aggregate of
the usual size and shape has finished columns instead (`_usual`), which offer the same.
"""

from __future__ import annotations

from array import array
from itertools import chain, repeat
from types import MappingProxyType

from shardline.common._reading import read_span, read_tag, skip_field
from shardline.common._texts import Texts
from shardline.common._wire import RECORD_TAG, TAG_KEY, TAG_VALUE, digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

POSITION_MAX = 2**32 - 1
NO_HASH_KEY = POSITION_MAX
"""Stands for "none given" in the column of explicit hash key indexes; no table can be that long."""
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
"""What a record without tags has for `headers`."""

_UNJUDGED = 2
_DATAS_AT_ONCE = 512
_DIGESTS_MAX = 16_384
_DIGEST_KEY_LENGTH_MAX = 256
_digests: dict[str, bytes] = {}  # Bounded in entries and key length; the same keys recur from aggregate to aggregate.


class Columns:
    """Tables and columns, filled by `Validation` while it reads and complete once its verdict stands."""

    __slots__ = (
        "_blob",
        "_hash_indexes",
        "_key_indexes",
        "_starts",
        "_stops",
        "_tagged",
        "_tagged_starts",
        "_tagged_stops",
        "_top_hash",
        "_top_key",
        "empty_keys",
        "hash_keys",
        "keys",
        "long_keys",
        "tags",
    )

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self.keys = Texts(blob)
        self.hash_keys = Texts(blob)
        self._key_indexes = array("I")  # Of each record: where its key stands in `keys`,
        self._starts = array("I")  # and from where to where its data stand in the blob.
        self._stops = array("I")
        self._hash_indexes: array[int] | None = None  # From the first explicit hash key on; NO_HASH_KEY for none.
        self._tagged = array("I")  # The records with tags, by number, and where they stand.
        self._tagged_starts = array("I")
        self._tagged_stops = array("I")
        self.tags = 0
        self.empty_keys = 0  # Keys of lengths that no service admits.
        self.long_keys = 0
        self._top_key = -1
        self._top_hash = -1

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def closed(self) -> bool:
        """Say whether every index points into its table."""
        return self._top_key < len(self.keys) and self._top_hash < len(self.hash_keys)

    # ---- filling ------------------------------------------------------------------------------------------------

    def add_run(self, keys: list[int], starts: list[int], stops: list[int], hashed: list[tuple[int, int]]) -> None:
        """Append a run of records; `hashed` are (number within the run, explicit hash key index)."""
        if not keys:
            return
        before = len(self)
        self._key_indexes.extend(keys)
        self._starts.extend(starts)
        self._stops.extend(stops)
        self._top_key = max(self._top_key, max(keys))  # noqa: PLW3301 - flattened, it would copy the list.
        if hashed or self._hash_indexes is not None:
            self._pad_hash_indexes()
            for number, index in hashed:
                self._set_hash_index(before + number, index)

    def add(self, key: int, hash_index: int, start: int, stop: int) -> None:
        """Append one record; `hash_index` is negative where it has no explicit hash key."""
        self._top_key = max(self._top_key, key)
        self._key_indexes.append(min(key, POSITION_MAX))
        self._starts.append(start)
        self._stops.append(stop)
        if hash_index >= 0:
            self._set_hash_index(len(self) - 1, hash_index)
        elif self._hash_indexes is not None:
            self._pad_hash_indexes()

    def add_tags(self, tags: int, start: int, stop: int) -> None:
        """Note that the last record, at blob[start:stop], has tags; they are read when it is delivered."""
        self.tags += tags
        self._tagged.append(len(self) - 1)
        self._tagged_starts.append(start)
        self._tagged_stops.append(stop)

    def _pad_hash_indexes(self) -> array[int]:
        """Return the column of explicit hash key indexes, made as long as the others."""
        column = self._hash_indexes
        if column is None:
            column = self._hash_indexes = array("I")
        column.extend(repeat(NO_HASH_KEY, len(self) - len(column)))
        return column

    def _set_hash_index(self, number: int, index: int) -> None:
        self._top_hash = max(self._top_hash, index)
        self._pad_hash_indexes()[number] = min(index, POSITION_MAX)

    # ---- reading, once it is complete ---------------------------------------------------------------------------

    @property
    def plain(self) -> bool:
        """Say whether no record has an explicit hash key or headers."""
        return self._hash_indexes is None and not self._tagged

    def strangers(self, known: Mapping[bytes, str]) -> tuple[list[str], list[str]] | None:
        """Return the partition keys that are not among those known, and all explicit hash keys; None if too many."""
        if not (self.keys.all_kept and self.hash_keys.all_kept):
            return None
        return [key for key in self.keys.kept if key.encode() not in known], self.hash_keys.kept

    def datas(self) -> Iterator[bytes]:
        """Return each record's data, cut out while iterating."""
        return chain.from_iterable(self._datas())

    def _datas(self) -> Iterator[list[bytes]]:
        """Yield the records' data, some hundreds at a time: slicing in a comprehension is the cheapest there is."""
        blob, starts, stops = self._blob, self._starts, self._stops
        for at in range(0, len(starts), _DATAS_AT_ONCE):
            some = slice(at, at + _DATAS_AT_ONCE)
            yield [blob[start:stop] for start, stop in zip(starts[some], stops[some], strict=True)]

    def partition_keys(self) -> Iterable[str]:
        """Return each record's partition key."""
        return map(_lookup(self.keys), self._key_indexes)

    def explicit_hash_keys(self) -> Iterable[str | None]:
        """Return each record's explicit hash key; endless where no record has one."""
        if self._hash_indexes is None:
            return repeat(None)
        lookup = _lookup(self.hash_keys)
        return (None if index == NO_HASH_KEY else lookup(index) for index in self._hash_indexes)

    def misplaced(self, low: int, high: int) -> Iterator[bool]:
        """Yield for each record whether its hash key lies outside the range; each key is judged once."""
        by_key = _Judged(self.keys, outside(low, high))
        if self._hash_indexes is None:
            return map(by_key.__getitem__, self._key_indexes)
        by_hash = _Judged(self.hash_keys, lambda key: not low <= int(key) <= high)
        return (
            by_key[key] if index == NO_HASH_KEY else by_hash[index]
            for key, index in zip(self._key_indexes, self._hash_indexes, strict=True)
        )

    def headers(self) -> Iterable[Mapping[str, str]]:
        """Return each record's headers; they are read when the record is made. Endless where no record has any."""
        return self._headers() if self._tagged else repeat(NO_HEADERS)

    def _headers(self) -> Iterator[Mapping[str, str]]:
        made = 0
        for number, start, stop in zip(self._tagged, self._tagged_starts, self._tagged_stops, strict=True):
            yield from repeat(NO_HEADERS, number - made)
            yield _read_headers(self._blob, start, stop)
            made = number + 1
        yield from repeat(NO_HEADERS, len(self) - made)


class _Judged:
    """A verdict per entry of a table, made on first use and kept in one byte each."""

    __slots__ = ("_judge", "_table", "_verdicts")

    def __init__(self, table: Texts, judge: Callable[[str], bool]) -> None:
        self._table = table
        self._judge = judge
        self._verdicts = bytearray((_UNJUDGED,)) * len(table)

    def __getitem__(self, index: int) -> bool:
        verdict = self._verdicts[index]
        if verdict == _UNJUDGED:
            verdict = self._verdicts[index] = self._judge(self._table[index])
        return bool(verdict)


def _lookup(table: Texts) -> Callable[[int], str]:
    return table.kept.__getitem__ if table.all_kept else table.__getitem__


def outside(low: int, high: int) -> Callable[[str], bool]:
    """Return a function that says whether a partition key hashes outside the range, both ends included."""
    first, last = low.to_bytes(16, "big"), high.to_bytes(16, "big")
    return lambda key: not first <= _digest_of(key) <= last


def _digest_of(partition_key: str) -> bytes:
    """Return the hash key of a partition key as 16 bytes that order like it."""
    known = _digests.get(partition_key)
    if known is None:
        known = digest(partition_key.encode())
        if len(partition_key) <= _DIGEST_KEY_LENGTH_MAX:
            if len(_digests) >= _DIGESTS_MAX:
                _digests.clear()
            _digests[partition_key] = known
    return known


def _read_headers(blob: bytes, at: int, stop: int) -> Mapping[str, str]:
    """Return the tags of the record at blob[at:stop]; of equal keys the last wins, a tag without value has ""."""
    headers: dict[str, str] = {}
    for start, end in _spans(blob, at, stop, RECORD_TAG):
        last = {tag: span for tag in (TAG_KEY, TAG_VALUE) for span in _spans(blob, start, end, tag)}
        texts = {tag: str(blob[first:after], "utf-8") for tag, (first, after) in last.items()}
        headers[texts[TAG_KEY]] = texts.get(TAG_VALUE, "")
    return headers


def _spans(blob: bytes, at: int, stop: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Yield where the length-prefixed fields with the tag `wanted` stand in a message that was validated."""
    while at < stop:
        tag, at = read_tag(blob, at, stop)
        if tag == wanted:
            start, at = read_span(blob, at, stop)
            yield start, at
        else:
            at = _drained(skip_field(blob, tag, at, stop))


def _drained(fields: Generator[None, None, int]) -> int:
    while True:
        try:
            next(fields)
        except StopIteration as done:
            return int(done.value)
