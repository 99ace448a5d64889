"""The front door of deaggregation: what comes back for good input, and that every byte string has one verdict."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shardline.common import deaggregation
from shardline.common.deaggregation import UserRecord, Validation, deaggregate, inspect, iterate
from shardline.common.errors import InvalidInput, MalformedAggregate
from shardline.common.hashing import FULL_RANGE, HashRange, hash_key

from tests.common.aggregates import (
    MAGIC,
    Row,
    assert_agrees_with_the_oracle,
    blob,
    field,
    key,
    oracle_encode,
    record,
    rows,
)
from tests.common.aggregates import (
    hash_key as hash_entry,
)

# What a standard library module of ours may bring in beyond the bare interpreter (3.11 to 3.14).
IMPORTS_ALLOWED = {
    "__future__",
    "_blake2",
    "_collections",
    "_collections_abc",
    "_hashlib",
    "_operator",
    "array",  # It registers itself with collections.abc, which brings in the next four.
    "collections",
    "collections.abc",
    "keyword",
    "operator",
    "reprlib",
    "struct",
    "_struct",
    "hashlib",
    "importlib",
    "importlib._bootstrap",
    "importlib._bootstrap_external",
    "itertools",
    "types",
    "warnings",
    "shardline",
    "shardline.common",
    "shardline.common._columns",
    "shardline.common._lazy",
    "shardline.common._reading",
    "shardline.common._texts",
    "shardline.common._usual",
    "shardline.common._validation",
    "shardline.common._wire",
    "shardline.common.deaggregation",
    "shardline.common.errors",
    "shardline.common.limits",
}


def test_an_aggregate_gives_its_records_in_order() -> None:
    """Data, keys, explicit hash keys and sub-sequence numbers come back as they were put."""
    made = list(deaggregate(oracle_encode([Row("a", b"1"), Row("b", b"2", "7"), Row("a", b"")]), "a", "0"))
    assert made == [
        UserRecord(b"1", "a", None, 0, aggregated=True),
        UserRecord(b"2", "b", "7", 1, aggregated=True),
        UserRecord(b"", "a", None, 2, aggregated=True),
    ]


def test_records_without_a_hash_key_do_not_inherit_one() -> None:
    """Presence decides, not the value 0 (aws-kinesis-agg hands the first hash key to everybody)."""
    made = deaggregate(oracle_encode([Row("a", b"1"), Row("a", b"2", "7"), Row("a", b"3")]), "a")
    assert [each.explicit_hash_key for each in made] == [None, "7", None]


def test_a_plain_record_comes_back_as_it_is() -> None:
    """A record that is no aggregate keeps its data, key and explicit hash key."""
    found = deaggregate(b"plain", "key", "17")
    assert list(found) == [UserRecord(b"plain", "key", "17", 0)]
    assert (len(found), found.aggregated, found.reason, found.notes()) == (1, False, None, {})


def test_a_partition_key_may_be_none() -> None:
    """Streams that place records themselves give records without a key."""
    assert [each.partition_key for each in deaggregate(b"plain", None)] == [None]
    empty_keyed = blob(key("") + record() + record())
    assert [each.partition_key for each in deaggregate(empty_keyed, None)] == [None, None]
    assert [each.partition_key for each in deaggregate(oracle_encode([Row("k", b"")] * 2), None)] == ["k", "k"]


def test_keys_beyond_those_kept_as_text_are_read_again() -> None:
    """A table of more keys than are kept, short and long ones, gives the right key to each record, and judges it."""
    keys = [f"k{number}" for number in range(20_000)] + ["x" * 2000, "é" * 700]
    message = b"".join(map(key, keys)) + b"".join(record(index) for index in range(len(keys)))
    found = deaggregate(blob(message), "a", hash_range=(0, 2**127 - 1))
    made = list(found)
    assert [each.partition_key for each in made] == keys
    assert [each.misplaced for each in made] == [hash_key(text) >= 2**127 for text in keys]
    assert found.notes()["misplaced"] == sum(each.misplaced for each in made)


def test_iterating_twice_gives_the_same() -> None:
    """The result can be walked again; `len` agrees."""
    found = deaggregate(oracle_encode([Row("a", b"1"), Row("b", b"2")]), "a")
    assert list(found) == list(found)
    assert len(found) == len(list(found)) == 2


def test_misplaced_records_are_delivered_and_marked() -> None:
    """Outside the shard's range by key or by explicit hash key: delivered, marked and counted, never dropped."""
    low = HashRange(0, hash_key("b"))
    packed = oracle_encode([Row("b", b"1"), Row("a", b"2", "5"), Row("b", b"3", str(low.end + 1)), Row("b", b"4")])
    found = deaggregate(packed, "a", hash_range=low)
    assert [each.misplaced for each in found] == [False, False, True, False]
    assert found.notes() == {"misplaced": 1}
    outside = deaggregate(oracle_encode([Row("b", b"1"), Row("b", b"2")]), "a", hash_range=(low.end + 1, low.end + 1))
    assert [each.misplaced for each in outside] == [True, True]
    assert not any(each.misplaced for each in deaggregate(packed, "a", hash_range=FULL_RANGE))


