"""The front door of deaggregation: one Kinesis record in, its user records out. Standard library only.

    for record in deaggregate(data, partition_key):
        handle(record.data, record.partition_key, record.sub_sequence_number)

A blob that is no aggregate comes back as its one record. An aggregate is checked whole first (`_validation`); records
are made while iterating, so that a hostile blob costs neither memory nor a half-delivered list. Nothing is dropped for
its hash key: what lies outside `hash_range` is delivered and marked `misplaced`.

A driver that may not block steps `Validation` itself and then asks `iterate` for the records.

Partition keys of streams that place records themselves (AUTO): such records have none (None). Within an aggregate the
format needs a key for each record; the encoder writes the empty text, which no service admits as a key. It is read as
None where the Kinesis record itself came without a key, and otherwise delivered as it stands and counted `key-length`.

Imports neither dataclasses nor asyncio nor typing, and a test holds it to a list: a Lambda pays for this file at each
cold start.
"""

from __future__ import annotations

from itertools import chain, count, repeat
from types import MappingProxyType

from shardline.common._columns import NO_HASH_KEY
from shardline.common._reading import read_span, read_tag, skip_field
from shardline.common._validation import FIELDS_PER_STEP, Validation
from shardline.common._wire import RECORD_TAG, TAG_KEY, TAG_VALUE, digest
from shardline.common.errors import InvalidInput, MalformedAggregate
from shardline.common.limits import AGGREGATE_SUB_RECORDS_MAX, HASH_KEY_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
    from typing import Literal

    from shardline.common._texts import Texts
    from shardline.common._validation import Kind

    MalformedPolicy = Literal["deliver_raw", "raise"]
    Columns = tuple[
        Iterable[bytes],
        Iterable[str | None],
        Iterable[str | None],
        Iterable[int],
        Iterable[bool],
        Iterable[Mapping[str, str]],
    ]

__all__ = [
    "FIELDS_PER_STEP",
    "Inspection",
    "UserRecord",
    "UserRecords",
    "Validation",
    "deaggregate",
    "inspect",
    "iterate",
]

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
"""What a record without tags has for `headers`."""

_UNJUDGED = 2
_DATAS_AT_ONCE = 512
_DIGESTS_MAX = 16_384
_DIGEST_KEY_LENGTH_MAX = 256
_digests: dict[str, bytes] = {}  # Bounded in entries and key length; the same keys recur from aggregate to aggregate.


_USER_RECORD_FIELDS = (
    "data",
    "partition_key",
    "explicit_hash_key",
    "sub_sequence_number",
    "misplaced",
    "headers",
    "aggregated",
)


class UserRecord:
    """One record as its producer put it.

    `partition_key` and `explicit_hash_key` (decimal text) are None where none was given; `sub_sequence_number` is the
    position in the aggregate, 0 for a plain record; `misplaced`: the hash key lies outside the range asked for;
    `headers` are the aggregate's tags; `aggregated` says whether the record came out of an aggregate.
    """

    __slots__ = _USER_RECORD_FIELDS  # In the order of the arguments.

    def __init__(
        self,
        data: bytes,
        partition_key: str | None,
        explicit_hash_key: str | None = None,
        sub_sequence_number: int = 0,
        misplaced: bool = False,  # noqa: FBT001, FBT002 - positional, since `map` makes the records.
        headers: Mapping[str, str] = NO_HEADERS,
        aggregated: bool = False,  # noqa: FBT001, FBT002 - positional, as above.
    ) -> None:
        self.data = data
        self.partition_key = partition_key
        self.explicit_hash_key = explicit_hash_key
        self.sub_sequence_number = sub_sequence_number
        self.misplaced = misplaced
        self.headers = headers
        self.aggregated = aggregated

    def _fields(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in _USER_RECORD_FIELDS)

    def __eq__(self, other: object) -> bool:
        return self._fields() == other._fields() if isinstance(other, UserRecord) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # As mutable as any plain object; typeshed types object.__hash__.

    def __reduce__(self) -> tuple[type[UserRecord], tuple[object, ...]]:
        values = {name: getattr(self, name) for name in _USER_RECORD_FIELDS} | {"headers": dict(self.headers)}
        return UserRecord, tuple(values.values())

    def __repr__(self) -> str:
        marks = ", misplaced" * self.misplaced + ", aggregated" * self.aggregated
        key = "no key" if self.partition_key is None else f"key of {len(self.partition_key)}"
        return f"UserRecord({self.sub_sequence_number}, {len(self.data)} bytes, {key}{marks})"


