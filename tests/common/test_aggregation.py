"""The encoder: the KPL's bytes, the KPL's rules for lone records, and sizes that are what the bytes weigh."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.aggregation import AggregateBuilder, Sealed
from shardline.common.deaggregation import deaggregate, inspect
from shardline.common.errors import InvalidInput
from shardline.common.hashing import hash_key
from shardline.common.limits import HASH_KEY_MAX

from tests.common.aggregates import Row, oracle_encode

# kpl.md 1.9: made by the KPL's own KinesisRecord. Rows, outer explicit hash key, blob.
GOLDEN = {
    "lone": ([Row("pk1", b"hello")], "329398341438914906102347661116985167824", "68656c6c6f"),
    "two keys": (
        [Row("pk1", b"hello"), Row("pk2", b"world")],
        "329398341438914906102347661116985167824",
        "f3899ac20a03706b310a03706b321a0908001a0568656c6c6f1a0908011a05776f726c6487c22af1ed18e292eb55b018413a3cff",
    ),
    "empty data": (
        [Row("a", b"1"), Row("a", b"2"), Row("b", b"3"), Row("a", b"")],
        "16955237001963240173058271559858726497",
        "f3899ac20a01610a01621a0508001a01311a0508001a01321a0508011a01331a0408001a009987994d470f076dd092915e6d973251",
    ),
    "explicit hash keys": (
        [Row("p", b"x", "0"), Row("p", b"y"), Row("q", b"z", str(HASH_KEY_MAX)), Row("q", b"w", "0")],
        "0",
        (
            "f3899ac20a01700a0171120130122733343032383233363639323039333834363334363333373436303734333137363832313134"
            "35351a07080010001a01781a0508001a01791a07080110011a017a1a07080110001a0177625d27304dd8dc62c77e557b31672524"
        ),
    ),
    "not ASCII": (
        [Row("clé-é", "ü".encode()), Row("日本", "語".encode())],
        "337597522823813403792049156812556094754",
        "f3899ac20a07636cc3a92dc3a90a06e697a5e69cac1a0608001a02c3bc1a0708011a03e8aa9e625c932c36d000c558d08779d8b03f6d",
    ),
}

ENCODABLE = st.characters(exclude_categories=["Cs"])
KEYS = st.text(ENCODABLE, min_size=1, max_size=40) | st.sampled_from(["k", "key-" * 40, "é" * 100])
HASH_KEYS = st.none() | st.integers(0, HASH_KEY_MAX).map(str) | st.sampled_from(["0", "7"])
HEADERS = st.none() | st.dictionaries(st.text(ENCODABLE), KEYS, min_size=1, max_size=3)
DATA = st.binary(max_size=300) | st.integers(0, 20_000).map(bytes)
USUAL = st.builds(Row, KEYS, DATA)
ROWS = st.builds(Row, KEYS, DATA, HASH_KEYS, HEADERS) | USUAL


def filled(rows: list[Row], **limits: int) -> AggregateBuilder:
    """Return a builder that took all rows."""
    builder = AggregateBuilder(**({"bytes_max": 1 << 40} | limits))
    assert all(builder.try_append(*row) for row in rows)
    return builder


def sealed(*rows: Row) -> Sealed:
    """Return the Kinesis record of some rows."""
    return filled(list(rows)).seal()


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_vectors_of_the_kpl(name: str) -> None:
    """Blob, outer partition key and outer explicit hash key are the KPL's, byte for byte."""
    rows, outer_hash_key, expected = GOLDEN[name]
    result = sealed(*rows)
    assert result.data.hex() == expected
    assert result.explicit_hash_key == outer_hash_key
    assert result.partition_key == (rows[0].partition_key if len(rows) == 1 else "a")
    assert (result.count, result.aggregated) == (len(rows), len(rows) > 1)


