"""The pure parts of `make interop` and `make bench-java`: what is made of tables, logs and measurements."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shardline.cli.demo.report import DeliveredRecord, Ledger
from shardline.common.deaggregation import deaggregate
from shardline.common.hashing import HashRange, hash_key
from shardline.common.ports.kinesis import Stream
from shardline.common.records import SHARD_END, TRIM_HORIZON, Position
from shardline.consumer.leases.row import LeaseRow, NewLease, new_item
from shardline.local.state.core import KinesisState

from bench import beside_java, cases_produce
from bench.beside_java import OURS, rows
from bench.prefilled import pages
from tools.interop import __main__ as interop
from tools.interop.report import Act, Outcome, complaints, summary
from tools.interop.rows import Change, Owners, Shapes, Table, differences, short
from tools.jvm import missing, processor_seconds

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Item

ONE, TWO = "shardId-000000000001", "shardId-000000000002"
LOWER, UPPER = HashRange(0, 2**127 - 1), HashRange(2**127, 2**128 - 1)


def row(key: str, owner: str | None, *, counter: int = 3, giver: str | None = None, ended: bool = False) -> LeaseRow:
    """Return a lease as the table holds it."""
    return LeaseRow(
        key=key,
        counter=counter,
        checkpoint=SHARD_END if ended else Position(10**55, 2),
        owner=owner,
        checkpoint_owner=giver,
        hash_range=LOWER if key == ONE else UPPER,
    )


def table(*leases: LeaseRow, leader: str | None = "java") -> Table:
    """Return a look at the table."""
    return Table({lease.key: lease for lease in leases}, leader, (), ())


def java_reading(lease: LeaseRow) -> dict[str, object]:
    """Return a lease as the KCL tells it."""
    assert lease.hash_range is not None
    return {
        "key": lease.key,
        "owner": lease.owner,
        "counter": lease.counter,
        "checkpoint": lease.checkpoint.text,
        "sub": lease.checkpoint.sub_sequence_number,
        "parents": list(lease.parents),
        "children": list(lease.children),
        "start": str(lease.hash_range.start),
        "end": str(lease.hash_range.end),
    }


def test_a_scan_is_taken_apart_by_kind() -> None:
    """Leases, the leader, worker metrics and what cannot be read each have their place."""
    lease = new_item(NewLease(shard_id=ONE, checkpoint=TRIM_HORIZON, parents=(), hash_range=LOWER))
    items: list[Item] = [
        lease,
        {"leaseKey": "Leader", "entityType": "LEADER", "ownerName": "java"},
        {"leaseKey": "ours", "entityType": "WORKER_METRIC_STATS", "lut": 1},
        {"leaseKey": "Migration3.0", "entityType": "CLIENT_VERSION_MIGRATION"},
        {"leaseKey": TWO, "entityType": "LEASE"},
    ]
    found = Table.of(items)
    assert (list(found.leases), found.leader, found.workers) == ([ONE], "java", ("ours",))
    assert [one.key for one in found.unreadable] == [TWO]


def test_settled_means_these_workers_these_leases_and_no_hand_off() -> None:
    """A hand-off under way, an unowned lease, a missing child or a worker without a lease is not settled."""
    both = table(row(ONE, "java"), row(TWO, "ours"))
    assert both.settled_on(("java", "ours"), [ONE, TWO])
    assert not both.settled_on(("java",), [ONE, TWO])
    assert not both.settled_on(("java", "ours", "third"), [ONE, TWO])
    assert not both.settled_on(("java", "ours"), [ONE, TWO, "shardId-000000000003"])
    assert not table(row(ONE, "ours", giver="java"), row(TWO, "ours")).settled_on(("java", "ours"), [ONE, TWO])
    assert not table(row(ONE, "java"), row(TWO, None)).settled_on(("java",), [ONE, TWO])
    assert table(row(ONE, "java"), row(TWO, "ours", ended=True)).settled_on(("java",), [ONE])


def test_who_owned_what_when_holds_each_change_once() -> None:
    """A hand-off is two changes, a kill that is rescued one; what stays is none."""
    owners = Owners()
    owners.look(table(row(ONE, "java"), row(TWO, "java")), 1.0)
    assert owners.look(table(row(ONE, "java", counter=9), row(TWO, "java")), 2.0) == []
    owners.look(table(row(ONE, "ours", giver="java"), row(TWO, "java")), 3.0)
    owners.look(table(row(ONE, "ours"), row(TWO, "java")), 4.0)
    owners.look(table(row(ONE, "ours"), row(TWO, "ours"), leader="ours"), 5.0)
    owners.look(table(row(ONE, None, ended=True), leader="ours"), 6.0)
    assert owners.changes[3:] == [
        Change(3.0, ONE, "java", "java to ours"),
        Change(4.0, ONE, "java to ours", "ours"),
        Change(5.0, TWO, "java", "ours"),
        Change(5.0, "Leader", "java", "ours"),
        Change(6.0, ONE, "ours", "ended"),
        Change(6.0, TWO, "ours", "deleted"),
    ]
    assert (short(ONE), short("shardId-000000000000"), short("Leader")) == ("shard 1", "shard 0", "Leader")


def test_rows_of_a_kind_are_compared_by_attribute_and_type() -> None:
    """What only one side's rows have is told; a row in hand-off, or one without a writer, tells nothing."""
    shapes = Shapes()
    shapes.look(
        [
            {"leaseKey": ONE, "leaseOwner": "java-1", "leaseCounter": 1, "throughputKBps": 0.5},
            {"leaseKey": TWO, "leaseOwner": "ours-1", "leaseCounter": 1, "throughputKBps": "1"},
            {"leaseKey": ONE, "leaseOwner": "ours-1", "checkpointOwner": "java-1"},
            {"leaseKey": ONE, "childShardIds": frozenset({TWO})},
            {"leaseKey": "java-1", "entityType": "WORKER_METRIC_STATS", "lut": 5},
            {"leaseKey": "ours-1", "entityType": "WORKER_METRIC_STATS", "lut": 5, "shardline": "1"},
            {"leaseKey": "Migration3.0", "entityType": "CLIENT_VERSION_MIGRATION", "mb": "java-1"},
        ]
    )
    assert shapes.differences() == {
        "LEASE": {"only java": ["throughputKBps number"], "only ours": ["throughputKBps str"]},
        "WORKER_METRIC_STATS": {"only java": [], "only ours": ["shardline str"]},
    }


