"""Statistic sets by metric and dimensions, swapped out and reset once per interval. A core: no clock, no I/O.

Two ways of keeping metrics apart, one for each original:

* ``rollup`` (the KPL's tree, `kpl.md` 7.2): a sample at (StreamName, ShardId) also counts at (StreamName) and at the
  root; custom dimensions stand right after the dimension of their granularity, and what lies deeper than the configured
  granularity is not kept.
* flat (the KCL's, `kcl.md` 9): a sample counts once, under the dimensions that are enabled and not too deep.

Gauges of one call roll up to one sample: the sum of what is pending on each stream, the largest of times (an age or a
lag of all streams is that of the worst). The KPL mixes the streams' samples instead, so its total cannot be read.

Invariants: nothing above the configured level is kept; at most `series_max` series are (samples of further ones are
counted in `dropped`); `take` returns each sample in exactly one interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shardline.common.checks import check_whole
from shardline.common.errors import InvalidInput
from shardline.common.metrics.measure import Granularity, Kind, Level, Unit
from shardline.common.ports.metrics import Datum

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shardline.common.metrics.measure import Dimensions, Measurement, Metric

__all__ = ["Accumulator", "AccumulatorSettings", "CustomDimension"]

DIMENSIONS_MAX = 30
"""API PutMetricData: dimensions of one metric."""
_DEPTHS = {"StreamName": Granularity.STREAM, "StreamId": Granularity.STREAM, "ShardId": Granularity.SHARD}


@dataclass(frozen=True, slots=True)
class CustomDimension:
    """A dimension of the user's own (host name, stage), kept at and below `granularity`."""

    name: str
    value: str
    granularity: Granularity = Granularity.GLOBAL

    def __post_init__(self) -> None:
        for field, length_max in (("name", 255), ("value", 1024)):
            text: str = getattr(self, field)
            if not (0 < len(text) <= length_max and text.isascii() and text.isprintable()):
                raise InvalidInput(field, f"1 to {length_max} printable ASCII characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccumulatorSettings:
    """What is kept; `enabled_dimensions` None means all, and is for flat accumulators. Raises `InvalidInput`."""

    level: Level = Level.DETAILED
    granularity: Granularity = Granularity.SHARD
    rollup: bool = True
    enabled_dimensions: frozenset[str] | None = None
    custom_dimensions: tuple[CustomDimension, ...] = ()
    series_max: int = 10_000

    def __post_init__(self) -> None:
        check_whole("series_max", self.series_max, 1, 1_000_000_000, "series")
        names = [one.name for one in self.custom_dimensions]
        if len(set(names)) != len(names) or len(names) > DIMENSIONS_MAX - 3 or set(names) & {*_DEPTHS, "ErrorCode"}:
            raise InvalidInput("custom_dimensions", f"up to {DIMENSIONS_MAX - 3} different names, none of ours")


class _Series:
    """One running statistic set."""

    __slots__ = ("count", "maximum", "minimum", "sum")

    def __init__(self) -> None:
        self.count = 0.0
        self.sum = 0.0
        self.minimum = float("inf")
        self.maximum = float("-inf")


class Accumulator:
    """See the module; belongs to one thread (its driver locks)."""

    def __init__(self, settings: AccumulatorSettings) -> None:
        self._settings = settings
        self._series: dict[tuple[Metric, Dimensions], _Series] = {}
        self._paths: dict[Dimensions, tuple[Dimensions, ...]] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._series)

    def __repr__(self) -> str:
        return f"Accumulator({len(self._series)} series, {self.dropped} dropped)"

    def add(self, measurements: Iterable[Measurement]) -> None:
        """Count the samples; those above the level or with none in them are left out."""
        level, rollup = self._settings.level, self._settings.rollup
        gauges: dict[tuple[Metric, Dimensions], float] = {}
        for metric, dimensions, samples, total, minimum, maximum in measurements:
            if metric.level > level or samples <= 0:
                continue
            for path in self._places(dimensions):
                if rollup and metric.kind is Kind.GAUGE:
                    _join(gauges, metric, path, maximum)
                else:
                    self._count(metric, path, samples, total, minimum, maximum)
        for (metric, path), value in gauges.items():
            self._count(metric, path, 1, value, value, value)

    def _count(
        self, metric: Metric, path: Dimensions, samples: float, total: float, minimum: float, maximum: float
    ) -> None:
        series = self._series.get((metric, path)) or self._new(metric, path)
        if series is not None:
            series.count += samples
            series.sum += total
            if minimum < series.minimum:  # noqa: PLR1730 - a call of min or max costs as much as all the rest.
                series.minimum = minimum
            if maximum > series.maximum:  # noqa: PLR1730 - as above.
                series.maximum = maximum

    def _new(self, metric: Metric, path: Dimensions) -> _Series | None:
        """Begin a series, or count a sample that is dropped because there are enough."""
        if len(self._series) >= self._settings.series_max:
            self.dropped += 1
            return None
        series = self._series[metric, path] = _Series()
        return series

    def _places(self, dimensions: Dimensions) -> tuple[Dimensions, ...]:
        """Return the dimension sets under which a sample counts; remembered, for they repeat endlessly."""
        places = self._paths.get(dimensions)
        if places is None:
            places = tuple(self._rolled_up(dimensions)) if self._settings.rollup else (self._flat(dimensions),)
            if len(self._paths) >= self._settings.series_max:
                self._paths.clear()
            self._paths[dimensions] = places
        return places

    def _flat(self, dimensions: Dimensions) -> Dimensions:
        enabled, granularity = self._settings.enabled_dimensions, self._settings.granularity
        kept = [
            (name, value)
            for name, value in dimensions
            if value and (enabled is None or name in enabled) and _DEPTHS.get(name, Granularity.GLOBAL) <= granularity
        ]
        return (*kept, *((one.name, one.value) for one in self._settings.custom_dimensions))

    def _rolled_up(self, dimensions: Dimensions) -> Iterator[Dimensions]:
        path: list[tuple[str, str]] = []
        yield ()
        for pair in self._chain(dimensions):
            path.append(pair)
            yield tuple(path)

    def _chain(self, dimensions: Dimensions) -> Iterator[tuple[str, str]]:
        """Yield the dimensions from the root down, custom ones in their places, as deep as configured."""
        yield from self._custom(Granularity.GLOBAL)
        for name, value in dimensions:
            depth = _DEPTHS.get(name, Granularity.GLOBAL)
            if depth > self._settings.granularity:
                return
            if value:
                yield name, value
            if depth > Granularity.GLOBAL:
                yield from self._custom(depth)

    def _custom(self, granularity: Granularity) -> Iterator[tuple[str, str]]:
        for one in self._settings.custom_dimensions:
            if one.granularity == granularity:
                yield one.name, one.value

    def take(self, wall_s: float) -> list[Datum]:
        """Return what was counted since the last call, sorted, stamped with epoch seconds `wall_s`, and start anew."""
        taken, self._series = self._series, {}
        data = [
            Datum(
                name=metric.name,
                dimensions=path,
                unit=metric.unit.value,
                timestamp_s=wall_s,
                sample_count=series.count,
                sum=series.sum,
                minimum=series.minimum,
                maximum=series.maximum,
            )
            for (metric, path), series in taken.items()
        ]
        return sorted(data, key=lambda one: (one.name, one.dimensions))


def _join(gauges: dict[tuple[Metric, Dimensions], float], metric: Metric, path: Dimensions, value: float) -> None:
    """Join a gauge's sample with the others of the same call."""
    before = gauges.get((metric, path), 0.0)
    gauges[metric, path] = max(before, value) if metric.unit is Unit.MILLISECONDS else before + value
