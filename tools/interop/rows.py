"""The lease table as both sides read it, and who owned what when. Pure."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from shardline.common.records import SHARD_END
from shardline.consumer.leases.row import LeaseRow, Quarantined, read_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shardline.common.ports.lease_store import Item

__all__ = ["Change", "Owners", "Shapes", "Table", "differences", "short"]

LEADER_KEY: Final = "Leader"


class Table(NamedTuple):
    """One look at the table: leases by key, the leader's id, the ids of worker-metrics rows, what is unreadable."""

    leases: dict[str, LeaseRow]
    leader: str | None
    workers: tuple[str, ...]
    unreadable: tuple[Quarantined, ...]

    @classmethod
    def of(cls, items: Iterable[Item]) -> Table:
        """Read the items of a scan."""
        leases: dict[str, LeaseRow] = {}
        unreadable: list[Quarantined] = []
        leader: str | None = None
        workers: list[str] = []
        for item in items:
            key = str(item.get("leaseKey"))
            row = read_row(item)
            if isinstance(row, LeaseRow):
                leases[row.key] = row
            elif row is not None:
                unreadable.append(row)
            elif key == LEADER_KEY:
                leader = str(item.get("ownerName"))
            elif item.get("entityType") == "WORKER_METRIC_STATS":
                workers.append(key)
        return cls(leases, leader, tuple(sorted(workers)), tuple(unreadable))

    @property
    def held(self) -> dict[str, str | None]:
        """Who may work on each lease that is not finished: the owner, during a hand-off the one that hands over."""
        return {row.key: row.actual_owner for row in self.leases.values() if row.checkpoint != SHARD_END}

    def counts(self) -> Counter[str]:
        """How many unfinished leases each worker has; none of a hand-off under way counts for its next owner."""
        return Counter(owner for owner in self.held.values() if owner is not None)

    def settled_on(self, workers: Iterable[str], shards: Iterable[str]) -> bool:
        """Say whether these workers, each with one at least, hold the unfinished leases, which are those of `shards`.

        A hand-off that is under way is not settled. Who should have how many is the leader's business: it weighs
        throughput, not leases.
        """
        handing_over = any(row.checkpoint_owner for row in self.leases.values())
        return set(self.held) == set(shards) and not handing_over and set(self.held.values()) == set(workers)


class Shapes:
    """Which attributes, of which types, the rows of each kind had while Java wrote them, and while ours did."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, set[str]]] = {}

    def look(self, items: Iterable[Item]) -> None:
        """Take one scan."""
        for item in items:
            kind = str(item.get("entityType", "LEASE"))
            writer = next((str(item[name]) for name in ("leaseOwner", "ownerName", "mb") if name in item), None)
            if kind == "WORKER_METRIC_STATS":
                writer = str(item.get("leaseKey"))
            if writer is None or "checkpointOwner" in item:
                continue
            sides = self._seen.setdefault(kind, {"java": set(), "ours": set()})
            sides.get(writer.partition("-")[0], set()).update(
                f"{name} {'number' if isinstance(value, int | float) else type(value).__name__}"
                for name, value in item.items()
            )

    def differences(self) -> dict[str, dict[str, list[str]]]:
        """Return by kind of row what only one side's rows had; kinds that only one side wrote are left out."""
        return {
            kind: {
                "only java": sorted(sides["java"] - sides["ours"]),
                "only ours": sorted(sides["ours"] - sides["java"]),
            }
            for kind, sides in sorted(self._seen.items())
            if all(sides.values())
        }


class Change(NamedTuple):
    """A lease changed hands (or appeared, ended, went) at a time."""

    at_s: float
    lease: str
    before: str
    after: str


class Owners:
    """Keeps who owned what when, from one look at the table to the next."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._leader: str | None = None
        self.changes: list[Change] = []

    def look(self, table: Table, now_s: float) -> list[Change]:
        """Take one look; return what changed since the last."""
        present = {key: self._state(row) for key, row in table.leases.items()}
        keys = sorted({*present, *self._last})
        new = [
            Change(now_s, key, self._last.get(key, "-"), present.get(key, "deleted"))
            for key in keys
            if self._last.get(key) != present.get(key)
        ]
        if table.leader != self._leader:
            new.append(Change(now_s, LEADER_KEY, self._leader or "-", table.leader or "-"))
        self._last, self._leader = present, table.leader
        self.changes += new
        return new

    @staticmethod
    def _state(row: LeaseRow) -> str:
        if row.checkpoint == SHARD_END:
            return "ended"
        if row.checkpoint_owner:
            return f"{row.checkpoint_owner} to {row.owner}"
        return row.owner or "nobody"


def differences(theirs: str, before: Mapping[str, LeaseRow], after: Mapping[str, LeaseRow]) -> list[str]:
    """Return where the KCL's reading of the leases (its JSON) and ours, taken before and after it, differ.

    What may have changed in between is no difference; a row of the same counter must be the same in everything.
    """
    rows: dict[str, dict[str, Any]] = {row["key"]: row for row in json.loads(theirs)}
    found = [f"{key}: not read by the KCL" for key in sorted({*before} & {*after} - {*rows})]
    found += [f"{key}: not read by us" for key in sorted({*rows} - {*before} - {*after})]
    for key in sorted({*rows} & {*before} & {*after}):
        then = _differences(rows[key], before[key])
        found += [f"{key} {one}" for one in _differences(rows[key], after[key]) if one in then]
    return found


def _differences(row: Mapping[str, Any], own: LeaseRow) -> list[str]:
    both: dict[str, tuple[object, object]] = {
        "parents": (sorted(row["parents"]), sorted(own.parents)),
        "children": (sorted(row["children"]), sorted(own.children)),
        "start": (row["start"], str(own.hash_range.start if own.hash_range else None)),
        "end": (row["end"], str(own.hash_range.end if own.hash_range else None)),
    }
    if row["counter"] == own.counter:
        both |= {
            "owner": (row["owner"], own.owner),
            "checkpoint": (row["checkpoint"], own.checkpoint.text),
            "sub": (row["sub"], own.checkpoint.sub_sequence_number),
        }
    return [f"{name}: KCL {a}, ours {b}" for name, (a, b) in both.items() if a != b]


def short(lease: str) -> str:
    """Return a lease key without the zeros that tell nobody anything."""
    number = lease.removeprefix("shardId-").lstrip("0")
    return lease if lease == LEADER_KEY else f"shard {number or '0'}"
