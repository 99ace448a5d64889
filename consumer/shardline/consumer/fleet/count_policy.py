"""Assignment by lease count (the KCL's LEASE_COUNT_BASED, `kcl.md` 3.5): as even as whole leases allow.

Invariants: nobody is given more than the target or `leases_per_worker_max`; a fleet whose counts differ by at most one
is left alone, so repeated runs come to rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.consumer.fleet.model import FleetView, LeaseView, Move

if TYPE_CHECKING:
    from random import Random

__all__ = ["decide_by_count", "target_leases"]


def target_leases(leases: int, workers: int, leases_per_worker_max: int) -> int:
    """Return how many leases a worker should hold: 1 where workers are plenty, else the share rounded up, capped."""
    share = 1 if workers >= leases else -(-leases // workers)
    return min(share, leases_per_worker_max)


def decide_by_count(view: FleetView, *, leases_per_worker_max: int, balance: bool, random: Random) -> list[Move]:
    """Return the moves for one run: assignable leases first, then, if `balance`, surplus to the poorest."""
    if not view.workers:
        return []
    held = _held(view)
    target = target_leases(len(view.leases), len(held), leases_per_worker_max)
    moves = _assign(view, held, target)
    if balance:
        moves += _balance(held, target, random)
    return moves


def _held(view: FleetView) -> dict[str, list[LeaseView]]:
    """Return the leases that stay where they are, by live worker."""
    held: dict[str, list[LeaseView]] = {worker.worker_id: [] for worker in view.workers}
    for lease in view.leases:
        if not lease.assignable and lease.owner in held:
            held[lease.owner].append(lease)
    return held


def _poorest(held: dict[str, list[LeaseView]]) -> str:
    return min(held, key=lambda worker: (len(held[worker]), worker))


def _assign(view: FleetView, held: dict[str, list[LeaseView]], target: int) -> list[Move]:
    """Give each assignable lease to the poorest worker below the target; what is left is spill-over."""
    moves: list[Move] = []
    for lease in view.leases:
        if not lease.assignable:
            continue
        worker = _poorest(held)
        if len(held[worker]) >= target:
            break
        held[worker].append(lease)
        if worker != lease.owner or lease.handing_off:
            moves.append(Move(lease.lease_key, worker))
    return moves


def _balance(held: dict[str, list[LeaseView]], target: int, random: Random) -> list[Move]:
    """Move leases from the richest to the poorest until they differ by at most one."""
    moves: list[Move] = []
    moved: set[str] = set()
    stuck: set[str] = set()
    while True:
        donors = [worker for worker in held if worker not in stuck]
        if not donors:
            return moves
        rich = max(donors, key=lambda worker: (len(held[worker]), worker))
        poor = _poorest(held)
        if len(held[rich]) - len(held[poor]) <= 1 or len(held[poor]) >= target:
            return moves
        candidates = [lease for lease in held[rich] if lease.movable and lease.lease_key not in moved]
        if not candidates:
            stuck.add(rich)
            continue
        lease = random.choice(candidates)
        held[rich].remove(lease)
        held[poor].append(lease)
        moved.add(lease.lease_key)
        moves.append(Move(lease.lease_key, poor))
