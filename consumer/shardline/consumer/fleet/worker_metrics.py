"""The worker-metrics item (`kcl.md` 4.1): how a worker says that it lives, and how busy it is.

Invariants: types are exact (`lut`, `sup`, `slu` and `opr` plain integers; samples percentages or -1), for a Java
leader drops or chokes on anything else; our private mark is one string attribute that Java ignores; a row
that breaks a rule of
the leader is ignored and counted, never repaired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import stdev
from typing import TYPE_CHECKING

from shardline.common.ports.lease_store import Key, Update, UpdateItem
from shardline.consumer.fleet.model import WorkerLoad

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.common.ports.lease_store import Item, Value

__all__ = ["ENTITY_TYPE", "PRIVATE_MARK", "MetricsRow", "active_workers", "parse_row", "report", "smoothed"]

ENTITY_TYPE = "WORKER_METRIC_STATS"
PRIVATE_MARK = "shardline"
"""Attribute by which our workers know each other (design.md, rescue); its value is the attribute's schema version."""
_MARK_VERSION = "1"
SAMPLES_KEPT = 10
SUPPORT_CODE = 1
FAILED_SAMPLE = -1.0
STALE_AFTER_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsRow:
    """A parsed worker-metrics row; `samples` by metric, oldest first; `limits` in percent."""

    worker_id: str
    last_update_s: int
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict[str, Sequence[float]])
    limits: Mapping[str, float] = field(default_factory=dict[str, float])
    ours: bool = False

    @property
    def failing(self) -> bool:
        """Say whether the last sample of some metric could not be taken: such a worker gets nothing this run."""
        return any(values[-1] == FAILED_SAMPLE for values in self.samples.values() if values)


def report(
    table: str, key_attribute: str, worker_id: str, samples: Mapping[str, Sequence[float]], wall_s: float
) -> UpdateItem:
    """Return the unconditional upsert with which a worker reports; `samples` by metric, oldest first, ten at most."""
    stats: dict[str, Value] = {
        name: [round(v, 6) for v in values[-SAMPLES_KEPT:]] for name, values in samples.items() if values
    }
    limits: dict[str, Value] = {name: [100] for name in stats}
    changes: dict[str, Value] = {
        "entityType": ENTITY_TYPE,
        "lut": int(wall_s),
        "sts": stats,
        "opr": limits,
        "sup": SUPPORT_CODE,
        "slu": int(wall_s),
        PRIVATE_MARK: _MARK_VERSION,
    }
    return UpdateItem(table, Key(key_attribute, worker_id), Update(set=changes))


def parse_row(item: Item, key_attribute: str) -> MetricsRow | None:
    """Return the row, or None where it breaks one of the leader's rules (`kcl.md` 4.1)."""
    worker_id, last_update = item.get(key_attribute), item.get("lut")
    samples, limits = _lists(item.get("sts", {})), _lists(item.get("opr", {}))
    if not isinstance(worker_id, str) or not worker_id or not _is_int(last_update):
        return None
    if samples is None or limits is None or not samples.keys() <= limits.keys():
        return None
    if any(not values for values in samples.values()) or any(not of or of[0] == 0 for of in limits.values()):
        return None
    return MetricsRow(
        worker_id=worker_id,
        last_update_s=int(last_update) if isinstance(last_update, int) else 0,
        samples=samples,
        limits={name: of[0] for name, of in limits.items()},
        ours=PRIVATE_MARK in item,
    )


def smoothed(values: Iterable[float], alpha: float) -> float:
    """Return the exponential moving average, oldest sample first, failed ones (-1) left out; 0 where none is left."""
    average: float | None = None
    for value in values:
        if value != FAILED_SAMPLE:
            average = value if average is None else alpha * value + (1.0 - alpha) * average
    return average or 0.0


def noise_of(values: Sequence[float], alpha: float) -> float:
    """Return the standard error of `smoothed(values, alpha)`, by how the samples scatter; 0 for fewer than two."""
    taken = [value for value in values if value != FAILED_SAMPLE]
    return stdev(taken) * sqrt(alpha / (2.0 - alpha)) if len(taken) > 1 else 0.0


def active_workers(
    rows: Iterable[MetricsRow], wall_s: float, *, report_s: float = 30.0, alpha: float = 0.5
) -> list[WorkerLoad]:
    """Return who may be given leases: reported within two periods by the wall clock, and not failing; sorted by id.

    A worker that stands in two tables counts once, by its newer row.
    """
    newest: dict[str, MetricsRow] = {}
    for row in rows:
        before = newest.get(row.worker_id)
        if before is None or before.last_update_s < row.last_update_s:
            newest[row.worker_id] = row
    return [
        WorkerLoad(
            row.worker_id,
            {name: smoothed(values, alpha) for name, values in sorted(row.samples.items())},
            {name: row.limits[name] for name in sorted(row.samples)},
            {name: noise_of(values, alpha) for name, values in sorted(row.samples.items())},
        )
        for _, row in sorted(newest.items())
        if wall_s - row.last_update_s <= 2 * report_s and not row.failing
    ]


def _is_int(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _lists(value: Value) -> dict[str, list[float]] | None:
    """Return a map of lists of numbers, or None where the value is something else."""
    if not isinstance(value, Mapping):
        return None
    lists: dict[str, list[float]] = {}
    for name, values in value.items():
        if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
            return None
        numbers = [float(one) for one in values if isinstance(one, (int, float)) and not isinstance(one, bool)]
        if len(numbers) != len(values):
            return None
        lists[name] = numbers
    return lists
