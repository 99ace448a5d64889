"""The 2.x leader: no lock, every worker computes the same one (`kcl.md` 3.7).

The sorted distinct lease owners are shuffled as Java's `Collections.shuffle` does with `new Random(1947)`; the first is
leader. While nobody owns a lease, everybody is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["is_shuffle_leader", "java_shuffled"]

_SEED = 1947
_MULTIPLIER = 0x5DEECE66D
_MASK = (1 << 48) - 1


class _JavaRandom:
    """java.util.Random's linear congruential generator, as far as `nextInt(bound)` needs it."""

    def __init__(self, seed: int) -> None:
        self._state = (seed ^ _MULTIPLIER) & _MASK

    def _next31(self) -> int:
        self._state = (self._state * _MULTIPLIER + 0xB) & _MASK
        return self._state >> 17

    def next_int(self, bound: int) -> int:
        """Return a number from 0 to `bound` - 1."""
        if bound & (bound - 1) == 0:
            return (bound * self._next31()) >> 31
        while True:
            drawn = self._next31()
            value = drawn % bound
            if drawn - value + (bound - 1) < 1 << 31:
                return value


def java_shuffled(names: Iterable[str]) -> list[str]:
    """Return `names` sorted by UTF-16 units (Java's String order), then shuffled with seed 1947."""
    order = sorted(names, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    random = _JavaRandom(_SEED)
    for size in range(len(order), 1, -1):
        other = random.next_int(size)
        order[size - 1], order[other] = order[other], order[size - 1]
    return order


def is_shuffle_leader(worker_id: str, lease_owners: Iterable[str | None]) -> bool:
    """Say whether `worker_id` leads among the owners of leases."""
    owners = {owner for owner in lease_owners if owner}
    return not owners or java_shuffled(owners)[0] == worker_id