def test_the_bounds_of_a_hash_range_are_inside() -> None:
    """Both ends of a range belong to it, for keys and for explicit hash keys."""
    at = hash_key("k")
    packed = oracle_encode([Row("k", b"1"), Row("k", b"2", str(at))])
    assert deaggregate(packed, "a", hash_range=(at, at)).notes() == {}
    assert deaggregate(packed, "a", hash_range=(at + 1, at + 1)).notes() == {"misplaced": 2}


def test_malformed_can_raise() -> None:
    """`malformed="raise"` raises the typed error with reason and length; the default delivers the blob whole."""
    bad = blob(key("a") + record(5))
    with pytest.raises(MalformedAggregate) as caught:
        deaggregate(bad, "a", malformed="raise")
    assert (caught.value.reason, caught.value.length) == ("index", len(bad))
    found = deaggregate(bad, "k", "9")
    assert (list(found), found.reason, len(found)) == ([UserRecord(bad, "k", "9", 0)], "index", 1)


def test_bad_arguments_are_refused_by_name() -> None:
    """Wrong types and ranges raise InvalidInput that names the argument."""
    good = oracle_encode([Row("a", b"1")] * 2)
    for name, call in (
        ("data", lambda: deaggregate("text", "a")),  # type: ignore[arg-type]  # The wrong type is the point.
        ("data", lambda: inspect(None)),  # type: ignore[arg-type]  # The wrong type is the point.
        ("max_sub_records", lambda: deaggregate(good, "a", max_sub_records=0)),
        ("hash_range", lambda: deaggregate(good, "a", hash_range=(1, 0))),
        ("hash_range", lambda: deaggregate(good, "a", hash_range=(0, 2**128))),
        ("malformed", lambda: deaggregate(good, "a", malformed="skip")),  # type: ignore[arg-type]  # The wrong type is the point.
        ("fields_per_step", lambda: Validation(good, fields_per_step=0)),
        ("validation", lambda: iterate(Validation(good), "a")),
    ):
        with pytest.raises(InvalidInput) as caught:
            call()
        assert caught.value.field == name


def test_buffers_are_copied() -> None:
    """A bytearray or memoryview is copied, so that changing it later changes no record."""
    packed = bytearray(oracle_encode([Row("a", b"1"), Row("a", b"2")]))
    found = deaggregate(packed, "a")  # type: ignore[arg-type]  # Buffers are taken, bytes are what the type asks for.
    packed[-17] ^= 255
    assert [each.data for each in found] == [b"1", b"2"]


