"""`throughputKBps` as the KCL measures it (`kcl.md` 3.2): an EMA of the bytes given to the handler per renewal."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Final

__all__ = ["ThroughputMeter"]

_ALPHA: Final = 0.5
_KIB: Final = 1024
_SIX_DECIMALS: Final = Decimal("0.000001")


class ThroughputMeter:
    """Counts bytes and gives KiB/s at each renewal; None until something was counted or a value was inherited."""

    __slots__ = ("_average", "_bytes", "_since")

    def __init__(self, now: float, inherited_kbps: float | None = None) -> None:
        self._average = inherited_kbps
        self._bytes = 0
        self._since = now

    def add(self, size: int) -> None:
        """Count bytes that are about to be handed to the handler."""
        self._bytes += size

    def sample(self, now: float) -> float | None:
        """Return the smoothed KiB/s to write with a renewal at `now`, and begin a new period."""
        period = now - self._since
        if period <= 0:
            return None if self._average is None else _rounded(self._average)
        if self._average is None and self._bytes == 0:
            self._since = now
            return None
        rate = self._bytes / _KIB / period
        self._average = rate if self._average is None else _ALPHA * rate + (1 - _ALPHA) * self._average
        self._bytes = 0
        self._since = now
        return _rounded(self._average)


def _rounded(value: float) -> float:
    return float(Decimal(value).quantize(_SIX_DECIMALS, rounding=ROUND_HALF_UP))
