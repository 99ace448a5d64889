"""Assignment by utilisation: cool workers receive, hot ones give, limits hold, and the fleet comes to rest."""

from __future__ import annotations

from collections import defaultdict
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.common.errors import InvalidInput
from shardline.consumer.fleet.model import FleetView, LeaseView, Move, WorkerLoad
from shardline.consumer.fleet.variance_policy import VarianceSettings, decide_by_variance

DEFAULT = VarianceSettings()


def lease(key: str, owner: str | None, weight: float = 1.0, *, handing_off: bool = False) -> LeaseView:
    """Return a movable lease; without an owner it is assignable."""
    return LeaseView(key, owner, weight, assignable=owner is None, movable=True, handing_off=handing_off)


def cpu(worker_id: str, percent: float, limit: float = 100.0) -> WorkerLoad:
    """Return a worker that reports its processor's load."""
    return WorkerLoad(worker_id, {"C": percent}, {"C": limit})


def plain(*workers: str) -> list[WorkerLoad]:
    """Return workers that report no metric."""
    return [WorkerLoad(worker, {}, {}) for worker in workers]


def after(view: FleetView, moves: list[Move]) -> FleetView:
    """Return the fleet once the moves have been made; workers keep their metrics."""
    to = dict(moves)
    return FleetView([lease(o.lease_key, to.get(o.lease_key, o.owner), o.weight) for o in view.leases], view.workers)


def load(view: FleetView, worker_id: str) -> float:
    """Return the weight that a worker carries."""
    return sum(one.weight for one in view.leases if one.owner == worker_id)


def unevenness(view: FleetView) -> float:
    """Return the sum of the squares of what each worker carries."""
    loads: dict[str | None, float] = defaultdict(float)
    for one in view.leases:
        loads[one.owner] += one.weight
    return sum(carried**2 for carried in loads.values())


def test_a_new_lease_goes_to_the_coolest() -> None:
    """The worker furthest below the average processor load receives."""
    view = FleetView([lease("x", "a"), lease("y", None)], [cpu("a", 80), cpu("b", 20), cpu("c", 50)])
    assert decide_by_variance(view, DEFAULT, balance=False, random=Random(1)) == [("y", "b")]


def test_an_idle_fleet_spreads_by_count() -> None:
    """Without any throughput known, leases are spread evenly instead of piled on one."""
    view = FleetView([lease(f"s{i}", None, 0.0) for i in range(6)], plain("a", "b", "c"))
    settled = after(view, decide_by_variance(view, DEFAULT, balance=True, random=Random(1)))
    assert sorted(sum(o.owner == w for o in settled.leases) for w in "abc") == [2, 2, 2]


def test_idle_processors_do_not_pile_up_either() -> None:
    """Workers that all report 0 percent are told apart by what they were given."""
    view = FleetView([lease(f"s{i}", None, 5.0) for i in range(4)], [cpu("a", 0), cpu("b", 0)])
    settled = after(view, decide_by_variance(view, DEFAULT, balance=False, random=Random(1)))
    assert load(settled, "a") == load(settled, "b") == 10.0


def test_the_owner_of_an_expired_lease_that_lives_keeps_it_without_a_write() -> None:
    """If the best worker already owns the lease, nothing is written, unless a hand-off hangs on it."""
    expired = LeaseView("x", "a", 1.0, assignable=True, movable=True, handing_off=False)
    assert decide_by_variance(FleetView([expired], plain("a")), DEFAULT, balance=False, random=Random(1)) == []
    stuck = expired._replace(handing_off=True)
    assert decide_by_variance(FleetView([stuck], plain("a")), DEFAULT, balance=False, random=Random(1)) == [("x", "a")]


def test_a_hot_worker_gives_to_a_cool_one() -> None:
    """Balancing moves leases from above the band to below it."""
    view = FleetView([lease(f"s{i}", "a") for i in range(4)], plain("a", "b"))
    moves = decide_by_variance(view, DEFAULT, balance=True, random=Random(1))
    assert moves
    assert {move.worker_id for move in moves} == {"b"}


def test_a_receiver_is_never_lifted_above_the_average() -> None:
    """Three equal leases on two workers stay two and one."""
    view = FleetView([lease("x", "a"), lease("y", "a"), lease("z", "b")], plain("a", "b"))
    assert decide_by_variance(view, DEFAULT, balance=True, random=Random(1)) == []


