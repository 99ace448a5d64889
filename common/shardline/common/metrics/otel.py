"""Metrics for OpenTelemetry, in the KCL's own convention: ``aws.kinesis.client.`` or ``.producer.`` + snake case.

``RecordsProcessed`` -> ``aws.kinesis.client.records_processed``; dimensions are mapped as KCL 3.5 does:
``aws.kinesis.operation``, ``aws.kinesis.shard.id``, ``aws.kinesis.stream_name``, ``aws.kinesis.consumer.name``, others
in snake case under ``aws.kinesis.``. Counters add, gauges set, distributions are histograms: a measurement of many
samples is recorded as one, its average, because the API takes no sets (the sum over a batch would cost a call each).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shardline.common.errors import MissingExtra
from shardline.common.metrics.measure import Kind, Level, Unit, measurements_of, snake
from shardline.common.metrics.measure import Metric as MetricDefinition

try:
    from opentelemetry import metrics
except ModuleNotFoundError as error:
    raise MissingExtra("Metrics for OpenTelemetry", "otel") from error

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import Meter

    from shardline.common.events import Event
    from shardline.common.metrics.measure import Dimensions

__all__ = ["OpenTelemetryListener"]

_ATTRIBUTES = {
    "Operation": "aws.kinesis.operation",
    "ShardId": "aws.kinesis.shard.id",
    "StreamName": "aws.kinesis.stream_name",
    "StreamId": "aws.kinesis.stream_name",
    "WorkerIdentifier": "aws.kinesis.consumer.name",
    "ErrorCode": "error.type",
}
_UNITS = {Unit.COUNT: "1", Unit.NONE: "", Unit.MILLISECONDS: "ms", Unit.BYTES: "By"}


class OpenTelemetryListener:
    """Records events' measurements with `meter` (default: the global provider's meter named shardline)."""

    def __init__(
        self, meter: Meter | None = None, *, prefix: str = "aws.kinesis.client.", level: Level = Level.DETAILED
    ) -> None:
        self._meter = meter if meter is not None else metrics.get_meter("shardline")
        self._prefix = prefix
        self._level = level
        self._record: dict[MetricDefinition, Callable[[float, float, Any], None]] = {}

    def __call__(self, event: Event, /) -> None:
        """Take one event."""
        for metric, dimensions, samples, total, _, maximum in measurements_of(event):
            if metric.level > self._level or samples <= 0:
                continue
            record = self._record.get(metric) or self._instrument(metric)
            value = maximum if metric.kind is Kind.GAUGE else total
            record(value, samples, attributes(dimensions))

    def _instrument(self, metric: MetricDefinition) -> Callable[[float, float, Any], None]:
        """Make the metric's instrument, once."""
        name, unit = self._prefix + otel_name(metric.name), _UNITS[metric.unit]
        if metric.kind is Kind.COUNTER:
            counter = self._meter.create_counter(name, unit)
            found = _adding(counter.add)
        elif metric.kind is Kind.GAUGE:
            gauge = self._meter.create_gauge(name, unit)
            found = _adding(gauge.set)
        else:
            histogram = self._meter.create_histogram(name, unit)
            found = _averaging(histogram.record)
        self._record[metric] = found
        return found


def _adding(add: Callable[..., None]) -> Callable[[float, float, Any], None]:
    return lambda value, _samples, tags: add(value, tags)


def _averaging(record: Callable[..., None]) -> Callable[[float, float, Any], None]:
    return lambda total, samples, tags: record(total / samples, tags)


def otel_name(name: str) -> str:
    """Return ``RecordProcessor.processRecords.Time`` as ``record_processor.process_records.time``."""
    return ".".join(snake(part) for part in name.replace(":", ".").split("."))


def attributes(dimensions: Dimensions) -> dict[str, str]:
    """Return dimensions as attributes."""
    return {_ATTRIBUTES.get(name, f"aws.kinesis.{snake(name)}"): value for name, value in dimensions if value}
