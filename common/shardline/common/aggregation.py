"""Writing aggregates: user records gathered by columns, their exact weight known at each addition, sealed in one go.

The rules are the KPL's (`kpl.md` 1): a lone record travels raw under its own partition key and its hash key; two or
more travel as ``magic | protobuf | MD5`` under the partition key ``a`` and the hash key of the first. Two lone records
are wrapped in an aggregate of one, which every consumer unpacks: one with headers (they would be lost) and one whose
data are an aggregate themselves, magic and digest (consumers would unpack what the user packed).

Invariants
  * `size` is what `seal()` will weigh, byte for byte; `try_append` never lets an aggregate of two or more pass
    `bytes_max`. A record that is too large for it, alone, still gets its place: a lone record is no aggregate, and its
    limit is the stream's. (Wrapped it weighs some bytes more than its data: `size_with` tells.)
  * Bytes are those of protobuf's runtime: tables in order of first use, fields in order of their numbers.
  * Records come out in the order in which they went in.

Streams that place records themselves (AUTO) take records without a partition key: None. The format needs a key for each
record, so None is written as the empty text, which is no valid key and thus free; `deaggregation` reads it as None
where the Kinesis record came without a key, as it does on such streams. Never put both kinds into one aggregate of a
stream that routes by key.

Why by columns: the interpreter's cost per record is what producing costs (`performance.md` 2). `try_append` appends to
four lists; sealing joins them once. A caller that knows a bound of its own (`room`) may append to two lists itself,
`waiting` and `datas`, and the rest is made for many records at once: a column is looked up in one call (`_items`) or in
a comprehension, for `map` would call a method for each record.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import chain, count, repeat
from operator import itemgetter

from shardline.common._encoding import (
    DATA_HEADS,
    HEADS,
    SIZES,
    SIZES_WIDE,
    TABLE,
    TWO_BYTES,
    VARINTS,
    data_head,
    entry,
    hash_field,
    key_entry_size,
    key_table,
    record_head,
    record_size,
    tag_fields,
    usual_size,
)
from shardline.common._wire import (
    HASH_KEY_ENTRY,
    MAGIC,
    OUTER_PARTITION_KEY,
    OVERHEAD_BYTES,
    digest,
    is_aggregate,
    varint,
    varint_length,
)
from shardline.common.errors import InvalidInput
from shardline.common.hashing import parse_explicit_hash_key
from shardline.common.limits import AGGREGATE_BYTES_DEFAULT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TypeVar

    from _typeshed import SupportsGetItem

    K = TypeVar("K")
    V = TypeVar("V")

__all__ = ["AggregateBuilder", "Sealed", "is_aggregate"]

_WIDE = 3  # The bytes of an index from TABLE on: no table has the sizes of its records.
_SIZES_BY_WIDTH: tuple[list[int], ...] = ([], SIZES, SIZES_WIDE)  # By the bytes of the index, then those of the data.
_COUNT_MAX = 2**32 - 1  # The KPL's AggregationMaxCount; memory ends first.


def _items(table: SupportsGetItem[K, V], places: Sequence[K]) -> Sequence[V]:
    """Return what `table` holds at each of `places` (at least one), in one call."""
    if len(places) == 1:  # Then `itemgetter` gives no sequence.
        return (table[places[0]],)
    found: tuple[V, ...] = itemgetter(*places)(table)
    return found


def _indexes() -> defaultdict[str | None, bytes]:
    """Return a table of partition keys that gives a new one the next index, as a varint, when it is asked for it."""
    return defaultdict(chain(VARINTS, map(varint, count(TABLE))).__next__)


class Sealed:
    """A Kinesis record to put: `data`, `partition_key`, `explicit_hash_key` (decimal text) and `count` of user records.

    `partition_key` and `explicit_hash_key` are None where the (first) user record had neither. `aggregated` says
    whether `data` is an aggregate.
    """

    __slots__ = ("aggregated", "count", "data", "explicit_hash_key", "partition_key")

    def __init__(
        self, data: bytes, partition_key: str | None, explicit_hash_key: str | None, count: int, *, aggregated: bool
    ) -> None:
        self.data = data
        self.partition_key = partition_key
        self.explicit_hash_key = explicit_hash_key
        self.count = count
        self.aggregated = aggregated

    def __repr__(self) -> str:
        return f"Sealed({self.count} records, {len(self.data)} bytes, aggregated={self.aggregated})"


class AggregateBuilder:
    """A container of user records that becomes one Kinesis record.

    `bytes_max` bounds the sealed bytes of two or more records (the outer partition key, one byte, comes on top in the
    service's accounts), `count_max` their number (500 is what Firehose unpacks). Not thread-safe.
    """

    __slots__ = (
        "_body",
        "_body_max",
        "_count_max",
        "_data_heads",
        "_hash_indexes",
        "_hash_keys",
        "_headers",
        "_heads",
        "_key_indexes",
        "_keys",
        "_special",
        "_tags",
        "datas",
        "key_bytes",
        "waiting",
    )

    def __init__(self, bytes_max: int = AGGREGATE_BYTES_DEFAULT, count_max: int = _COUNT_MAX) -> None:
        if bytes_max <= OVERHEAD_BYTES:
            raise InvalidInput("bytes_max", f"more than {OVERHEAD_BYTES}", str(bytes_max))
        if count_max < 1:
            raise InvalidInput("count_max", "1 or more", str(count_max))
        self._body_max = bytes_max - OVERHEAD_BYTES
        self._count_max = count_max
        self.clear()

    def clear(self) -> None:
        """Forget every record."""
        self._body = 0  # Bytes of the protobuf message.
        self.key_bytes = 0
        """Of them, those of the partition keys' table; what is `waiting` does not count yet."""
        self._keys = _indexes()  # Partition key -> its index as a varint, in order of first use.
        self._key_indexes: list[bytes] = []
        self.datas: list[bytes] = []
        self.waiting: list[str] = []
        """Partition keys of the last records in `datas`, which stand in no column yet."""
        self._heads: list[bytes] = []  # What stands before each record's index,
        self._data_heads: list[bytes] = []  # and what before its data.
        self._hash_keys: dict[str, int] = {}
        self._hash_indexes: list[int] | None = None  # From the first explicit hash key on; -1 for none.
        self._headers: list[Mapping[str, str] | None] | None = None  # From the first headers on,
        self._tags: list[bytes] = []  # and the same as fields of the record.
        self._special = False  # Whether any record has a hash key or headers.

    def __len__(self) -> int:
        return len(self.datas)

    def bound(self, bytes_max: int, count_max: int) -> None:
        """Change the bounds for what is added from now on; what is in it stays, even if it lies beyond them."""
        self._body_max = bytes_max - OVERHEAD_BYTES
        self._count_max = count_max

    @property
    def count_max(self) -> int:
        """How many records may be in it."""
        return self._count_max

    @property
    def keys(self) -> int:
        """How many different partition keys the records have."""
        self._catch_up()
        return len(self._keys)

    @property
    def room(self) -> int:
        """The bytes of the message that may be added: of records, and of the keys that are not in the table yet.

        Within it, and within `count_max`, a caller may add a usual record by appending its key to `waiting` and its
        data to `datas`: a key of 1 to 127 ASCII characters, fewer than `TABLE` bytes of data, no hash key, no headers.
        It weighs at most ``SIZES_WIDE[len(data)]`` and, once, two bytes more than its key. Negative where none may:
        after records with hash keys or headers, and while more records may come than there are indexes of two bytes.
        """
        self._catch_up()
        return -1 if self._special or self._count_max > TABLE else self._body_max - self._body

    @property
    def size(self) -> int:
        """The bytes that `seal()` would give now; 0 when empty."""
        self._catch_up()
        return self._weight(len(self.datas), self._body)

    def _catch_up(self) -> None:
        """Bring the columns up to the records that were added by way of `waiting`."""
        waiting, keys = self.waiting, self._keys
        if not waiting:
            return
        known = len(keys)
        indexes = _items(keys, waiting)
        fresh = list(keys)[known:]
        lengths = [len(data) for data in self.datas[len(self._heads) :]]
        if len(keys) <= TWO_BYTES:
            sizes = _items(SIZES, lengths)
        else:
            sizes = [_SIZES_BY_WIDTH[len(index)][length] for index, length in zip(indexes, lengths, strict=True)]
        key_bytes = 2 * len(fresh) + len("".join(fresh))  # type: ignore[arg-type]  # None never waits.
        self.key_bytes += key_bytes
        self._body += key_bytes + sum(sizes)
        self._heads += _items(HEADS, sizes)
        self._key_indexes += indexes
        self._data_heads += _items(DATA_HEADS, lengths)
        waiting.clear()

    def _weight(self, count: int, body: int) -> int:
        if count == 1 and not self._lone_is_wrapped():
            return len(self.datas[0])
        return OVERHEAD_BYTES + body if count else 0

    def _lone_is_wrapped(self) -> bool:
        return self._headers is not None or is_aggregate(self.datas[0])

    def try_append(
        self,
        partition_key: str | None,
        data: bytes,
        explicit_hash_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bool:
        """Add a record; return False, changing nothing, if it would pass `bytes_max` or `count_max`.

        An empty builder takes any record. `data` is kept, not copied: give `bytes`. `explicit_hash_key` is canonical
        decimal text. Raises `InvalidInput`, changing nothing, for a key of 0 or more than 256 characters or with
        surrogates, a hash key or headers that the format cannot carry.
        """
        if self.waiting:
            self._catch_up()
        if explicit_hash_key is not None or headers or self._special:
            return self._try_append_special(partition_key, data, explicit_hash_key, headers)
        index = self._keys.get(partition_key)
        added = 0
        if index is None:
            index = self._next_index()
            if partition_key and partition_key.isascii() and len(partition_key) < TWO_BYTES:
                added = 2 + len(partition_key)
            else:
                added = key_entry_size(partition_key)
        length = len(data)
        width = len(index)
        usual = length < TABLE and width < _WIDE
        size = _SIZES_BY_WIDTH[width][length] if usual else usual_size(length, width)
        body = self._body + added + size
        if (body > self._body_max or len(self.datas) >= self._count_max) and self.datas:
            return False
        self.key_bytes += added
        self._body = body
        self._add(partition_key, data, size)
        return True

    def _add(self, partition_key: str | None, data: bytes, size: int) -> None:
        """Add a record of `size` bytes to the columns that every record stands in."""
        length = len(data)
        self._heads.append(HEADS[size] if size < len(HEADS) else record_head(size))
        self._key_indexes.append(self._keys[partition_key])
        self._data_heads.append(DATA_HEADS[length] if length < TABLE else data_head(length))
        self.datas.append(data)

    def _next_index(self) -> bytes:
        """Return the index that the next new partition key will have."""
        number = len(self._keys)
        return VARINTS[number] if number < TABLE else varint(number)

    def _try_append_special(
        self, partition_key: str | None, data: bytes, hash_key: str | None, headers: Mapping[str, str] | None
    ) -> bool:
        """Add a record with an explicit hash key or headers, or one that follows such."""
        tags = tag_fields(headers) if headers else b""
        added, size = self._sizes_with(partition_key, data, hash_key, len(tags))
        body = self._body + added + size
        if (body > self._body_max or len(self.datas) >= self._count_max) and self.datas:
            return False
        before = len(self.datas)
        self._special = True
        self._body = body
        self._add(partition_key, data, size)
        if hash_key is not None and self._hash_indexes is None:
            self._hash_indexes = [-1] * before
        if self._hash_indexes is not None:
            known = -1 if hash_key is None else self._hash_keys.setdefault(hash_key, len(self._hash_keys))
            self._hash_indexes.append(known)
        if headers and self._headers is None:
            none: list[Mapping[str, str] | None] = [None]
            self._headers, self._tags = none * before, [b""] * before
        if self._headers is not None:
            self._headers.append(dict(headers) if headers else None)
            self._tags.append(tags)
        return True

    def _sizes_with(
        self, partition_key: str | None, data: bytes, hash_key: str | None, tags_length: int
    ) -> tuple[int, int]:
        """Return the bytes that a record would add to the tables, and those of the record itself."""
        added = 0
        key_index = self._keys.get(partition_key)
        if key_index is None:
            key_index = self._next_index()
            added = key_entry_size(partition_key)
        inner = 2 + len(key_index) + varint_length(len(data)) + len(data) + tags_length
        if hash_key is not None:
            hash_index = self._hash_keys.get(hash_key)
            if hash_index is None:
                hash_index = len(self._hash_keys)
                parse_explicit_hash_key(hash_key)
                added += 2 + len(hash_key)
            inner += 1 + varint_length(hash_index)
        return added, record_size(inner)

    def size_with(
        self,
        partition_key: str | None,
        data: bytes,
        explicit_hash_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Return the bytes that `seal()` would give if this record were added; raises as `try_append`."""
        self._catch_up()
        tags = tag_fields(headers) if headers else b""
        added, size = self._sizes_with(partition_key, data, explicit_hash_key, len(tags))
        if self.datas:
            return OVERHEAD_BYTES + self._body + added + size
        return OVERHEAD_BYTES + added + size if tags or is_aggregate(data) else len(data)

    def records(self) -> Iterator[tuple[str | None, bytes, str | None, Mapping[str, str] | None]]:
        """Yield (partition key, data, explicit hash key, headers) of each record, as it was added.

        For putting them elsewhere, when the shard map has changed.
        """
        self._catch_up()
        keys = {index: key for key, index in self._keys.items()}
        hash_keys = [*self._hash_keys, None]  # So that -1 finds None.
        hash_indexes: Iterable[int] = repeat(-1) if self._hash_indexes is None else self._hash_indexes
        column: Iterable[Mapping[str, str] | None] = repeat(None) if self._headers is None else self._headers
        for data, index, hash_index, headers in zip(  # The last two may be endless.
            self.datas, self._key_indexes, hash_indexes, column, strict=False
        ):
            yield keys[index], data, hash_keys[hash_index], headers

    def seal(self) -> Sealed:
        """Return the Kinesis record of everything added so far; the builder stays as it is.

        Raises `InvalidInput` when empty.
        """
        if not self.datas:
            raise InvalidInput("aggregate", "one record or more", "none")
        self._catch_up()
        count = len(self.datas)
        first_key = next(iter(self._keys))
        hash_key = self._first_hash_key(first_key)
        if count == 1 and not self._lone_is_wrapped():
            return Sealed(self.datas[0], first_key, hash_key, 1, aggregated=False)
        body = b"".join(self._parts())
        blob = b"".join((MAGIC, body, digest(body)))
        return Sealed(blob, None if hash_key is None else OUTER_PARTITION_KEY, hash_key, count, aggregated=True)

    def _first_hash_key(self, first_key: str | None) -> str | None:
        """Return the hash key of the first record, as decimal text; None if it has neither key nor hash key."""
        if self._hash_indexes is not None and self._hash_indexes[0] >= 0:
            return next(iter(self._hash_keys))
        return None if first_key is None else str(int.from_bytes(digest(first_key.encode()), "big"))

    def _parts(self) -> list[bytes]:
        """Return the message in pieces: tables, then for each record its head, index, data head and data."""
        columns = [self._heads, self._key_indexes, self._data_heads, self.datas]
        if self._hash_indexes is not None:
            columns.insert(2, [hash_field(index) for index in self._hash_indexes])
        if self._headers is not None:
            columns.append(self._tags)
        width = len(columns)
        parts = [b""] * (width * len(self.datas) + 2)
        parts[0] = key_table(self._keys)
        if self._hash_keys:
            parts[1] = b"".join([entry(HASH_KEY_ENTRY, text.encode()) for text in self._hash_keys])
        for offset, column in enumerate(columns, start=2):
            parts[offset::width] = column
        return parts

    def __repr__(self) -> str:
        return f"AggregateBuilder({len(self.datas)} records, {self.size} bytes)"
