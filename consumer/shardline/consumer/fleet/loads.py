"""What a lease weighs, as a leader knows it: its throughput averaged over two minutes, and how far to trust that.

A row's `throughputKBps` is the rate of the last few seconds. A leader that weighs by it sees leases of uneven shards
out of balance again and again by mere chance, and moves them for ever (`reliability.md` I12). So it averages what it
sees over blocks of time that are longer than the bursts, and judges by how blocks differ how wrong their average may
be.

Each renewal counts once, however often somebody looks: else looks that beat with the renewals see some rates twice, and
a row that nobody renews tells its last one for ever. A shard that nobody read for a while is caught up with afterwards:
its rate is then no load, but what had gathered, and nothing is learnt of a lease until its owner has settled.

Invariants: a lease that was seen for a short time is trusted little; one whose rate stands still is trusted wholly in
the end; nothing older than some minutes counts; a pause and what follows it change no known load.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from shardline.consumer.fleet.model import actual_owner

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


class _Tenure(NamedTuple):
    owner: str | None
    counter: int
    changed_at: float
    settled_at: float


class LeaseLoads:
    """The throughput of every lease in the table, by key; a lease that leaves the table is forgotten.

    An owner settles in twice the fail-over time: the rate in a row averages over some renewals.
    """

    def __init__(self, failover_s: float = 10.0) -> None:
        self._failover_s = failover_s
        self._known: dict[str, _Known] = {}
        self._tenures: dict[str, _Tenure] = {}
        self._at = float("-inf")

    def on_scan(self, leases: Iterable[ObservedLease], now: float) -> None:
        """Take in the rates of a scan made at `now`; a row without one keeps what is known."""
        if now <= self._at:
            return
        self._at = now
        known: dict[str, _Known] = {}
        tenures: dict[str, _Tenure] = {}
        for lease in leases:
            key, rate = lease.lease_key, lease.throughput_kbps
            before, tenure = self._known.get(key), self._tenure(lease, now)
            tenures[key] = tenure
            if rate is not None and (before is None or tenure.changed_at == now):
                known[key] = _seen(before or _Known(0, 0.0, 0.0, now, 0.0, 0), rate, now, tenure.settled_at)
            elif before is not None:
                known[key] = before
        self._known, self._tenures = known, tenures

    def _tenure(self, lease: ObservedLease, now: float) -> _Tenure:
        """Return the lease's tenure as seen now; one that was there at the first look is taken for settled."""
        owner, before = actual_owner(lease), self._tenures.get(lease.lease_key)
        if before is None:
            return _Tenure(owner, lease.lease_counter, now, now)
        if before.counter == lease.lease_counter and before.owner == owner:
            return before
        resumed = before.owner != owner or now - before.changed_at > self._failover_s
        settled_at = now + 2 * self._failover_s if resumed else before.settled_at
        return _Tenure(owner, lease.lease_counter, now, settled_at)

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


def _seen(known: _Known, rate: float, now: float, settled_at: float) -> _Known:
    if now < settled_at and known.blocks:
        return known._replace(began=now, total=0.0, looks=0)
    if known.began < settled_at <= now:  # What was seen while the owner settled was better than nothing.
        known = known._replace(began=now, total=0.0, looks=0)
    known = known._replace(total=known.total + rate, looks=known.looks + 1)
    if now - known.began < _BLOCK_S:
        return known
    blocks = known.blocks + 1
    share = max(_SHARE_MIN, 1 / blocks)
    off = known.total / known.looks - known.mean
    mean, variance = known.mean + share * off, (1 - share) * (known.variance + share * off * off)
    return _Known(blocks, mean, variance, now, 0.0, 0)