def test_two_readings_of_one_table_differ_in_nothing() -> None:
    """The KCL's reading of the rows that we read is told alike; a row that moved on in between is no difference."""
    before = {ONE: row(ONE, "java"), TWO: row(TWO, "ours", counter=4)}
    after = {ONE: row(ONE, "ours", counter=5), TWO: row(TWO, "ours", counter=5)}
    told = [java_reading(row(ONE, "java", counter=4)), java_reading(before[TWO])]
    assert differences(json.dumps(told), before, after) == []


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("owner", "somebody"),
        ("checkpoint", "LATEST"),
        ("sub", 3),
        ("parents", [TWO]),
        ("children", [TWO]),
        ("start", "1"),
        ("end", "2"),
    ],
)
def test_a_row_that_the_kcl_reads_otherwise_is_a_difference(attribute: str, value: object) -> None:
    """Each attribute that the two sides read differently in the same version of a row is told."""
    leases = {ONE: row(ONE, "java")}
    told = java_reading(leases[ONE]) | {attribute: value}
    (found,) = differences(json.dumps([told]), leases, leases)
    assert found.startswith(f"{ONE} {attribute}: KCL ")


def test_a_row_that_one_side_does_not_see_is_a_difference() -> None:
    """A row that was there before and after must be read by the KCL; what it reads must be there before or after."""
    leases = {ONE: row(ONE, "java")}
    assert differences("[]", leases, leases) == [f"{ONE}: not read by the KCL"]
    assert differences("[]", leases, {}) == []
    assert differences(json.dumps([java_reading(row(TWO, None))]), leases, {}) == [f"{TWO}: not read by us"]


def test_the_kcls_log_is_searched_for_errors() -> None:
    """Messages of the level asked for are counted, those that differ in ids and counts only together."""
    log = [
        "16:06:14.687 [lam-thread] INFO software.amazon.Some - Worker has 8 leases",
        "16:06:14.687 [lam-thread] ERROR software.amazon.kinesis.leases.Refresher - Cannot read shardId-000000000001",
        "16:06:15.687 [scheduler] ERROR software.amazon.kinesis.leases.Refresher - Cannot read shardId-000000000002",
        "java.lang.IllegalStateException: ERROR software.amazon - Cannot",
        "16:06:15.687 [scheduler] WARN software.amazon.kinesis.Other - Slow",
    ]
    assert complaints(log, "ERROR") == Counter({"Refresher: Cannot read shardId-#": 2})
    assert complaints(log, "WARN") == Counter({"Other: Slow": 1})


