"""The lease row: golden rows of the KCL read whole, rows of ours equal to them, bad rows quarantined (I20, F39)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.hashing import FULL_RANGE, HashRange
from shardline.common.records import LATEST, SHARD_END, TRIM_HORIZON, Position
from shardline.consumer.leases.reader import RowReader
from shardline.consumer.leases.row import LeaseRow, NewLease, Pending, Quarantined, new_item, read_row

from tests.consumer.rows import at, golden_items, item_of

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Item

APPENDIX_A = {
    "leaseKey": {"S": "shardId-000000000007"},
    "leaseOwner": {"S": "worker-a"},
    "leaseCounter": {"N": "4711"},
    "checkpoint": {"S": "49650000000000000000000000000000000000000000000000000001"},
    "checkpointSubSequenceNumber": {"N": "3"},
    "ownerSwitchesSinceCheckpoint": {"N": "0"},
    "parentShardId": {"SS": ["shardId-000000000002"]},
    "startingHashKey": {"S": "0"},
    "endingHashKey": {"S": "170141183460469231731687303715884105727"},
    "throughputKBps": {"N": "12.5"},
    "entityType": {"S": "LEASE"},
}


def plain(**changes: Any) -> Item:
    """Return a legal item with some attributes changed (None: left out)."""
    item = {
        "leaseKey": "shardId-000000000000",
        "leaseCounter": 5,
        "checkpoint": "TRIM_HORIZON",
        "checkpointSubSequenceNumber": 0,
        "ownerSwitchesSinceCheckpoint": 0,
        **changes,
    }
    return {name: value for name, value in item.items() if value is not None}


def test_the_row_of_appendix_a_is_read_whole() -> None:
    """Every attribute of the KCL's steady-state row has its place."""
    assert read_row(item_of(APPENDIX_A)) == LeaseRow(
        key="shardId-000000000007",
        shard_id="shardId-000000000007",
        owner="worker-a",
        counter=4711,
        checkpoint=at(49650000000000000000000000000000000000000000000000000001, 3),
        parents=("shardId-000000000002",),
        hash_range=HashRange(0, 2**127 - 1),
        throughput_kbps=12.5,
        entity_type="LEASE",
    )


@pytest.mark.parametrize(
    ("file", "table", "leases", "others"),
    [
        ("leases-fleet-before-split.json", "f35m", 4, 5),
        ("leases-kcl34.json", "s34", 1, 0),
        ("leases-kcl27.json", "s27", 1, 0),
    ],
)
def test_captured_tables_are_read(file: str, table: str, leases: int, others: int) -> None:
    """Rows that three versions of the KCL wrote are leases or other kinds; none is quarantined."""
    rows = [read_row(item) for item in golden_items(file, table)]
    assert sum(isinstance(row, LeaseRow) for row in rows) == leases
    assert sum(row is None for row in rows) == others


def test_a_new_row_differs_from_the_kcls_only_in_values() -> None:
    """A row that we create has the attributes and types that KCL 3.5 gives a lease, less what later writes add."""
    golden = next(item for item in golden_items("leases-fleet-before-split.json", "f35m") if "leaseCounter" in item)
    new = NewLease(shard_id="shardId-000000000000", checkpoint=TRIM_HORIZON, parents=(), hash_range=FULL_RANGE)
    ours = new_item(new)
    assert set(ours) == set(golden) - {"leaseOwner", "throughputKBps"}
    assert {name: type(value) for name, value in ours.items()} == {name: type(golden[name]) for name in ours}


def test_a_multi_stream_row_names_its_stream() -> None:
    """In multi-stream mode (built from kcl.md 1.2) key, `streamName` and `shardId` carry the serialised identity."""
    new = NewLease(
        shard_id="shardId-000000000001",
        checkpoint=TRIM_HORIZON,
        parents=("shardId-000000000000",),
        hash_range=FULL_RANGE,
        stream_name="123456789012:orders:1700000000",
    )
    row = read_row(new_item(new))
    assert isinstance(row, LeaseRow)
    assert row.key == "123456789012:orders:1700000000:shardId-000000000001"
    assert (row.stream_name, row.shard_id) == ("123456789012:orders:1700000000", "shardId-000000000001")
    assert row.sibling_key("shardId-000000000000") == "123456789012:orders:1700000000:shardId-000000000000"


def test_a_pending_checkpoint_is_read_with_its_bytes() -> None:
    """A prepared checkpoint (built from kcl.md 1.2) is its position and the application's bytes."""
    item = plain(pendingCheckpoint="77", pendingCheckpointSubSequenceNumber=4, pendingCheckpointState=b"\x00s")
    row = read_row(item)
    assert isinstance(row, LeaseRow)
    assert row.pending == Pending(at(77, 4), b"\x00s")
    assert "\\x00" not in repr(row)


def test_the_pin_of_latest_survives_a_round_trip() -> None:
    """A lease created at LATEST remembers when, to the millisecond."""
    new = NewLease(shard_id="s", checkpoint=LATEST, parents=(), hash_range=None, latest_pin_s=1700000000.125)
    row = read_row(new_item(new))
    assert isinstance(row, LeaseRow)
    assert row.latest_pin_s == 1700000000.125


