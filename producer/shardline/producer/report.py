"""What a barrier tells: which records were not delivered, the records themselves included."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from shardline.common.errors import ShardlineError
from shardline.producer.outcome import Delivered, Unknown

if TYPE_CHECKING:
    from shardline.common.deaggregation import UserRecord
    from shardline.producer.outcome import Outcome

__all__ = ["FlushReport", "UndeliveredError"]

_REASONS_MAX: Final = 5
"""So many different reasons stand in the message; the report has all."""


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
    """A producer was closed and could not deliver everything; `report` holds the records, the message the reasons."""

    def __init__(self, report: FlushReport) -> None:
        self.report = report
        outcomes = [outcome for _, outcome in report.undelivered if not isinstance(outcome, Delivered)]
        counted = Counter(
            f"{'of unknown outcome' if isinstance(one, Unknown) else 'not written'}: {one.reason} ({one.code})"
            for one in outcomes
        )
        why = "; ".join(f"{count} {text}" for text, count in counted.most_common(_REASONS_MAX))
        super().__init__(f"{len(report.undelivered)} records were not delivered" + (f": {why}" if why else ""))
