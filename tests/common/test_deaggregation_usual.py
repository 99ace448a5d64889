"""The short way through an aggregate says what the long way says, whatever the blob; and the usual blob takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.common import _validation
from shardline.common._usual import USUAL_BLOB_BYTES_MAX, Usual
from shardline.common.aggregation import AggregateBuilder
from shardline.common.deaggregation import UserRecord, Validation, iterate

from tests.common.aggregates import blob, field, key, record

if TYPE_CHECKING:
    from collections.abc import Mapping

LOWER = (0, 2**127 - 1)
# Around each size at which a length in the wire format grows by a byte.
SIZES = st.sampled_from([0, 1, 2, 100, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129, 1000, 16_376, 16_383, 16_384])
INDEXES = st.sampled_from([0, 1, 126, 127, 128, 129, 299])


def aggregate(records: list[tuple[int, int]]) -> bytes:
    """Return the message of an aggregate with 300 keys and records of (key index, data bytes)."""
    table = b"".join(key(f"key-{number}") for number in range(300))
    return table + b"".join(record(index, bytes([index % 251]) * size) for index, size in records)


def told(data: bytes, known: Mapping[bytes, str]) -> tuple[object, ...]:
    """Return everything that is said of a blob."""
    check = Validation(data, known=known).run()
    records = iterate(check, "k", hash_range=LOWER)
    return check.kind, check.reason, check.checksum_mismatch, list(records), records.notes(), len(records)


def told_the_long_way(data: bytes) -> tuple[object, ...]:
    """Return the same, said without the short way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_validation, "USUAL_BLOB_BYTES_MAX", 0)
        return told(data, {})


@settings(max_examples=60)
@given(
    st.lists(st.tuples(INDEXES, SIZES), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=2),
    st.booleans(),
)
def test_both_ways_say_the_same(
    records: list[tuple[int, int]],
    changes: list[tuple[int, int]],
    tables_only: bool,
) -> None:
    """Records of every size, whole or with bytes changed: verdict, records, placement and notes agree."""
    message = bytearray(aggregate(records))
    for at, byte in changes:
        message[at % (2400 if tables_only else len(message))] = byte
    data = blob(bytes(message))
    known = {f"key-{number}".encode(): f"key-{number}" for number in range(0, 300, 2)}
    assert told(data, known) == told(data, {}) == told_the_long_way(data)


@given(st.lists(st.tuples(INDEXES, SIZES), min_size=1, max_size=6))
@settings(max_examples=30)
def test_what_encoders_write_takes_the_short_way(records: list[tuple[int, int]]) -> None:
    """Aggregates of keys and data, of whatever sizes, end in finished columns with every record."""
    check = Validation(blob(aggregate(records))).run()
    assert isinstance(check.columns, Usual)
    assert [(one.partition_key, len(one.data)) for one in iterate(check, "k")] == [
        (f"key-{index}", size) for index, size in records
    ]


@pytest.mark.parametrize(
    "odd",
    [
        key("a") + record(0, b"x") + key("b") + record(1, b"y"),
        key("x" * 200) + record(0, b"x"),
        key("a") + field(2, b"7") + record(0, b"x", 0),
        key("a") + record(0, b"x", extra=field(4, field(1, b"h"))),
        key("a") + record(0, b"x") + field(9, 1),
        key("a") + record(0, bytes(USUAL_BLOB_BYTES_MAX)),
    ],
    ids=["two tables", "long key", "hash key", "tag", "unknown field", "large"],
)
def test_what_is_odd_takes_the_long_way(odd: bytes) -> None:
    """Anything but keys and then records, or of an unusual size, is read field by field and delivered all the same."""
    check = Validation(blob(odd)).run()
    assert not isinstance(check.columns, Usual)
    assert check.kind == "aggregate"
    assert told(blob(odd), {}) == told_the_long_way(blob(odd))


def test_known_keys_come_back_as_the_texts_given() -> None:
    """The text of a known key is not made anew, and only the others are named as strangers."""
    text = f"key-{len('1')}"  # Not the constant.
    builder = AggregateBuilder(1000)
    for name in ("key-1", "key-2", "key-1"):
        builder.try_append(name, b"x")
    known = {b"key-1": text}
    check = Validation(builder.seal().data, known=known).run()
    made = [one.partition_key for one in iterate(check, "k")]
    assert made == ["key-1", "key-2", "key-1"]
    assert made[0] is text
    assert check.columns.strangers(known) == (["key-2"], [])
    assert check.columns.strangers({b"key-2": "key-2"}) == (["key-1", "key-2"], [])


def test_the_empty_key_is_none_where_the_record_came_without_one() -> None:
    """Records of streams that place records themselves have no key, on the short way, too."""
    data = blob(key("") + record(0, b"x") + record(0, b"y"))
    check = Validation(data).run()
    assert isinstance(check.columns, Usual)
    assert list(iterate(check, None)) == [
        UserRecord(b"x", None, None, 0, aggregated=True),
        UserRecord(b"y", None, None, 1, aggregated=True),
    ]
    assert iterate(check, "k").notes() == {"key-length": 1}
