"""Metrics for Prometheus: a collector that holds running totals, in the names below; nothing is lost between scrapes.

Names: ``shardline_`` + the metric's name in snake case + its unit, dots and colons as underscores, as Prometheus
asks: ``UserRecordsPut`` -> ``shardline_user_records_put_total`` (counter), ``RequestTime`` ->
``shardline_request_time_milliseconds`` (summary: ``_sum`` and ``_count``), ``CurrentLeases`` ->
``shardline_current_leases`` (gauge, the last value). Dimensions become labels in snake case (``stream_name``,
``shard_id``, ``operation``). Samples are not rolled up: Prometheus sums over labels itself.
"""

from __future__ import annotations

from itertools import groupby
from threading import Lock
from typing import TYPE_CHECKING

from shardline.common.errors import MissingExtra
from shardline.common.metrics.measure import Kind, Level, Unit, measurements_of, snake

try:
    from prometheus_client import REGISTRY
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
    from prometheus_client.registry import Collector, CollectorRegistry
except ModuleNotFoundError as error:
    raise MissingExtra("Metrics for Prometheus", "prometheus") from error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric as Family

    from shardline.common.events import Event
    from shardline.common.metrics.measure import Dimensions, Metric

__all__ = ["PrometheusListener", "prometheus_name"]

_SUFFIXES = {Unit.COUNT: "", Unit.NONE: "", Unit.MILLISECONDS: "_milliseconds", Unit.BYTES: "_bytes"}


def prometheus_name(metric: Metric) -> str:
    """Return the metric's name for Prometheus, without the ``_total`` that counters get."""
    name, suffix = f"shardline_{snake(metric.name)}", _SUFFIXES[metric.unit]
    return name if name.endswith(suffix) else name + suffix


class PrometheusListener(Collector):
    """Sums events up for `registry` (the default one unless given); `close` takes it out of the registry again.

    At most `series_max` series are held; samples of further ones are counted in `dropped`.
    """

    def __init__(
        self, registry: CollectorRegistry = REGISTRY, *, level: Level = Level.DETAILED, series_max: int = 10_000
    ) -> None:
        self._level = level
        self._series_max = series_max
        self._series: dict[tuple[Metric, Dimensions], list[float]] = {}
        self._lock = Lock()
        self._registry = registry
        self.dropped = 0
        registry.register(self)

    def close(self) -> None:
        """Leave the registry."""
        self._registry.unregister(self)

    def __call__(self, event: Event, /) -> None:
        """Take one event, on any thread."""
        for metric, dimensions, samples, total, _, maximum in measurements_of(event):
            if metric.level > self._level or samples <= 0:
                continue
            with self._lock:
                key = (metric, tuple(pair for pair in dimensions if pair[1]))
                series = self._series.get(key)
                if series is None:
                    if len(self._series) >= self._series_max:
                        self.dropped += 1
                        continue
                    series = self._series[key] = [0.0, 0.0, 0.0]
                series[0] += samples
                series[1] += total
                series[2] = maximum

    def describe(self) -> list[Family]:
        """Return nothing: names are known only as events come, and need not be asked for on registration."""
        return []

    def collect(self) -> Iterator[Family]:
        """Return every series as Prometheus wants them: one family per name, with the labels any of its series has."""
        with self._lock:
            rows = [(metric, dict(pairs), list(values)) for (metric, pairs), values in self._series.items()]
        rows.sort(key=lambda row: prometheus_name(row[0]))
        for _, group in groupby(rows, key=lambda row: prometheus_name(row[0])):
            yield _family(list(group))


def _family(rows: list[tuple[Metric, dict[str, str], list[float]]]) -> Family:
    """Return one metric's series as a family; a label that a series does not have is empty."""
    metric = rows[0][0]
    names = sorted({name for _, dimensions, _ in rows for name in dimensions})
    labels = [snake(name) for name in names]
    name = prometheus_name(metric)
    found: CounterMetricFamily | GaugeMetricFamily | SummaryMetricFamily
    if metric.kind is Kind.COUNTER:
        found = CounterMetricFamily(name, metric.name, labels=labels)
    elif metric.kind is Kind.GAUGE:
        found = GaugeMetricFamily(name, metric.name, labels=labels)
    else:
        found = SummaryMetricFamily(name, metric.name, labels=labels)
    for _, dimensions, (samples, total, last) in rows:
        values = [dimensions.get(name, "") for name in names]
        if isinstance(found, SummaryMetricFamily):
            found.add_metric(values, int(samples), total)
        else:
            found.add_metric(values, last if metric.kind is Kind.GAUGE else total)
    return found
