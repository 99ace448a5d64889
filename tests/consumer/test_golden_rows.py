"""I20 over every kind of item: what the KCL wrote (captures, its reference's examples), and kinds built from the rules.

`golden/items.json` says of each item where it comes from; those that no capture shows say that they are built.
"""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from shardline.common.aws.items import from_item, to_item
from shardline.common.hashing import FULL_RANGE, HashRange, Shard
from shardline.common.ports.lease_store import Foreign, Key, Put, TableSpec, UpdateItem
from shardline.common.records import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON
from shardline.consumer.fleet.leader_lock import LeaderLock, LockSettings
from shardline.consumer.fleet.startup import ClientVersion, TableStatus, parse_client_version, parse_table_status
from shardline.consumer.fleet.worker_metrics import parse_row, report
from shardline.consumer.leases.row import LeaseRow, NewLease, Pending, new_item, read_row
from shardline.local.tables.core import LeaseTables

from tests.consumer.rows import GOLDEN, WRITES, at

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.ports.lease_store import Item, Value

KINDS = {"LEASE", "STREAM", "LEADER", "CLIENT_VERSION_MIGRATION", "TABLE_MIGRATION", "WORKER_METRIC_STATS", "UNKNOWN"}
CAPTURES = ("leases-fleet-before-split.json", "leases-kcl34.json", "leases-kcl27.json")
STRANGE: dict[str, Value] = {
    "futureText": "kept",
    "futureSet": frozenset({"a", "b"}),
    "futureMap": {"deep": [1, 2.5, None, True]},
}


class Golden(NamedTuple):
    """One item: its kind, as DynamoDB JSON and as the adapter gives it."""

    name: str
    source: str
    kind: str
    raw: dict[str, Any]

    @property
    def item(self) -> Item:
        """The item as the port gives it."""
        return from_item(self.raw)

    @property
    def key_attribute(self) -> str:
        """The key attribute of the table it stood in."""
        return next(name for name in ("leaseKey", "key", "wid") if name in self.raw)


def _kind(table: str, raw: dict[str, Any]) -> str:
    """Return the kind of a captured item; 3.4 and 2.7 write no `entityType`."""
    if "entityType" in raw:
        return str(raw["entityType"]["S"])
    if table.endswith("-WorkerMetricStats"):
        return "WORKER_METRIC_STATS"
    if table.endswith("-CoordinatorState"):
        return {"Migration3.0": "CLIENT_VERSION_MIGRATION", "Leader": "LEADER"}[raw["key"]["S"]]
    return "LEASE"


def _captured() -> list[Golden]:
    found: list[Golden] = []
    for file in CAPTURES:
        for table, content in json.loads((GOLDEN / file).read_text()).items():
            for raw in content["items"]:
                key = next(raw[name]["S"] for name in ("leaseKey", "key", "wid") if name in raw)
                found.append(Golden(f"{table} {key}", f"capture {file}", _kind(table, raw), raw))
    return found


LISTED = [
    Golden(one["name"], one["source"], one["kind"], one["item"])
    for one in json.loads((GOLDEN / "items.json").read_text())
]
ALL = _captured() + LISTED
LEASES = [one for one in ALL if one.kind == "LEASE"]


def of(*kinds: str) -> pytest.MarkDecorator:
    """Return the mark that runs a test over all items of these kinds."""
    chosen = [one for one in ALL if one.kind in kinds]
    return pytest.mark.parametrize("golden", chosen, ids=lambda one: f"{one.kind} {one.name}")


def test_every_kind_is_here_and_says_where_it_comes_from() -> None:
    """All seven kinds; an item is captured, an example of the reference, or marked as built."""
    assert {one.kind for one in ALL} == KINDS
    assert all(one.source.startswith(("capture ", "kcl.md ", "built")) for one in ALL)
    built = {one.name for one in LISTED if one.source.startswith("built")}
    assert {"lease with a pending checkpoint", "new multi-stream lease", "stream info, single-stream"} <= built
    assert len(ALL) == 13 + len(LISTED)


@of(*KINDS)
def test_the_adapter_gives_every_item_back_as_it_was(golden: Golden) -> None:
    """Types and digits of every attribute survive the way in and out; types that no KCL uses are never written."""
    known = {name: value for name, value in golden.item.items() if not isinstance(value, Foreign)}
    back = to_item(known)
    for name, value in golden.raw.items():
        if name not in known:
            assert golden.kind == "UNKNOWN"
            continue
        assert next(iter(back[name])) == next(iter(value)), name
        assert from_item({name: back[name]}) == from_item({name: value})
        if "N" in value and "E" not in value["N"]:
            assert back[name] == value


@of(*(KINDS - {"LEASE"}))
def test_what_is_no_lease_is_skipped_by_whoever_reads_leases(golden: Golden) -> None:
    """In the lease table every kind but LEASE is nobody's lease; a legacy table's item is never read as one."""
    if golden.key_attribute == "leaseKey":
        assert read_row(golden.item) is None


