"""What one shard may take: two token buckets, slowed by throttles, recovering; large records run up a debt of theirs.

Additive increase, multiplicative decrease: a throttle takes the rate down (once per half second, however many entries
of a request were throttled), time brings it back. Large packages (above 1 MiB, what the service calls large) have their
own bucket, so that a 10 MiB record neither waits for an empty shard nor holds up the small ones behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shardline.common.backoff import Backoff
from shardline.common.bucket import TokenBucket
from shardline.common.limits import (
    RECORD_BYTES_MAX_DEFAULT,
    SHARD_WRITE_BYTES_PER_S,
    SHARD_WRITE_RECORDS_PER_S,
)

if TYPE_CHECKING:
    from random import Random

__all__ = ["ShardLimiter"]

_DECREASE: Final = 0.7
_DECREASE_EVERY_S: Final = 0.5
_RECOVERY_PER_S: Final = 0.05  # Of the full rate.
_FACTOR_MIN: Final = 0.02
_BURST_S: Final = 0.25
"""What an idle shard may get at once, in seconds of its rate: little, for several producers may wake together."""


class ShardLimiter:
    """The limiter of one shard for this producer's `share` of it."""

    __slots__ = (
        "_backoff",
        "_bytes",
        "_decreased_at",
        "_factor",
        "_factor_at",
        "_large",
        "_records",
        "_share",
        "failures",
        "large_bytes",
        "paused_until",
    )

    def __init__(self, share: float, now: float) -> None:
        self._share = share
        self._factor = 1.0
        self._factor_at = now
        self._decreased_at = float("-inf")
        rate = SHARD_WRITE_BYTES_PER_S * share
        self._bytes = TokenBucket(rate, max(rate * _BURST_S, 1.0), now)
        self._records = TokenBucket(
            SHARD_WRITE_RECORDS_PER_S * share, max(SHARD_WRITE_RECORDS_PER_S * share * _BURST_S, 1.0), now
        )
        self._large = TokenBucket(rate, float(RECORD_BYTES_MAX_DEFAULT), now)
        self.large_bytes = max(self._bytes.capacity, RECORD_BYTES_MAX_DEFAULT)
        """Packages above this size use the bucket for large ones."""
        self._backoff = Backoff(first_s=0.1, max_s=2.0, floor=0.5)
        self.failures = 0
        self.paused_until = now

    @property
    def factor(self) -> float:
        """The part of the rate that throttles have left, 1.0 when none came lately."""
        return self._factor

    def wait_s(self, now: float, size: int) -> float:
        """Return the seconds until a package of `size` bytes may be sent: 0 when it may now."""
        paused = self.paused_until - now
        if size > self.large_bytes:
            # In debt, or not: the debt is what keeps two large ones apart.
            wait = max(-self._large.level(now) / self._large.rate_per_s, self._records.wait_s(now, 1))
        else:
            wait = max(self._bytes.wait_s(now, size), self._records.wait_s(now, 1))
        return max(paused, wait, 0.0)

    def take(self, now: float, size: int) -> None:
        """Count a package that is being sent."""
        self._recover(now)
        (self._large if size > self.large_bytes else self._bytes).take(now, size)
        self._records.take(now, 1)

    def give_back(self, now: float, size: int) -> None:
        """Undo `take`: the package was not sent after all."""
        (self._large if size > self.large_bytes else self._bytes).take(now, -size)
        self._records.take(now, -1)

    def on_throttle(self, now: float, random: Random) -> None:
        """Slow down, and pause: the service throttled an entry of this shard."""
        self._recover(now)
        if now - self._decreased_at >= _DECREASE_EVERY_S:
            self._decreased_at = now
            self.failures += 1
            self._set_factor(now, max(_FACTOR_MIN, self._factor * _DECREASE))
        self._pause(now, random)

    def on_failure(self, now: float, random: Random) -> None:
        """Pause: an entry of this shard failed inside the service."""
        if now >= self.paused_until:
            self.failures += 1
        self._pause(now, random)

    def on_success(self) -> None:
        """Forget the failures in a row."""
        self.failures = 0

    def _pause(self, now: float, random: Random) -> None:
        if now >= self.paused_until:
            self.paused_until = now + self._backoff.delay_s(max(1, self.failures), random)

    def _recover(self, now: float) -> None:
        if self._factor < 1.0:
            self._set_factor(now, min(1.0, self._factor + (now - self._factor_at) * _RECOVERY_PER_S))
        self._factor_at = now

    def _set_factor(self, now: float, factor: float) -> None:
        self._factor = factor
        self._factor_at = now
        self._bytes.set_rate(now, SHARD_WRITE_BYTES_PER_S * self._share * factor)
        self._records.set_rate(now, SHARD_WRITE_RECORDS_PER_S * self._share * factor)

    def __repr__(self) -> str:
        return f"ShardLimiter(factor={self._factor:.2f}, failures={self.failures})"
