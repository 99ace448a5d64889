"""What a barrier tells: which records were not delivered, the records themselves included."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shardline.common.errors import ShardlineError

if TYPE_CHECKING:
    from shardline.common.deaggregation import UserRecord
    from shardline.producer.outcome import Outcome

__all__ = ["FlushReport", "UndeliveredError"]


class FlushReport(NamedTuple):
    """What became of everything put before a barrier.

    `undelivered` holds the records that failed since the last barrier and whose delivery nobody looked at, each with
    its outcome (bounded by `fail_kept_max`); `pending` counts the deliveries that were still open when time ran out.
    """

    undelivered: list[tuple[UserRecord, Outcome]]
    pending: int

    @property
    def ok(self) -> bool:
        """Whether everything was delivered."""
        return not self.undelivered and not self.pending


class UndeliveredError(ShardlineError):
    """A producer was closed and could not deliver everything; `report` holds the records."""

    def __init__(self, report: FlushReport) -> None:
        self.report = report
        super().__init__(f"{len(report.undelivered)} records were not delivered")
