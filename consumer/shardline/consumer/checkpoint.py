"""How far a shard is done when its records are worked on out of order: the highest position with nothing open below it.

Invariants: positions are opened in ascending order; `done` never moves back, and never covers an open position (I3).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shardline.common.records import Position

__all__ = ["GapTracker"]


class GapTracker:
    """Positions that are open or finished above the first gap; everything below it is forgotten."""

    __slots__ = ("_finished", "_order", "done", "highest_finished")

    def __init__(self) -> None:
        self._order: deque[Position] = deque()
        self._finished: set[Position] = set()
        self.done: Position | None = None
        self.highest_finished: Position | None = None

    def open(self, position: Position) -> None:
        """Take a position that is going to be worked on; each above the one before."""
        last = self._order[-1] if self._order else self.done
        assert last is None or position > last, "positions are opened in order"
        self._order.append(position)

    def finish(self, position: Position) -> None:
        """Take note that an open position is done."""
        self._finished.add(position)
        if self.highest_finished is None or position > self.highest_finished:
            self.highest_finished = position
        while self._order and self._order[0] in self._finished:
            self.done = self._order.popleft()
            self._finished.discard(self.done)

    @property
    def above(self) -> frozenset[Position]:
        """The positions that are finished above the first gap."""
        return frozenset(self._finished)

    def __len__(self) -> int:
        """Return how many positions are kept: open ones, and finished ones above the first gap."""
        return len(self._order)
