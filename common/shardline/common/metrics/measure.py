"""What an event measures: the one interface between the drivers' events and every metrics backend.

An event that measures something has a method `measurements()`; backends ask for nothing else. One event may stand for a
whole batch, so a measurement is a small statistic set, not a single number: 426 records put at once are one measurement
of 426 samples of 1. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from shardline.common.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from shardline.common.events import Event

__all__ = [
    "Dimensions",
    "Granularity",
    "Kind",
    "Level",
    "Measurement",
    "Measuring",
    "Metric",
    "Unit",
    "measurements_of",
    "snake",
]

Dimensions: TypeAlias = "tuple[tuple[str, str], ...]"
"""Names and values, outermost first (ErrorCode, StreamName, ShardId); an empty value drops its dimension."""

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
METRIC_NAME_LENGTH_MAX = 255
"""API PutMetricData."""


class Level(IntEnum):
    """How much is measured: a configured level lets through what is not above it (KPL and KCL: metricsLevel)."""

    NONE = 0
    SUMMARY = 1
    DETAILED = 2

    @classmethod
    def parse(cls, text: str) -> Level:
        """Return the level of a setting's text, in any case; raises `InvalidInput`."""
        try:
            return cls[text.upper()]
        except (KeyError, AttributeError):
            raise InvalidInput("metrics_level", "none, summary or detailed") from None


class Granularity(IntEnum):
    """How deep metrics are kept apart (KPL MetricsGranularity)."""

    GLOBAL = 0
    STREAM = 1
    SHARD = 2

    @classmethod
    def parse(cls, text: str) -> Granularity:
        """Return the granularity of a setting's text, in any case; raises `InvalidInput`."""
        try:
            return cls[text.upper()]
        except (KeyError, AttributeError):
            raise InvalidInput("metrics_granularity", "global, stream or shard") from None


class Unit(StrEnum):
    """CloudWatch's units that we use."""

    COUNT = "Count"
    MILLISECONDS = "Milliseconds"
    BYTES = "Bytes"
    NONE = "None"


class Kind(StrEnum):
    """What the samples are, for backends that tell it apart: increments, states, or a distribution."""

    COUNTER = "counter"
    GAUGE = "gauge"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's definition; `name` is CloudWatch's (``UserRecordsPut``, ``RenewLease.Time``)."""

    name: str
    unit: Unit = Unit.COUNT
    level: Level = Level.DETAILED
    kind: Kind = Kind.COUNTER

    def __post_init__(self) -> None:
        if not (0 < len(self.name) <= METRIC_NAME_LENGTH_MAX and self.name.isascii() and self.name.isprintable()):
            raise InvalidInput("name", f"1 to {METRIC_NAME_LENGTH_MAX} printable ASCII characters")

    def __hash__(self) -> int:
        """Return the hash of the name: that of all fields would cost more than all else a sample costs."""
        return hash(self.name)


class Measurement(NamedTuple):
    """Samples of one metric under one set of dimensions: how many, their sum, the smallest and the largest."""

    metric: Metric
    dimensions: Dimensions
    samples: float
    sum: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, metric: Metric, value: float, dimensions: Dimensions = (), *, samples: float = 1) -> Measurement:
        """Return `samples` samples (at least one) of the same `value`."""
        return cls(metric, dimensions, samples, value * samples, value, value)


@runtime_checkable
class Measuring(Protocol):
    """An event that measures something."""

    def measurements(self) -> Iterable[Measurement]:
        """Return what the event measures; called once by each backend, so it must be cheap."""
        ...


def measurements_of(event: Event) -> Iterable[Measurement]:
    """Return an event's measurements, none for an event that measures nothing."""
    measure = getattr(event, "measurements", None)
    return () if measure is None else measure()


def snake(name: str) -> str:
    """Return ``UserRecordsPut`` as ``user_records_put``."""
    return re.sub(r"[^a-z0-9]+", "_", _WORD.sub("_", name).lower()).strip("_")
