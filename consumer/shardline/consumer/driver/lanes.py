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

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.records import Position
    from shardline.consumer.driver.context import Context
    from shardline.consumer.driver.keeper import Keeper
    from shardline.consumer.driver.key_parking import KeyParking
    from shardline.consumer.handler import Batch, Record
    from shardline.consumer.processes import ProcessPool
    from shardline.consumer.spec import HandlerSpec

__all__ = ["Lanes"]


class Lanes:
    """One batch on its way through the lanes; `done` is the position below which nothing is open."""

    def __init__(
        self,
        context: Context,
        spec: HandlerSpec,
        keeper: Keeper,
        stopping: asyncio.Event,
        counted: Callable[[], None],
        keys: KeyParking | None = None,
    ) -> None:
        self._context = context
        self._spec = spec
        self._keeper = keeper
        self._stopping = stopping
        self._counted = counted
        self._keys = keys
        self._tracker = GapTracker()
        self._begun: Position | None = None
        self._busy: dict[int, float] = {}
        self._failures: dict[int, int] = {}
        self._threads: set[int] = set()

    @property
    def done(self) -> Position | None:
        """The highest position of the batch with nothing open below it."""
        return self._tracker.done

    @property
    def busy_since(self) -> float | None:
        """When the oldest of the running handler calls began."""
        return min(self._busy.values(), default=None)

    @property
    def has_thread(self) -> bool:
        """Say whether a handler still runs on a thread, abandoned or not."""
        return bool(self._threads)

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
        failures = Failures(self._context, self._keeper.lease.key, self._spec.policy, self._stopping, self._keys)
        for record in records:
            if not await self._one(lane, record, failures, records):
                return
            self._tracker.finish(record.position)
            self._counted()

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
            if isinstance(error, _NotBegun):
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
        self._begin(record)
        if self._spec.pool is None:
            self._busy[lane] = self._context.runtime.monotonic()
        try:
            if self._spec.pool is not None:
                return await self._in_process(self._spec.pool, lane, record)
            if self._spec.blocking:
                await self._context.runtime.run_blocking(self._on_thread, lane, record)
            else:
                await self._spec.call(record)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its failure, and is retried.
            return error
        finally:
            self._busy.pop(lane, None)
        return None

    async def _in_process(self, pool: ProcessPool, lane: int, record: Record) -> Exception | None:
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done = count
            self._busy.setdefault(lane, self._context.runtime.monotonic())  # Waiting for a process is not busy.

        failure = await pool.call(record, until=lambda: self._keeper.lease.delivers_until, progress=progress)
        return _NotBegun() if failure is None and not done else failure

    def _on_thread(self, lane: int, record: Record) -> None:
        """Run on a thread, which runs on when its call is abandoned; one that begins without a lease does nothing."""
        if not self._keeper.is_valid():
            raise _NotBegun
        self._threads.add(lane)
        try:
            self._spec.function(record)
        finally:
            self._threads.discard(lane)


class _NotBegun(Exception):
    """The lease's validity ran out on the way to the thread or process; the record was not begun."""
