"""What leases weigh to a leader: averaged over minutes, trusted the more the longer and the steadier they are."""

from __future__ import annotations

from random import Random

import pytest

from shardline.consumer.fleet.loads import LeaseLoads
from shardline.consumer.fleet.model import ObservedLease


def rates(*values: float | None, every_s: float = 2.0) -> LeaseLoads:
    """Return the loads of one lease "x" after looks at those rates."""
    loads = LeaseLoads()
    for turn, value in enumerate(values):
        loads.on_scan([ObservedLease("x", "a", None, turn, value)], turn * every_s)
    return loads


def test_a_rate_seen_once_is_half_trusted() -> None:
    """The first look gives the rate itself, and half of it as its error."""
    assert rates(40.0).of("x") == (40.0, 20.0)


def test_an_unknown_rate_is_unknown() -> None:
    """A row without a rate gives nothing, and changes nothing that is known."""
    assert rates(None).of("x") is None
    assert rates(40.0, None).of("x") == (40.0, 20.0)


def test_a_steady_rate_is_trusted_in_the_end() -> None:
    """After five minutes of the same rate less than five percent are left in doubt."""
    load = rates(*[40.0] * 150).of("x")
    assert load is not None
    assert load.kbps == pytest.approx(40.0)
    assert load.error < 0.05 * 40.0


def test_regular_bursts_are_no_doubt() -> None:
    """A shard that is busy every fifth time weighs a fifth of that, and is known as well as a steady one."""
    load = rates(*[500.0, 0.0, 0.0, 0.0, 0.0] * 30).of("x")
    assert load is not None
    assert load.kbps == pytest.approx(100.0, rel=0.02)
    assert load.error < 5.0


def test_irregular_bursts_keep_their_mean_and_their_doubt() -> None:
    """Bursts by chance give about their mean, with an error that covers its swings."""
    random = Random(1)
    for _ in range(100):
        load = rates(*(500.0 if random.random() < 0.2 else 0.0 for _ in range(150))).of("x")
        assert load is not None
        assert abs(load.kbps - 100.0) < 4.5 * load.error


def test_a_changed_load_is_followed_within_minutes() -> None:
    """Ten times the load is seen as at least nine times of it after four minutes."""
    load = rates(*[10.0] * 150, *[100.0] * 130).of("x")
    assert load is not None
    assert load.kbps > 90.0


def test_a_lease_that_left_the_table_is_forgotten() -> None:
    """What comes back under the same key is new."""
    loads = rates(40.0, 40.0)
    loads.on_scan([], 10.0)
    assert loads.of("x") is None


def test_the_same_scan_counts_once() -> None:
    """Looking again at one moment changes nothing."""
    loads = rates(40.0)
    loads.on_scan([ObservedLease("x", "a", None, 0, 80.0)], 0.0)
    assert loads.of("x") == (40.0, 20.0)
