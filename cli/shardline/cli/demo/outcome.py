"""What one run of the demo ends with: the ledger's report and what was done meanwhile, for people and as JSON. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shardline.cli.demo.report import Report

__all__ = ["Outcome", "summary"]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The whole result; `seconds` is the load time asked for, `load_s` what it took until every outcome was known.

    `takeovers` are the seconds from the kill until another worker had each of the killed one's shards; `broken` names
    processes that ended by themselves, with their exit status and last words.
    """

    report: Report
    seconds: int
    load_s: float
    drain_s: float
    kills: int
    splits: int
    merges: int
    starts: int
    takeovers: tuple[float, ...]
    seed: int
    rate: int
    shards: int
    workers: int
    stopped_cleanly: bool
    broken: tuple[tuple[str | int, ...], ...]
    total_s: float = 0.0

    @property
    def sound(self) -> bool:
        """Say whether the run passed: records went through, none lost, none out of order, nobody broke down."""
        return self.report.sound and self.report.acknowledged > 0 and self.stopped_cleanly and not self.broken

    @property
    def remarks(self) -> list[str]:
        """Lines of the summary that a run of another kind adds."""
        return []

    def as_fields(self) -> dict[str, Any]:
        """Return everything by name, for JSON; times in seconds."""
        return {
            "ok": self.sound,
            **self.report.as_fields(),
            "kills": self.kills,
            "splits": self.splits,
            "merges": self.merges,
            "starts": self.starts,
            "takeover_seconds": [round(one, 3) for one in self.takeovers],
            "seconds": self.seconds,
            "load_seconds": round(self.load_s, 3),
            "drain_seconds": round(self.drain_s, 3),
            "total_seconds": round(self.total_s, 3),
            "seed": self.seed,
            "rate": self.rate,
            "shards": self.shards,
            "workers": self.workers,
            "stopped_cleanly": self.stopped_cleanly,
            "broken": [list(one) for one in self.broken],
        }


def summary(outcome: Outcome) -> list[str]:
    """Return the report's lines."""
    report = outcome.report
    per_record = report.acknowledged / report.kinesis_records if report.kinesis_records else 0.0
    resent = f"resent {report.resent:,} (one record at two positions)"
    redelivered = f"redelivered {report.redelivered:,} (one position twice)"
    grown = report.data_bytes - report.data_bytes_alone
    growth = f"{abs(grown):,} bytes {'more' if grown > 0 else 'less'}"
    done = f"kills {outcome.kills}, starts {outcome.starts}, splits {outcome.splits}, merges {outcome.merges}"
    lines = [
        "",
        _row("sent", report.sent, f"user records in {outcome.load_s:.1f} s"),
        _row("acknowledged", report.acknowledged, f"not written {report.not_written:,}, unknown {report.unknown:,}"),
        _row("processed", report.processed, f"unique; drained in {outcome.drain_s:.1f} s"),
        _row("lost", report.lost, "acknowledged and never processed, by id"),
        _row("duplicates", report.duplicates, f"{resent}, {redelivered}"),
        _row("order violations", report.order_violations, "per key and shard, and child before parent"),
        _row("misplaced", report.misplaced, "delivered by a shard that did not own their hash key"),
        _row("Kinesis records", report.kinesis_records, f"{per_record:.0f} user records each"),
        _row("  saved", report.kinesis_records_saved, "Kinesis records, by aggregation"),
        _row("  bytes saved", report.bytes_saved, f"billed, in payload units of 25 KB; the data weigh {growth}"),
        done + _takeovers(outcome),
    ]
    lines += outcome.remarks
    if report.foreign:
        lines.append(_row("foreign", report.foreign, "delivered and never sent"))
    for name, status, *words in outcome.broken:
        lines.append(f"{name} broke down, exit status {status}: {' / '.join(map(str, words))}")
    if not outcome.stopped_cleanly:
        lines.append("a process did not stop when asked")
    lines.append("nothing lost, nothing out of order" if outcome.sound else "FAILED")
    return lines


def _row(name: str, count: int, remark: str) -> str:
    return f"{name:<18}{count:>14,}  {remark}"


def _takeovers(outcome: Outcome) -> str:
    if not outcome.takeovers:
        return ""
    return f"; {len(outcome.takeovers)} shards taken over, the last {max(outcome.takeovers):.1f} s after the kill"
