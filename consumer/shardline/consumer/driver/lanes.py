"""Delivers a batch by several lanes at once: parallel across partition keys, in order within one.

A key belongs to one lane, so that its records never overtake each other; a record that keeps failing holds its lane,
and the batch with it, but not the other lanes. A stop lets every lane catch up with the farthest record begun, so that
nothing above the checkpoint was done: a graceful restart redelivers nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from zlib import crc32

from shardline.consumer.checkpoint import GapTracker
from shardline.consumer.driver.giving_up import Failures, Verdict
from shardline.consumer.driver.threads import Withdrawn

if TYPE_CHECKING:
    from shardline.common.records import Position
    from shardline.consumer.driver.calls import RecordCalls, Work
    from shardline.consumer.handler import Batch, Record

__all__ = ["Lanes"]


class Lanes:
    """One batch on its way through the lanes; `done` is the position below which nothing is open."""

    def __init__(self, work: Work, calls: RecordCalls) -> None:
        self._work = work
        self._context = work.context
        self._spec = work.spec
        self._keeper = work.keeper
        self._stopping = work.stopping
        self._counted = work.counted
        self._keys = work.keys
        self._calls = calls
        self._tracker = GapTracker()
        self._begun: Position | None = None
        self._busy: dict[int, float] = {}
        self._failures: dict[int, int] = {}

    @property
    def done(self) -> Position | None:
        """The highest position of the batch with nothing open below it."""
        return self._tracker.done

    @property
    def busy_since(self) -> float | None:
        """When the oldest of the running handler calls began."""
        return min(self._busy.values(), default=None)

    @property
    def failures(self) -> int:
        """How often the worst of the records in hand has failed."""
        return max(self._failures.values(), default=0)

    @property
    def above(self) -> frozenset[Position]:
        """What is done of the batch above its first gap."""
        return self._tracker.above

    async def run(self, batch: Batch, done: frozenset[Position] = frozenset()) -> bool:
        """Deliver the batch, but for what is `done`; False if stopped, or the lease is over, before its last record."""
        lanes: list[list[Record]] = [[] for _ in range(self._spec.lanes)]
        for number, record in enumerate(batch):
            self._tracker.open(record.position)
            if done and record.position in done:
                self._tracker.finish(record.position)
                continue
            key = record.partition_key
            lanes[(number if key is None else crc32(key.encode("utf-8", "replace"))) % len(lanes)].append(record)
        async with asyncio.TaskGroup() as group:
            for lane, records in enumerate(lanes):
                if records:
                    name = f"lane {lane} of {self._keeper.lease.key}"
                    self._context.runtime.spawn(group, self._run(lane, records), name=name)
        return len(self._tracker) == 0 and not self._keeper.lease.over

    async def _run(self, lane: int, records: list[Record]) -> None:
        failures = Failures(self._work)
        for record in records:
            if not await self._one(lane, record, failures, records):
                return
            self._tracker.finish(record.position)
            self._counted(1)

    async def _one(self, lane: int, record: Record, failures: Failures, records: list[Record]) -> bool:
        """Deliver one of a lane's records until it is done or parked; False when it is neither."""
        failures.reset()
        while self._may_go_on(record.position, failures.attempts) and await self._keeper.valid():
            if self._keys is not None and self._keys.holds(record):
                self._begin(record)
                followed = await failures.follow(record, records)
                if followed is None:
                    continue
                return followed
            error = await self._call(lane, record)
            if self._keeper.lease.over:
                return False
            self._failures.pop(lane, None)
            if error is None:
                return True
            if isinstance(error, Withdrawn):
                continue
            verdict = await failures.add(error, record.position)
            if verdict is Verdict.PARK:
                return await failures.park(record)
            if verdict is Verdict.STOP:
                return False
            self._failures[lane] = failures.attempts
        return False

    def _may_go_on(self, position: Position, attempts: int) -> bool:
        """Say whether a record may (still) be begun: after a stop only what lies below the farthest one begun."""
        if not self._stopping.is_set():
            return True
        return attempts == 0 and self._begun is not None and position <= self._begun

    def _begin(self, record: Record) -> None:
        if self._begun is None or record.position > self._begun:
            self._begun = record.position

    async def _call(self, lane: int, record: Record) -> Exception | None:
        def begun() -> None:
            self._busy.setdefault(lane, self._context.runtime.monotonic())

        self._begin(record)
        try:
            await self._calls.record(record, begun)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its failure, and is retried.
            return error
        finally:
            self._busy.pop(lane, None)
        return None
