"""Metrics: measurements derived from events, summed up, and handed to CloudWatch, Prometheus, OpenTelemetry, EMF, logs.

Nothing is imported until it is used; the backends need extras of their own. Modules: `measure` (what an event says),
`names` (the KPL's and the KCL's metrics as tables), `accumulator` (statistic sets per interval), `publisher`
(CloudWatch and EMF, at an interval), `settings` and `publishing` (its wiring into producer and worker), `emf`, `logs`,
`prometheus`, `otel` (listeners).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common._lazy import exports

if TYPE_CHECKING:
    from shardline.common.metrics.accumulator import Accumulator, AccumulatorSettings, CustomDimension
    from shardline.common.metrics.emf import EmfSink
    from shardline.common.metrics.logs import LogListener
    from shardline.common.metrics.measure import Granularity, Kind, Level, Measurement, Metric, Unit
    from shardline.common.metrics.otel import OpenTelemetryListener
    from shardline.common.metrics.prometheus import PrometheusListener
    from shardline.common.metrics.publisher import MetricsLost, MetricsPublisher
    from shardline.common.metrics.settings import MetricsSettings

_EXPORTS: dict[str, str] = {
    "Accumulator": "accumulator",
    "AccumulatorSettings": "accumulator",
    "CustomDimension": "accumulator",
    "EmfSink": "emf",
    "Granularity": "measure",
    "Kind": "measure",
    "Level": "measure",
    "LogListener": "logs",
    "Measurement": "measure",
    "Metric": "measure",
    "MetricsLost": "publisher",
    "MetricsPublisher": "publisher",
    "MetricsSettings": "settings",
    "OpenTelemetryListener": "otel",
    "PrometheusListener": "prometheus",
    "Unit": "measure",
}

__all__ = [
    "Accumulator",
    "AccumulatorSettings",
    "CustomDimension",
    "EmfSink",
    "Granularity",
    "Kind",
    "Level",
    "LogListener",
    "Measurement",
    "Metric",
    "MetricsLost",
    "MetricsPublisher",
    "MetricsSettings",
    "OpenTelemetryListener",
    "PrometheusListener",
    "Unit",
]

__getattr__, __dir__ = exports(__name__, _EXPORTS)
