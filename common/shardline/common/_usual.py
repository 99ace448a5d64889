"""The short way through an aggregate: one of the usual size and shape, read in one go to columns that are finished.

Usual are aggregates of up to 256 KiB as encoders write them: the partition keys, each of fewer than 128 bytes, then the
records, each of a key index and data. Nearly all are; what they cost is what consuming costs (`performance.md` 2). For
anything else `Usual.read` says so, and `_validation` begins anew, judging field by field: it alone says what is wrong.

Invariants: small data are cut out while the blob is warm, so that delivering does nothing but hand them out; large ones
when they are handed out, so that they do not stand twice in memory. Columns weigh at most some nine times the blob,
which the bound on its size makes up for. Work comes in steps.
"""

from __future__ import annotations

import struct
from itertools import chain, repeat

from shardline.common._columns import NO_HEADERS, outside
from shardline.common._reading import Malformed, read_span, read_varint
from shardline.common._wire import DIGEST_BYTES, KEY_ENTRY, MAGIC_BYTES, RECORD_DATA, RECORD_ENTRY, RECORD_KEY_INDEX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

USUAL_BLOB_BYTES_MAX = 256 * 1024

_SMALL_BYTES = 256
"""Data of fewer bytes, on average, are cut out at once."""
_DATAS_AT_ONCE = 64
_ONE_BYTE = 127  # The most that a varint of one byte holds.
_SECOND_BYTE = [(high << 7) - 128 for high in range(128)]
"""What the second byte of a varint adds to the first, whose highest bit was set; no entry where more follow."""
_KEY_SPAN = [2 + size for size in range(128)]
"""From an entry of the key table to the next one, by the byte that says the key's size; no entry where more follow."""
_read_head: Callable[[bytes, int], tuple[int, int, int, int, int, int, int, int]] = struct.Struct("8B").unpack_from
"""The first eight bytes of a record at once: cheaper than six, one by one. The digest stands behind the last record."""


