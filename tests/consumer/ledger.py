"""Watches every write to the lease table of a `World`: checkpoints never go back, nor past what was not handled."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from shardline.consumer.leases.row import LeaseRow, read_row
from shardline.local.state.events import ItemApplied

if TYPE_CHECKING:
    from tests.consumer.world import World

__all__ = ["Ledger"]


class Ledger:
    """I3 and I4 for a world that nobody tampers with; `breaches` says what was broken."""

    def __init__(self, world: World) -> None:
        self.breaches: list[str] = []
        self.checkpoints = 0
        self._world = world
        world.services.tables.sink = self.on_event

    def on_event(self, event: object) -> None:
        """Judge a write that was applied."""
        if not isinstance(event, ItemApplied) or event.before is None or event.after is None:
            return
        before, after = read_row(event.before), read_row(event.after)
        if isinstance(before, LeaseRow) and isinstance(after, LeaseRow):
            self._judge(before, after)

    def _judge(self, before: LeaseRow, after: LeaseRow) -> None:
        if after.counter not in (before.counter, before.counter + 1):
            self.breaches.append(f"{after.key}: counter {before.counter} to {after.counter}")
        if after.stream_mark != before.stream_mark:
            return  # Of another stream from now on: it begins again.
        if after.checkpoint < before.checkpoint:
            self.breaches.append(f"{after.key}: checkpoint back from {before.checkpoint} to {after.checkpoint}")
        if after.checkpoint > before.checkpoint:
            self.checkpoints += 1
            self._judge_prefix(after)

    def _judge_prefix(self, row: LeaseRow) -> None:
        stream = row.stream_name.split(":")[1] if row.stream_name else self._world.stream
        placed = self._world.placed[stream, row.shard_id]
        upto = bisect_right(placed, (row.checkpoint.sequence_number, float("inf")))
        ahead = [number for _, number in placed[:upto] if number not in self._world.seen]
        if ahead:
            self.breaches.append(f"{row.key}: checkpoint {row.checkpoint} covers {len(ahead)} not handled")