class UserRecords:
    """The user records of one Kinesis record; iterate as often as needed, each time they are made anew.

    `len()` is their number. `aggregated` says whether the blob was an aggregate, `reason` why it is malformed (then the
    one record holds the blob as it came), else None.
    """

    __slots__ = ("_explicit_hash_key", "_partition_key", "_range", "_validation")

    def __init__(
        self,
        validation: Validation,
        partition_key: str | None,
        explicit_hash_key: str | None,
        hash_range: tuple[int, int] | None,
    ) -> None:
        self._validation = validation
        self._partition_key = partition_key
        self._explicit_hash_key = explicit_hash_key
        self._range = hash_range

    @property
    def aggregated(self) -> bool:
        """Whether the blob was a whole aggregate."""
        return self._validation.kind == "aggregate"

    @property
    def reason(self) -> str | None:
        """The reason code of a malformed aggregate, else None."""
        return self._validation.reason

    def __len__(self) -> int:
        return len(self._validation)

    def __iter__(self) -> Iterator[UserRecord]:
        if not self.aggregated:
            return iter((UserRecord(self._validation.data, self._partition_key, self._explicit_hash_key),))
        return map(UserRecord, *self.columns(), repeat(True))

    def columns(self) -> Columns:
        """Return iterators over data, keys, explicit hash keys, sub-sequence numbers, misplaced and headers.

        For callers that make records of their own; all end together only by the first, the others may be endless.
        Only for an aggregate.
        """
        columns = self._validation.columns
        return (
            chain.from_iterable(self._datas()),
            map(self._partition_keys(), columns.key_indexes),
            self._explicit_hash_keys(),
            count(),
            self._misplaced(),
            self._headers() if columns.tagged else repeat(NO_HEADERS),
        )

    def _datas(self) -> Iterator[list[bytes]]:
        """Yield the records' data, some hundreds at a time: slicing in a comprehension is the cheapest there is."""
        blob = self._validation.data
        starts, stops = self._validation.columns.starts, self._validation.columns.stops
        for at in range(0, len(starts), _DATAS_AT_ONCE):
            some = slice(at, at + _DATAS_AT_ONCE)
            yield [blob[start:stop] for start, stop in zip(starts[some], stops[some], strict=True)]

    def notes(self) -> dict[str, int]:
        """Return what is worth counting, by code; a code that does not occur is absent.

        ``checksum``: magic, but another digest (1); ``key-length``: keys of a length that no service admits;
        ``misplaced``: records outside `hash_range`. Walks the records when a range was given.
        """
        check = self._validation
        found = {"checksum": int(check.checksum_mismatch)}
        if self.aggregated:
            empty = 0 if self._partition_key is None else check.columns.empty_keys
            found["key-length"] = empty + check.columns.long_keys
            found["misplaced"] = 0 if self._range is None else sum(self._flags())
        return {code: number for code, number in found.items() if number}

    def __repr__(self) -> str:
        return f"UserRecords({len(self)} of {self._validation!r})"

    def _partition_keys(self) -> Callable[[int], str | None]:
        """Return index -> partition key."""
        columns = self._validation.columns
        lookup = _lookup(columns.keys)
        if self._partition_key is not None or not columns.empty_keys:
            return lookup
        return lambda index: lookup(index) or None

    def _explicit_hash_keys(self) -> Iterable[str | None]:
        columns = self._validation.columns
        if columns.hash_indexes is None:
            return repeat(None)
        lookup = _lookup(columns.hash_keys)
        return (None if index == NO_HASH_KEY else lookup(index) for index in columns.hash_indexes)

    def _misplaced(self) -> Iterable[bool]:
        return repeat(False) if self._range is None else self._flags()

    def _flags(self) -> Iterator[bool]:
        """Yield for each record whether its hash key lies outside the range; each key is judged once."""
        columns = self._validation.columns
        assert self._range is not None
        low, high = self._range
        first, last = low.to_bytes(16, "big"), high.to_bytes(16, "big")
        by_key = _Judged(columns.keys, lambda key: not first <= _digest_of(key) <= last)
        if columns.hash_indexes is None:
            return map(by_key.__getitem__, columns.key_indexes)
        by_hash = _Judged(columns.hash_keys, lambda key: not low <= int(key) <= high)
        return (
            by_key[key] if index == NO_HASH_KEY else by_hash[index]
            for key, index in zip(columns.key_indexes, columns.hash_indexes, strict=True)
        )

    def _headers(self) -> Iterator[Mapping[str, str]]:
        """Yield each record's headers; they are read when the record is made."""
        columns = self._validation.columns
        made = 0
        for number, start, stop in zip(columns.tagged, columns.tagged_starts, columns.tagged_stops, strict=True):
            yield from repeat(NO_HEADERS, number - made)
            yield _read_headers(self._validation.data, start, stop)
            made = number + 1
        yield from repeat(NO_HEADERS, len(columns) - made)


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


