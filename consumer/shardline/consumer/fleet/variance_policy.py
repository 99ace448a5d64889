"""Assignment by utilisation and throughput (the KCL's WORKER_UTILIZATION_AWARE, `kcl.md` 3.5), as a pure policy.

Each worker is placed by how far its metrics lie below the fleet's average; a lease given to it raises them by the
lease's share of the average load. Three departures from the KCL, all compatible on the table: a fleet whose leases
carry no throughput at all is weighed by lease count (the KCL computes with NaN); ties go to the worker with less
assigned (the KCL lets an idle fleet pile everything on one); and where throughput is weighed, a worker that is hot by
leases too heavy for anybody to stay below the average with still gives them away, as long as who receives is clearly
cooler afterwards than who gave was before (the KCL leaves them there, at twice the average load, for ever). Leases at
their end are not moved between live workers.

Loads are measured, so they scatter; a worker is out of balance only where it lies outside the band by more than three
times the standard error of its load, or leases of uneven shards would move for ever.

Invariants: only live workers receive; nobody is given a lease above `leases_per_worker_max` or `throughput_kbps_max`;
balancing never lifts a receiver above its operating limit, nor to more than both the fleet's average and what the donor
carried, so that each move evens the fleet out and repeated runs come to rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf, sqrt
from typing import TYPE_CHECKING, NamedTuple

from shardline.common.errors import InvalidInput
from shardline.consumer.fleet.model import FleetView, LeaseView, Move, WorkerLoad

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

__all__ = ["VarianceSettings", "decide_by_variance"]

_PERCENT = 100.0
_THROUGHPUT = "T"  # The KCL's short name for the synthetic metric of workers that report none.
_GAIN = 0.25
"""How far below the donor's present load a receiver must stay, in parts of what moves: a move has to be worth it."""
_SURE = 3.0  # Standard errors beyond which a difference is no chance: fewer than two false alarms in a thousand.


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceSettings:
    """The KCL's WorkerUtilizationAwareAssignmentConfig, same defaults; raises `InvalidInput` out of range."""

    leases_per_worker_max: int = 2**31 - 1
    throughput_kbps_max: float = inf
    rebalance_threshold_percent: float = 10.0
    dampening_percent: float = 60.0
    allow_overshoot: bool = True

    def __post_init__(self) -> None:
        if self.leases_per_worker_max < 1:
            raise InvalidInput("leases_per_worker_max", "1 or more")
        if not self.throughput_kbps_max > 0:
            raise InvalidInput("throughput_kbps_max", "above 0")
        if not 0 <= self.rebalance_threshold_percent <= _PERCENT:
            raise InvalidInput("rebalance_threshold_percent", "from 0 to 100")
        if not 0 < self.dampening_percent <= _PERCENT:
            raise InvalidInput("dampening_percent", "above 0 and up to 100")


@dataclass(slots=True)
class _Worker:
    """A live worker while a run is being decided: metrics grow as leases are given to it."""

    worker_id: str
    metrics: dict[str, float]
    limits: dict[str, float]
    noise: dict[str, float]
    assigned: float = 0.0
    leases: list[LeaseView] = field(default_factory=list[LeaseView])


class _Fleet(NamedTuple):
    """The figures of one run: `average` by metric, load that one unit of weight adds is `average / target_weight`."""

    workers: dict[str, _Worker]
    average: dict[str, float]
    target_weight: float
    target_leases: float
    settings: VarianceSettings

    def room(self, worker: _Worker) -> float:
        """Return how far the worker lies below the average, as a fraction of its own value; 1 where that is 0."""
        return min(
            ((self.average[name] - value) / value if value > 0 else 1.0 for name, value in worker.metrics.items()),
            default=1.0,
        )

    def may_take(self, worker: _Worker) -> bool:
        """Say whether the limits per worker leave room for another lease."""
        return (
            len(worker.leases) < self.settings.leases_per_worker_max
            and worker.assigned <= self.settings.throughput_kbps_max
        )

    def after(self, worker: _Worker, lease: LeaseView) -> dict[str, float]:
        """Return the worker's metrics once it also carries `lease`."""
        share = lease.weight / self.target_weight if lease.weight > 0 else 1.0 / self.target_leases
        return {name: value + self.average[name] * share for name, value in worker.metrics.items()}

    def take(self, worker: _Worker, lease: LeaseView) -> None:
        """Account `lease` off `worker`."""
        grown = self.after(worker, lease)
        worker.metrics = {name: max(0.0, 2 * value - grown[name]) for name, value in worker.metrics.items()}
        worker.assigned -= lease.weight
        worker.leases.remove(lease)

    def give(self, worker: _Worker, lease: LeaseView) -> None:
        """Account `lease` to `worker`."""
        worker.metrics = self.after(worker, lease)
        worker.assigned += lease.weight
        worker.leases.append(lease)


