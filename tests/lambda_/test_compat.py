"""The drop-in for aws_kinesis_agg: equal where that package is right, right where it is wrong (peers.md 2.3)."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import aws_kinesis_agg.aggregator as theirs
import aws_kinesis_agg.deaggregator as their_reader
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.compat import (
    AggRecord,
    RecordAggregator,
    deaggregate_records,
    iter_deaggregate_records,
)
from shardline.common.deaggregation import deaggregate
from shardline.common.errors import InvalidInput
from shardline.common.hashing import hash_key

from tests.lambda_.events import FIRST, SHARD, aggregate, malformed, record


def essence(one: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a reader of either package looks at."""
    kinesis = one["kinesis"]
    data = kinesis["data"]
    return (
        base64.b64decode(data),
        kinesis["partitionKey"],
        kinesis.get("subSequenceNumber"),
        kinesis.get("aggregated"),
        kinesis["sequenceNumber"],
    )


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.binary(max_size=50)), min_size=1, max_size=20))
def test_what_they_wrote_we_read_alike(users: list[tuple[str, bytes]]) -> None:
    """For aggregates of their own making both packages give the same records."""
    aggregator = theirs.RecordAggregator()
    for key, data in users:
        aggregator.add_user_record(key, data)
    theirs_made: Any = aggregator.clear_and_get()
    blob = theirs_made.get_contents()[2]
    given_records = [record(blob, FIRST), record(b"plain", FIRST + 1)]
    expected = [essence(one) for one in their_reader.deaggregate_records(given_records)]
    assert [essence(one) for one in deaggregate_records(given_records)] == expected


@given(st.lists(st.binary(max_size=50), min_size=2, max_size=20))
def test_what_we_write_they_read(payloads: list[bytes]) -> None:
    """Their reader takes our aggregates apart."""
    aggregator = RecordAggregator()
    for data in payloads:
        assert aggregator.add_user_record("k", data) is None
    full = aggregator.clear_and_get()
    assert full is not None
    blob = full.get_contents()[2]
    assert [essence(one)[0] for one in their_reader.deaggregate_records([record(blob)])] == payloads


def test_data_stay_text_so_that_records_serialise() -> None:
    """Theirs gives bytes; ours what Lambda gives."""
    found = deaggregate_records([record(aggregate(b"a", b"b"))])
    assert [one["kinesis"]["data"] for one in json.loads(json.dumps(found))] == ["YQ==", "Yg=="]
    assert len({one["eventID"] for one in found}) == 2


