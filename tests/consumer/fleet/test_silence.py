"""Who reports and does not renew is given nothing, for longer each time; one renewal clears his name."""

from __future__ import annotations

from shardline.consumer.fleet.model import ObservedLease
from shardline.consumer.fleet.silence import SilentWorkers


def row(owner: str, counter: int, key: str = "s") -> ObservedLease:
    """Return a scanned row."""
    return ObservedLease(key, owner, None, counter)


def test_a_worker_whose_lease_stands_still_is_silent_until_it_reports() -> None:
    """A young report alone does not make a worker fit to be given leases."""
    silent = SilentWorkers(10.0)
    assert silent.on_scan([row("a", 1)], {"a": 5, "b": 5}, 0.0) == set()
    assert silent.on_scan([row("a", 1)], {"a": 5, "b": 5}, 10.0) == set()
    assert silent.on_scan([row("a", 1)], {"a": 5, "b": 5}, 11.0) == {"a"}
    assert silent.on_scan([row("b", 2)], {"a": 5, "b": 6}, 12.0) == {"a"}
    assert silent.on_scan([row("b", 3)], {"a": 6, "b": 6}, 14.0) == set()


def test_a_zombie_is_passed_over_for_twice_as_long_each_time() -> None:
    """It reports every 30 s and never renews: in an hour it is given a lease a handful of times, not hundreds."""
    silent, given, owner, counter = SilentWorkers(10.0), 0, "me", 0
    for now in range(0, 3600, 2):
        if owner == "me":
            counter += 1
        reports = {"me": now // 30, "zombie": now // 30}
        able = "zombie" not in silent.on_scan([row(owner, counter)], reports, float(now))
        if owner == "me" and able:
            owner, counter, given = "zombie", counter + 1, given + 1
        elif owner == "zombie" and not able:  # The leader sees the lease expire in the same look.
            owner, counter = "me", counter + 1
    assert 5 <= given <= 9


def test_a_renewal_clears_the_name() -> None:
    """Who was stopped and goes on is a full member with the first renewal, however often it was silent."""
    silent = SilentWorkers(10.0)
    silent.on_scan([row("a", 1)], {"a": 1}, 0.0)
    assert silent.on_scan([row("a", 1)], {"a": 1}, 11.0) == {"a"}
    assert silent.on_scan([row("a", 2)], {"a": 1}, 13.0) == set()


def test_a_changed_owner_is_no_renewal() -> None:
    """The leader's assignment moves the counter too; that is no sign of life of the new owner."""
    silent = SilentWorkers(10.0)
    silent.on_scan([row("a", 1), row("a", 1, "t")], {"a": 1}, 0.0)
    assert silent.on_scan([row("a", 1), row("b", 2, "t")], {"a": 1, "b": 1}, 11.0) == {"a"}
    assert silent.on_scan([row("a", 1), row("a", 3, "t")], {"a": 1, "b": 1}, 12.0) == {"a"}


def test_a_worker_without_a_report_needs_no_mention() -> None:
    """Who does not report is given nothing anyway."""
    silent = SilentWorkers(10.0)
    silent.on_scan([row("a", 1)], {}, 0.0)
    assert silent.on_scan([row("a", 1)], {}, 11.0) == set()
