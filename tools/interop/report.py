"""What a run of the mixed fleet ends with, for people and as JSON; and what a KCL's log says against us. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tools.interop.rows import short

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.cli.demo.report import Report

    from tools.interop.rows import Change

__all__ = ["Act", "Outcome", "complaints", "summary"]

_LINE: Final = re.compile(r"^[\d:.]+ \[[^\]]*\] (WARN|ERROR) (\S+) - (.*)$")
_NUMBERS: Final = re.compile(r"\d{2,}|[0-9a-f]{8}-[0-9a-f-]{27}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One part of the play: how long it took, what it cost in duplicates, who owned how much at its end."""

    name: str
    seconds: float
    duplicates: int
    owners: dict[str, int]
    leader: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The whole result. `complaints` are the lines of the KCL's logs, with how often each came."""

    versions: dict[str, str]
    first: str
    failover_s: float
    acts: tuple[Act, ...]
    changes: tuple[Change, ...]
    processed: dict[str, int]
    kpl_processed: dict[str, int]
    compared: int
    shapes: dict[str, dict[str, list[str]]]
    report: Report
    complaints: dict[str, int]
    warnings: dict[str, int] = field(default_factory=dict[str, int])
    faults: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Say whether nothing was lost or out of order, and neither side found fault with the other's rows."""
        return self.report.sound and self.report.acknowledged > 0 and not self.faults and not self.complaints

    def as_fields(self) -> dict[str, Any]:
        """Return everything by name, for JSON; times in seconds."""
        return {
            "ok": self.sound,
            "versions": self.versions,
            "first": self.first,
            "failover_s": self.failover_s,
            "acts": [asdict(act) for act in self.acts],
            "changes": [change._asdict() for change in self.changes],
            **self.report.as_fields(),
            "processed_by": self.processed,
            "kpl_processed_by": self.kpl_processed,
            "tables_compared": self.compared,
            "shapes": self.shapes,
            "kcl_errors": self.complaints,
            "kcl_warnings": self.warnings,
            "faults": list(self.faults),
        }


def complaints(log: Iterable[str], level: str) -> Counter[str]:
    """Return the messages of a level in a KCL's log (ids and counts left out), and how often each came."""
    found: Counter[str] = Counter()
    for line in log:
        match = _LINE.match(line)
        if match is not None and match[1] == level:
            found[f"{match[2].rpartition('.')[2]}: {_NUMBERS.sub('#', match[3])[:200]}"] += 1
    return found


def summary(outcome: Outcome) -> list[str]:
    """Return the report's lines: the acts, who owned what when, the counts, the faults."""
    report = outcome.report
    lines = ["", f"{'act':<34}{'seconds':>8}{'duplicates':>12}   leases at its end (leader)"]
    for act in outcome.acts:
        owners = ", ".join(f"{name} {count}" for name, count in sorted(act.owners.items())) or "nobody"
        lines.append(f"{act.name:<34}{act.seconds:>8.1f}{act.duplicates:>12,}   {owners} ({act.leader})")
    lines += ["", "who owned what when"]
    lines += [
        f"{change.at_s:>8.1f} s  {short(change.lease):<10}{change.before} -> {change.after}"
        for change in outcome.changes
    ]
    lines.append("")
    for name, count in outcome.processed.items():
        of_kpl = outcome.kpl_processed.get(name, 0)
        lines.append(f"{name:<12}processed{count:>9,} user records, {of_kpl:,} of them written by the KPL")
    lines.append(f"the KCL read the whole lease table {outcome.compared} times, and so did we, with the same result")
    for kind, sides in outcome.shapes.items():
        only = [f"{side} {', '.join(names)}" for side, names in sides.items() if names]
        lines.append(f"rows of kind {kind}: {'; '.join(only) or 'the same attributes and types from both sides'}")
    lines.append(
        f"acknowledged {report.acknowledged:,}, processed {report.processed:,}, lost {report.lost}, duplicates "
        f"{report.duplicates:,}, order violations {report.order_violations}, misplaced {report.misplaced}"
    )
    lines += [f"the KCL logs an error {count} times: {text}" for text, count in outcome.complaints.items()]
    lines += [f"the KCL warns {count} times: {text}" for text, count in outcome.warnings.items()]
    lines += [f"FAULT {fault}" for fault in outcome.faults]
    lines.append("nothing lost, nothing out of order, one table under both" if outcome.sound else "FAILED")
    return lines
