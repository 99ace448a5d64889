"""`MetricsApi`: what shardline sends to CloudWatch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Datum", "MetricsApi"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Datum:
    """One StatisticSet; `unit` is CloudWatch's name (Count, Milliseconds, Bytes, None), `timestamp_s` epoch seconds."""

    name: str
    dimensions: tuple[tuple[str, str], ...]
    unit: str
    timestamp_s: float
    sample_count: float
    sum: float
    minimum: float
    maximum: float


class MetricsApi(Protocol):
    """PutMetricData."""

    async def put_metric_data(self, namespace: str, data: Sequence[Datum], *, timeout_s: float) -> None:
        """Send up to 1,000 data in one request; errors as everywhere (see the package)."""
        ...