def deaggregate(
    data: bytes,
    partition_key: str | None,
    explicit_hash_key: str | None = None,
    *,
    hash_range: tuple[int, int] | None = None,
    malformed: MalformedPolicy = "deliver_raw",
    max_sub_records: int = AGGREGATE_SUB_RECORDS_MAX,
) -> UserRecords:
    """Return the user records of one Kinesis record, given its data and partition key (None on AUTO streams).

    `hash_range` is the shard's (first, last) hash key, both included (a `HashRange` will do): records outside are
    marked `misplaced`. A malformed aggregate comes back as its one raw record, or raises `MalformedAggregate` with
    ``malformed="raise"``. Raises `InvalidInput` for an argument of the wrong type or range; nothing else.
    """
    check = Validation(data, max_sub_records=max_sub_records).run()
    return iterate(check, partition_key, explicit_hash_key, hash_range=hash_range, malformed=malformed)


def iterate(
    validation: Validation,
    partition_key: str | None,
    explicit_hash_key: str | None = None,
    *,
    hash_range: tuple[int, int] | None = None,
    malformed: MalformedPolicy = "deliver_raw",
) -> UserRecords:
    """Return the user records of a blob whose `Validation` is finished; otherwise as `deaggregate`.

    Raises `InvalidInput` for one that is not, or for arguments out of range, and `MalformedAggregate` where asked to.
    """
    if validation.kind is None:
        raise InvalidInput("validation", "finished", repr(validation))
    if malformed not in {"deliver_raw", "raise"}:
        raise InvalidInput("malformed", "deliver_raw or raise")
    if validation.reason is not None and malformed == "raise":
        raise MalformedAggregate(validation.reason, len(validation.data))
    if hash_range is not None:
        first, last = hash_range
        if not 0 <= first <= last <= HASH_KEY_MAX:
            raise InvalidInput("hash_range", f"0 <= first <= last <= {HASH_KEY_MAX} (2^128 - 1)")
    return UserRecords(validation, partition_key, explicit_hash_key, hash_range)


class Inspection:
    """What `inspect` found: `kind` (plain, aggregate, malformed), `reason`, and sizes; zeros unless an aggregate."""

    __slots__ = (
        "checksum_mismatch",
        "explicit_hash_keys",
        "kind",
        "length",
        "partition_keys",
        "reason",
        "records",
        "tags",
    )

    def __init__(self, check: Validation) -> None:
        assert check.kind is not None
        self.kind: Kind = check.kind
        self.reason = check.reason
        self.length = len(check.data)
        self.checksum_mismatch = check.checksum_mismatch
        self.records = len(check.columns)
        self.partition_keys = len(check.columns.keys)
        self.explicit_hash_keys = len(check.columns.hash_keys)
        self.tags = check.columns.tags

    def __repr__(self) -> str:
        return "Inspection(" + ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__) + ")"


def inspect(data: bytes, *, max_sub_records: int = AGGREGATE_SUB_RECORDS_MAX) -> Inspection:
    """Tell whether a blob is plain, an aggregate or malformed, and what it holds; raises only `InvalidInput`."""
    return Inspection(Validation(data, max_sub_records=max_sub_records).run())
