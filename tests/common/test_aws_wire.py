"""Bodies and answers of Kinesis: ours say the same as the plain encoders, and nothing half-read is used."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.aws.kinesis_wire import (
    CONTENT_TYPES,
    decode,
    decode_records,
    encode,
    encode_put_records,
    epoch_s,
    fault,
)
from shardline.common.errors import Ambiguous
from shardline.common.ports.kinesis import PutEntry
from shardline.common.records import KinesisRecord

JSON, CBOR = CONTENT_TYPES["json"], CONTENT_TYPES["cbor"]
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.sampled_from(
    ['"Data":"', '","Data":"AAAA"', "\\", '"', "\u2028", "\x00"]
)
ENTRIES = st.lists(
    st.builds(PutEntry, st.binary(max_size=40), st.none() | KEYS, st.none() | st.integers(0, 2**128 - 1).map(str)),
    min_size=1,
    max_size=6,
)


def as_text(data: bytes) -> str:
    """Return a blob as JSON holds it."""
    return base64.b64encode(data).decode()


def plain(entry: PutEntry, data: Any) -> dict[str, Any]:
    """Return the entry as the API reference writes it."""
    fields = {"Data": data, "PartitionKey": entry.partition_key, "ExplicitHashKey": entry.explicit_hash_key}
    return {name: value for name, value in fields.items() if value is not None}


@given(ENTRIES)
def test_joined_json_is_what_an_encoder_writes(entries: list[PutEntry]) -> None:
    """The body joined by hand parses to the request it stands for, whatever the keys hold."""
    body = json.loads(b"".join(encode_put_records("json", {"StreamName": "s"}, entries)))
    assert body == {"StreamName": "s", "Records": [plain(e, as_text(e.data)) for e in entries]}


@given(ENTRIES)
def test_cbor_body_holds_the_bytes_themselves(entries: list[PutEntry]) -> None:
    """The CBOR body decodes to the same request with blobs as byte strings."""
    body = cbor2.loads(b"".join(encode_put_records("cbor", {"StreamARN": "a"}, entries)))
    assert body == {"StreamARN": "a", "Records": [plain(e, e.data) for e in entries]}


@pytest.mark.parametrize("length", [0, 23, 24, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize("count", [1, 24, 256])
def test_cbor_written_by_hand_is_the_librarys_byte_for_byte(length: int, count: int) -> None:
    """Heads of every width are those of cbor2: blobs, texts, and the list itself."""
    entries = [PutEntry(bytes(length if not number else 1), "k" * 24, str(number)) for number in range(count)]
    stream = {"StreamName": "s" * 24}
    expected = cbor2.dumps({**stream, "Records": [plain(entry, entry.data) for entry in entries]})
    assert b"".join(encode_put_records("cbor", stream, entries)) == expected


@given(st.lists(st.tuples(st.binary(max_size=40), st.none() | KEYS, st.floats(0, 4e9)), max_size=6), st.booleans())
def test_get_records_answers_come_back_whole(rows: list[tuple[bytes, str | None, float]], ascii_only: bool) -> None:
    """Records survive both encodings: data, key (hostile ones too) and time; the other fields are kept."""
    expected = [KinesisRecord(str(n), data, key, at) for n, (data, key, at) in enumerate(rows)]

    def answer(encode_data: Any) -> dict[str, Any]:
        return {
            "NextShardIterator": '"Data":"x"',
            "Records": [
                {
                    "ApproximateArrivalTimestamp": r.arrival_time_s,
                    "Data": encode_data(r.data),
                    "SequenceNumber": r.sequence_number,
                }
                | ({} if r.partition_key is None else {"PartitionKey": r.partition_key})
                for r in expected
            ],
        }

    as_json = json.dumps(answer(as_text), separators=(",", ":"), ensure_ascii=ascii_only)
    for content_type, body in ((JSON, as_json.encode()), (CBOR, cbor2.dumps(answer(bytes)))):
        rest, records = decode_records(content_type, body)
        assert (records, rest) == (expected, {"NextShardIterator": '"Data":"x"'})


def test_json_that_is_spaced_or_escaped_is_read_all_the_same() -> None:
    """Where blobs cannot be cut out (spaces, escaped slashes) the whole answer is parsed."""
    spaced = b'{ "Records" : [ { "Data" : "AAEC", "SequenceNumber" : "1" } ] }'
    escaped = b'{"Records":[{"Data":"\\/\\/8=","SequenceNumber":"1"}]}'
    assert decode_records(JSON, spaced)[1][0].data == b"\x00\x01\x02"
    assert decode_records(JSON, escaped)[1][0].data == b"\xff\xff"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"Records":null}',
        b'{"Records":[{}]}',
        b'{"Records":[{"Data":"AAEC"}]}',
        b'{"Records":[{"Data":"?","SequenceNumber":"1"}]}',
        b'{"Records":[{"Data":"A","SequenceNumber":"1"}]}',
        b'{"Records":[{"Data":5,"SequenceNumber":"1"}]}',
        b'{"Records":[{"Data":"","SequenceNumber":1}]}',
        b'{"Records":[{"Data":"","SequenceNumber":"x"}]}',
        b'{"Records":[{"Data":"","SequenceNumber":"1","PartitionKey":2}]}',
        b'{"Records":[{"Data":"","SequenceNumber":"1","ApproximateArrivalTimestamp":"now"}]}',
        b'{"Records":["x"]}',
        b'{"Records":[{"Data":"AAEC","SequenceNumber":"1"}',
    ],
)
def test_a_broken_answer_gives_no_records(body: bytes) -> None:
    """An answer of the wrong shape is `Ambiguous` as a whole; no record of it is used."""
    with pytest.raises(Ambiguous, match="BrokenAnswer"):
        decode_records(JSON, body)


@given(st.binary(max_size=60), st.sampled_from([JSON, CBOR, "text/html", ""]))
def test_any_bytes_are_an_answer_or_ambiguous(body: bytes, content_type: str) -> None:
    """Whatever arrives, reading it ends in fields or in `Ambiguous`."""
    ends: list[object] = []
    with suppress(Ambiguous):
        ends.append(decode(content_type, body))
    assert all(isinstance(end, dict) for end in ends)


def test_cbor_timestamps_in_seconds_and_milliseconds_mean_the_same() -> None:
    """Tag 1 with seconds (int or float) or, as Java writes it, milliseconds: one instant."""

    def read(value: float) -> float:
        body = cbor2.dumps(
            {"Records": [{"Data": b"", "SequenceNumber": "1", "ApproximateArrivalTimestamp": cbor2.CBORTag(1, value)}]}
        )
        return decode_records(CBOR, body)[1][0].arrival_time_s

    assert read(1_700_000_000) == read(1_700_000_000.0) == read(1_700_000_000_000) == 1.7e9
    assert epoch_s(1_700_000_000_123) == 1_700_000_000.123


def test_none_is_left_out_of_requests() -> None:
    """Optional fields that are not given do not appear."""
    assert encode("json", {"A": 1, "B": None}) == b'{"A":1}'
    assert cbor2.loads(encode("cbor", {"A": 1, "B": None})) == {"A": 1}


def test_faults_are_read_as_far_as_they_go() -> None:
    """Type and message of a refusal come out of either encoding; other bodies give none."""
    fields = {"__type": "com.amazonaws.kinesis#ResourceNotFoundException", "message": "gone"}
    assert fault(JSON, json.dumps(fields).encode()) == fault(CBOR, cbor2.dumps(fields)) == (fields["__type"], "gone")
    assert fault("text/html", b"<html>") == (None, "")
    assert fault(JSON, b'{"Message":"m"}') == (None, "m")