@given(st.lists(USUAL, min_size=2, max_size=40) | st.lists(ROWS, min_size=2, max_size=20))
def test_bytes_are_those_of_the_protobuf_runtime(rows: list[Row]) -> None:
    """Whatever the records, the blob equals protobuf's, and `size` is its length."""
    builder = filled(rows)
    assert builder.size == len(oracle_encode(rows))
    assert builder.seal().data == oracle_encode(rows)


@pytest.mark.parametrize("count", [127, 128, 129, 16_383, 16_384, 16_386])
def test_index_widths(count: int) -> None:
    """Keys past 128 and 16,384 take wider indexes, and bytes and size still agree with the runtime."""
    rows = [Row(f"k{number}", b"") for number in range(count)]
    builder = filled(rows)
    assert builder.seal().data == oracle_encode(rows)
    assert builder.size == len(builder.seal().data)


@pytest.mark.parametrize("length", [121, 122, 123, 124, 127, 128, 16_375, 16_376, 16_380, 16_383, 16_384, 2_097_152])
def test_data_lengths_where_a_varint_grows(length: int) -> None:
    """Around each length where a prefix takes one byte more, bytes and size agree with the runtime."""
    rows = [Row("k", bytes(length)), Row("k", b"")]
    builder = filled(rows)
    assert builder.seal().data == oracle_encode(rows)
    assert builder.size == len(builder.seal().data)


@given(st.lists(ROWS, max_size=20))
def test_size_with_foretells_the_size(rows: list[Row]) -> None:
    """`size_with` says before each addition what `size` says after it and the sealed bytes weigh."""
    builder = AggregateBuilder(1 << 40)
    assert builder.size == 0
    for row in rows:
        foretold = builder.size_with(*row)
        assert builder.try_append(*row)
        assert foretold == builder.size == len(builder.seal().data)


@given(st.lists(ROWS, min_size=1, max_size=30), st.integers(21, 2000))
def test_a_limit_is_what_the_bytes_weigh(rows: list[Row], limit: int) -> None:
    """A record is refused exactly when it would pass `bytes_max`, and refusing changes nothing."""
    builder = AggregateBuilder(limit)
    taken: list[Row] = []
    for row in rows:
        fits = not taken or builder.size_with(*row) <= limit
        assert builder.try_append(*row) is fits
        taken += [row] if fits else []
    assert [Row(*entry) for entry in builder.records()] == [row._replace(headers=row.headers or None) for row in taken]
    assert len(builder.seal().data) <= limit or len(taken) == 1


def test_count_limit() -> None:
    """`count_max` (500 for Firehose) is a limit of its own."""
    builder = filled([Row("k", b"")] * 500, count_max=500)
    assert builder.try_append("k", b"") is False
    assert len(builder) == 500


def test_an_empty_builder_takes_a_record_above_the_limit() -> None:
    """A record larger than `bytes_max` travels alone and raw: aggregation never refuses what the stream takes."""
    builder = filled([Row("k", bytes(1000))], bytes_max=100)
    assert builder.seal().data == bytes(1000)


def test_lone_record_keeps_key_and_hash_key() -> None:
    """A lone record is sent verbatim under its own key, with its own hash key or that of its key."""
    assert sealed(Row("user", b"data")).explicit_hash_key == str(hash_key("user"))
    assert sealed(Row("user", b"data", "17")).explicit_hash_key == "17"
    assert sealed(Row("user", b"data", "17")).partition_key == "user"


def test_lone_record_that_looks_like_an_aggregate_is_wrapped() -> None:
    """Data that carry magic and digest reach the consumer as they are: wrapped, since raw they would be unpacked."""
    packed = oracle_encode([Row("a", b"1"), Row("b", b"2")])
    result = sealed(Row("user", packed))
    assert (result.aggregated, result.partition_key, result.count) == (True, "a", 1)
    assert [record.data for record in deaggregate(result.data, "a")] == [packed]


