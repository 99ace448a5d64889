"""When a leader waits for more workers: those of a new fleet come within seconds of each other.

Whoever assigns the moment the first worker has reported gives him everything, to be handed on lease by lease as the
others come; nine of ten leases of a new application would move twice. So a leader that sees a worker it did not know
looks once more before it assigns, until nobody new has come between two looks.

Invariants: a lease that anybody ever owned, or wrote, is not kept waiting; nothing waits for longer than the fail-over
time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.consumer.fleet.model import actual_owner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.consumer.fleet.model import ObservedLease

__all__ = ["Gathering"]


class Gathering:
    """Remembers who was there; one per tenure of a leader, asked at each of its looks."""

    def __init__(self, failover_s: float) -> None:
        self._failover_s = failover_s
        self._known: frozenset[str] = frozenset()
        self._since: float | None = None
        self._grown = False

    def on_look(self, workers: Iterable[str], now: float) -> None:
        """Take in the workers that may be given leases."""
        known, self._known = self._known, frozenset(workers)
        come = not self._known <= known
        if come and self._since is None:
            self._since = now
        elif not come:
            self._since = None
        self._grown = self._grown or come

    def waits(self, assignable: Iterable[ObservedLease], now: float) -> bool:
        """Say whether the assignable leases, if any, shall wait for the next look."""
        if self._since is None or now - self._since >= self._failover_s:
            return False
        return all(actual_owner(lease) is None and lease.lease_counter == 0 for lease in assignable)

    def take_grown(self) -> bool:
        """Say whether workers have come since this was last asked: the leases are to be spread anew."""
        grown, self._grown = self._grown, False
        return grown
