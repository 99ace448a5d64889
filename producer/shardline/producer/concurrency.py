"""How many requests may be in flight: one number for all streams of a producer, found by trying.

Additive increase while every place is in use and answers come; halved when answers do not come. A stream that fails as
a whole sends one probe at a time, after a back-off: under an outage the calls decay to that (I17).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shardline.common.backoff import Backoff

if TYPE_CHECKING:
    from random import Random

__all__ = ["Gate", "Slots"]

_DECREASE_EVERY_S: Final = 1.0


class Slots:
    """Places for requests in flight, shared by the streams of a producer."""

    __slots__ = ("_decreased_at", "limit", "limit_max", "used")

    def __init__(self, limit_max: int) -> None:
        self.limit_max = limit_max
        self.limit = float(max(1, min(limit_max, 8)))
        self.used = 0
        self._decreased_at = float("-inf")

    @property
    def free(self) -> bool:
        """Whether another request may be sent."""
        return self.used < int(self.limit)

    def take(self) -> None:
        """Note a request that is being sent."""
        self.used += 1

    def give_back(self, now: float, *, answered: bool) -> None:
        """Note that a request has ended, and whether the service answered it."""
        full = self.used >= int(self.limit)
        self.used -= 1
        assert self.used >= 0, "a place was given back twice"
        if not answered:
            if now - self._decreased_at >= _DECREASE_EVERY_S:
                self._decreased_at = now
                self.limit = max(1.0, self.limit / 2)
        elif full:
            self.limit = min(float(self.limit_max), self.limit + 1 / self.limit)

    def __repr__(self) -> str:
        return f"Slots({self.used} of {self.limit:.1f})"


class Gate:
    """Whether a stream may send: open, or one probe after each back-off while its requests fail as a whole."""

    __slots__ = ("_backoff", "_random", "failures", "in_flight", "open_at")

    def __init__(self, random: Random) -> None:
        self._backoff = Backoff(first_s=0.1, max_s=5.0, floor=0.5)
        self._random = random
        self.failures = 0
        self.in_flight = 0
        self.open_at = float("-inf")

    def may_send(self, now: float) -> bool:
        """Say whether a request may be sent now."""
        return now >= self.open_at and (self.failures == 0 or self.in_flight == 0)

    def on_sent(self) -> None:
        """Note a request that is being sent."""
        self.in_flight += 1

    def on_answer(self) -> None:
        """Note that a request was answered, whatever the answer says about single entries."""
        self.in_flight -= 1
        self.failures = 0

    def on_failure(self, now: float) -> None:
        """Note that a request failed as a whole; those already in flight when the first failed count as one with it."""
        self.in_flight -= 1
        if now >= self.open_at:
            self.failures += 1
            self.open_at = now + self._backoff.delay_s(self.failures, self._random)

    def next_wakeup(self, now: float) -> float | None:
        """Return when sending may go on, None if it may now or only an answer can tell."""
        return self.open_at if self.open_at > now else None
