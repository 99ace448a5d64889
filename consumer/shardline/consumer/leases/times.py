"""The clockwork of leases: every period derived from the fail-over time (`kcl.md` 3.1), in one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shardline.common.checks import check_number
from shardline.common.errors import InvalidInput

__all__ = ["LeaseTimes"]

_EPSILON_S: Final = 0.025
_MARGIN: Final = 0.05
_FAILOVER_S_MIN: Final = 0.1
_FAILOVER_S_MAX: Final = 86_400
_CALL_TIMEOUT_S_MAX: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """Fail-over time and what follows from it, in seconds; `call_timeout_s` None means a third of it, 3 s at most.

    Raises `InvalidInput` for a fail-over time below 0.1 s or above a day, and for a call time-out of more than a third
    of it: one hung call must not cost a lease.
    """

    failover_s: float = 10.0
    call_timeout_s: float | None = None

    def __post_init__(self) -> None:
        check_number("failover_s", self.failover_s, _FAILOVER_S_MIN, _FAILOVER_S_MAX, "seconds")
        if self.call_timeout_s is None:
            return
        check_number("call_timeout_s", self.call_timeout_s, 0, _FAILOVER_S_MAX, "seconds")
        third = self.failover_s / 3
        if not 0 < self.call_timeout_s <= third:
            allowed = f"above 0 and at most a third of failover_s ({third:g})"
            raise InvalidInput("call_timeout_s", allowed, f"{self.call_timeout_s:g}")

    @property
    def timeout_s(self) -> float:
        """The time budget of one call to the lease table."""
        return min(self.failover_s / 3, _CALL_TIMEOUT_S_MAX) if self.call_timeout_s is None else self.call_timeout_s

    @property
    def renew_s(self) -> float:
        """The time from a renewal's sending to the next one: three writes per lease and fail-over time, no more."""
        return self.failover_s / 3

    @property
    def valid_s(self) -> float:
        """How long after the sending of an applied write its owner may deliver: the fail-over time less a margin."""
        return self.failover_s * (1 - _MARGIN)

    @property
    def retry_s(self) -> float:
        """The first wait after a refused call; it doubles up to a renewal period."""
        return self.failover_s / 100

    @property
    def take_s(self) -> float:
        """The 2.x taker's period."""
        return (self.failover_s + _EPSILON_S) * 2

    @property
    def assign_s(self) -> float:
        """The leader's assignment period: twice the fail-over time."""
        return self.failover_s * 2

    @property
    def discover_s(self) -> float:
        """The period of the index query for leases assigned to us: shorter than a KCL leader's, by half."""
        return self.assign_s / 2
