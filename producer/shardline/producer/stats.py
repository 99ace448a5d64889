"""Counters of one stream, and the failures that the next barrier is to report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shardline.common.deaggregation import UserRecord
    from shardline.producer.delivery import Delivery
    from shardline.producer.outcome import Outcome

__all__ = ["Failures", "Stats"]


@dataclass(slots=True)
class Stats:
    """Counters of one stream since its start; records are user records unless the name says otherwise."""

    delivered: int = 0
    delivered_bytes: int = 0
    not_written: int = 0
    unknown: int = 0
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    requests: int = 0
    requests_failed: int = 0
    kinesis_records: int = 0
    kinesis_retries: int = 0
    throttled: int = 0
    misplaced: int = 0
    resent: int = 0


class Failures:
    """Deliveries with failed records since `take`, up to `kept_max` records."""

    __slots__ = ("_deliveries", "_kept", "kept_max")

    def __init__(self) -> None:
        self.kept_max = 1000
        self._kept = 0
        self._deliveries: list[Delivery] = []

    def keep(self, delivery: Delivery, count: int) -> None:
        """Remember what failed for the next barrier's report, up to a number of records."""
        if self._kept + count <= self.kept_max and delivery not in self._deliveries[-1:]:
            self._kept += count
            self._deliveries.append(delivery)

    def take(self) -> list[tuple[UserRecord, Outcome]]:
        """Return, with their outcomes, the records that failed since the last call and that nobody asked about."""
        deliveries, self._deliveries, self._kept = self._deliveries, [], 0
        return [pair for delivery in deliveries if not delivery.observed for pair in delivery.undelivered()]

    def __repr__(self) -> str:
        return f"Failures({self._kept} records)"
