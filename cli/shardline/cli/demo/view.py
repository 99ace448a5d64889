"""Draws a `Snapshot`: with rich on a terminal, as plain lines elsewhere. No state, no clock.

Names come from the outside (a stream's, a service's error): control characters are escaped before they are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from shardline.cli.demo.model import ShardState
from shardline.common.printing import escape

if TYPE_CHECKING:
    from rich.console import RenderableType

    from shardline.cli.demo.model import Counts, Snapshot

__all__ = ["line", "render"]

_STATES = {ShardState.OPEN: "green", ShardState.CLOSED: "yellow", ShardState.ENDED: "dim"}
_WORKERS = {"up": "green", "killed": "bold red", "starting": "yellow"}
_TREE_ROWS_MAX = 40
_EVENTS_MIN = 2
_OTHER_ROWS = 9  # Two of frame, up to three of progress, three blank, and the cursor's.
_LAG_S_NOTED, _LAG_S_BAD = 2.0, 5.0


def render(snapshot: Snapshot, height: int) -> RenderableType:
    """Return the screen in at most `height` rows where that is possible: progress, shards, fleet, the last events."""
    fleet_rows = 1 + max(len(snapshot.workers), len(snapshot.views) + 1)
    shard_rows = 1 + min(len(snapshot.shards), _TREE_ROWS_MAX)
    events = snapshot.events[-max(_EVENTS_MIN, height - fleet_rows - shard_rows - _OTHER_ROWS) :]
    fleet = Table.grid(expand=True, padding=(0, 2))
    fleet.add_column(ratio=3)
    fleet.add_column(ratio=2)
    fleet.add_row(_workers(snapshot), _workload(snapshot))
    body = Group(_progress(snapshot), Text(), _shards(snapshot), Text(), fleet, Text(), _events(events))
    return Panel(body, title=escape(snapshot.title), border_style="blue", padding=(0, 1))


def line(snapshot: Snapshot) -> str:
    """Return the snapshot as one plain line."""
    counts = snapshot.counts
    behind = max((row.lag_s for row in snapshot.shards), default=0.0)
    rate = sum(row.records_per_s for row in snapshot.shards)
    live = sum(1 for row in snapshot.shards if row.state is ShardState.OPEN)
    up = sum(1 for worker in snapshot.workers if worker.state == "up")
    return (
        f"{snapshot.elapsed_s:6.1f}s  {snapshot.phase}: {_counts(counts)}; "
        f"{rate:,.0f} records/s, lag {behind:.1f} s, {live} open shards, {up} workers"
    )


def _counts(counts: Counts) -> str:
    return (
        f"sent {counts.sent:,}, acknowledged {counts.acknowledged:,}, processed {counts.processed:,}, "
        f"waiting {counts.pending:,}, duplicates {counts.duplicates:,}, out of order {counts.order_violations:,}"
    )


def _progress(snapshot: Snapshot) -> Text:
    done = min(1.0, snapshot.elapsed_s / snapshot.load_s) if snapshot.load_s else 0.0
    width = 30
    bar = "━" * round(done * width)
    text = Text()
    text.append(bar, style="green").append("━" * (width - len(bar)), style="dim")
    text.append(f"  {snapshot.elapsed_s:5.1f} s of {snapshot.load_s:.0f}  ").append(snapshot.phase, style="bold")
    return text.append("\n" + _counts(snapshot.counts), style="red" if snapshot.counts.order_violations else "")


def _shards(snapshot: Snapshot) -> Table:
    table = Table(expand=True, box=None, padding=(0, 1), header_style="bold")
    for name, right in (("shard", 0), ("state", 0), ("owner", 0), ("records/s", 1), ("lag s", 1), ("processed", 1)):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in snapshot.shards[:_TREE_ROWS_MAX]:
        shard = Text(row.prefix, style="dim").append(escape(_number(row.shard_id)), style=_STATES[row.state])
        if row.also_from is not None:
            shard.append(f" merged with {escape(_number(row.also_from))}", style="dim")
        orphan = (
            row.owner is None and row.state is not ShardState.ENDED and any(w.state == "up" for w in snapshot.workers)
        )
        table.add_row(
            shard,
            Text(row.state, style=_STATES[row.state]),
            Text("nobody" if orphan else escape(row.owner or ""), style="red" if orphan else ""),
            f"{row.records_per_s:,.0f}" if row.records_per_s else "",
            "" if row.state is ShardState.ENDED else Text(f"{row.lag_s:.1f}", style=_lag_style(row.lag_s)),
            f"{row.processed:,}",
        )
    hidden = len(snapshot.shards) - _TREE_ROWS_MAX
    if hidden > 0:
        table.add_row(Text(f"and {hidden} more", style="dim"))
    return table


def _lag_style(lag_s: float) -> str:
    return "red" if lag_s >= _LAG_S_BAD else "yellow" if lag_s >= _LAG_S_NOTED else ""


def _number(shard_id: str) -> str:
    """Return the number of an id such as ``shardId-000000000012``; another kind of id as it is."""
    number = shard_id.removeprefix("shardId-")
    return number.lstrip("0") or "0" if number.isdigit() else shard_id


def _workers(snapshot: Snapshot) -> Table:
    table = Table(expand=True, box=None, padding=(0, 1), header_style="bold")
    for name, right in (("worker", 0), ("pid", 1), ("state", 0), ("shards", 1), ("rec/s", 1)):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in snapshot.workers:
        state = Text(row.state, style=_WORKERS.get(row.state, "dim"))
        rate = f"{row.records_per_s:,.0f}" if row.records_per_s else ""
        table.add_row(row.name, str(row.pid), state, str(row.shards) if row.state == "up" else "", rate)
    return table


def _workload(snapshot: Snapshot) -> Table:
    table = Table(expand=True, box=None, padding=(0, 1), header_style="bold")
    table.add_column("page", no_wrap=True)
    table.add_column("views", justify="right", no_wrap=True)
    for page, views in snapshot.views:
        table.add_row(escape(page), f"{views:,}")
    table.add_row(Text("submit at /checkout", style="magenta"), f"{snapshot.alarms:,}")
    return table


def _events(events: tuple[str, ...]) -> Text:
    return Text("\n".join(escape(event) for event in events) or "no events yet", overflow="ellipsis", no_wrap=True)
