"""Balancing comes to rest, and stays there: no lease moves because its load is known better, or was caught up with.

A model fleet: leases of uneven shards, each with the KCL's own meter, renewed every third of the fail-over time; a move
stops a shard for a while, and its next owner catches up.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shardline.consumer.fleet.assignment import AssignmentManager, AssignmentSettings
from shardline.consumer.fleet.loads import LeaseLoads
from shardline.consumer.fleet.model import ObservedLease, WorkerLoad
from shardline.consumer.leases.throughput import ThroughputMeter

if TYPE_CHECKING:
    from collections.abc import Iterable

RENEW_S, LOOK_S, RUN_S, ARRIVES_S = 10 / 3, 2.0, 20.0, 5.0
REST_S = 150.0


class ModelLease:
    """One lease: a record of so many bytes every five seconds, counted when somebody handles it."""

    def __init__(self, key: str, size: int, random: Random) -> None:
        self.key = key
        self.size = size
        self.owner: str | None = None
        self.counter = 0
        self.rate: float | None = None
        self._arrives_at = ARRIVES_S * random.random()
        self._waiting = 0
        self._meter: ThroughputMeter | None = None
        self._renews_at = float("inf")

    def move(self, owner: str, now: float, pause_s: float) -> None:
        """Give the lease to another worker, who begins after a pause."""
        self.owner, self.counter = owner, self.counter + 1
        self._meter, self._renews_at = None, now + pause_s

    def stop(self) -> None:
        """Let the owner die."""
        self._meter, self._renews_at = None, float("inf")

    def advance(self, now: float) -> None:
        """Let records arrive and be handled, and the lease be renewed, each at its moment."""
        while self._renews_at <= now:
            self._arrive(self._renews_at)
            if self._meter is None:
                self._meter = ThroughputMeter(self._renews_at, self.rate)
            self._meter.add(self._waiting)
            self._waiting = 0
            self.rate = self._meter.sample(self._renews_at)
            self.counter += 1
            self._renews_at += RENEW_S
        self._arrive(now)

    def _arrive(self, now: float) -> None:
        while self._arrives_at <= now:
            self._waiting += self.size
            self._arrives_at += ARRIVES_S

    def row(self) -> ObservedLease:
        """Return the row as a scan shows it."""
        return ObservedLease(self.key, self.owner, None, self.counter, self.rate)


class ModelFleet:
    """Leases, workers and a leader; `moves` are the moments at which leases changed hands."""

    def __init__(self, sizes: Iterable[int], workers: int, seed: int) -> None:
        self.random = Random(seed)
        self.leases = [ModelLease(f"s{i}", size, self.random) for i, size in enumerate(sizes)]
        self.workers = [f"w{i}" for i in range(workers)]
        self.leader = AssignmentManager(AssignmentSettings(), Random(seed))
        self.moves: list[float] = []
        self.now = 0.0
        self._run_at = 0.0

    def play(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            for lease in self.leases:
                lease.advance(self.now)
            rows = [lease.row() for lease in self.leases]
            waiting, regular = self.leader.look(rows, self.now), self.now >= self._run_at
            if waiting or regular:
                self._run_at = self.now + RUN_S if regular else self._run_at
                self._decide(rows, regular=regular)
            self.now += LOOK_S

    def _decide(self, rows: list[ObservedLease], *, regular: bool) -> None:
        loads = [WorkerLoad(name, {}, {}) for name in self.workers]
        by_key = {lease.key: lease for lease in self.leases}
        for decision in self.leader.run(rows, loads, self.now, regular=regular):
            by_key[decision.lease.lease_key].move(decision.worker_id, self.now, 1 + 9 * self.random.random())
            self.moves.append(self.now)

    def kill(self) -> None:
        """Let a worker die; its last report is forgotten with it."""
        dead = self.workers.pop(0)
        for lease in self.leases:
            if lease.owner == dead:
                lease.stop()

    def rested_at(self, began: float) -> float:
        """Return when the first rest of two and a half minutes began."""
        times = [began, *self.moves, float("inf")]
        return next(before for before, after in pairwise(times) if after - before > REST_S)


FLEETS = st.tuples(st.integers(2, 6), st.integers(12, 40), st.integers(0, 10_000))


def fleet_of(workers: int, leases: int, seed: int) -> ModelFleet:
    """Return a fleet of uneven shards: a few carry most."""
    random = Random(seed)
    return ModelFleet([random.randrange(1_500, 20_000) for _ in range(leases)], workers, seed)


@pytest.mark.slow
@settings(max_examples=15, derandomize=True)
@given(FLEETS)
@example((5, 15, 83)).xfail(reason="one lease moves once more, three minutes after the start", raises=AssertionError)
@example((6, 30, 5140)).xfail(reason="one lease moves once more, four minutes after the start", raises=AssertionError)
def test_a_fleet_at_rest_stays_at_rest(drawn: tuple[int, int, int]) -> None:
    """After a start, and after a death, the moves end within minutes, and for half an hour there is none (I12).

    Known to be missed: of 598 fleets drawn at random, 8 moved a lease or two again, 180 to 320 s after their start.
    """
    fleet = fleet_of(*drawn)
    for _ in range(min(2, len(fleet.workers))):
        fleet.moves.clear()
        began = fleet.now
        fleet.play(900)
        rested_at = fleet.rested_at(began)
        assert [at for at in fleet.moves if at > rested_at] == []
        assert rested_at - began <= 240
        fleet.kill()


@settings(max_examples=15)
@given(st.integers(0, 1000), st.floats(5, 60))
def test_a_pause_and_catching_up_are_no_load(seed: int, pause_s: float) -> None:
    """A shard that stands still and is read on by another worker weighs what it did before."""
    lease, loads = ModelLease("x", 10_000, Random(seed)), LeaseLoads()
    now, known = 0.0, []
    lease.move("a", now, 0.0)
    while now < 600:
        if now == 300:
            lease.move("b", now, pause_s)
        lease.advance(now)
        loads.on_scan([lease.row()], now)
        load = loads.of("x")
        if now >= 200 and load is not None:
            known.append(load.kbps)
        now += LOOK_S
    assert known == pytest.approx([10_000 / 1024 / ARRIVES_S] * len(known), rel=0.08)


def test_a_load_that_changes_is_moved_even_at_rest() -> None:
    """A rest is no sleep: when the shards of one worker grow to three times their load, some of them move."""
    fleet = fleet_of(4, 32, 1)
    fleet.play(900)
    fleet.moves.clear()
    for lease in fleet.leases:
        if lease.owner == "w1":
            lease.size *= 3
    fleet.play(300)
    assert fleet.moves
