"""The leader's assignment runs (the KCL's LeaseAssignmentManager, `kcl.md` 3.5): scans in, decisions out.

Expiry is judged only by counters that stand still between scans, by this process's own clock (`kcl.md` fact 4);
hand-off time-outs likewise. The policies weigh; this core keeps what must be remembered from scan to scan, says which
leases are assignable, and turns moves into the two writes a leader makes: initiate a graceful hand-off, or assign.

Everybody looks, and learns what the leases carry (`learn`), so that who comes to lead knows it. A leader looks more
often than it runs: `look` takes in every scan, `run` decides by the last one. Regular runs come
with the KCL's period, and each `balance_every_runs`-th of them balances; while balancing goes on, each does. The others
only assign what must not wait.

A fleet that has been at rest for a while is left at rest until a worker is off by half as much again as what is
evened out while balancing goes on: more is known of loads by the minute, and who lies at the edge of the band would
cross it sooner or later, by chance.

Invariants: a lease whose hand-off is pending and not timed out is never touched unless it expired; a decision carries
the owners as read, which are its write's condition; losing leadership forgets everything (`reset`)
but what the leases carry.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from shardline.common.errors import InvalidInput
from shardline.consumer.fleet.count_policy import decide_by_count
from shardline.consumer.fleet.loads import LeaseLoads, Load
from shardline.consumer.fleet.model import FleetView, LeaseView, Move, ObservedLease, WorkerLoad, actual_owner
from shardline.consumer.fleet.variance_policy import VarianceSettings, decide_by_variance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

__all__ = ["AssignmentManager", "AssignmentSettings", "Decision", "DecisionKind", "Strategy"]

_FAILURES_MAX = 3  # After as many failed runs in a row a leader gives the lock up (`kcl.md` 3.5 step 10).
_REST_AFTER_S = 120.0
"""Without a move or a change of members: as long as it takes to know the loads (`loads`)."""
_AT_REST = 1.5
_IDLE_KBPS = 1.0
"""What a lease weighs that carries nothing: its polls cost about as much as so much data, and a trickle is no load."""


class Strategy(StrEnum):
    """How leases are spread over live workers."""

    WORKER_UTILIZATION_AWARE = "WORKER_UTILIZATION_AWARE"
    LEASE_COUNT_BASED = "LEASE_COUNT_BASED"


class DecisionKind(StrEnum):
    """Which of the leader's two writes to make."""

    HAND_OFF = "hand-off"
    ASSIGN = "assign"


class Decision(NamedTuple):
    """One write of a leader; `lease` is the row as read, whose owners are the condition."""

    kind: DecisionKind
    lease: ObservedLease
    worker_id: str

    @property
    def counts_as_switch(self) -> bool:
        """Say whether `ownerSwitchesSinceCheckpoint` grows (`kcl.md` 2.2)."""
        old = self.lease.lease_owner
        return (old is not None and old != self.worker_id) or self.lease.checkpoint_owner == self.worker_id


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentSettings:
    """Settings of the leader; same defaults as the KCL's; raises `InvalidInput` out of range."""

    failover_s: float = 10.0
    graceful_hand_off: bool = True
    hand_off_timeout_s: float = 30.0
    balance_every_runs: int = 3
    strategy: Strategy = Strategy.WORKER_UTILIZATION_AWARE
    variance: VarianceSettings = field(default_factory=VarianceSettings)

    def __post_init__(self) -> None:
        if not self.failover_s > 0:
            raise InvalidInput("failover_s", "above 0")
        if not self.hand_off_timeout_s > 0:
            raise InvalidInput("hand_off_timeout_s", "above 0")
        if self.balance_every_runs < 1:
            raise InvalidInput("balance_every_runs", "1 or more")


class _Seen(NamedTuple):
    counter: int
    changed_at: float


class _HandOff(NamedTuple):
    owners: tuple[str | None, str | None]
    timeout_at: float


