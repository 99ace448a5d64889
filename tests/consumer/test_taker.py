"""The 2.x taker: expiry by observed counters, fair shares, very old leases first, stealing one at a time."""

from __future__ import annotations

from math import inf
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from shardline.consumer.leases.taker import Observer, Taker

from tests.consumer.rows import lease

if TYPE_CHECKING:
    from shardline.consumer.leases.row import LeaseRow


def taker(observer: Observer, *, leases_max: int = 1000, steal_max: int = 1) -> Taker:
    """Return the taker of worker "me" with a fail-over time of 10 s."""
    return Taker("me", failover_s=10, leases_max=leases_max, steal_max=steal_max, random=Random(1), observer=observer)


def observed(*scans: tuple[float, list[LeaseRow]]) -> Observer:
    """Return an observer that has seen these scans."""
    observer = Observer()
    for now, rows in scans:
        observer.observe(rows, now)
    return observer


def keys(rows: tuple[LeaseRow, ...]) -> list[str]:
    """Return the sorted shard numbers of rows."""
    return sorted(row.key[-1] for row in rows)


def test_a_counter_that_stands_still_ages_by_the_observers_clock() -> None:
    """Age counts from the scan that saw the last change; unowned leases are old from the start."""
    rows = [lease(0, "a", 5), lease(1)]
    observer = observed((100, rows), (112, rows))
    assert observer.age_s("shardId-000000000000", 112) == 12
    assert observer.age_s("shardId-000000000001", 112) == inf
    observer.observe([lease(0, "a", 6), lease(1)], 120)
    assert observer.age_s("shardId-000000000000", 121) == 1
    assert observer.age_s("unknown", 121) == 0


def test_leases_of_a_living_worker_are_left_alone_while_shares_are_fair() -> None:
    """With two workers and two leases each, nobody takes anything."""
    rows = [lease(0, "me", 5), lease(1, "you", 5)]
    assert taker(observed((0, rows), (1, rows))).plan(1, 1).take == ()


def test_new_leases_are_taken_beyond_the_fair_share() -> None:
    """Unowned leases are very old: they go to whoever comes first, up to the worker's limit."""
    rows = [lease(i) for i in range(4)]
    assert len(taker(observed((0, rows))).plan(0, 0).take) == 4
    assert len(taker(observed((0, rows)), leases_max=3).plan(0, 0).take) == 3


def test_an_expired_lease_is_taken_up_to_the_share() -> None:
    """A dead worker's lease is free after the fail-over time, not before."""
    rows = [lease(0, "dead", 5), lease(1, "me", 1)]
    observer = observed((0, rows))
    assert taker(observer).plan(10, 1).take == ()
    plan = taker(observer).plan(10.1, 1)
    assert (keys(plan.take), plan.stolen, plan.target) == (["0"], 0, 2)


def test_one_lease_is_stolen_from_the_most_loaded() -> None:
    """Without free leases a worker below its share takes one of the busiest worker's."""
    rows = [*(lease(i, "a", 5) for i in range(4)), lease(4, "b", 5)]
    plan = taker(observed((0, rows), (1, rows))).plan(1, 0)
    assert (plan.stolen, plan.target, len(plan.take)) == (1, 2, 1)
    assert plan.take[0].owner == "a"


def test_more_workers_than_leases_need_one_each() -> None:
    """The share is one lease then, and an idle worker does not steal a single lease."""
    rows = [lease(0, "a", 5), lease(1, "b", 5)]
    plan = taker(observed((0, rows), (1, rows))).plan(1, 0)
    assert (plan.target, plan.take) == (1, ())


def test_a_share_above_the_limit_is_reported() -> None:
    """What the limit keeps from being taken is spill-over."""
    rows = [*(lease(i, "me", 5) for i in range(2)), lease(2, "b", 5), lease(3, "b", 5)]
    plan = taker(observed((0, rows), (1, rows)), leases_max=1).plan(1, 2)
    assert (plan.target, plan.spillover, plan.take) == (1, 1, ())


def test_own_leases_are_never_taken() -> None:
    """A lease that the table gives to us is adopted by renewing it, however old it looks."""
    rows = [lease(0, "me", 5)]
    assert taker(observed((0, rows), (50, rows))).plan(50, 0).take == ()


def test_what_we_changed_ourselves_counts_as_seen() -> None:
    """A row just written by this worker is young."""
    observer = observed((0, [lease(0)]))
    observer.touch(lease(0, "me", 1), 5)
    assert observer.age_s("shardId-000000000000", 6) == 1
    assert observer.rows["shardId-000000000000"].owner == "me"


@given(
    st.lists(st.sampled_from([None, "me", "a", "b", "c"]), min_size=1, max_size=40),
    st.integers(0, 40),
    st.integers(1, 10),
)
def test_a_plan_never_exceeds_the_limit_nor_names_a_lease_twice(
    owners: list[str | None], held: int, leases_max: int
) -> None:
    """For any table: no more than the limit, each lease once, none of our own, at most one stolen."""
    rows = [lease(i, owner, 3) for i, owner in enumerate(owners)]
    plan = taker(observed((0, rows), (1, rows)), leases_max=leases_max).plan(1, held)
    assert len({row.key for row in plan.take}) == len(plan.take)
    assert not any(row.owner == "me" for row in plan.take)
    assert plan.stolen <= 1
    assert len(plan.take) <= max(0, leases_max - min(held, sum(owner == "me" for owner in owners)))
