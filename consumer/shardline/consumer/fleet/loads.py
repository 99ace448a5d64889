"""What a lease weighs, as a leader knows it: its throughput averaged over two minutes, and how far to trust that.

A row's `throughputKBps` is the rate of the last few seconds. A leader that weighs by it sees leases of uneven shards
out of balance again and again by mere chance, and moves them for ever (`reliability.md` I12). So it averages what it
sees over blocks of time that are longer than the bursts, and judges by how blocks differ how wrong their average may
be.

Invariants: a lease that was seen for a short time is trusted little; one whose rate stands still is trusted wholly in
the end; nothing older than some minutes counts.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.consumer.fleet.model import ObservedLease

__all__ = ["LeaseLoads", "Load"]

_BLOCK_S: Final = 20.0
_SHARE_MIN: Final = 1 / 6
"""The newest block's share in the average, once there are as many."""
_DOUBT: Final = 0.5
"""The relative error granted to what was seen for less than a block; it shrinks with their number."""


class Load(NamedTuple):
    """A lease's throughput in KiB/s and the standard error of that figure."""

    kbps: float
    error: float


class _Known(NamedTuple):
    blocks: int
    mean: float
    variance: float
    began: float
    total: float
    looks: int


class LeaseLoads:
    """The throughput of every lease in the table, by key; a lease that leaves the table is forgotten."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._at = float("-inf")

    def on_scan(self, leases: Iterable[ObservedLease], now: float) -> None:
        """Take in the rates of a scan made at `now`; a row without one keeps what is known."""
        if now <= self._at:
            return
        self._at = now
        known: dict[str, _Known] = {}
        for lease in leases:
            before, rate = self._known.get(lease.lease_key), lease.throughput_kbps
            if rate is not None:
                known[lease.lease_key] = _seen(before or _Known(0, 0.0, 0.0, now, 0.0, 0), rate, now)
            elif before is not None:
                known[lease.lease_key] = before
        self._known = known

    def of(self, key: str) -> Load | None:
        """Return what is known of a lease; None if no rate of it was ever seen."""
        known = self._known.get(key)
        if known is None:
            return None
        if known.blocks == 0:
            mean = known.total / known.looks
            return Load(mean, _DOUBT * mean)
        independent = min(known.blocks, 2 / _SHARE_MIN - 1)
        return Load(known.mean, sqrt(known.variance / independent + (_DOUBT * known.mean / (1 + independent)) ** 2))


def _seen(known: _Known, rate: float, now: float) -> _Known:
    known = known._replace(total=known.total + rate, looks=known.looks + 1)
    if now - known.began < _BLOCK_S:
        return known
    blocks = known.blocks + 1
    share = max(_SHARE_MIN, 1 / blocks)
    off = known.total / known.looks - known.mean
    mean, variance = known.mean + share * off, (1 - share) * (known.variance + share * off * off)
    return _Known(blocks, mean, variance, now, 0.0, 0)