@of("LEASE")
def test_a_lease_is_read_and_all_its_attributes_have_a_place(golden: Golden) -> None:
    """Whatever a version of the KCL writes, and whatever it leaves out; unknown attributes change nothing."""
    row = read_row(golden.item)
    assert isinstance(row, LeaseRow)
    assert read_row({**golden.item, **STRANGE}) == row
    item = golden.item
    assert (row.key, row.counter) == (item["leaseKey"], item["leaseCounter"])
    assert row.checkpoint.text == item["checkpoint"]
    assert (row.owner, row.checkpoint_owner) == (item.get("leaseOwner"), item.get("checkpointOwner"))
    assert frozenset(row.parents) == item.get("parentShardId", frozenset())
    assert frozenset(row.children) == item.get("childShardIds", frozenset())
    assert row.throughput_kbps == item.get("throughputKBps")
    assert row.stream_name == item.get("streamName")
    assert row.shard_id == item.get("shardId", row.key)
    assert row.owner_switches == item.get("ownerSwitchesSinceCheckpoint")
    if "startingHashKey" in item:
        assert row.hash_range == HashRange(int(str(item["startingHashKey"])), int(str(item["endingHashKey"])))
    if not row.checkpoint.is_sentinel:
        assert row.checkpoint.sub_sequence_number == item.get("checkpointSubSequenceNumber", 0)


def named(name: str) -> LeaseRow:
    """Return a listed lease by its name."""
    (found,) = [one for one in LISTED if one.name == name]
    row = read_row(found.item)
    assert isinstance(row, LeaseRow)
    return row


def test_what_the_attributes_mean() -> None:
    """The states that a lease can be in, told from the rows alone."""
    assert named("lease in a hand-off").actual_owner == "worker-a"
    assert named("steady lease").actual_owner == "worker-a"
    sentinels = {"TRIM_HORIZON": TRIM_HORIZON, "LATEST": LATEST, "AT_TIMESTAMP": AT_TIMESTAMP}
    assert all(named(f"new lease at {name}").checkpoint == value for name, value in sentinels.items())
    assert named("finished lease").checkpoint == SHARD_END
    place = at(49650000000000000000000000000000000000000000000000000009, 2)
    assert named("lease with a pending checkpoint").pending == Pending(place, b"state")
    without = named("lease with a pending checkpoint without state").pending
    assert without == Pending(place._replace(sub_sequence_number=0), None)
    multi = named("multi-stream lease in steady state")
    assert (multi.stream_name, multi.shard_id) == ("123456789012:orders:1700000000", "shardId-000000000007")
    assert multi.sibling_key("shardId-000000000002") == "123456789012:orders:1700000000:shardId-000000000002"


@pytest.mark.parametrize(
    ("name", "checkpoint", "parents", "stream"),
    [
        ("new lease at TRIM_HORIZON", TRIM_HORIZON, ("shardId-000000000002",), None),
        ("new lease at LATEST", LATEST, ("shardId-000000000002",), None),
        ("new lease at AT_TIMESTAMP", AT_TIMESTAMP, ("shardId-000000000002",), None),
        ("new multi-stream lease", TRIM_HORIZON, ("shardId-000000000002",), "123456789012:orders:1700000000"),
        ("merged shard's lease", TRIM_HORIZON, ("shardId-000000000002", "shardId-000000000003"), None),
    ],
)
def test_a_lease_that_we_create_is_the_golden_one(name: str, checkpoint: Any, parents: Any, stream: Any) -> None:
    """Attribute by attribute, on the wire: nothing more, nothing less, but for our private notes (not asked for)."""
    (golden,) = [one for one in LISTED if one.name == name]
    new = NewLease(
        shard_id="shardId-000000000007",
        checkpoint=checkpoint,
        parents=parents,
        hash_range=HashRange(0, 2**127 - 1),
        stream_name=stream,
    )
    ours = to_item(new_item(new))
    assert {key: _sorted(value) for key, value in ours.items()} == {k: _sorted(v) for k, v in golden.raw.items()}


def _sorted(value: dict[str, Any]) -> dict[str, Any]:
    return {kind: sorted(content) if kind == "SS" else content for kind, content in value.items()}


CHILD = Shard("shardId-000000000007", FULL_RANGE, "shardId-000000000001")
UPDATES: dict[str, Callable[[LeaseRow], UpdateItem]] = {
    "renew": lambda row: WRITES.renew(row, 7.25),
    "checkpoint": lambda row: WRITES.checkpoint(row, at(77, 3), 7.25),
    "prepare": lambda row: WRITES.checkpoint(row, at(77, 3), 7.25, Pending(at(78, 1), b"s")),
    "end": lambda row: WRITES.checkpoint(row, SHARD_END),
    "take": lambda row: WRITES.take(row, "me"),
    "rescue": lambda row: WRITES.take(row, "me", rescue=True),
    "assign": lambda row: WRITES.assign(row, "me"),
    "evict": WRITES.evict,
    "children": lambda row: WRITES.children(row, ("shardId-000000000008",)),
    "hash range": lambda row: WRITES.hash_range(row, FULL_RANGE),
    "begin again": lambda row: WRITES.begin_again(row, CHILD, "1:orders:2"),
}
TYPES = {name: next(iter(value)) for one in LEASES for name, value in one.raw.items()}
PRIVATE = {"shardlineStream", "shardlineLatestPinMillis"}


