"""Fencing: what a superseded worker's results may do (nothing), and which tokens handler calls carry.

A handler's result counts only while no other worker owns the lease in the table, no later tenure of the shard has
begun, and nobody has told the handler to stop. What comes later is no processing: a checkpoint over it breaks I3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.local.sim.truth import Lease

__all__ = ["INVARIANTS", "Tokens"]

INVARIANTS: Final = {
    "P5": "A lease's counter never goes back, and each new owner gets a higher fencing token than all before him.",
}


class _Highest(NamedTuple):
    token: int
    worker: str


class Tokens:
    """The fencing tokens of one world; `violate` takes invariant, place and what happened."""

    def __init__(self, violate: Callable[[str, str, str], None]) -> None:
        self._violate = violate
        self._highest: dict[tuple[str, int], _Highest] = {}  # By shard and life of its row.

    def changed(self, lease: Lease, new_owner: str | None, counter: int) -> None:
        """Judge a worker's write on a row, before the row is taken for changed: its counter, and whose it is now."""
        if counter < lease.counter:
            self._violate("P5", lease.key, f"its counter went back from {lease.counter} to {counter}")
        elif counter == lease.counter and new_owner not in {None, lease.owner}:
            self._violate("P5", lease.key, f"{new_owner} owns it under {lease.owner}'s counter {counter}")

    def began(self, lease: Lease | None, shard_id: str, worker: str, token: int) -> None:
        """Judge the first delivery under a token, among those of its life of the row: a new row counts anew."""
        place = shard_id, _life(lease, worker)
        highest = self._highest.get(place)
        superseded = lease is not None and lease.superseded(worker) is not None
        if highest is not None and token <= highest.token and not superseded:
            what = f"{worker} delivers under token {token}, {highest.worker} did under {highest.token}"
            self._violate("P5", shard_id, what)
        if highest is None or token > highest.token:
            self._highest[place] = _Highest(token, worker)

    def is_late(self, lease: Lease | None, shard_id: str, worker: str, token: int) -> bool:
        """Say whether a result comes from a superseded handler: it counts for nothing."""
        highest = self._highest.get((shard_id, _life(lease, worker)))
        if highest is not None and token < highest.token:
            return True
        return lease is not None and lease.owner not in {None, worker}


def _life(lease: Lease | None, worker: str) -> int:
    """Return the life of the row in which a worker has, or had, the lease."""
    return 0 if lease is None else lease.life_of(worker)
