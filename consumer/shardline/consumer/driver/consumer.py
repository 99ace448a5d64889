"""One shard's consumer in one tenure of its lease: waits for parents, reads, delivers, and finishes the shard.

It follows the table of `shards`; every step is re-entrant, because a crash between any two of them leaves the rest to
the next owner (F31): children are created before the parent is checkpointed at SHARD_END, each only if missing.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, cast

from shardline.common.backoff import Backoff
from shardline.common.errors import ProtocolViolation, ServiceError
from shardline.common.ports.kinesis import StartAt, StartKind
from shardline.common.ports.lease_store import Key
from shardline.common.records import SHARD_END
from shardline.consumer.driver.bounding import note_reached, waits_for_ever
from shardline.consumer.driver.context import pause
from shardline.consumer.driver.fanout import FanOutReader
from shardline.consumer.driver.key_parking import KeyParking
from shardline.consumer.driver.polling import PollingReader
from shardline.consumer.driver.reader import Reached, ShardOver, children_of
from shardline.consumer.driver.reading import Reading
from shardline.consumer.driver.session import Session
from shardline.consumer.driver.threads import Threads
from shardline.consumer.events import PositionTrimmed, ShardEnded, ShardMoved
from shardline.consumer.leases.row import LEASE_KEY, LeaseRow, Quarantined, read_row
from shardline.consumer.lineage import LATEST_PIN_EARLY_S, are_all_children, blocking_parents, covers_everything
from shardline.consumer.policy import Then
from shardline.consumer.retrieval.polling import starting_at
from shardline.consumer.shards import ShardEvent, ShardLife, ShardState, StopReason
from shardline.consumer.sought import ShardLeft
from shardline.consumer.spec import is_asynchronous
from shardline.consumer.steering import Course, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.records import Position
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.delivery import Delivery
    from shardline.consumer.driver.keeper import Keeper
    from shardline.consumer.driver.reader import Reader
    from shardline.consumer.driver.sync import ShardSync
    from shardline.consumer.steering import Read

__all__ = ["ShardConsumer"]

_FINISH_BACKOFF: Final = Backoff(first_s=0.2, max_s=5.0, floor=0.5)
_SINK_BACKOFF: Final = Backoff(first_s=0.5, max_s=10.0, floor=0.5)


class ShardConsumer:
    """Consumes one shard from its stored checkpoint; `run` returns at the shard's end or after `stop`."""

    def __init__(self, context: Context, plan: StreamPlan, keeper: Keeper, sync: ShardSync) -> None:
        self.life = ShardLife()
        self._context = context
        self._plan = plan
        self._keeper = keeper
        self._sync = sync
        self._row = keeper.lease.row
        self._stopping = asyncio.Event()
        self._news = asyncio.Event()
        self.reader: Reader | None = None
        self._reading: Reading | None = None
        self._done: Position | None = None
        self._above: frozenset[Position] = frozenset()
        self._threads = Threads(context.runtime, keeper.is_valid)
        self._session: Session | None = None
        if plan.handler.processor is not None:
            processor = plan.handler.processor()
            self._session = Session(context, plan, keeper, processor, stopping=self._stopping, threads=self._threads)
        self._keys: KeyParking | None = None
        if context.state is not None and plan.handler.policy.then is Then.PARK_KEY:
            self._keys = KeyParking(context, context.state, plan.stream.name, keeper, self._stopping)
        began_s = context.runtime.wall() - LATEST_PIN_EARLY_S
        self.course = Course(self.life, self._row.checkpoint, self._start(), began_s=began_s)
        self.course.paused = context.pauses.holds(plan.stream.name, self._row.shard_id)

    def _start(self) -> StartAt:
        if self._row.checkpoint == SHARD_END:
            return StartAt(StartKind.TRIM_HORIZON)  # Not read at all.
        start = self._plan.start
        timestamp_s = None if start is None else start.timestamp_s
        return starting_at(self._row.checkpoint, pin_s=self._row.latest_pin_s, timestamp_s=timestamp_s)

    @property
    def delivery(self) -> Delivery | None:
        """What delivers now, or did last; None before the first reading."""
        return None if self._reading is None else self._reading.delivery

    def stop(self) -> None:
        """Let the handler call that is running end, and deliver nothing further."""
        self._stopping.set()
        self._news.set()
        if self._reading is not None:
            self._reading.stop()

    def lease_lost(self) -> None:
        """Note that the lease is gone; the task that runs this consumer is cancelled beside."""
        self.life.stop(StopReason.LEASE_LOST)

    @property
    def on_thread(self) -> bool:
        """Say whether anything of the handler's still runs on a thread, abandoned or not."""
        return self._threads.busy

    @property
    def done(self) -> Position | None:
        """How far the handler got in this tenure."""
        positions = [self._done, None if self.delivery is None else self.delivery.done]
        return max((position for position in positions if position is not None), default=None)

    @property
    def position(self) -> str:
        """How far the handler is done in the present reading, as text; empty before the first record."""
        progress = None if self.delivery is None else self.delivery.progress
        at = self.course.at if progress is None else progress
        return "" if at is None else str(at)

    async def run(self) -> None:
        """Consume until the shard's end stands in the table, or `stop` was asked for and the handler returned."""
        if self._row.checkpoint == SHARD_END:
            self._shut_down(StopReason.SHARD_END)
            return
        if not await self._parents_done():
            self._shut_down(StopReason.REQUESTED)
            return
        self._move(ShardEvent.PARENTS_DONE)
        over = await self._consume()
        finished = over is not None and await self._finish_surely(over)
        ended = finished and isinstance(over, ShardOver)
        if not ended and self._session is not None:
            await self._session.request_shutdown()
        self._shut_down(StopReason.SHARD_END if ended else StopReason.REQUESTED)

    async def close(self) -> None:
        """Say to a processor that its tenure is over, once nothing of it runs any more."""
        if self._session is not None:
            await self._session.close()

    # --- parents -----------------------------------------------------------------------------------------------------

    async def _parents_done(self) -> bool:
        while not self._stopping.is_set():
            if not await self._blocking():
                return True
            await self._pause(self._context.config.leases.parent_poll_s)
        return False

    async def _pause(self, seconds: float) -> bool:
        """Wait, but not longer than until a stop is asked for; say whether it was."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _blocking(self) -> bool:
        """Say whether some parent is not finished, or cannot be judged now."""
        rows: dict[str, LeaseRow | None] = {}
        for parent in self._row.parents:
            key = self._row.sibling_key(parent)
            try:
                item = await self._context.store.get(
                    self._context.table,
                    Key(LEASE_KEY, key),
                    consistent=True,
                    timeout_s=self._context.times.timeout_s,
                )
            except (ServiceError, ProtocolViolation) as error:
                self._context.report("lease.parent", error, self._row.key)
                return True
            row = None if item is None else read_row(item)
            if isinstance(row, Quarantined):
                return True
            rows[key] = row
        return bool(blocking_parents(self._row, rows))

    # --- reading and delivering --------------------------------------------------------------------------------------

    async def _consume(self) -> ShardOver | Reached | None:
        """Read, again after every pause and seek, until the shard's end (which is returned) or a stop."""
        if not await self._initialize():
            return None
        self._move(ShardEvent.INITIALIZED)
        bounds = self._context.bounds
        if bounds is not None and not bounds.reads(self._row.shard_id):
            self.course.close()
            return await self._pass_over()
        while not self._stopping.is_set():
            read = self._next_reading()
            if read is None:
                await pause(self._news, None)
                continue
            reading = self._reading = self._begin(read)
            over = await reading.run()
            if over is not None:
                self.course.close()
                return over
            if reading.switched:
                self.reader = None  # Another one goes on behind what was delivered.
                self.course.begin_anew()
            elif not (reading.refused or reading.interrupted):
                return None
        return None

    async def _initialize(self) -> bool:
        """Do what comes before reading; False when stopped before."""
        if self._keys is not None and not await self._keys.begin():
            return False
        if self._session is not None and not await self._session.begin():
            return False
        return await self._place()

    async def _pass_over(self) -> ShardOver | Reached | None:
        """Read nothing of a shard that a bounded run does not name; its children may be among those that it does."""
        while not self._stopping.is_set():
            listed = await self._sync.list_shards(self._plan.stream)
            children = children_of(self._row.shard_id, listed)
            open_shards = [shard for shard in listed if shard.is_open]
            if self._row.shard_id in {shard.shard_id for shard in open_shards}:
                return Reached()
            if are_all_children(self._row.shard_id, self._row.hash_range, children):
                return ShardOver(children)
            if self._row.shard_id not in {shard.shard_id for shard in listed} and covers_everything(open_shards):
                return ShardOver(children, gone=True)
            await self._pause(self._context.config.leases.parent_poll_s)
        return None

    def _next_reading(self) -> Read | None:
        """Return what to read next, from where the last reading came to; None while paused."""
        before = self.life.state
        self._take_progress()
        read = self.course.next_reading()
        if self.life.state is not before:
            self._moved(self.life.state)
        if self.life.state is ShardState.SEEKING:
            self._above = frozenset()
        return read

    def _begin(self, read: Read) -> Reading:
        self._done = self.done
        if self.reader is None:
            self.reader = self._make_reader(read.start)
        if read.sought and self._session is not None:
            self._session.checkpointer.seek()
        return Reading(
            self._context,
            self._plan,
            self._keeper,
            self.reader,
            course=self.course,
            read=read,
            threads=self._threads,
            session=self._session,
            keys=self._keys,
            above=self._above,
        )

    def _make_reader(self, start: StartAt) -> Reader:
        context, plan = self._context, self._plan
        if context.streams.consumer_arn(plan) is None or context.fan_out is None:
            return PollingReader(context, plan, self._row, start, self._sync)
        return FanOutReader(context, plan, self._row, start, self._sync, context.fan_out)

    def _take_progress(self) -> None:
        delivery = self.delivery
        if delivery is None:
            return
        if delivery.progress is not None:
            self.course.on_reached(delivery.progress)
        self._above = delivery.above

    async def _place(self) -> bool:
        """Ask where the handler's own sink stands, until it says; False when stopped before."""
        positions, attempts, bounds = self._plan.handler.positions, 0, self._context.bounds
        if bounds is not None and self.course.mark is None and self._row.shard_id in bounds.since:
            self.course.place(Target.of(bounds.since[self._row.shard_id]))
        while positions is not None and not self._stopping.is_set():
            try:
                at = await self._ask(positions)
                if at is not None:
                    self.course.place(Target.behind(at))
            except Exception as error:  # noqa: BLE001 - whatever a sink raises: the shard waits, nothing is read elsewhere.
                attempts += 1
                self._context.report("handler.positions", error, self._row.key)
                await self._pause(_SINK_BACKOFF.delay_s(attempts, self._context.runtime.random))
            else:
                return True
        return not self._stopping.is_set()

    async def _ask(self, positions: Callable[[str, str], Any]) -> Position | str | None:
        where = self._plan.stream.name, self._row.shard_id
        if is_asynchronous(positions):
            return cast("Position | str | None", await positions(*where))
        return cast("Position | str | None", await self._context.runtime.run_blocking(positions, *where))

    # --- steering ----------------------------------------------------------------------------------------------------

    def steer(self) -> None:
        """Follow what was ordered: end the reading under way after the running handler call, or go on."""
        if self.course.interrupted and self._reading is not None:
            self._reading.interrupted = True  # Whatever is ordered before it has ended: another one follows.
            self._reading.stop()
        self._news.set()

    def order_pause(self, *, paused: bool) -> None:
        """Pause, or go on."""
        self.course.paused = paused
        self.steer()

    def order_seek(self, target: Target, *, skip: bool) -> bool:
        """Read on elsewhere; False for a shard that has come to its end. Raises `SeekAhead` and changes nothing."""
        if self.course.closed or self.life.state in {ShardState.SHUTTING_DOWN, ShardState.COMPLETE}:
            return False
        self._take_progress()
        self.course.seek(target, skip=skip)
        self.steer()
        return True

    # --- the end -----------------------------------------------------------------------------------------------------

    async def _finish_surely(self, over: ShardOver | Reached) -> bool:
        """Finish the shard, again after a failed call, or return False when a stop is asked for.

        Were the whole consumer begun anew instead, everything since the stored checkpoint would be delivered twice.
        """
        attempts = 0
        while not self._stopping.is_set():
            try:
                return await (self._leave() if isinstance(over, Reached) else self._finish(over))
            except (ServiceError, ProtocolViolation) as error:
                attempts += 1
                self._context.report("shard.finish", error, self._row.key)
                await self._pause(_FINISH_BACKOFF.delay_s(attempts, self._context.runtime.random))
        return False

    async def _leave(self) -> bool:
        """Store what is done and note that the bound was reached; False if the lease is over, or a stop came first."""
        bounds, done = self._context.bounds, self.done
        assert bounds is not None, "only a bounded run reaches a bound"
        if done is not None and done > self._keeper.lease.stored and not await self._keeper.checkpoint(done):
            return False
        while not await note_reached(self._context, bounds, self._keeper.lease):
            if await self._pause(_FINISH_BACKOFF.delay_s(1, self._context.runtime.random)):
                return False
        self._context.events.emit(ShardLeft(lease=self._row.key, until=bounds.text))
        return True

    async def _finish(self, over: ShardOver) -> bool:
        """Create what follows and store the end; False if a stop, or the loss of the lease, came first."""
        if over.gone:
            done = self.done or self._row.checkpoint
            self._context.events.emit(
                PositionTrimmed(lease=self._row.key, checkpoint=str(done), resumed_at="SHARD_END")
            )
        while await self._sync.merge_waits(self._plan, self._row, over.children):
            if await waits_for_ever(self._context, self._sync, self._plan, self._row, over.children):
                return await self._leave()
            if await self._pause(self._context.config.leases.parent_poll_s):
                return False
        while over.gone and not await self._sync.repair(self._plan):
            # Children may be gone as well: what follows them has no lease of its own, and this shard's stood for it.
            if await self._pause(self._context.config.leases.parent_poll_s):
                return False
        children = await self._sync.create_children(self._plan, self._keeper.lease.row, over.children)
        if self._session is not None and not await self._session.end():
            return False
        stored = await self._keeper.checkpoint(SHARD_END)
        if stored:
            self._context.events.emit(ShardEnded(lease=self._row.key, children=children))
        return stored

    def _move(self, event: ShardEvent) -> None:
        self._moved(self.life.move(event))

    def _shut_down(self, reason: StopReason) -> None:
        self.life.stop(reason)
        self._moved(self.life.move(ShardEvent.FINISHED))

    def _moved(self, state: ShardState) -> None:
        self._context.events.emit(ShardMoved(lease=self._row.key, state=state.value))