def test_lone_record_with_headers_is_wrapped() -> None:
    """Headers live in the aggregate, so a lone record with some becomes an aggregate of one."""
    result = sealed(Row("user", b"data", None, {"content-type": "text/plain"}))
    (record,) = deaggregate(result.data, result.partition_key)
    assert (record.data, dict(record.headers)) == (b"data", {"content-type": "text/plain"})
    assert result.explicit_hash_key == str(hash_key("user"))


def test_keyless_records_of_streams_that_place_them() -> None:
    """On an AUTO stream records have no key: the aggregate has none either, and they come back without one."""
    builder = AggregateBuilder()
    assert builder.try_append(None, b"lone")
    lone = builder.seal()
    assert (lone.data, lone.partition_key, lone.explicit_hash_key) == (b"lone", None, None)
    assert builder.try_append(None, b"two")
    both = builder.seal()
    assert (both.partition_key, both.explicit_hash_key) == (None, None)
    records = deaggregate(both.data, None)
    assert [(record.data, record.partition_key) for record in records] == [(b"lone", None), (b"two", None)]
    assert records.notes() == {}


def test_sealing_leaves_the_builder_and_clearing_empties_it() -> None:
    """`seal` can be repeated; `clear` starts afresh, tables included."""
    builder = filled([Row("a", b"1", "5", {"h": "v"}), Row("b", b"2")])
    assert builder.seal().data == builder.seal().data
    builder.clear()
    assert (len(builder), builder.size) == (0, 0)
    assert builder.try_append("b", b"2")
    assert builder.seal().data == b"2"


@pytest.mark.parametrize("partition_key", ["", "x" * 257, "\ud800", "ok\udfff"])
def test_bad_partition_keys_are_refused(partition_key: str) -> None:
    """Keys of 0 or 257 characters, or with a surrogate, are refused by name, and nothing has changed."""
    builder = filled([Row("k", b"1")])
    before = builder.seal().data
    with pytest.raises(InvalidInput, match="partition_key") as caught:
        builder.try_append(partition_key, b"2")
    assert "xx" not in str(caught.value)
    assert builder.seal().data == before


def test_256_characters_are_a_key() -> None:
    """The limit counts characters, the weight bytes."""
    rows = [Row("日" * 256, b"1"), Row("k", b"2")]
    assert sealed(*rows).data == oracle_encode(rows)


@pytest.mark.parametrize("explicit_hash_key", ["", "-1", "007", "1e3", " 1", "0x10", str(2**128), "٣"])
def test_bad_explicit_hash_keys_are_refused(explicit_hash_key: str) -> None:
    """Only canonical decimal text from 0 to 2^128 - 1 goes into an aggregate, and refusing changes nothing."""
    builder = filled([Row("k", b"1")])
    with pytest.raises(InvalidInput, match="explicit_hash_key"):
        builder.try_append("new", b"2", explicit_hash_key)
    assert [row[0] for row in builder.records()] == ["k"]
    assert builder.size == 1


def test_headers_the_decoder_would_refuse_are_refused() -> None:
    """More than 1,024 headers, texts above 1 MiB and surrogates are refused by name."""
    for headers in ({str(n): "" for n in range(1025)}, {"k": "x" * (1 << 20 | 1)}, {"k": "\ud800"}):
        with pytest.raises(InvalidInput, match="headers"):
            AggregateBuilder().try_append("k", b"", None, headers)


def test_bad_limits_are_refused() -> None:
    """A builder needs room for more than the frame, and for at least one record."""
    for limits in ({"bytes_max": 20}, {"bytes_max": -1}, {"count_max": 0}):
        with pytest.raises(InvalidInput, match=next(iter(limits))):
            AggregateBuilder(**limits)
    with pytest.raises(InvalidInput, match="aggregate"):
        AggregateBuilder().seal()


def test_reprs_show_lengths_only() -> None:
    """Neither keys nor data appear in a repr."""
    builder = filled([Row("canary-key", b"canary-data")])
    assert "canary" not in repr(builder) + repr(builder.seal()) + repr(inspect(builder.seal().data))
    assert repr(builder.seal()) == "Sealed(1 records, 11 bytes, aggregated=False)"
