"""The streams that a worker reads now, and what its parts tell each other about them. One owner: this book.

Invariants: a stream is in the book exactly while its leases may be taken; whoever reads a stream that is gone waits
here, and makes no call; a doubt is looked into by the inspector, which is woken and clears it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from shardline.consumer.stream_events import StreamUntracked
from shardline.consumer.streams import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shardline.common.events import Events
    from shardline.common.ports.kinesis import Stream
    from shardline.consumer.driver.context import StreamPlan
    from shardline.consumer.leases.row import LeaseRow

__all__ = ["Streams"]


class Streams:
    """The plans of the streams being read, by the name that lease rows know them by (None in single-stream mode)."""

    def __init__(self, plans: Iterable[StreamPlan], events: Events, *, multi: bool = False) -> None:
        self.multi = multi
        self.doubted = asyncio.Event()
        self._events = events
        self._plans = {plan.lease_prefix: plan for plan in plans}
        self._missing: set[str | None] = set()
        self._refused: set[str | None] = set()
        self._back: dict[str | None, asyncio.Event] = {}
        self._strangers: set[str] = set()
        self._consumers_lost: Counter[str | None] = Counter()
        self.registering = asyncio.Lock()
        self.awaited: tuple[Stream, ...] = ()
        """Streams that the program tracks and Kinesis does not know: their leases are nobody's former ones."""

    def __iter__(self) -> Iterator[StreamPlan]:
        return iter(tuple(self._plans.values()))

    def __len__(self) -> int:
        return len(self._plans)

    def of(self, prefix: str | None) -> StreamPlan | None:
        """Return the plan for lease rows of that stream name; None for a stream that is not this worker's."""
        return self._plans.get(prefix)

    def put(self, plan: StreamPlan) -> None:
        """Read a stream from now on, or by another plan."""
        self._plans[plan.lease_prefix] = plan

    def drop(self, prefix: str | None) -> None:
        """Take no lease of that stream any more."""
        self._plans.pop(prefix, None)
        self._missing.discard(prefix)
        self._refused.discard(prefix)
        self.mark_present(prefix)

    # --- enhanced fan-out --------------------------------------------------------------------------------------------

    def consumer_arn(self, plan: StreamPlan) -> str | None:
        """Return whom to subscribe as now; None to poll."""
        now = self._plans.get(plan.lease_prefix)
        return None if now is None else now.consumer_arn

    def set_consumer(self, plan: StreamPlan, arn: str | None) -> int:
        """Subscribe as another consumer from now on, or poll; return how often that was so for the stream."""
        now = self._plans.get(plan.lease_prefix)
        if now is not None:
            self._plans[plan.lease_prefix] = replace(now, consumer_arn=arn)
        self._consumers_lost[plan.lease_prefix] += 1
        return self._consumers_lost[plan.lease_prefix]

    def poll(self, plan: StreamPlan) -> None:
        """Poll a stream from now on: its consumer may not be subscribed as."""
        now = self._plans.get(plan.lease_prefix)
        if now is not None:
            self._plans[plan.lease_prefix] = replace(now, consumer_arn=None)

    # --- existence ---------------------------------------------------------------------------------------------------

    def doubt(self, plan: StreamPlan, *, position_refused: bool = False) -> None:
        """Ask for a stream to be looked at: it was not found, or refused a position that lies in it."""
        if plan.lease_prefix in self._plans:
            (self._refused if position_refused else self._missing).add(plan.lease_prefix)
            self.doubted.set()

    def doubts(self) -> list[tuple[StreamPlan, bool]]:
        """Return the streams in doubt, and whether a position was refused; they are no longer in doubt then."""
        found = [
            (plan, key in self._refused) for key, plan in self._plans.items() if key in self._missing | self._refused
        ]
        self._missing.clear()
        self._refused.clear()
        return found

    def mark_gone(self, prefix: str | None) -> bool:
        """Let readers of the stream wait; False if they do already."""
        if prefix in self._back:
            return False
        self._back[prefix] = asyncio.Event()
        return True

    def mark_present(self, prefix: str | None) -> None:
        """Let readers go on."""
        back = self._back.pop(prefix, None)
        if back is not None:
            back.set()

    def is_tracked(self, name: str) -> bool:
        """Say whether a stream, as rows name it, is one that the program wants to be read, be it there or not."""
        identity = Identity.parse(name)
        awaited = identity is not None and any(identity.is_named(stream.arn or stream.name) for stream in self.awaited)
        return awaited or name in self._plans

    def gone(self) -> list[StreamPlan]:
        """Return the streams that are known to be gone."""
        return [plan for key, plan in self._plans.items() if key in self._back]

    async def readable(self, plan: StreamPlan) -> None:
        """Wait while the stream is known to be gone."""
        back = self._back.get(plan.lease_prefix)
        if back is not None:
            await back.wait()

    # --- rows --------------------------------------------------------------------------------------------------------

    def own(self, rows: Sequence[LeaseRow]) -> list[LeaseRow]:
        """Return the rows of streams being read; says once of each other stream that its leases are left alone."""
        other = {row.stream_name or "" for row in rows if row.stream_name not in self._plans}
        for name in sorted(other - self._strangers):
            self._doubt_older(name)
            leases = sum([(row.stream_name or "") == name for row in rows])
            self._events.emit(StreamUntracked(stream=name, leases=leases, multi_stream=self.multi))
        self._strangers = other
        return [row for row in rows if row.stream_name in self._plans]

    def _doubt_older(self, name: str) -> None:
        """Doubt a stream when another worker has made leases for a later one of its name."""
        found = Identity.parse(name)
        for key, plan in self._plans.items():
            known = None if key is None or found is None else Identity.parse(key)
            if known is not None and found is not None and known.place == found.place and known.epoch < found.epoch:
                self.doubt(plan)
