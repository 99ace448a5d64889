"""Bad input: every boundary value is refused before anything is sent, naming field and range; good ones pass."""

from __future__ import annotations

import pytest

from shardline.common.errors import InvalidInput
from shardline.common.limits import HASH_KEY_MAX, MIB
from shardline.producer.accept import Accepted, accept


def take(data: object = b"d", key: object = "k", hash_key: object = None, **more: object) -> Accepted:
    """Accept a record with the usual bounds."""
    values: dict[str, object] = {"record_bytes_max": MIB, "keyless": False, **more}
    headers = values.pop("headers", None)
    return accept(data, key, hash_key, headers, **values)  # type: ignore[arg-type]  # Wrong types are the point.


@pytest.mark.parametrize("key", ["a", "é", "日本", "k" * 256, "\U0001f600" * 256, "with\0nul", " "])
def test_good_partition_keys(key: str) -> None:
    """1 to 256 code points pass as they are, whatever they weigh in UTF-8 or UTF-16."""
    assert take(key=key).partition_key == key


@pytest.mark.parametrize("key", ["", "k" * 257, "\ud800", "a\udfffb", None, 1, b"k", True])
def test_bad_partition_keys(key: object) -> None:
    """Empty, 257 code points, lone surrogates and other types are refused by name."""
    with pytest.raises(InvalidInput) as refused:
        take(key=key)
    assert refused.value.field == "partition_key"


@pytest.mark.parametrize("hash_key", [0, "0", 1, HASH_KEY_MAX, str(HASH_KEY_MAX)])
def test_good_explicit_hash_keys(hash_key: object) -> None:
    """0 to 2^128 - 1 pass, as number or canonical digits, and become decimal text."""
    record = take(hash_key=hash_key)
    assert record.explicit_hash_key == str(hash_key)
    assert record.hash_bytes == int(str(hash_key)).to_bytes(16, "big")


@pytest.mark.parametrize("hash_key", [-1, "-1", 2**128, str(2**128), "0123", "1e3", "", " 1", True, 1.0, "0x10"])
def test_bad_explicit_hash_keys(hash_key: object) -> None:
    """Anything but a canonical integer in range is refused: the KPL's daemon reads some of these as other numbers."""
    with pytest.raises(InvalidInput) as refused:
        take(hash_key=hash_key)
    assert refused.value.field == "explicit_hash_key"


@pytest.mark.parametrize(
    ("data", "expected"), [(b"", b""), ("ü", "ü".encode()), (bytearray(b"x"), b"x"), (memoryview(b"y"), b"y")]
)
def test_good_data(data: object, expected: bytes) -> None:
    """Bytes, text and buffers become bytes; empty data are a record."""
    assert take(data).data == expected


@pytest.mark.parametrize("data", [None, 1, 1.5, ["x"], "\ud800"])
def test_bad_data(data: object) -> None:
    """None, other types and text that UTF-8 cannot carry are refused."""
    with pytest.raises(InvalidInput) as refused:
        take(data)
    assert refused.value.field == "data"


def test_buffer_changed_after_put_changes_nothing() -> None:
    """A mutable buffer is copied when it is accepted."""
    buffer = bytearray(b"before")
    record = take(memoryview(buffer))
    buffer[:] = b"after!"
    assert record.data == b"before"


def test_size_limit_counts_data_and_key() -> None:
    """Exactly the limit passes, one byte more is refused, and the message names the limit and no content."""
    assert take(b"x" * (MIB - 2), "é").size == MIB
    with pytest.raises(InvalidInput, match=str(MIB)) as refused:
        take(b"x" * (MIB - 1), "é")
    assert "é" not in str(refused.value)


@pytest.mark.parametrize("headers", [{"a": 1}, {1: "a"}, {"a": None}])
def test_bad_headers(headers: object) -> None:
    """Headers map text to text."""
    with pytest.raises(InvalidInput, match="headers"):
        take(headers=headers)


def test_no_key_where_the_stream_places_records() -> None:
    """None passes as key only on a stream that places records itself."""
    assert take(key=None, keyless=True).hash_bytes is None
