"""The rescue: rows that stand still for two fail-over times, seen by one observer's clock; and who watches."""

from __future__ import annotations

from random import Random

from shardline.consumer.fleet.model import ObservedLease
from shardline.consumer.fleet.rescue import LiveWorkers, StillRows, watch_period_s


def row(key: str, counter: int, owner: str | None = "x") -> ObservedLease:
    """Return a scanned row."""
    return ObservedLease(key, owner, None, counter)


def test_a_row_is_still_after_two_fail_over_times() -> None:
    """Exactly at two fail-over times since it was first seen a row may be rescued, not before."""
    rows = StillRows(10.0)
    assert rows.on_scan([row("a", 5)], 100.0) == []
    assert rows.on_scan([row("a", 5)], 119.9) == []
    assert rows.on_scan([row("a", 5)], 120.0) == [row("a", 5)]


def test_any_change_starts_the_clock_again() -> None:
    """A counter that moved, in whatever direction, is alive."""
    rows = StillRows(10.0)
    rows.on_scan([row("a", 5)], 0.0)
    assert rows.on_scan([row("a", 4)], 20.0) == []
    assert rows.on_scan([row("a", 4)], 39.0) == []
    assert rows.on_scan([row("a", 4)], 40.0) == [row("a", 4)]


def test_a_row_that_vanished_is_forgotten() -> None:
    """A row that was deleted and made anew is first seen again."""
    rows = StillRows(10.0)
    rows.on_scan([row("a", 5)], 0.0)
    rows.on_scan([], 10.0)
    assert len(rows) == 0
    assert rows.on_scan([row("a", 5)], 30.0) == []


def test_longest_still_first() -> None:
    """Rows come in the order in which they stopped."""
    rows = StillRows(1.0)
    rows.on_scan([row("b", 1)], 0.0)
    rows.on_scan([row("a", 1), row("b", 1)], 1.0)
    assert [one.lease_key for one in rows.on_scan([row("a", 1), row("b", 1)], 9.0)] == ["b", "a"]


def test_the_lowest_live_worker_without_the_lock_watches() -> None:
    """The deputy is the lowest live id of ours; a silent one is passed over after 60 s; the holder always watches."""
    live = LiveWorkers()
    live.on_scan([("a", 1), ("b", 1), ("c", 1)], 0.0)
    assert [w for w in "abc" if live.is_watcher(w, "a", 1.0)] == ["a", "b"]
    live.on_scan([("a", 2), ("b", 1), ("c", 2)], 50.0)
    assert live.live(61.0) == ["a", "c"]
    assert [w for w in "ac" if live.is_watcher(w, "a", 61.0)] == ["a", "c"]
    assert live.is_watcher("a", "java-leader", 61.0)
    assert not live.is_watcher("c", "java-leader", 61.0)


def test_a_worker_that_no_row_shows_yet_counts_itself() -> None:
    """Before its own row is seen a worker is among the candidates all the same."""
    assert LiveWorkers().is_watcher("a", None, 0.0)


def test_watch_periods() -> None:
    """Watchers look every fail-over / 5, others every two fail-over times and up to a quarter more."""
    random = Random(1)
    assert watch_period_s(10.0, watcher=True, random=random) == 2.0
    periods = [watch_period_s(10.0, watcher=False, random=random) for _ in range(200)]
    assert 20.0 <= min(periods) < max(periods) <= 25.0