class _Queue:
    """Candidates, the one with most room first; ties by less assigned, then fewer leases, then id."""

    def __init__(self, fleet: _Fleet) -> None:
        self._fleet = fleet
        self._heap = [self._entry(w) for w in fleet.workers.values() if fleet.may_take(w)]
        heapify(self._heap)

    def _entry(self, worker: _Worker) -> tuple[float, float, int, str]:
        return (-self._fleet.room(worker), worker.assigned, len(worker.leases), worker.worker_id)

    def pop(self) -> _Worker | None:
        """Take the best candidate out, or return None."""
        return self._fleet.workers[heappop(self._heap)[3]] if self._heap else None

    def put_back(self, worker: _Worker) -> None:
        """Let a worker be a candidate again while the limits leave it room."""
        if self._fleet.may_take(worker):
            heappush(self._heap, self._entry(worker))


def decide_by_variance(view: FleetView, settings: VarianceSettings, *, balance: bool, random: Random) -> list[Move]:
    """Return the moves for one run: assignable leases first, then, if `balance`, from hot workers to cool ones."""
    if not view.workers:
        return []
    leases = view.leases
    if not any(lease.weight > 0 for lease in leases):
        leases = [lease._replace(weight=1.0) for lease in leases]
    fleet = _figures(leases, view.workers, settings)
    moves = _assign(leases, fleet)
    if balance:
        moves += _balance(fleet, {move.lease_key for move in moves}, random)
    return moves


def _figures(leases: Sequence[LeaseView], loads: Sequence[WorkerLoad], settings: VarianceSettings) -> _Fleet:
    """Compute averages and each worker's load; workers without metrics get the synthetic throughput metric."""
    workers = {
        load.worker_id: _Worker(load.worker_id, dict(load.metrics), dict(load.limits), dict(load.noise))
        for load in loads
    }
    staying = [lease for lease in leases if not lease.assignable and lease.owner in workers]
    for lease in staying:
        owner = workers[lease.owner or ""]
        owner.assigned += lease.weight
        owner.leases.append(lease)
    total = sum(lease.weight for lease in leases)
    target_weight = max(total / len(workers), 1e-9)
    for worker in workers.values():
        if not worker.metrics:
            worker.metrics = {_THROUGHPUT: _PERCENT * worker.assigned / target_weight}
            worker.limits = {_THROUGHPUT: inf}
            scatter = sqrt(sum(lease.noise**2 for lease in worker.leases))
            worker.noise = {_THROUGHPUT: _PERCENT * scatter / target_weight}
    average = _averages(workers.values())
    if _THROUGHPUT in average:  # What is still to be assigned counts: the goal is the even share, not the present mean.
        average[_THROUGHPUT] += (
            _PERCENT * (total - sum(lease.weight for lease in staying)) / (target_weight * len(workers))
        )
    return _Fleet(workers, average, target_weight, max(1.0, len(leases) / len(workers)), settings)


