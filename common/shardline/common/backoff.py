"""Back-off as a value: exponential with full jitter, bounded; chance is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from shardline.common.errors import InvalidInput

if TYPE_CHECKING:
    from random import Random

__all__ = ["Backoff"]

_EXPONENT_MAX = 62  # Beyond it the power is far above any cap; keeps huge attempt counts finite.


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits that double from `first_s` up to `max_s`, each drawn from [`floor` x, 1 x] of the step (full jitter at 0).

    Raises `InvalidInput` on construction for values that are not finite or out of order.
    """

    first_s: float = 0.1
    max_s: float = 10.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not (isfinite(self.first_s) and self.first_s > 0):
            raise InvalidInput("first_s", "a finite number of seconds above 0")
        if not (isfinite(self.max_s) and self.max_s >= self.first_s):
            raise InvalidInput("max_s", "a finite number of seconds not below first_s")
        if not 0 <= self.floor <= 1:
            raise InvalidInput("floor", "from 0 to 1")

    def delay_s(self, attempt: int, random: Random) -> float:
        """Return the wait in seconds before attempt number `attempt` + 1, where `attempt` counts failures from 1."""
        step = min(self.max_s, self.first_s * 2.0 ** min(max(attempt, 1) - 1, _EXPONENT_MAX))
        return step * (self.floor + (1.0 - self.floor) * random.random())
