"""What a lease table says of a fleet: two looks at it, some seconds apart, as one report. Pure.

A lease's holder raises its counter a few times per fail-over time, so a counter that did not move between the looks is
one that nobody renews. No wall clock decides: the age of a worker's report is told, for people, by ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from shardline.common.records import SHARD_END
from shardline.consumer.fleet.leader_lock import LEADER_KEY
from shardline.consumer.fleet.worker_metrics import ENTITY_TYPE, parse_row
from shardline.consumer.leases.row import LEASE_KEY, LeaseRow, Quarantined, read_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shardline.common.ports.lease_store import Item

__all__ = ["TROUBLE", "LeaseReport", "report"]

TROUBLE: Final = frozenset({"still", "unowned", "unreadable"})
"""States in which nobody reads the shard, as far as the table tells."""


class LeaseReport(NamedTuple):
    """The report: a line per lease, and the fleet as a whole."""

    leases: list[dict[str, object]]
    fleet: dict[str, object]

    @property
    def troubled(self) -> bool:
        """Whether any lease is in a state in which nobody reads its shard, and that no parent explains."""
        return any(line["state"] in TROUBLE for line in self.leases)


def report(before: Sequence[Item], after: Sequence[Item], wall_s: float, *, judged: bool) -> LeaseReport:
    """Return what two looks at a lease table tell; without `judged` there was one look, and an owner is believed."""
    rows = _rows(after)
    earlier = {row.key: row for row in _rows(before).values() if isinstance(row, LeaseRow)}
    lines = [_line(key, row, rows, earlier.get(key), judged=judged) for key, row in sorted(rows.items())]
    counts: dict[str, int] = {}
    for line in lines:
        state = str(line["state"])
        counts[state] = counts.get(state, 0) + 1
    fleet: dict[str, object] = {"leases": len(lines), "states": counts, "leader": _leader(after)}
    fleet["workers"] = {
        row.worker_id: {"reported_s_ago": round(wall_s - row.last_update_s), "shardline": row.ours}
        for row in (parse_row(item, LEASE_KEY) for item in after if item.get("entityType") == ENTITY_TYPE)
        if row is not None
    }
    return LeaseReport(lines, fleet)


def _rows(items: Iterable[Item]) -> dict[str, LeaseRow | Quarantined]:
    return {row.key: row for row in map(read_row, items) if row is not None}


def _line(
    key: str,
    row: LeaseRow | Quarantined,
    rows: Mapping[str, LeaseRow | Quarantined],
    earlier: LeaseRow | None,
    *,
    judged: bool,
) -> dict[str, object]:
    if isinstance(row, Quarantined):
        return {"lease": key, "state": "unreadable", "reason": row.reason}
    waits_for = [parent for parent in row.parents if not _is_finished(rows.get(row.sibling_key(parent)))]
    line: dict[str, object] = {
        "lease": key,
        "state": _state(row, earlier, waits=bool(waits_for), judged=judged),
        "owner": row.owner,
        "counter": row.counter,
        "checkpoint": str(row.checkpoint),
    }
    more = {"handed_over_by": row.checkpoint_owner, "waits_for": waits_for, "kbps": row.throughput_kbps}
    return line | {name: value for name, value in more.items() if value}


def _state(row: LeaseRow, earlier: LeaseRow | None, *, waits: bool, judged: bool) -> str:
    if row.checkpoint == SHARD_END:
        return "finished"
    if row.owner is None:
        return "waiting" if waits else "unowned"
    if not judged:
        return "owned"
    moved = earlier is None or earlier.counter != row.counter or earlier.owner != row.owner
    if not moved:
        return "still"
    return "waiting" if waits else "held"


def _is_finished(row: LeaseRow | Quarantined | None) -> bool:
    """Say whether a parent holds nobody up: its end is stored, or its row was cleaned up long ago."""
    return row is None or (isinstance(row, LeaseRow) and row.checkpoint == SHARD_END)


def _leader(items: Iterable[Item]) -> str | None:
    """Return who holds the lock; None where nobody does, or where it stands in a table of its own (KCL 3.0 to 3.4)."""
    for item in items:
        if item.get(LEASE_KEY) == LEADER_KEY and item.get("isReleased") is None:
            owner = item.get("ownerName")
            return owner if isinstance(owner, str) else None
    return None