def test_a_worker_that_is_hot_by_heavy_leases_is_cooled() -> None:
    """Nobody stays below the average with any of them; still, four on one worker and none on the next is no balance."""
    others = "bcdefghijk"
    light = [lease(f"{worker}{i}", worker, 0.9) for worker in others for i in range(7)]
    view = FleetView([*(lease(f"a{i}", "a", 4.0) for i in range(4)), *light], plain("a", *others))
    moves = [Move("", "")]
    for turn in range(20):
        moves = decide_by_variance(view, DEFAULT, balance=True, random=Random(turn))
        view = after(view, moves)
    assert moves == []
    average = sum(one.weight for one in view.leases) / 11
    assert all(0.8 * average < load(view, worker) < 1.2 * average for worker in f"a{others}")


def test_a_worker_above_its_limit_gives_even_inside_the_band() -> None:
    """The operating limit alone makes a donor."""
    view = FleetView(
        [lease(f"a{i}", "a", 1.0) for i in range(104)] + [lease(f"b{i}", "b", 1.0) for i in range(96)],
        [cpu("a", 52, limit=50), cpu("b", 48, limit=90)],
    )
    moves = decide_by_variance(view, DEFAULT, balance=True, random=Random(1))
    assert {move.worker_id for move in moves} == {"b"}


def test_limits_per_worker_hold() -> None:
    """Neither the lease cap nor the throughput cap is passed by an assignment."""
    view = FleetView([lease(f"s{i}", None, 10.0) for i in range(6)], plain("a", "b"))
    capped = VarianceSettings(leases_per_worker_max=2)
    assert len(decide_by_variance(view, capped, balance=True, random=Random(1))) == 4
    thin = VarianceSettings(throughput_kbps_max=5.0)
    assert len(decide_by_variance(view, thin, balance=True, random=Random(1))) == 2


def test_no_worker_no_move() -> None:
    """Without a live worker there is nothing to decide."""
    assert decide_by_variance(FleetView([lease("x", None)], []), DEFAULT, balance=True, random=Random(1)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("leases_per_worker_max", 0),
        ("throughput_kbps_max", 0.0),
        ("rebalance_threshold_percent", 101.0),
        ("dampening_percent", 0.0),
    ],
)
def test_settings_out_of_range_are_refused(field: str, value: float) -> None:
    """A setting out of range is refused by name."""
    with pytest.raises(InvalidInput, match=field):
        VarianceSettings(**{field: value})  # type: ignore[arg-type]  # The point of the test is the wrong value.


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.integers(0, 500), st.integers(0, 2**32), st.booleans())
def test_every_lease_finds_a_live_worker_once(workers: int, leases: int, seed: int, even: bool) -> None:
    """All unassigned leases are assigned, each once, to live workers, and no worker passes twice its share."""
    random = Random(seed)
    ids = [f"w{i:03}" for i in range(workers)]
    weights = [1.0 if even else random.uniform(0.1, 5.0) for _ in range(leases)]
    view = FleetView([lease(f"s{i}", None, weight) for i, weight in enumerate(weights)], plain(*ids))
    moves = decide_by_variance(view, DEFAULT, balance=True, random=random)
    assert len(moves) == leases
    assert len({move.lease_key for move in moves}) == leases
    settled = after(view, moves)
    assert {one.owner for one in settled.leases} <= set(ids)
    share = sum(weights) / workers
    assert all(load(settled, one) <= share + 2 * max(weights, default=0.0) for one in ids)


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 300), st.integers(1, 500), st.integers(0, 2**32))
def test_repeated_runs_come_to_rest(workers: int, leases: int, seed: int) -> None:
    """From any ownership, balancing again and again reaches a fleet that it leaves alone."""
    random = Random(seed)
    ids = [f"w{i:03}" for i in range(workers)]
    view = FleetView(
        [lease(f"s{i}", random.choice(ids[: 1 + seed % workers]), random.uniform(0.1, 5.0)) for i in range(leases)],
        plain(*ids),
    )
    for _ in range(10 * leases):
        moves = decide_by_variance(view, DEFAULT, balance=True, random=random)
        if not moves:
            return
        before = unevenness(view)
        view = after(view, moves)
        assert unevenness(view) <= before + 1e-6
    pytest.fail("the fleet never came to rest")