def outcome(ledger: Ledger) -> Outcome:
    """Return a result."""
    act = Act(name="ours joins", seconds=80.1, duplicates=1, owners={"java": 1, "ours": 1}, leader="java")
    return Outcome(
        versions={"KCL": "3.5.1", "KPL": "1.0.9"},
        first="java",
        failover_s=5,
        acts=(act,),
        changes=(Change(3.0, ONE, "java", "ours"),),
        processed={"java": 2},
        kpl_processed={"java": 1},
        compared=1,
        shapes={"LEASE": {"only java": [], "only ours": ["x str"]}},
        report=ledger.report({}),
        complaints={},
    )


def test_an_outcome_is_sound_only_without_loss_fault_and_error() -> None:
    """A lost record, a fault or an error in the KCL's log each make the run fail, and are told."""
    ledger = Ledger(10)
    ledger.sent(2)
    ledger.acknowledged((0, 1), ONE, 5, bytes_sent=0, bytes_alone=0)
    ledger.delivered(ONE, [DeliveredRecord(5, 0, [0], ["k"])])
    assert not outcome(ledger).sound  # One is lost.
    ledger.delivered(ONE, [DeliveredRecord(5, 1, [1], ["k"])])
    good = outcome(ledger)
    assert good.sound
    assert summary(good)[-1].startswith("nothing lost")
    for wrong in (replace(good, faults=("a row",)), replace(good, complaints={"Refresher: no": 1})):
        assert not wrong.sound
        assert summary(wrong)[-1] == "FAILED"
        assert wrong.as_fields()["ok"] is False


def test_the_medians_are_set_beside_theirs_and_the_goal() -> None:
    """Ours has a share of theirs and a goal; a share above the goal is missed."""
    found = rows("produce", 100, {"kpl-1.0.9": [40e-6, 50e-6, 45e-6], OURS: [2e-6, 1e-6, 3e-6]}, "kpl-1.0.9")
    theirs, ours = found
    assert (theirs.us_per_user_record, theirs.share, theirs.goal, theirs.missed) == (45.0, None, None, False)
    assert (ours.us_per_user_record, ours.share, ours.goal, ours.missed) == (2.0, 0.0444, 0.05, False)
    assert rows("consume", 100, {"kcl": [1e-6], OURS: [0.66e-6]}, "kcl")[1].missed


def test_the_cases_measured_beside_the_kpl_exist() -> None:
    """`make bench` knows our producer's cases by the names that `make bench-java` asks for."""
    names = {case.name for case in cases_produce.CASES}
    assert {case.format(size=size) for case in beside_java.CASES.values() for size in beside_java.SIZES} <= names


def test_every_record_of_the_full_stream_belongs_to_its_shard() -> None:
    """No consumer's range check finds anything in what the consumers are measured with."""
    state = KinesisState()
    state.create_stream("bench", 4, now=1.0)
    shards = state.list_shards(Stream("bench"), now=1.0).shards
    found = pages(shards, 20_000, 100)
    for shard in shards:
        entries, count = found[shard.shard_id]
        records = [record for entry in entries for record in deaggregate(entry.data, entry.partition_key or "")]
        assert len(records) == count > 0
        assert all(hash_key(record.partition_key or "") in shard.hash_range for record in records)


def test_processor_seconds_count_children_alive_and_gone() -> None:
    """What a child spends counts for its parent's tree while it runs, and after it was waited for."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("there is no /proc")
    burn = "import time, sys\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\nsys.stdin.read()"
    before = processor_seconds(os.getpid())
    with subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert 0.2 < processor_seconds(child.pid) < 30
        alive = processor_seconds(os.getpid()) - before
    assert 0.2 < alive <= processor_seconds(os.getpid()) - before


@pytest.mark.parametrize(("main", "name"), [(interop.main, "interop"), (beside_java.main, "bench-java")])
def test_without_java_both_targets_say_so_and_pass(
    main: object, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No JDK and no Maven: one clear line, exit status 0."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", [name])
    assert missing() == "there is no java and no javac and no mvn on PATH"
    assert callable(main)
    assert main() == 0
    assert capsys.readouterr().out == f"SKIPPED {name}: there is no java and no javac and no mvn on PATH\n"
