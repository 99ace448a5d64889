"""`MetricsSettings`: what a producer or a worker publishes, how often and where to; off unless given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING

from shardline.common.checks import check_mapping
from shardline.common.errors import InvalidInput
from shardline.common.metrics.accumulator import AccumulatorSettings, CustomDimension
from shardline.common.metrics.measure import Granularity, Level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardline.common.ports.metrics import MetricsApi

__all__ = ["MetricsSettings"]

NAMESPACE_LENGTH_MAX = 255
"""API PutMetricData."""
SECONDS_MAX = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Publish metrics to CloudWatch, or to `sink` (an `EmfSink`, say); every field has the original's default.

    `namespace` None means ``KinesisProducerLibrary`` for a producer, the application's name for a worker; `upload_s`
    None means every 60 s and 10 s. `level` is ``none``, ``summary`` or ``detailed``; `granularity` (``global``,
    ``stream``, ``shard``) how deep metrics are kept apart, which is what CloudWatch charges for. `dimensions` are the
    user's own: a mapping for those that every metric shall have, or `CustomDimension` objects. `enabled_dimensions`
    (workers; None: all) drops the others, so that metrics are summed over them. An upload lasts `request_timeout_s` at
    most, the last one when leaving `final_timeout_s`; what fails is lost, counted and said (`MetricsLost`).

    Raises `InvalidInput` on construction.
    """

    namespace: str | None = None
    level: Level | str = Level.DETAILED
    granularity: Granularity | str = Granularity.SHARD
    upload_s: float | None = None
    dimensions: Mapping[str, str] | tuple[CustomDimension, ...] = ()
    enabled_dimensions: frozenset[str] | None = None
    sink: MetricsApi | None = None
    request_timeout_s: float = 5.0
    final_timeout_s: float = 5.0
    series_max: int = 10_000

    def __post_init__(self) -> None:
        if self.namespace is not None:
            check_namespace(self.namespace)
        for field in ("upload_s", "request_timeout_s", "final_timeout_s"):
            value = getattr(self, field)
            if field == "upload_s" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidInput(field, "a number of seconds", type(value).__name__)
            if not (isfinite(value) and 0 < value <= SECONDS_MAX):
                raise InvalidInput(field, f"above 0, at most {SECONDS_MAX:g} seconds", f"{value:g}")
        if self.sink is not None and (isinstance(self.sink, type) or not hasattr(self.sink, "put_metric_data")):
            raise InvalidInput("sink", "an object with put_metric_data, such as EmfSink()", type(self.sink).__name__)
        self.kept(rollup=True)

    def kept(self, *, rollup: bool) -> AccumulatorSettings:
        """Return what is kept: rolled up as the KPL does, or flat as the KCL does."""
        granularity = self.granularity
        own = self.dimensions
        if not isinstance(own, tuple):
            check_mapping("dimensions", own, "a mapping of names to values, or CustomDimensions")
        return AccumulatorSettings(
            level=self.level if isinstance(self.level, Level) else Level.parse(self.level),
            granularity=granularity if isinstance(granularity, Granularity) else Granularity.parse(granularity),
            rollup=rollup,
            enabled_dimensions=self.enabled_dimensions,
            custom_dimensions=own if isinstance(own, tuple) else tuple(CustomDimension(*one) for one in own.items()),
            series_max=self.series_max,
        )

    def of_producer(self) -> MetricsSettings:
        """Return these settings with the KPL's name and interval filled in."""
        return self._filled("KinesisProducerLibrary", 60.0)

    def of_worker(self, application: str) -> MetricsSettings:
        """Return these settings with the KCL's namespace and interval filled in."""
        return self._filled(application, 10.0)

    def _filled(self, namespace: str, upload_s: float) -> MetricsSettings:
        return replace(self, namespace=self.namespace or namespace, upload_s=self.upload_s or upload_s)


def check_namespace(namespace: str) -> None:
    """Raise `InvalidInput` for a namespace that CloudWatch would refuse."""
    if not (0 < len(namespace) <= NAMESPACE_LENGTH_MAX) or namespace.startswith("AWS/"):
        raise InvalidInput("namespace", f"1 to {NAMESPACE_LENGTH_MAX} characters that do not start with AWS/")
