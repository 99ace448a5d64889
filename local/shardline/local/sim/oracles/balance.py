"""Balance: a fleet whose members do not change comes to rest, and then holds its leases evenly."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.local.sim.judge import Judge

__all__ = ["INVARIANTS", "Balance"]

INVARIANTS: Final = {
    "I12": "Once membership has settled no lease moves any more, and where leases are counted holdings differ by one.",
}


class Balance:
    """Judges a quiet stretch of time: call `begin`, and `end` when it is over."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._moves: dict[str, int] = {}

    def begin(self) -> None:
        """Note how often each lease has moved until now."""
        self._moves = {lease.key: lease.moves for lease in self._judge.leases.values() if self._counts(lease.key)}

    def _counts(self, key: str) -> bool:
        lease = self._judge.leases[key]
        return lease.present and not lease.ended

    def end(self, living: Iterable[str], *, by_count: bool) -> None:
        """Judge the time since `begin`: moves, and who of the living holds how many."""
        self._judge.reached["quiet time judged"] += 1
        held = Counter(dict.fromkeys(living, 0))
        for key, before in self._moves.items():
            lease = self._judge.leases[key]
            if not self._counts(key):
                continue
            if lease.moves != before:
                what = f"moved {lease.moves - before} times, to {lease.owner}, while nothing changed"
                self._judge.violate("I12", key, what)
            if lease.owner is not None and lease.owner in held:
                held[lease.owner] += 1
        if by_count and held and max(held.values()) - min(held.values()) > 1:
            self._judge.violate("I12", "fleet", f"holds {sorted(held.values())} leases")