@pytest.mark.parametrize("golden", LEASES, ids=lambda one: one.name)
@pytest.mark.parametrize("what", UPDATES)
def test_every_write_of_ours_keeps_what_it_does_not_name(golden: Golden, what: str) -> None:
    """On every golden lease: applied as read, unknown attributes untouched, types the KCL's, the row read again."""
    tables = LeaseTables()
    tables.create_table(TableSpec(name="app", key_attribute="leaseKey"), 0.0)
    before = {**golden.item, **STRANGE}
    tables.write(Put("app", before), 0.0)
    row = read_row(before)
    assert isinstance(row, LeaseRow)
    write = UPDATES[what](row)
    assert tables.write(write, 0.0).applied
    after = tables.get("app", Key("leaseKey", row.key), 0.0, consistent=True)
    assert after is not None
    touched = set(write.update.set) | write.update.remove | set(write.update.add)
    assert not touched & STRANGE.keys()
    assert {k: v for k, v in after.items() if k not in touched} == {k: v for k, v in before.items() if k not in touched}
    written = {name: next(iter(value)) for name, value in to_item(after).items() if name in touched - PRIVATE}
    assert written == {name: TYPES[name] for name in written}
    again = read_row(after)
    assert isinstance(again, LeaseRow)
    assert again.counter == row.counter + (0 if what in {"children", "hash range"} else 1)


@of("WORKER_METRIC_STATS")
def test_worker_metrics_are_read_and_reported_over(golden: Golden) -> None:
    """Every layout and filling; a report of ours keeps unknown attributes, and its types are the KCL's."""
    row = parse_row(golden.item, golden.key_attribute)
    assert row is not None
    assert (row.worker_id, row.last_update_s) == (golden.item[golden.key_attribute], golden.item["lut"])
    assert not row.ours
    tables = LeaseTables()
    tables.create_table(TableSpec(name="app", key_attribute=golden.key_attribute), 0.0)
    before = {**golden.item, **STRANGE}
    tables.write(Put("app", before), 0.0)
    tables.write(report("app", golden.key_attribute, row.worker_id, {"C": [41.2, -1.0]}, 1795234093.7), 0.0)
    after = tables.get("app", Key(golden.key_attribute, row.worker_id), 0.0, consistent=True)
    assert after is not None
    assert {name: after[name] for name in STRANGE} == STRANGE
    raw = to_item(after)
    same = {name: next(iter(value)) for name, value in golden.raw.items()}
    assert {name: next(iter(raw[name])) for name in same} == same
    again = parse_row(after, golden.key_attribute)
    assert again is not None
    assert again.ours


@of("LEADER")
def test_a_leader_lock_is_respected_until_it_stands_still(golden: Golden) -> None:
    """Its holder leads; a released one is free at once, any other after its own duration on our clock."""
    settings = LockSettings(table="app", key_attribute=golden.key_attribute, lease_duration_s=120.0, heartbeat_s=30.0)
    lock = LeaderLock("me", settings, Random(1))
    assert lock.plan(0.0) is not None
    lock.on_read(golden.item, 0.0)
    assert (lock.holder, lock.is_leader(0.0)) == (golden.item["ownerName"], False)
    step = lock.plan(0.0)
    assert (step is not None and step.write is not None) == ("isReleased" in golden.item)
    if step is None:
        lock.on_read(golden.item, 121.0)
        late = lock.plan(121.0)
        assert late is not None
        assert late.write is not None


@of("CLIENT_VERSION_MIGRATION")
def test_client_versions_are_understood(golden: Golden) -> None:
    """In both layouts, with and without `entityType`, unknown attributes beside."""
    expected = ClientVersion(str(golden.item["cv"]))
    assert parse_client_version(golden.item) is parse_client_version({**golden.item, **STRANGE}) is expected


@of("TABLE_MIGRATION")
def test_table_migration_states_are_understood(golden: Golden) -> None:
    """All four of them, unknown attributes beside."""
    expected = TableStatus(str(golden.item["tm"]))
    assert parse_table_status(golden.item) is parse_table_status({**golden.item, **STRANGE}) is expected


def test_the_reads_of_leases_skip_all_other_kinds_at_once() -> None:
    """A table with every kind in it: as many leases as there are, nothing quarantined."""
    items = [one.item for one in ALL if one.key_attribute == "leaseKey"]
    rows = [read_row(item) for item in items]
    assert sum(isinstance(row, LeaseRow) for row in rows) == len(LEASES)
    assert all(row is None or isinstance(row, LeaseRow) for row in rows)
