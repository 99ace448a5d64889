"""A token bucket as a pure value of time: `(now, amount) -> wait`; large amounts run up a debt instead of blocking.

Invariants: over any span of t seconds at most `rate_per_s` x (t + 1 us) + `capacity` + one amount leaves the bucket;
who waits `wait_s` may then take, whatever rounding does.
"""

from __future__ import annotations

from math import isfinite, ulp

from shardline.common.errors import InvalidInput

__all__ = ["TokenBucket"]

# A shorter wait is none. Added to a large `now` it would be rounded away, and its caller would spin without ever
# reaching the moment (for ever, where time is virtual); what is taken early is owed, so it does not add up.
_WAIT_S_MIN = 1e-6


class TokenBucket:
    """Tokens that refill at `rate_per_s` up to `capacity`; starts full."""

    __slots__ = ("_at", "_level", "capacity", "rate_per_s")

    def __init__(self, rate_per_s: float, capacity: float, now: float) -> None:
        if not (isfinite(rate_per_s) and rate_per_s > 0):
            raise InvalidInput("rate_per_s", "a finite number above 0")
        if not (isfinite(capacity) and capacity > 0):
            raise InvalidInput("capacity", "a finite number above 0")
        self.rate_per_s = rate_per_s
        self.capacity = capacity
        self._level = capacity
        self._at = now

    def level(self, now: float) -> float:
        """Return the tokens at `now`; negative while a debt is being paid off."""
        level = self._level + (now - self._at) * self.rate_per_s if now > self._at else self._level
        return min(self.capacity, level)

    def wait_s(self, now: float, amount: float) -> float:
        """Return the seconds until `amount` may be taken: 0 when it may now.

        An amount above the capacity may be taken when the bucket is full, and drives it into debt.
        """
        missing = min(amount, self.capacity) - self.level(now)
        if missing <= 0:
            return 0.0
        wait = missing / self.rate_per_s
        # What the clock or the level cannot express would never be waited off.
        unseen = 4 * max(ulp(now), ulp(self._level) / self.rate_per_s)
        return wait if wait >= max(_WAIT_S_MIN, unseen) else 0.0

    def take(self, now: float, amount: float) -> None:
        """Take `amount`, into debt if need be; ask `wait_s` first where the rate must hold."""
        self._level = self.level(now) - amount
        self._at = max(now, self._at)

    def try_take(self, now: float, amount: float) -> bool:
        """Take `amount` if `wait_s` is 0 and say whether it was taken."""
        if self.wait_s(now, amount) > 0:
            return False
        self.take(now, amount)
        return True

    def set_rate(self, now: float, rate_per_s: float) -> None:
        """Change the refill rate from `now` on; what was earned at the old rate is kept."""
        if not (isfinite(rate_per_s) and rate_per_s > 0):
            raise InvalidInput("rate_per_s", "a finite number above 0")
        self._level = self.level(now)
        self._at = max(now, self._at)
        self.rate_per_s = rate_per_s

    def __repr__(self) -> str:
        return f"TokenBucket(rate_per_s={self.rate_per_s:g}, capacity={self.capacity:g}, level={self._level:g})"