class AssignmentManager:
    """One leader's memory between assignment runs; every look and every run is given a complete scan."""

    def __init__(self, settings: AssignmentSettings, random: Random) -> None:
        self.settings = settings
        self._random = random
        self._loads = LeaseLoads(settings.failover_s)
        at_rest = min(100.0, _AT_REST * settings.variance.rebalance_threshold_percent)
        self._at_rest = replace(settings.variance, rebalance_threshold_percent=at_rest)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next run is a new leader's first."""
        self._seen: dict[str, _Seen] = {}
        self._hand_offs: dict[str, _HandOff] = {}
        self._members: frozenset[str] = frozenset()
        self._stirred_at = -inf
        self._runs = 0
        self._failures = 0
        self._unsettled = False

    def learn(self, leases: Sequence[ObservedLease], now: float) -> None:
        """Take in what the leases carry by a scan made at `now`, whoever leads."""
        self._loads.on_scan(leases, now)

    def look(self, leases: Sequence[ObservedLease], now: float) -> list[ObservedLease]:
        """Take in a scan made at `now`; return the unfinished leases that wait to be assigned."""
        self._observe(leases, now)
        self.learn(leases, now)
        return [lease for lease in leases if not lease.finished and self._assignable(lease, now)]

    def run(
        self,
        leases: Sequence[ObservedLease],
        workers: Sequence[WorkerLoad],
        now: float,
        *,
        rebalance: bool = False,
        regular: bool = True,
    ) -> list[Decision]:
        """Return the writes of this run, for leases as scanned at `now` and the live workers; at most one per lease.

        `rebalance` asks for balancing in this run, whatever its number: the fleet has grown. A run that is not
        `regular` only assigns otherwise.
        """
        self._observe(leases, now)
        self.learn(leases, now)
        self._notice_members(workers, now)
        balance = rebalance or (regular and self._due(workers))
        self._runs += regular
        by_key = {lease.lease_key: lease for lease in leases}
        expired = {lease.lease_key for lease in leases if self._assignable(lease, now)}
        moves = self._decide(self._view(leases, workers, expired, now), now, balance=balance)
        if moves:
            self._stirred_at = now
        if balance:
            self._unsettled = any(move.lease_key not in expired for move in moves)
        return [self._decision(by_key[move.lease_key], move, expired) for move in moves]

    def _notice_members(self, workers: Sequence[WorkerLoad], now: float) -> None:
        members = frozenset(worker.worker_id for worker in workers)
        if members != self._members:
            self._members, self._stirred_at = members, now

    def _due(self, workers: Sequence[WorkerLoad]) -> bool:
        """Say whether a regular run balances: every third, and while it goes on; reported loads lag behind moves."""
        going_on = self._unsettled and not any(worker.metrics for worker in workers)
        return going_on or self._runs % self.settings.balance_every_runs == 0

    def run_ended(self, *, failed: bool) -> bool:
        """Count runs that could not be made or written, in a row; True when leadership must be given up."""
        self._failures = self._failures + 1 if failed else 0
        return self._failures >= _FAILURES_MAX

    def _observe(self, leases: Sequence[ObservedLease], now: float) -> None:
        """Remember when each counter was last seen to change, and until when each hand-off may take."""
        seen: dict[str, _Seen] = {}
        hand_offs: dict[str, _HandOff] = {}
        for lease in leases:
            key, before = lease.lease_key, self._seen.get(lease.lease_key)
            if before is not None and before.counter == lease.lease_counter:
                seen[key] = before
            else:
                seen[key] = _Seen(lease.lease_counter, now)
            if lease.checkpoint_owner is not None:
                owners = (lease.lease_owner, lease.checkpoint_owner)
                pending = self._hand_offs.get(key)
                if pending is None or pending.owners != owners:
                    pending = _HandOff(owners, now + self.settings.hand_off_timeout_s + self.settings.failover_s)
                hand_offs[key] = pending
        self._seen, self._hand_offs = seen, hand_offs

    def _assignable(self, lease: ObservedLease, now: float) -> bool:
        if actual_owner(lease) is None:
            return True
        return now - self._seen[lease.lease_key].changed_at > self.settings.failover_s

    def _blocked(self, lease: ObservedLease, now: float) -> bool:
        """Say whether a pending hand-off still protects the lease."""
        pending = self._hand_offs.get(lease.lease_key)
        return pending is not None and not lease.finished and now < pending.timeout_at

    def _view(
        self, leases: Sequence[ObservedLease], workers: Sequence[WorkerLoad], expired: set[str], now: float
    ) -> FleetView:
        """Weigh the leases; unassigned ones first, then those that have stood still longest."""
        loads = {lease.lease_key: self._loads.of(lease.lease_key) for lease in leases}
        known = [load for load in loads.values() if load is not None]
        usual = Load(sum(load.kbps for load in known) / len(known) if known else 0.0, 0.0)
        ordered = sorted(
            leases,
            key=lambda lease: (
                actual_owner(lease) is not None,
                self._seen[lease.lease_key].changed_at,
                lease.lease_key,
            ),
        )
        views = [
            LeaseView(
                lease.lease_key,
                actual_owner(lease),
                _IDLE_KBPS + (loads[lease.lease_key] or usual).kbps,
                assignable=lease.lease_key in expired,
                movable=not lease.finished and not self._blocked(lease, now),
                handing_off=lease.checkpoint_owner is not None,
                noise=(loads[lease.lease_key] or usual).error,
            )
            for lease in ordered
        ]
        return FleetView(views, workers)

    def _decide(self, view: FleetView, now: float, *, balance: bool) -> list[Move]:
        settings = self.settings
        if settings.strategy is Strategy.LEASE_COUNT_BASED:
            most = settings.variance.leases_per_worker_max
            return decide_by_count(view, leases_per_worker_max=most, balance=balance, random=self._random)
        rests = now - self._stirred_at > _REST_AFTER_S
        variance = self._at_rest if rests else settings.variance
        return decide_by_variance(view, variance, balance=balance, random=self._random)

    def _decision(self, lease: ObservedLease, move: Move, expired: set[str]) -> Decision:
        """Hand off what a live owner is working on; assign everything else directly."""
        graceful = (
            self.settings.graceful_hand_off
            and move.lease_key not in expired
            and not lease.finished
            and lease.checkpoint_owner is None
        )
        return Decision(DecisionKind.HAND_OFF if graceful else DecisionKind.ASSIGN, lease, move.worker_id)
