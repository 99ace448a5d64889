"""How far a shard's handler is behind the head of its stream: what the service said, and how old that is.

MillisBehindLatest speaks of the page that was read last. It says nothing of pages that wait for the handler, nor of
what came since nobody reads any more (a pause, a stuck handler); both are added here. Invariant: while nothing is read
or handled, the lag grows with time.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Lag"]

_SILENCE_S: Final = 10.0
"""So long after a page, at most, a shard that is being read gets another one; what is older is counted as lag."""


class Lag:
    """One shard's lag."""

    __slots__ = ("_last", "_waiting")

    def __init__(self) -> None:
        self._last: tuple[float, int] | None = None
        self._waiting: deque[tuple[float, int]] = deque()

    def on_page(self, millis_behind_latest: int | None, now: float, *, waits: bool) -> None:
        """Take a page; `waits` says that it has records for the handler."""
        if millis_behind_latest is not None:
            self._last = (now, millis_behind_latest)
        if waits:
            self._waiting.append((now, millis_behind_latest or 0))

    def on_consumed(self) -> None:
        """Take that the handler is done with the oldest page that waited."""
        if self._waiting:
            self._waiting.popleft()

    def forget_waiting(self) -> None:
        """Take that what waited was dropped."""
        self._waiting.clear()

    def ms(self, now: float) -> int | None:
        """Return the lag in milliseconds; None before the first page."""
        lags: list[float] = []
        if self._last is not None:
            at, behind = self._last
            lags.append(behind + 1000 * max(0.0, now - at - _SILENCE_S))
        if self._waiting:
            at, behind = self._waiting[0]
            lags.append(behind + 1000 * (now - at))
        return round(max(lags)) if lags else None