@pytest.mark.parametrize("kind", ["LEADER", "STREAM", "WORKER_METRIC_STATS", "SOMETHING_NEW", 7])
def test_items_of_other_kinds_are_skipped(kind: object) -> None:
    """A known or unknown `entityType` other than LEASE is not ours to read."""
    assert read_row(plain(entityType=kind)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"leaseCounter": None},
        {"leaseCounter": "5"},
        {"leaseCounter": 5.0},
        {"leaseCounter": True},
        {"leaseCounter": -1},
        {"leaseCounter": 2**63},
        {"checkpoint": None},
        {"checkpoint": "somewhere"},
        {"checkpoint": "12.0"},
        {"checkpoint": "٣"},
        {"checkpoint": 12},
        {"checkpointSubSequenceNumber": -1},
        {"leaseOwner": ""},
        {"leaseOwner": 7},
        {"checkpointOwner": frozenset({"a"})},
        {"parentShardId": "shardId-000000000000"},
        {"startingHashKey": "5", "endingHashKey": "4"},
        {"startingHashKey": "-5", "endingHashKey": "4"},
        {"pendingCheckpoint": "5", "pendingCheckpointState": "text"},
    ],
)
def test_a_malformed_lease_is_quarantined(changes: dict[str, Any]) -> None:
    """A row with a wrong type or value is named with its reason, and never raises."""
    row = read_row(plain(**changes))
    assert isinstance(row, Quarantined)
    assert row.key == "shardId-000000000000"
    assert row.reason


@pytest.mark.parametrize("key", [None, "", 7])
def test_a_lease_without_a_key_is_quarantined(key: Any) -> None:
    """Even the key may be garbage."""
    assert read_row({**plain(), "leaseKey": key}) == Quarantined("", "leaseKey is not text")


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.frozensets(st.text(max_size=3), max_size=3),
    st.sampled_from(["TRIM_HORIZON", "SHARD_END", "LEASE", "123"]),
)
NAMES = st.sampled_from(
    [
        "leaseKey",
        "leaseOwner",
        "leaseCounter",
        "checkpoint",
        "checkpointSubSequenceNumber",
        "pendingCheckpoint",
        "pendingCheckpointState",
        "ownerSwitchesSinceCheckpoint",
        "parentShardId",
        "childShardIds",
        "startingHashKey",
        "endingHashKey",
        "throughputKBps",
        "entityType",
        "checkpointOwner",
        "streamName",
        "shardId",
        "shardlineLatestPinMillis",
        "surprise",
    ]
)


@given(st.dictionaries(NAMES, VALUES))
def test_no_item_breaks_the_reader(item: dict[str, Any]) -> None:
    """Whatever stands in the table, reading gives a lease, a quarantine or nothing."""
    row = read_row(item)
    assert row is None or isinstance(row, LeaseRow | Quarantined)


LEGAL = st.fixed_dictionaries(
    {"leaseKey": st.sampled_from(["a", "b"]), "leaseCounter": st.integers(0, 3)},
    optional={
        "checkpoint": st.sampled_from(["TRIM_HORIZON", "12", "13", 1]),
        "checkpointSubSequenceNumber": st.sampled_from([0, 1, True]),
        "ownerSwitchesSinceCheckpoint": st.sampled_from([0, 1, True]),
        "leaseOwner": st.sampled_from(["me", "you", None, ""]),
        "throughputKBps": st.sampled_from([1, 1.5, "fast"]),
        "shardlineLatestPinMillis": st.sampled_from([1, True]),
        "pendingCheckpoint": st.sampled_from(["12", 12]),
        "pendingCheckpointState": st.sampled_from([b"state", "text"]),
        "entityType": st.sampled_from(["LEASE", "LEADER"]),
        "surprise": st.just("kept"),
    },
)
"""Items that are leases more often than not, and differ from look to look in every way that matters."""


@given(st.lists(st.lists(st.one_of(LEGAL, st.dictionaries(NAMES, VALUES)), max_size=4), max_size=6))
def test_reading_a_table_again_gives_what_reading_it_anew_gives(scans: list[list[dict[str, Any]]]) -> None:
    """What a reader remembers of earlier scans changes no answer: not for rows that turn bad, go, or come again."""
    reader = RowReader()
    for items in scans:
        anew = [read_row(item) for item in items]
        assert reader.read(items) == [row for row in anew if row is not None]


@given(
    st.sampled_from([TRIM_HORIZON, LATEST, SHARD_END, at(5)]),
    st.lists(st.sampled_from(["a", "b"]), unique=True),
    st.one_of(st.none(), st.just("1:n:2")),
)
def test_created_rows_are_read_back(checkpoint: Position, parents: list[str], stream: str | None) -> None:
    """What creation writes is what reading gives."""
    new = NewLease(
        shard_id="s", checkpoint=checkpoint, parents=tuple(parents), hash_range=FULL_RANGE, stream_name=stream
    )
    row = read_row(new_item(new))
    assert isinstance(row, LeaseRow)
    assert (row.key, row.shard_id, row.checkpoint, row.parents, row.hash_range, row.stream_name) == (
        new.key,
        "s",
        checkpoint,
        tuple(sorted(parents)),
        FULL_RANGE,
        stream,
    )
    assert (row.counter, row.owner, row.owner_switches) == (0, None, 0)