def test_inspect_tells_what_a_blob_is() -> None:
    """Kind, reason and sizes, for each of the three verdicts."""
    packed = oracle_encode([Row("a", b"1", None, {"h": "v"}), Row("b", b"2", "7"), Row("a", b"3")])
    found = inspect(packed)
    assert (found.kind, found.reason, found.length) == ("aggregate", None, len(packed))
    assert (found.records, found.partition_keys, found.explicit_hash_keys, found.tags) == (3, 2, 1, 1)
    assert (inspect(b"x").kind, inspect(b"x").records) == ("plain", 0)
    assert inspect(packed + b"!").checksum_mismatch
    bad = inspect(blob(key("a")))
    assert (bad.kind, bad.reason, bad.records, bad.partition_keys) == ("malformed", "empty", 0, 0)


def test_reprs_show_lengths_only() -> None:
    """No key and no data in a repr, whatever the verdict."""
    for data in (b"canary", oracle_encode([Row("canary", b"canary")] * 2), blob(key("canary") + record(3, b"canary"))):
        found = deaggregate(data, "canary", hash_range=(0, 0))
        shown = repr(found) + repr(list(found)) + repr(inspect(data))
        assert "canary" not in shown
        assert str(len(data)) in shown


def test_records_compare_and_pickle() -> None:
    """User records compare by value and survive pickling, as tests and process pools need."""
    made = list(deaggregate(oracle_encode([Row("a", b"1", None, {"h": "v"}), Row("b", b"2")]), "a"))
    assert pickle.loads(pickle.dumps(made)) == made
    assert made[0] != made[1]
    assert made[0] != "1"


@given(st.binary(max_size=200).map(blob) | st.binary(max_size=100) | st.binary().map(MAGIC.__add__))
@example(b"")
def test_every_byte_string_has_one_verdict(data: bytes) -> None:
    """Plain, a complete list, or malformed with a known reason: never another exception, never an empty list."""
    assert_agrees_with_the_oracle(data)


def nested(number: int, parts: list[bytes]) -> bytes:
    """Return a field that holds other fields."""
    return field(number, b"".join(parts))


FIELDS = st.recursive(
    st.builds(field, st.integers(1, 6), st.binary(max_size=6) | st.integers(0, 2**64 - 1))
    | st.builds(key, st.sampled_from(["a", "b", "", "日", b"\xff"]))
    | st.builds(hash_entry, st.sampled_from(["0", "7", "x", "", "-1", str(2**128)]))
    | st.builds(record, st.integers(0, 3) | st.none(), st.binary(max_size=4) | st.none(), st.integers(0, 2) | st.none())
    | st.binary(max_size=3),
    lambda inner: st.builds(nested, st.integers(1, 6), st.lists(inner, max_size=4)),
    max_leaves=12,
)


@given(st.lists(FIELDS, max_size=8).map(b"".join), st.integers(1, 9))
def test_messages_are_read_as_the_protobuf_runtime_reads_them(body: bytes, fields_per_step: int) -> None:
    """On made-up messages the verdict and the records equal the runtime's plus the table's rules, in any step size."""
    assert_agrees_with_the_oracle(blob(body), fields_per_step)


@given(st.lists(st.builds(Row, st.text("ab日", min_size=1), st.binary(max_size=200)), min_size=1, max_size=30))
def test_what_the_runtime_writes_comes_back(put: list[Row]) -> None:
    """Every aggregate of the runtime decodes to its records."""
    assert rows(deaggregate(oracle_encode(put), "a")) == [row._replace(headers={}) for row in put]


def test_module_imports_only_what_a_lambda_can_afford() -> None:
    """A bare interpreter that imports the module loads nothing beyond an explicit list: no typing, no dataclasses."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "import shardline.common.deaggregation\n"
        "print('\\n'.join(sorted(set(sys.modules) - before)))"
    )
    common = deaggregation.__file__.partition("/shardline/")[0]
    done = subprocess.run([sys.executable, "-S", "-E", "-c", code, common], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= IMPORTS_ALLOWED
