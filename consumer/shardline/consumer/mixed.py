"""What a Java owner of a lease will not honour of what this worker was told: to be said when both share a fleet.

Pure. A lease may move to any member; the KCL knows the table's own attributes and nothing of ours, and it behaves as
`kcl.md` says. Each entry names the feature first, then what happens instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common.records import SHARD_END
from shardline.consumer.lineage import StartPoint
from shardline.consumer.policy import Then

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.consumer.config import WorkerConfig
    from shardline.consumer.fleet.worker_metrics import MetricsRow
    from shardline.consumer.leases.row import LeaseRow
    from shardline.consumer.lineage import Start
    from shardline.consumer.spec import HandlerSpec

__all__ = ["other_members", "unheeded"]

_ALWAYS = (
    "retry: a batch whose processor raises is skipped, and the next checkpoint covers it",
    "pause and seek: they end with our lease; the shard is read on from its checkpoint",
    "handler_timeout_s: a processor that hangs keeps its shard",
)
_BY_POLICY = {
    Then.PARK: "park_record: nothing is parked; a failed batch is skipped",
    Then.PARK_KEY: "park_key: records of parked keys are processed, out of turn",
    Then.STOP: "stop_worker: a failed batch is skipped, the worker goes on",
}
_BY_START = {
    StartPoint.AT_TIMESTAMP: "start at a time: the table does not hold it; the Java worker's own position counts",
    StartPoint.LATEST: "start at LATEST: not pinned; a shard without a checkpoint starts at the time it is read",
}


def other_members(
    rows: Iterable[LeaseRow], metrics: Iterable[MetricsRow], me: str, wall_s: float, *, report_s: float, reports: bool
) -> tuple[str, ...]:
    """Return the ids of members that do not carry our mark: owners of unfinished leases, and those that report.

    Where workers do not report (`reports` is false: 2.x modes) nobody carries it, and every other owner may be one.
    """
    metrics = list(metrics)
    ours = {row.worker_id for row in metrics if row.ours} | {me}
    reporting = {row.worker_id for row in metrics if reports and wall_s - row.last_update_s <= 2 * report_s}
    owners = {row.actual_owner for row in rows if row.checkpoint != SHARD_END and row.actual_owner is not None}
    return tuple(sorted((owners | reporting) - ours))


def unheeded(handlers: Iterable[HandlerSpec], starts: Iterable[Start | None], config: WorkerConfig) -> tuple[str, ...]:
    """Return the features in use that a Java owner will not honour, in an order that does not change."""
    handlers = list(handlers)
    found = list(_ALWAYS)
    found += [text for then, text in _BY_POLICY.items() if any(one.policy.then is then for one in handlers)]
    if any(one.lanes > 1 for one in handlers):
        found.append("per_key: one batch at a time; its checkpoint may cover no gap, so what ran ahead comes again")
    if any(one.positions is not None for one in handlers):
        found.append("positions: the sink is not asked; the shard is read from its checkpoint")
    if not config.delivery.drop_misplaced:
        found.append("misplaced records: an aggregate with one of them is dropped whole")
    points = {start.point for start in starts if start is not None}
    found += [text for point, text in _BY_START.items() if point in points]
    return tuple(found)
