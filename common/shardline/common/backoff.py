"""Back-off as a value: exponential with full jitter, bounded; chance is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shardline.common.checks import check_number

if TYPE_CHECKING:
    from random import Random

__all__ = ["Backoff"]

_FIRST_S_MIN = 1e-6
_MAX_S = 1e9
_EXPONENT_MAX = 62  # Beyond it the power is far above any cap; keeps huge attempt counts finite.


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits that double from `first_s` up to `max_s`, each drawn from [`floor` x, 1 x] of the step (full jitter at 0).

    Raises `InvalidInput` on construction for values out of range or out of order.
    """

    first_s: float = 0.1
    max_s: float = 10.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        check_number("first_s", self.first_s, _FIRST_S_MIN, _MAX_S, "seconds")
        check_number("max_s", self.max_s, self.first_s, _MAX_S, "seconds, first_s and more")
        check_number("floor", self.floor, 0, 1)

    def delay_s(self, attempt: int, random: Random) -> float:
        """Return the wait in seconds before attempt number `attempt` + 1, where `attempt` counts failures from 1."""
        step = min(self.max_s, self.first_s * 2.0 ** min(max(attempt, 1) - 1, _EXPONENT_MAX))
        return step * (self.floor + (1.0 - self.floor) * random.random())
