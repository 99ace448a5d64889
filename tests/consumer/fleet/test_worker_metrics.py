"""Worker-metrics rows: what we write a Java leader accepts, and what it would refuse we ignore."""

from __future__ import annotations

from typing import Any

import pytest

from shardline.consumer.fleet.worker_metrics import active_workers, parse_row, report, smoothed


def item(**changes: Any) -> dict[str, Any]:
    """Return the row of kcl.md's Appendix A, with changes; None removes an attribute."""
    row: dict[str, Any] = {
        "leaseKey": "worker-a",
        "entityType": "WORKER_METRIC_STATS",
        "lut": 1784000000,
        "sts": {"C": [41.2, 39.870001]},
        "opr": {"C": [100]},
        "sup": 1,
        "slu": 1784000000,
    }
    row.update(changes)
    return {name: value for name, value in row.items() if value is not None}


def test_the_golden_row_is_read() -> None:
    """Appendix A's row parses into samples and limits; it is not one of ours."""
    row = parse_row(item(), "leaseKey")
    assert row is not None
    assert (row.worker_id, row.last_update_s, row.ours) == ("worker-a", 1784000000, False)
    assert (row.samples, row.limits) == ({"C": [41.2, 39.870001]}, {"C": 100.0})


def test_what_we_report_is_what_java_reads() -> None:
    """Our upsert sets exactly Java's attributes with their types, and our one private string."""
    write = report("app", "leaseKey", "worker-a", {"C": [float(n) for n in range(12)]}, 1784000000.9)
    assert write.condition == ()
    assert write.update.set == {
        "entityType": "WORKER_METRIC_STATS",
        "lut": 1784000000,
        "sts": {"C": [float(n) for n in range(2, 12)]},
        "opr": {"C": [100]},
        "sup": 1,
        "slu": 1784000000,
        "shardline": "1",
    }
    row = parse_row({"leaseKey": "worker-a", **write.update.set}, "leaseKey")
    assert row is not None
    assert row.ours


def test_a_worker_without_metrics_writes_empty_maps() -> None:
    """The minimal legal form has empty `sts` and `opr`."""
    write = report("app", "wid", "w", {"C": []}, 1.0)
    assert (write.update.set["sts"], write.update.set["opr"], write.key.attribute) == ({}, {}, "wid")


@pytest.mark.parametrize(
    "changes",
    [
        {"leaseKey": None},
        {"leaseKey": ""},
        {"lut": None},
        {"lut": 1.5},
        {"lut": True},
        {"sts": {"C": []}},
        {"opr": {}},
        {"opr": {"C": []}},
        {"opr": {"C": [0]}},
        {"sts": "text"},
        {"sts": {"C": "text"}},
        {"sts": {"C": ["1"]}},
    ],
)
def test_rows_that_break_a_rule_are_ignored(changes: dict[str, Any]) -> None:
    """Each rule of kcl.md 4.1, broken, makes the row invalid."""
    assert parse_row(item(**changes), "leaseKey") is None


def test_smoothing_leaves_failed_samples_out() -> None:
    """The average weighs the newest half, the one before a quarter; -1 does not count."""
    assert smoothed([10.0, -1.0, 20.0], 0.5) == 15.0
    assert smoothed([-1.0], 0.5) == 0.0


def test_only_fresh_and_healthy_workers_are_active() -> None:
    """Reported within 60 s and last sample not failed; in two tables counts once."""
    rows = [
        parse_row(item(leaseKey="fresh", lut=1000), "leaseKey"),
        parse_row(item(leaseKey="fresh", lut=990, sts={"C": [90.0]}), "leaseKey"),
        parse_row(item(leaseKey="old", lut=939), "leaseKey"),
        parse_row(item(leaseKey="edge", lut=940), "leaseKey"),
        parse_row(item(leaseKey="failing", lut=1000, sts={"C": [3.0, -1.0]}), "leaseKey"),
    ]
    loads = active_workers([row for row in rows if row is not None], 1000.0)
    assert [load.worker_id for load in loads] == ["edge", "fresh"]
    assert loads[1].metrics == {"C": smoothed([41.2, 39.870001], 0.5)}
