"""Assignment by count: even, capped, and at rest once even."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.consumer.fleet.count_policy import decide_by_count, target_leases
from shardline.consumer.fleet.model import FleetView, LeaseView, Move, WorkerLoad

MANY = 2**31 - 1


def lease(key: str, owner: str | None, *, movable: bool = True) -> LeaseView:
    """Return a lease of weight 1; without an owner it is assignable."""
    return LeaseView(key, owner, 1.0, assignable=owner is None, movable=movable, handing_off=False)


def fleet(owners: list[str | None], workers: int) -> FleetView:
    """Return a fleet whose i-th lease belongs to owners[i]."""
    return FleetView(
        [lease(f"s{i:04}", owner) for i, owner in enumerate(owners)],
        [WorkerLoad(f"w{i:03}", {}, {}) for i in range(workers)],
    )


def after(view: FleetView, moves: list[Move]) -> FleetView:
    """Return the fleet once the moves have been made."""
    to = dict(moves)
    return FleetView([lease(one.lease_key, to.get(one.lease_key, one.owner)) for one in view.leases], view.workers)


def counts(view: FleetView) -> list[int]:
    """Return how many leases each live worker holds."""
    return [sum(one.owner == worker.worker_id for one in view.leases) for worker in view.workers]


def test_target_is_the_share_rounded_up_and_capped() -> None:
    """The target is one where workers are plenty, else the ceiling of the share, never above the cap."""
    assert target_leases(3, 5, MANY) == 1
    assert target_leases(10, 4, MANY) == 3
    assert target_leases(10, 4, 2) == 2


def test_unassigned_leases_fill_the_poorest() -> None:
    """Leases without owner go to whoever holds least."""
    moves = decide_by_count(
        fleet(["w000", "w000", None, None], 2), leases_per_worker_max=MANY, balance=False, random=Random(1)
    )
    assert moves == [("s0002", "w001"), ("s0003", "w001")]


def test_leases_of_the_dead_are_not_balanced_but_assigned() -> None:
    """A lease that is not assignable and belongs to nobody live is left alone until it expires."""
    view = FleetView([lease("a", "dead")], [WorkerLoad("w", {}, {})])
    assert decide_by_count(view, leases_per_worker_max=MANY, balance=True, random=Random(1)) == []


def test_what_is_not_movable_stays() -> None:
    """A rich worker with nothing movable keeps what it has."""
    view = FleetView(
        [lease(f"s{i}", "a", movable=False) for i in range(4)], [WorkerLoad("a", {}, {}), WorkerLoad("b", {}, {})]
    )
    assert decide_by_count(view, leases_per_worker_max=MANY, balance=True, random=Random(1)) == []


def test_no_worker_no_move() -> None:
    """Without a live worker there is nothing to decide."""
    assert decide_by_count(fleet([None], 0), leases_per_worker_max=MANY, balance=True, random=Random(1)) == []


@settings(max_examples=20, deadline=None)
@given(st.data(), st.integers(1, 300), st.integers(0, 500), st.integers(0, 2**32))
def test_one_run_balances_and_the_next_rests(data: st.DataObject, workers: int, leases: int, seed: int) -> None:
    """From any ownership one balanced run ends within one lease of even, and the following run moves nothing."""
    owner = st.sampled_from([None, *(f"w{i:03}" for i in range(workers))])
    spread = data.draw(st.lists(owner, min_size=1, max_size=8))
    random = Random(seed)
    view = fleet([random.choice(spread) for _ in range(leases)], workers)
    moves = decide_by_count(view, leases_per_worker_max=MANY, balance=True, random=random)
    assert len({move.lease_key for move in moves}) == len(moves)
    settled = after(view, moves)
    assert all(one.owner is not None for one in settled.leases)
    assert max(counts(settled)) - min(counts(settled)) <= 1
    assert decide_by_count(settled, leases_per_worker_max=MANY, balance=True, random=random) == []


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(0, 60), st.integers(1, 5), st.integers(0, 2**32))
def test_the_cap_holds(workers: int, leases: int, cap: int, seed: int) -> None:
    """Nobody is given more than the cap; what is left stays unassigned."""
    view = fleet([None] * leases, workers)
    moves = decide_by_count(view, leases_per_worker_max=cap, balance=True, random=Random(seed))
    assert max(counts(after(view, moves)), default=0) <= cap
    assert len(moves) == min(leases, workers * min(cap, max(1, -(-leases // workers))))
