"""The leader's runs: expiry by counters that stand still, hand-offs protected until their time-out."""

from __future__ import annotations

from random import Random

import pytest

from shardline.common.errors import InvalidInput
from shardline.consumer.fleet.assignment import (
    AssignmentManager,
    AssignmentSettings,
    DecisionKind,
    Strategy,
)
from shardline.consumer.fleet.model import ObservedLease, WorkerLoad

A, B = WorkerLoad("a", {}, {}), WorkerLoad("b", {}, {})


def manager(**settings: object) -> AssignmentManager:
    """Return a new leader's manager with the default times (fail-over 10 s, hand-off 30 s)."""
    return AssignmentManager(AssignmentSettings(**settings), Random(1))  # type: ignore[arg-type]  # Test vocabulary.


def row(key: str, owner: str | None, counter: int = 1, **more: object) -> ObservedLease:
    """Return a scanned row."""
    return ObservedLease(key, owner, more.pop("checkpoint_owner", None), counter, **more)  # type: ignore[arg-type]  # Keywords pass through as above.


def test_an_unassigned_lease_is_assigned_in_the_first_run() -> None:
    """A lease without owner needs no second look."""
    (decision,) = manager().run([row("x", None)], [A], 0.0)
    assert (decision.kind, decision.worker_id, decision.counts_as_switch) == (DecisionKind.ASSIGN, "a", False)


def test_an_owned_lease_expires_only_when_its_counter_stood_still() -> None:
    """First seen counts as changed; only a counter unchanged for more than the fail-over time expires."""
    leader = manager()
    assert leader.run([row("x", "dead")], [A], 0.0) == []
    assert leader.run([row("x", "dead")], [A], 10.0) == []
    (decision,) = leader.run([row("x", "dead")], [A], 10.1)
    assert (decision.kind, decision.worker_id, decision.counts_as_switch) == (DecisionKind.ASSIGN, "a", True)


def test_a_moving_counter_keeps_its_owner() -> None:
    """Every change of the counter starts the clock again."""
    leader = manager()
    for second in range(0, 100, 20):
        assert leader.run([row("x", "dead", counter=second)], [A], float(second)) == []


def test_a_live_owner_is_asked_to_hand_over() -> None:
    """Balancing between live workers begins a graceful hand-off."""
    (decision,) = manager().run([row("x", "a"), row("y", "a")], [A, B], 0.0)
    assert (decision.kind, decision.worker_id) == (DecisionKind.HAND_OFF, "b")


def test_without_graceful_hand_off_it_is_assigned() -> None:
    """The switch turns hand-offs into assignments."""
    (decision,) = manager(graceful_hand_off=False).run([row("x", "a"), row("y", "a")], [A, B], 0.0)
    assert decision.kind is DecisionKind.ASSIGN


def test_a_pending_hand_off_is_left_alone_until_it_times_out() -> None:
    """From its first sight a hand-off has 30 s + fail-over; then the lease may be moved again."""
    leader = manager(balance_every_runs=1, strategy=Strategy.LEASE_COUNT_BASED)
    rows = [row(f"s{i}", "b", i, checkpoint_owner="a") for i in range(4)]

    def moving(at: float) -> list[ObservedLease]:
        return [one._replace(lease_counter=round(at) + i) for i, one in enumerate(rows)]

    assert leader.run(moving(0.0), [A, B], 0.0) == []
    assert leader.run(moving(39.0), [A, B], 39.0) == []
    decisions = leader.run(moving(41.0), [A, B], 41.0)
    assert {one.kind for one in decisions} == {DecisionKind.ASSIGN}
    assert {one.worker_id for one in decisions} == {"b"}
    assert {one.counts_as_switch for one in decisions} == {False}


def test_a_dead_owner_in_mid_hand_off_is_replaced() -> None:
    """A hand-off whose counter stands still is assigned directly, even to the next owner."""
    leader = manager()
    stuck = [row("x", "b", checkpoint_owner="dead")]
    assert leader.run(stuck, [B], 0.0) == []
    (decision,) = leader.run(stuck, [B], 11.0)
    assert (decision.kind, decision.worker_id, decision.counts_as_switch) == (DecisionKind.ASSIGN, "b", False)


def test_finished_leases_are_not_balanced() -> None:
    """A lease at SHARD_END stays with its live owner."""
    assert manager().run([row("x", "a", finished=True), row("y", "a", finished=True)], [A, B], 0.0) == []


def test_balancing_happens_every_third_run() -> None:
    """The first run of a leader balances, the next two only assign: reported loads show a move a minute later."""
    leader = manager()
    hot, cool = WorkerLoad("a", {"C": 90.0}, {"C": 100.0}), WorkerLoad("b", {"C": 10.0}, {"C": 100.0})
    runs = [bool(leader.run([row(f"s{i}", "a", n) for i in range(8)], [hot, cool], float(n))) for n in range(4)]
    assert runs == [True, False, False, True]


def test_balancing_by_throughput_goes_on_until_it_is_done() -> None:
    """Leases that moved weigh at their new owner at once: no need to wait for the third run, nor to go on for ever."""
    leader = manager()
    owners = [["a", "a", "a", "a"], ["a", "a", "a", "b"], ["a", "a", "b", "b"], ["a", "a", "b", "b"]]
    runs = [
        bool(leader.run([row(f"s{i}", owner, n) for i, owner in enumerate(of)], [A, B], float(n)))
        for n, of in enumerate(owners)
    ]
    assert runs == [True, True, False, False]
    assert not leader.run([row("x", "a", 9), row("y", "a", 9)], [A, B], 9.0, regular=False)


def test_leases_without_throughput_weigh_as_the_average() -> None:
    """An unknown throughput counts as the mean of the known ones."""
    rows = [
        row("x", "a", throughput_kbps=10.0),
        row("y", "a"),
        row("z", "b", throughput_kbps=10.0),
        row("n", None, throughput_kbps=10.0),
    ]
    (decision,) = manager().run(rows, [A, B], 0.0)
    assert (decision.lease.lease_key, decision.worker_id) == ("n", "b")


def test_three_failures_in_a_row_cost_the_lock() -> None:
    """A leader gives up after three failed runs in a row; a good one starts the count again."""
    leader = manager()
    ends = [leader.run_ended(failed=failed) for failed in (True, True, False, True, True, True)]
    assert ends == [False] * 5 + [True]


def test_a_new_term_forgets_the_old_one() -> None:
    """After `reset` an old counter is as if first seen."""
    leader = manager()
    leader.run([row("x", "dead")], [A], 0.0)
    leader.reset()
    assert leader.run([row("x", "dead")], [A], 60.0) == []


@pytest.mark.parametrize("field", ["failover_s", "hand_off_timeout_s", "balance_every_runs"])
def test_settings_out_of_range_are_refused(field: str) -> None:
    """Zero is refused by name."""
    with pytest.raises(InvalidInput, match=field):
        manager(**{field: 0})
