"""What a run of `make chaos` adds to the demo's outcome: stops, delivery latency, take-over percentiles. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from shardline.cli.demo.messages import Delivered, Sent, ShardStarted
from shardline.cli.demo.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardline.cli.demo.messages import Message

__all__ = ["ChaosOutcome", "Latencies", "percentile"]


def percentile(counts: Mapping[float, int], share: float) -> float | None:
    """Return the smallest value that `share` (0 to 1) of all values do not exceed (nearest rank); None of nothing."""
    values = sorted(counts)
    sums = list(accumulate(counts[value] for value in values))
    if not sums:
        return None
    rank = max(1, math.ceil(share * sums[-1]))
    return values[bisect_right(sums, rank - 1)]


class Latencies:
    """Milliseconds from `put` to the return of the handler, for the first delivery of each id.

    The producer says how many ids it has put, about a hundred times a second: a put counts from the message that first
    covers it, so at most that much too late. An id delivered before its `Sent` was taken is not counted. `moved` are
    those whose shard began with another worker in between (or began at all): what they waited for is its lease.
    """

    def __init__(self, ids_max: int) -> None:
        self._seen = bytearray(ids_max)
        self._stamps: list[float] = []
        self._totals: list[int] = []
        self._began: dict[str, float] = {}
        self.milliseconds: Counter[float] = Counter()
        self.moved: Counter[float] = Counter()

    def __call__(self, message: Message) -> None:
        """Take one message, in order of time."""
        if isinstance(message, Sent):
            self._stamps.append(message.stamp)
            self._totals.append(message.total)
        elif isinstance(message, ShardStarted):
            self._began[message.shard_id] = message.stamp
        elif isinstance(message, Delivered):
            began = self._began.get(message.shard_id, 0.0)
            for record in message.records:
                for one in record.ids:
                    self._delivered(one, message.stamp, began)

    def _delivered(self, one: int, stamp: float, began: float) -> None:
        if not 0 <= one < len(self._seen) or self._seen[one]:
            return
        self._seen[one] = 1
        at = bisect_right(self._totals, one)
        if at < len(self._stamps):
            put = self._stamps[at]
            milliseconds = round(max(0.0, stamp - put) * 1000)
            self.milliseconds[milliseconds] += 1
            if began > put:
                self.moved[milliseconds] += 1


@dataclass(slots=True, kw_only=True)
class ChaosOutcome(Outcome):
    """The outcome of a run of chaos; `stops` counts SIGSTOPs.

    `delivery_ms` counts how many first deliveries took how long, `moved_ms` those of them that waited for a lease.
    """

    stops: int
    retrieval: str
    failover_s: float
    delivery_ms: Mapping[float, int]
    moved_ms: Mapping[float, int]

    @classmethod
    def of(
        cls, outcome: Outcome, *, stops: int, retrieval: str, failover_s: float, latencies: Latencies
    ) -> ChaosOutcome:
        """Return the demo's outcome with what chaos adds."""
        known = {one.name: getattr(outcome, one.name) for one in fields(outcome)}
        return cls(
            **known,
            stops=stops,
            retrieval=retrieval,
            failover_s=failover_s,
            delivery_ms=latencies.milliseconds,
            moved_ms=latencies.moved,
        )

    @property
    def steady_ms(self) -> Counter[float]:
        """How many first deliveries took how long where the shard stayed with its worker."""
        return Counter(self.delivery_ms) - Counter(self.moved_ms)

    @property
    def duplicates_per_kill(self) -> float | None:
        """All duplicates over the kills: those that stops longer than the fail-over cause are in it."""
        return round(self.report.duplicates / self.kills, 1) if self.kills else None

    def _takeover(self, share: float) -> float | None:
        return percentile(Counter(round(one, 2) for one in self.takeovers), share)

    @property
    def remarks(self) -> list[str]:
        """What chaos did and measured."""
        delivery, steady, moved = (
            [percentile(counts, share) for share in (0.5, 0.99)]
            for counts in (self.delivery_ms, self.steady_ms, self.moved_ms)
        )
        share = sum(self.moved_ms.values()) / max(1, sum(self.delivery_ms.values()))
        takeover = f"p50 {self._takeover(0.5)} s, p99 {self._takeover(0.99)} s"
        return [
            f"stops {self.stops}; duplicates per kill {self.duplicates_per_kill}, those that stops caused in it",
            f"take-over after a kill, fail-over {self.failover_s:.0f} s: {takeover}",
            f"put to handler, {self.retrieval}: p50 {delivery[0]} ms, p99 {delivery[1]} ms",
            f"  where the shard stayed with its worker: p50 {steady[0]} ms, p99 {steady[1]} ms",
            f"  where it waited for another (kill, stop, reshard), {share:.1%}: p50 {moved[0]} ms, p99 {moved[1]} ms",
        ]

    def as_fields(self) -> dict[str, Any]:
        """Return everything by name, for JSON; `records` are the acknowledged user records, `seconds` the load."""
        return {
            **Outcome.as_fields(self),
            "records": self.report.acknowledged,
            "stops": self.stops,
            "retrieval": self.retrieval,
            "failover_seconds": self.failover_s,
            "duplicates_per_kill": self.duplicates_per_kill,
            "takeover_seconds_p50": self._takeover(0.5),
            "takeover_seconds_p99": self._takeover(0.99),
            "delivery_ms_p50": percentile(self.delivery_ms, 0.5),
            "delivery_ms_p99": percentile(self.delivery_ms, 0.99),
            "steady_ms_p50": percentile(self.steady_ms, 0.5),
            "steady_ms_p99": percentile(self.steady_ms, 0.99),
            "moved_ms_p50": percentile(self.moved_ms, 0.5),
            "moved_ms_p99": percentile(self.moved_ms, 0.99),
            "moved": sum(self.moved_ms.values()),
        }