class Usual:
    """The finished columns of one aggregate; `Columns` says what the methods return."""

    __slots__ = ("_blob", "_datas", "_fresh", "_keys", "_known", "_spans", "_table", "empty_keys")

    plain = True
    long_keys = 0
    tags = 0
    hash_keys: tuple[str, ...] = ()

    def __init__(self, blob: bytes, known: Mapping[bytes, str]) -> None:
        self._blob = blob
        self._known = known
        self._table: list[str] = []
        self._keys: list[str] = []
        self._datas: list[bytes] = []  # Or, where they are large:
        self._spans: list[tuple[list[int], list[int]]] | None = None  # where they start and stop, run by run.
        self._fresh: list[str] = []
        self.empty_keys = 0

    def __len__(self) -> int:
        return len(self._keys)

    def __reduce__(self) -> tuple[Callable[[bytes], Usual], tuple[bytes]]:
        return _read_again, (self._blob,)  # Reading is quicker than sending everything twice.

    @property
    def keys(self) -> list[str]:
        """The table of partition keys."""
        return self._table

    # ---- reading the blob ---------------------------------------------------------------------------------------

    def read(self, fields_per_step: int) -> Generator[None, None, bool]:
        """Read the blob, whose digest was compared; returns whether it is usual, yields where a step ends."""
        room = fields_per_step
        at, end = MAGIC_BYTES, len(self._blob) - DIGEST_BYTES
        for read_run in (self._read_keys, self._read_records):
            while at < end:
                try:
                    found, at = read_run(at, room)
                except UnicodeDecodeError:
                    return False
                room -= found
                if room > 0:  # Something else follows, or nothing.
                    break
                yield
                room = fields_per_step
        self.empty_keys = self._fresh.count("")
        return at == end and bool(self._keys)

    def _read_keys(self, at: int, room: int) -> tuple[int, int]:
        """Read up to `room` keys; returns their number and where they end."""
        blob, table = self._blob, self._table
        known = self._known.get if self._known else None
        before = len(table)
        try:
            for _ in repeat(None, room):
                if blob[at] != KEY_ENTRY:
                    break
                start = at + 2
                at += _KEY_SPAN[blob[at + 1]]
                raw = blob[start:at]
                text = known(raw) if known else None
                if text is None:
                    text = raw.decode()
                    self._fresh.append(text)
                table.append(text)
        except IndexError:
            pass  # A long key; or beyond the digest, and then the end is passed, which `read` sees.
        return len(table) - before, at

    def _read_records(self, at: int, room: int) -> tuple[int, int]:
        """Read up to `room` records; returns their number and where they end.

        This loop is what decoding costs: everything in it is spelled out on purpose. `a` says whether the record's size
        has one byte or two, and the data's size is taken to have as many; the key's index may have one or two.
        """
        blob, table, keys = self._blob, self._table, self._keys
        starts: list[int] = []
        stops: list[int] = []
        first = at
        try:
            for _ in repeat(None, room):
                tag, a, b, c, d, e, f, g = _read_head(blob, at)
                if tag != RECORD_ENTRY:
                    break
                if a <= _ONE_BYTE:
                    if b == RECORD_KEY_INDEX and d == RECORD_DATA and c <= _ONE_BYTE and e == a - 4:
                        key, start = c, at + 6
                        stop = start + e
                    elif b == RECORD_KEY_INDEX and e == RECORD_DATA and c > _ONE_BYTE and f == a - 5:
                        key, start = c + _SECOND_BYTE[d], at + 7
                        stop = start + f
                    else:
                        key, start, stop = self._read_odd(at)
                elif c == RECORD_KEY_INDEX and d <= _ONE_BYTE and e == RECORD_DATA and f > _ONE_BYTE >= b:
                    key, start = d, at + 8
                    stop = start + f + _SECOND_BYTE[g]
                    if stop - at != a + 3 + _SECOND_BYTE[b]:
                        break
                elif c == RECORD_KEY_INDEX and d > _ONE_BYTE and f == RECORD_DATA and g > _ONE_BYTE >= b:
                    key, start = d + _SECOND_BYTE[e], at + 9
                    stop = start + g + _SECOND_BYTE[blob[at + 8]]
                    if stop - at != a + 3 + _SECOND_BYTE[b]:
                        break
                else:
                    key, start, stop = self._read_odd(at)
                keys.append(table[key])
                starts.append(start)
                stops.append(stop)
                at = stop
        except (IndexError, struct.error, Malformed):
            pass  # Of another shape; or beyond the digest: a size was a lie.
        self._add_run(starts, stops, at - first)
        return len(stops), at

    def _add_run(self, starts: list[int], stops: list[int], size: int) -> None:
        """Keep the data of a run of records of `size` bytes in all; the first one decides how."""
        if self._spans is None and (self._datas or size < _SMALL_BYTES * len(stops)):
            blob = self._blob
            self._datas += [blob[start:stop] for start, stop in zip(starts, stops, strict=True)]
        elif stops:
            self._spans = self._spans or []
            self._spans.append((starts, stops))

    def _read_odd(self, at: int) -> tuple[int, int, int]:
        """Return key index, start and stop of a record with sizes of other lengths; raise `Malformed` for no such."""
        blob = self._blob
        start, stop = read_span(blob, at + 1, len(blob) - DIGEST_BYTES)
        if blob[start] != RECORD_KEY_INDEX:
            raise Malformed("wire")
        key, start = read_varint(blob, start + 1, stop)
        if blob[start] != RECORD_DATA:
            raise Malformed("wire")
        start, data_stop = read_span(blob, start + 1, stop)
        if data_stop != stop:
            raise Malformed("wire")
        return key, start, stop

    # ---- handing it out -----------------------------------------------------------------------------------------

    def strangers(self, known: Mapping[bytes, str]) -> tuple[list[str], list[str]]:
        """Return the partition keys that are not among those known, and all explicit hash keys."""
        return (self._fresh if known is self._known else self._table), []

    def datas(self) -> Iterator[bytes]:
        """Return each record's data."""
        return iter(self._datas) if self._spans is None else chain.from_iterable(self._cut(self._spans))

    def _cut(self, spans: list[tuple[list[int], list[int]]]) -> Iterator[list[bytes]]:
        """Yield the data, some at a time: slicing in a comprehension is the cheapest there is."""
        blob = self._blob
        for starts, stops in spans:
            for at in range(0, len(starts), _DATAS_AT_ONCE):
                some = slice(at, at + _DATAS_AT_ONCE)
                yield [blob[start:stop] for start, stop in zip(starts[some], stops[some], strict=True)]

    def partition_keys(self) -> Iterable[str]:
        """Return each record's partition key."""
        return self._keys

    def explicit_hash_keys(self) -> Iterable[str | None]:
        """Return that no record has one, without end."""
        return repeat(None)

    def misplaced(self, low: int, high: int) -> Iterator[bool]:
        """Yield for each record whether its hash key lies outside the range; each key is judged once."""
        judge = outside(low, high)
        verdicts = {key: judge(key) for key in set(self._table)}
        return map(verdicts.__getitem__, self._keys)

    def headers(self) -> Iterable[Mapping[str, str]]:
        """Return that no record has any, without end."""
        return repeat(NO_HEADERS)


def _read_again(blob: bytes) -> Usual:
    """Return the columns of a usual blob."""
    columns = Usual(blob, {})
    for _ in columns.read(len(blob) or 1):
        pass
    return columns
