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

from itertools import count, repeat

from shardline.common._columns import NO_HEADERS
from shardline.common._validation import FIELDS_PER_STEP, Validation
from shardline.common.errors import InvalidInput, MalformedAggregate
from shardline.common.limits import AGGREGATE_SUB_RECORDS_MAX, HASH_KEY_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Literal

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
    "NO_HEADERS",
    "Inspection",
    "UserRecord",
    "UserRecords",
    "Validation",
    "deaggregate",
    "inspect",
    "iterate",
]

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

    def pairs(self) -> tuple[Iterable[bytes], Iterable[str | None]] | None:
        """Return the records' data and keys if there is nothing else to say of any of them; None for `columns`."""
        if not self.aggregated and self._explicit_hash_key is None:
            return (self._validation.data,), (self._partition_key,)
        columns = self._validation.columns
        if not self.aggregated or self._range is not None or not columns.plain:
            return None
        return columns.datas(), self._partition_keys()

    def _partition_keys(self) -> Iterable[str | None]:
        columns = self._validation.columns
        keys = columns.partition_keys()
        return (key or None for key in keys) if self._partition_key is None and columns.empty_keys else keys

    def columns(self) -> Columns:
        """Return iterators over data, keys, explicit hash keys, sub-sequence numbers, misplaced and headers.

        For callers that make records of their own; all end together only by the first, the others may be endless.
        Only for an aggregate.
        """
        columns = self._validation.columns
        return (
            columns.datas(),
            self._partition_keys(),
            columns.explicit_hash_keys(),
            count(),
            repeat(False) if self._range is None else columns.misplaced(*self._range),
            columns.headers(),
        )

    def notes(self) -> dict[str, int]:
        """Return what is worth counting, by code; a code that does not occur is absent.

        ``checksum``: magic, but another digest (1); ``key-length``: keys of a length that no service admits;
        ``misplaced``: records outside `hash_range`. Walks the records when a range was given.
        """
        check = self._validation
        odd = check.checksum_mismatch or check.columns.empty_keys or check.columns.long_keys
        if self._range is None and not odd:
            return {}
        found = {"checksum": int(check.checksum_mismatch)}
        if self.aggregated:
            empty = 0 if self._partition_key is None else check.columns.empty_keys
            found["key-length"] = empty + check.columns.long_keys
            found["misplaced"] = 0 if self._range is None else sum(check.columns.misplaced(*self._range))
        return {code: number for code, number in found.items() if number}

    def __repr__(self) -> str:
        return f"UserRecords({len(self)} of {self._validation!r})"


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