def _averages(workers: Iterable[_Worker]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for worker in workers:
        for name, value in worker.metrics.items():
            values.setdefault(name, []).append(value)
    return {name: sum(of) / len(of) for name, of in values.items()}


def _assign(leases: Iterable[LeaseView], fleet: _Fleet) -> list[Move]:
    """Give each assignable lease to the worker with most room; what nobody may take is spill-over."""
    moves: list[Move] = []
    queue = _Queue(fleet)
    for lease in leases:
        if not lease.assignable:
            continue
        worker = queue.pop()
        if worker is None:
            break
        fleet.give(worker, lease)
        if worker.worker_id != lease.owner or lease.handing_off:
            moves.append(Move(lease.lease_key, worker.worker_id))
        queue.put_back(worker)
    return moves


def _balance(fleet: _Fleet, moved: set[str], random: Random) -> list[Move]:
    """Take load from the donors of the metric that is most out of balance and give it to the coolest workers."""
    plans = [plan for name in sorted(fleet.average) if (plan := _plan(fleet, name))]
    if not plans:
        return []
    moves: list[Move] = []
    for worker_id, amount in max(plans, key=lambda plan: sum(plan.values())).items():
        donor = fleet.workers[worker_id]
        queue = _Queue(fleet)
        for lease in _choose(donor, amount, moved, fleet.settings, random):
            receiver = _receiver(fleet, queue, lease, donor)
            if receiver is None:
                continue  # A lighter one may fit.
            fleet.take(donor, lease)
            fleet.give(receiver, lease)
            queue.put_back(receiver)
            moved.add(lease.lease_key)
            moves.append(Move(lease.lease_key, receiver.worker_id))
    return moves


def _plan(fleet: _Fleet, name: str) -> dict[str, float]:
    """Return how much throughput each donor shall give away for one metric; empty where it is in balance."""
    average = fleet.average[name]
    band = fleet.settings.rebalance_threshold_percent / _PERCENT
    with_metric = [w for w in fleet.workers.values() if name in w.metrics]
    too_hot = [w for w in with_metric if w.metrics[name] > w.limits.get(name, inf)]
    high = [w for w in with_metric if _least(w, name) >= average * (1 + band)]
    low = any(_most(w, name) < average * (1 - band) for w in with_metric)
    if not (too_hot or low or any(_least(w, name) > average * (1 + band) for w in high)):
        return {}
    donors = [w for w in with_metric if w in high or w in too_hot]
    if low:  # Everybody above the average helps out, where a KCL asks one worker a minute for one lease.
        donors = [w for w in with_metric if w.metrics[name] > average or w in too_hot]
    share = fleet.settings.dampening_percent / _PERCENT
    return {
        w.worker_id: w.assigned * max(0.0, (w.metrics[name] - average) / w.metrics[name]) * share
        for w in sorted(donors, key=lambda w: (-w.metrics[name], w.worker_id))
        if w.metrics[name] > 0
    }


def _least(worker: _Worker, name: str) -> float:
    """Return what the worker's metric is at least, chance left out."""
    return worker.metrics[name] - _SURE * worker.noise.get(name, 0.0)


def _most(worker: _Worker, name: str) -> float:
    """Return what the worker's metric is at most."""
    return worker.metrics[name] + _SURE * worker.noise.get(name, 0.0)


def _choose(
    donor: _Worker, amount: float, moved: set[str], settings: VarianceSettings, random: Random
) -> list[LeaseView]:
    """Return leases of the donor whose weights fit in `amount`; the lightest where none fits and that is allowed."""
    movable = [lease for lease in donor.leases if lease.movable and lease.lease_key not in moved]
    if not movable:
        return []
    random.shuffle(movable)
    if donor.assigned <= 0:
        return movable[:1]
    chosen: list[LeaseView] = []
    for lease in movable:
        if amount - lease.weight > 0:
            amount -= lease.weight
            chosen.append(lease)
    if not chosen and settings.allow_overshoot:
        chosen = [min(movable, key=lambda lease: lease.weight)]
    return chosen


def _receiver(fleet: _Fleet, queue: _Queue, lease: LeaseView, donor: _Worker) -> _Worker | None:
    """Take the coolest worker out of the queue if it may have `lease`; else leave it there and return None."""
    receiver = queue.pop()
    if receiver is None:
        return None
    if receiver is not donor and _fits(fleet, receiver, lease, donor):
        return receiver
    queue.put_back(receiver)
    return None


def _fits(fleet: _Fleet, receiver: _Worker, lease: LeaseView, donor: _Worker) -> bool:
    """Say whether a worker stays within its limits with `lease`, and below the average or clearly below the donor.

    The latter only where throughput is weighed, which moves with a lease: what a lease does to a processor is guessed,
    and leases that move by guesses above the average may move back and forth for ever.
    """
    most = {name: average * (1 + 1e-9) for name, average in fleet.average.items()}
    if _THROUGHPUT in donor.metrics:
        carried = donor.metrics[_THROUGHPUT]
        clearly = carried - _GAIN * (fleet.after(donor, lease)[_THROUGHPUT] - carried)
        most[_THROUGHPUT] = max(most[_THROUGHPUT], clearly)
    grown = fleet.after(receiver, lease).items()
    return all(value <= most[name] and value <= receiver.limits.get(name, inf) for name, value in grown)
