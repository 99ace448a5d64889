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
        self._highest: dict[str, _Highest] = {}

    def changed(self, lease: Lease, new_owner: str | None, counter: int) -> None:
        """Judge a worker's write on a row, before the row is taken for changed: its counter, and whose it is now."""
        if counter < lease.counter:
            self._violate("P5", lease.key, f"its counter went back from {lease.counter} to {counter}")
        elif counter == lease.counter and new_owner not in {None, lease.owner}:
            self._violate("P5", lease.key, f"{new_owner} owns it under {lease.owner}'s counter {counter}")

    def deleted(self, lease: Lease) -> None:
        """Note that the row is gone: a new one counts from its own beginning."""
        self._highest.pop(lease.key, None)

    def began(self, lease: Lease | None, shard_id: str, worker: str, token: int) -> None:
        """Judge the first delivery under a token; an earlier life of the row says nothing of the present one."""
        if lease is not None and (not lease.present or lease.life_of(worker) != lease.lives):
            return
        highest = self._highest.get(shard_id)
        superseded = lease is not None and lease.superseded(worker) is not None
        if highest is not None and token <= highest.token and not superseded:
            what = f"{worker} delivers under token {token}, {highest.worker} did under {highest.token}"
            self._violate("P5", shard_id, what)
        if highest is None or token > highest.token:
            self._highest[shard_id] = _Highest(token, worker)

    def is_late(self, lease: Lease | None, shard_id: str, worker: str, token: int) -> bool:
        """Say whether a result comes from a superseded handler: it counts for nothing."""
        highest = self._highest.get(shard_id)
        if highest is not None and token < highest.token:
            return True
        return lease is not None and lease.owner not in {None, worker}
