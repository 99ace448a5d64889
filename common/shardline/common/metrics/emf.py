"""CloudWatch's embedded metric format: metrics as JSON lines on standard output, for Lambda, ECS, the CloudWatch agent.

An `EmfSink` takes what CloudWatch's API would (`MetricsApi`), so it is fed by a `MetricsPublisher`, or by hand at the
end of an invocation. The format has values but no statistic sets: a set is written as up to `VALUES_MAX` values with
the same minimum, maximum and average, and the same count as far as that limit goes (source: CloudWatch's EMF
specification).
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Any

from shardline.common.ports.metrics import MetricsApi

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shardline.common.ports.metrics import Datum

__all__ = ["EmfSink"]

VALUES_MAX = 100
"""Values of one metric in one line (EMF specification)."""
METRICS_MAX = 100
"""Metrics in one line (EMF specification)."""


def _write(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


class EmfSink(MetricsApi):
    """Writes metrics as EMF lines; `write` takes a whole line with its newline, standard output unless given."""

    def __init__(self, write: Callable[[str], object] = _write) -> None:
        self._write = write

    async def put_metric_data(self, namespace: str, data: Sequence[Datum], *, timeout_s: float) -> None:
        """Write the data, one line per set of dimensions; never waits."""
        del timeout_s
        for line in lines(namespace, data):
            self._write(line)


def lines(namespace: str, data: Sequence[Datum]) -> list[str]:
    """Return the EMF lines of `data`."""
    ordered = sorted(data, key=lambda one: (one.dimensions, one.timestamp_s))
    found: list[str] = []
    for (dimensions, timestamp_s), group in groupby(ordered, key=lambda one: (one.dimensions, one.timestamp_s)):
        rows = list(group)
        found += [
            _line(namespace, dimensions, timestamp_s, rows[start : start + METRICS_MAX])
            for start in range(0, len(rows), METRICS_MAX)
        ]
    return found


def _line(namespace: str, dimensions: tuple[tuple[str, str], ...], timestamp_s: float, rows: Sequence[Datum]) -> str:
    definition = {
        "Namespace": namespace,
        "Dimensions": [[name for name, _ in dimensions]],
        "Metrics": [{"Name": row.name, "Unit": row.unit} for row in rows],
    }
    fields: dict[str, Any] = {"_aws": {"Timestamp": int(timestamp_s * 1000), "CloudWatchMetrics": [definition]}}
    fields |= dict(dimensions)
    fields |= {row.name: values(row) for row in rows}
    return json.dumps(fields, separators=(",", ":")) + "\n"


def values(row: Datum) -> float | list[float]:
    """Return one value, or several with the set's minimum, maximum and average."""
    count = min(int(row.sample_count), VALUES_MAX)
    if count <= 1:
        return row.sum / max(1.0, row.sample_count)
    if row.minimum == row.maximum:
        return [row.minimum] * count
    if count == 2:  # noqa: PLR2004 - two values cannot hold minimum, maximum and another.
        return [row.minimum, row.maximum]
    rest = (row.sum / row.sample_count * count - row.minimum - row.maximum) / (count - 2)
    # With more samples than values the remainder may fall outside the range: the range is kept then.
    rest = min(max(rest, row.minimum), row.maximum)
    return [row.minimum, row.maximum, *[rest] * (count - 2)]