def test_a_bad_index_drops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Theirs prints and ends early; ours gives the whole record and prints nothing."""
    bad = record(malformed())
    assert deaggregate_records([bad]) == [bad]
    assert capsys.readouterr() == ("", "")


def test_both_boto3_kinds_of_record_have_text() -> None:
    """Plain and aggregated records of a GetRecords answer come in one shape, with or without being told."""
    given_records = [
        {"SequenceNumber": "1", "PartitionKey": "p", "Data": b"plain", "ApproximateArrivalTimestamp": 1},
        {"SequenceNumber": "2", "PartitionKey": "a", "Data": aggregate(b"a", b"b"), "ApproximateArrivalTimestamp": 1},
    ]
    for how in (None, "Boto3"):
        found = list(iter_deaggregate_records(given_records, how))
        assert [base64.b64decode(one["kinesis"]["data"]) for one in found] == [b"plain", b"a", b"b"]
    assert len(deaggregate_records(given_records[1])) == 2


@pytest.mark.parametrize("metadata", ["kinesisRecordMetadata", "kinesisStreamRecordMetadata"])
def test_firehose_and_analytics_become_lambdas_shape(metadata: str) -> None:
    """As theirs, with the recordId kept."""
    one = {
        "recordId": "r1",
        "data": base64.b64encode(aggregate(b"a", b"b")).decode(),
        metadata: {
            "sequenceNumber": "7",
            "partitionKey": "a",
            "shardId": SHARD,
            "approximateArrivalTimestamp": 1,
        },
    }
    found = deaggregate_records([one])
    assert [essence(each) for each in found] == [essence(each) for each in their_reader.deaggregate_records([one])]
    assert [each["kinesis"]["recordId"] for each in found] == ["r1", "r1"]


@pytest.mark.parametrize("given_record", [{}, {"data": "eA=="}, 7])
def test_a_record_of_no_shape_is_refused(given_record: Any) -> None:
    """A typed error, never silence."""
    with pytest.raises(InvalidInput):
        deaggregate_records([given_record])


@pytest.mark.parametrize("short", range(40))
def test_no_size_near_the_limit_loses_a_record(short: int) -> None:
    """Theirs drops a record whose size is within 20 bytes under the limit; ours holds it or says why not."""
    aggregator = RecordAggregator(1024)
    data = bytes(1024 - short)
    try:
        assert aggregator.add_user_record("k", data) is None
    except ValueError:
        assert len(data) + 1 > 1024
        return
    full = aggregator.clear_and_get()
    assert full is not None
    key, _, blob = full.get_contents()
    assert (key, blob) == ("k", data)


@given(
    st.integers(64, 3000),
    st.lists(st.integers(0, 400), min_size=1, max_size=60),
    st.text("aé語", min_size=1, max_size=9),
)
def test_sizes_are_exact_and_count_the_key(max_size: int, lengths: list[int], key: str) -> None:
    """Each Kinesis record weighs at most the limit, its partition key included; nothing is lost or reordered."""
    aggregator = RecordAggregator(max_size)
    made: list[AggRecord] = []
    kept: list[bytes] = []
    for index, length in enumerate(lengths):
        data = bytes([index]) * length
        if length + len(key.encode()) > max_size:
            with pytest.raises(InvalidInput):
                aggregator.add_user_record(key, data)
            continue
        kept.append(data)
        full = aggregator.add_user_record(key, data)
        made += [full] if full is not None else []
    last = aggregator.clear_and_get()
    made += [last] if last is not None else []
    found: list[bytes] = []
    for one in made:
        outer, explicit, blob = one.get_contents()
        assert len(blob) == one.get_size_bytes()
        assert len(blob) + len((outer or "").encode()) <= max_size
        assert explicit == one.get_explicit_hash_key() == str(hash_key(key))
        found += [user.data for user in deaggregate(blob, outer)]
    assert found == kept


def test_keys_of_different_shards_never_share_a_record() -> None:
    """Theirs puts all under the first key, and a KCL drops them; ours cuts at another hash key by default."""
    careful = RecordAggregator()
    assert careful.add_user_record("a", b"1") is None
    full = careful.add_user_record("b", b"2")
    assert full is not None
    assert full.get_contents() == ("a", str(hash_key("a")), b"1")
    same = RecordAggregator()
    assert same.add_user_record("a", b"1") is None
    assert same.add_user_record("b", b"2", str(hash_key("a"))) is None
    mixing = RecordAggregator(consumers="any")
    assert mixing.add_user_record("a", b"1") is None
    assert mixing.add_user_record("b", b"2") is None
    assert mixing.get_num_user_records() == 2


def test_callbacks_run_once_in_order_on_this_thread() -> None:
    """The same callback is kept once, and called with each full record before the call returns."""
    seen: list[int] = []

    def callback(one: AggRecord) -> None:
        seen.append(one.get_num_user_records())

    aggregator = RecordAggregator(100)
    aggregator.on_record_complete(callback)
    aggregator.on_record_complete(callback, execute_on_new_thread=False)
    for _ in range(4):
        aggregator.add_user_record("k", bytes(30))
    assert seen == [2]
    aggregator.clear_callbacks()
    aggregator.add_user_record("k", bytes(30))
    assert seen == [2]


def test_a_record_can_be_cleared_and_used_again() -> None:
    """Their clear() refers to a module that is gone."""
    one = AggRecord()
    assert (one.get_partition_key(), one.get_explicit_hash_key(), one.get_size_bytes()) == (None, None, 0)
    assert one.add_user_record(b"k", "text", b"7")
    assert one.get_contents() == ("k", "7", b"text")
    assert (one.get_partition_key(), one.get_explicit_hash_key()) == ("k", "7")
    one.clear()
    assert one.get_num_user_records() == 0
    with pytest.raises(InvalidInput):
        one.get_contents()
    aggregator = RecordAggregator()
    assert aggregator.clear_and_get() is None
    assert aggregator.get_size_bytes() == 0


@pytest.mark.parametrize(
    "arguments",
    [("", b"x"), ("k" * 257, b"x"), (b"\xff", b"x"), ("\ud800", b"x"), ("k", b"x", "-1"), ("k", b"x", str(2**128))],
)
def test_bad_keys_are_refused(arguments: tuple[Any, ...]) -> None:
    """Keys that Kinesis refuses are refused here, as a ValueError."""
    with pytest.raises(ValueError, match="must be"):
        RecordAggregator().add_user_record(*arguments)


def test_bad_settings_are_refused() -> None:
    """The size must be possible."""
    with pytest.raises(InvalidInput, match="max_size"):
        RecordAggregator(2**20 + 1)
    with pytest.raises(InvalidInput, match="consumers"):
        RecordAggregator(consumers="all")  # type: ignore[arg-type]  # The point is the wrong value.


def test_importing_it_touches_nothing_else() -> None:
    """No six, no protobuf, no change of sys.path (all three are theirs)."""
    program = (
        "import sys; path, bare = list(sys.path), set(sys.modules); import shardline.common.compat; "
        "new = set(sys.modules) - bare; assert sys.path == path; "
        "assert not {'six', 'google', 'threading', 'config_pb2'} & new"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
