"""One lease with everything that hangs on it: its keeper and its shard's consumer; and the set of all of them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from shardline.consumer.driver.consumer import ShardConsumer
from shardline.consumer.driver.context import supervise
from shardline.consumer.driver.keeper import Keeper
from shardline.consumer.events import HandlerHung, LeaseAcquired, LeaseLost, TaskFailed
from shardline.consumer.health import LeaseHealth
from shardline.consumer.leases.held import HeldLease, HeldState, Loss

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import UpdateItem
    from shardline.common.records import Position
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.sync import ShardSync
    from shardline.consumer.leases.row import LeaseRow

__all__ = ["Holding", "Holdings"]

_THREAD_POLL_S: Final = 1.0
_WATCH_S_MIN: Final = 0.05
_OWNERS_TRIED: Final = 3
_AVOID_FAILOVERS: Final = 4


class Holding:
    """A lease from its acquisition to its loss or give-back."""

    def __init__(self, context: Context, plan: StreamPlan, lease: HeldLease, sync: ShardSync) -> None:
        self.lease = lease
        self.keeper = Keeper(context, lease)
        self.keeper.done = self._done
        self.consumer: ShardConsumer | None = None
        self._context = context
        self._plan = plan
        self._sync = sync
        self._stopping = False
        self._leaving = False
        self.hung = False
        self._idle = asyncio.Event()

    @property
    def stream_name(self) -> str:
        """The name of the stream that the shard is of."""
        return self._plan.stream.name

    async def run(self) -> None:
        """Acquire the lease, consume its shard, and end when the lease is over."""
        context, lease, keeper = self._context, self.lease, self.keeper
        async with asyncio.TaskGroup() as group:
            context.runtime.spawn(group, keeper.run(), name=f"keep {lease.key}")
            if not await keeper.acquired():
                return
            context.events.emit(LeaseAcquired(lease=lease.key, token=lease.token, checkpoint=str(lease.row.checkpoint)))
            beside = [
                context.runtime.spawn(group, work(), name=f"{name} {lease.key}")
                for name, work in (("consume", self._consume), ("hand off", self._hand_off), ("watch", self._watch))
            ]
            await keeper.over()
            if self.consumer is not None:
                self.consumer.lease_lost()
            for task in beside:
                task.cancel()
        reason = (lease.loss or Loss.EXPIRED).value
        context.events.emit(LeaseLost(lease=lease.key, token=lease.token, reason=reason, worker_id=context.me))
        await self._close()

    async def _close(self) -> None:
        """Close the consumer once no thread of its handler runs any more; until then the lease is not taken again."""
        while self._on_thread and not self._leaving:  # noqa: ASYNC110 - a thread sets no Event.
            await asyncio.sleep(_THREAD_POLL_S)
        if self.consumer is not None:
            await self.consumer.close()

    async def stop(self, timeout_s: float) -> None:
        """Let the running handler call end (within `timeout_s`), store what is done, and give the lease back.

        The worker is leaving: a thread that cannot be cancelled is not waited for beyond that.
        """
        self._leaving = True
        if self.lease.state is HeldState.ACQUIRING and not await self.keeper.acquired():
            return
        await self._wind_down(timeout_s)

    async def abandon(self) -> None:
        """Let go of the lease without a checkpoint: what was read is no longer of the stream that bears its name."""
        self.keeper.done = _nothing
        self._stopping = True
        if self.consumer is not None:
            self.consumer.stop()
        if self.lease.state is HeldState.ACQUIRING and not await self.keeper.acquired():
            return
        if not self.lease.over:
            await self.keeper.release()

    async def _wind_down(self, timeout_s: float) -> None:
        self._stopping = True
        if self.consumer is not None:
            self.consumer.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        done = self._done()
        if done is not None and done > self.lease.stored and not self.lease.over:
            await self.keeper.checkpoint(done)
        if not self.lease.over:
            await self.keeper.release()

    async def _hand_off(self) -> None:
        """As present owner of a graceful hand-off: stop, checkpoint, transfer, within the hand-off's time."""
        await self.keeper.hand_off_asked()
        if not self.lease.over and not self._stopping:
            await self._wind_down(self._context.config.leases.hand_off_timeout_s)

    async def _watch(self) -> None:
        """Watch the progress of the handler: a call that lasts too long costs the lease (`reliability.md` P11).

        Unless others have tried already: after as many owners without a checkpoint the record is the matter, not the
        worker, and passing the shard on would only spread it.
        """
        context, timeout_s = self._context, self._context.config.delivery.handler_timeout_s
        while True:
            await asyncio.sleep(max(_WATCH_S_MIN, min(timeout_s / 10, timeout_s - self.busy_s)))
            if self.busy_s < timeout_s:
                self.hung = False
                continue
            if self.hung:
                continue
            self.hung = True
            holds = self.lease.row.owner_switches >= _OWNERS_TRIED
            position = str(self._done() or self.lease.stored)
            context.events.emit(HandlerHung(lease=self.lease.key, position=position, seconds=self.busy_s, holds=holds))
            if not holds:
                self.lease.give_up(Loss.HUNG)
                self.keeper.wake()

    @property
    def busy_s(self) -> float:
        """How long the present handler call has lasted; 0 when none runs."""
        since = None if self.consumer is None or self.consumer.delivery is None else self.consumer.delivery.busy_since
        return 0.0 if since is None else self._context.runtime.monotonic() - since

    @property
    def _on_thread(self) -> bool:
        return self.consumer is not None and self.consumer.on_thread

    def health(self) -> LeaseHealth:
        """Return how the lease and its handler are."""
        consumer, now = self.consumer, self._context.runtime.monotonic()
        delivery = None if consumer is None else consumer.delivery
        reader = None if consumer is None else consumer.reader
        records, size = (0, 0) if reader is None else reader.waiting
        return LeaseHealth(
            lease=self.lease.key,
            stream=self.stream_name,
            shard_id=self.lease.row.shard_id,
            paused=self._context.pauses.holds(self.stream_name, self.lease.row.shard_id),
            position="" if consumer is None else consumer.position,
            state="acquiring" if consumer is None else consumer.life.state.value,
            token=self.lease.token,
            valid=self.lease.is_valid(now),
            checkpoint=str(self.lease.stored),
            millis_behind_latest=None if reader is None else reader.millis_behind_latest,
            lag_ms=None if reader is None else reader.lag_ms,
            reading="" if reader is None else reader.doing,
            pause_s=None if reader is None else reader.pause_s,
            waiting_records=records,
            waiting_bytes=size,
            busy_s=self.busy_s,
            idle_s=None if reader is None else now - reader.last_progress,
            failures=0 if delivery is None else delivery.failures,
            parked_keys=0 if delivery is None or delivery.keys is None else len(delivery.keys),
            hung=self.hung,
            stuck_thread=self.lease.over and self._on_thread,
        )

    async def _consume(self) -> None:
        await supervise(self._context, f"consume {self.lease.key}", self._consume_once)
        self._idle.set()

    async def _consume_once(self) -> None:
        """Consume from the stored checkpoint; after an unexpected failure this starts over, behind what was done."""
        if self.consumer is not None:
            await self._close()
            done = self._done()
            if done is not None and done > self.lease.stored:
                await self.keeper.checkpoint(done)  # Nothing is delivered twice in one tenure.
        self.consumer = ShardConsumer(self._context, self._plan, self.keeper, self._sync)
        if self._stopping:
            self.consumer.stop()
        await self.consumer.run()

    def _done(self) -> Position | None:
        return None if self.consumer is None else self.consumer.done


class Holdings:
    """Every lease that this worker holds, acquires or has not quite let go of; at most one `Holding` per lease key."""

    def __init__(self, context: Context, group: asyncio.TaskGroup, sync: ShardSync) -> None:
        self._context = context
        self._group = group
        self._sync = sync
        self._holdings: dict[str, Holding] = {}
        self._avoid: dict[str, float] = {}
        self._let_go: set[str] = set()
        self._closing = False

    def __contains__(self, key: object) -> bool:
        return key in self._holdings

    def __len__(self) -> int:
        return len(self._holdings)

    def all(self) -> list[Holding]:
        """Return the holdings, oldest first."""
        return list(self._holdings.values())

    def adopt(self, row: LeaseRow) -> bool:
        """Pick up a lease that the table gives to this worker already: the first renewal decides."""
        return self._begin(row, self._context.writes.renew(row, row.throughput_kbps))

    def take(self, row: LeaseRow, *, rescue: bool = False) -> bool:
        """Take a lease: from nobody, from a dead worker, or (2.x) from a busier one."""
        return self._begin(row, self._context.writes.take(row, self._context.me, rescue=rescue))

    def _begin(self, row: LeaseRow, first: UpdateItem) -> bool:
        """Start a holding unless one exists; False for a lease that is held, or of a stream that is not ours."""
        context, plan = self._context, self._context.plan_for(row)
        if self._closing or plan is None or row.key in self._holdings:
            return False
        if context.runtime.monotonic() < self._avoid.get(row.key, 0.0):
            return False
        lease = HeldLease(
            row,
            context.me,
            first,
            writes=context.writes,
            times=context.times,
            random=context.runtime.random,
            now=context.runtime.monotonic(),
        )
        holding = Holding(context, plan, lease, self._sync)
        context.runtime.spawn(self._group, self._hold(row.key, holding), name=f"hold {row.key}")
        self._holdings[row.key] = holding  # Behind its task: one that could not be started would never leave.
        return True

    async def _hold(self, key: str, holding: Holding) -> None:
        try:
            await holding.run()
        except Exception as error:  # noqa: BLE001 - one lease's bug must not take the worker down: its lease expires.
            self._context.events.emit(TaskFailed(task=f"hold {key}", error=type(error).__name__, retry_in_s=0.0))
        finally:
            holding.keeper.abandon()
            del self._holdings[key]
            if holding.hung:  # Others shall try first.
                self._avoid[key] = self._context.runtime.monotonic() + _AVOID_FAILOVERS * self._context.times.failover_s

    def let_go(self, key: str) -> bool:
        """Say whether a lease was held when all were given back, or given up for its handler hung: it is done with."""
        return key in self._let_go or key in self._avoid

    async def stop_stream(self, stream_name: str | None, timeout_s: float) -> tuple[int, int]:
        """Give a stream's leases back; return how many there were, and how many could not be given back."""
        held = [one for one in self.all() if one.lease.row.stream_name == stream_name]
        async with asyncio.TaskGroup() as group:
            for holding in held:
                self._context.runtime.spawn(group, holding.stop(timeout_s), name=f"stop {holding.lease.key}")
        return len(held), sum(holding.lease.state is not HeldState.RELEASED for holding in held)

    async def abandon_stream(self, stream_name: str | None, *, but: str | None = None) -> None:
        """Let go of a stream's leases without a checkpoint, `but` for those whose rows bear that mark."""
        held = [one for one in self.all() if one.lease.row.stream_name == stream_name]
        held = [one for one in held if but is None or one.lease.row.stream_mark != but]
        async with asyncio.TaskGroup() as group:
            for holding in held:
                self._context.runtime.spawn(group, holding.abandon(), name=f"abandon {holding.lease.key}")

    async def close(self, timeout_s: float) -> int:
        """Give every lease back; return how many could not be. No lease is taken any more."""
        self._closing = True
        held = self.all()
        self._let_go = {holding.lease.key for holding in held}
        async with asyncio.TaskGroup() as group:
            for holding in held:
                self._context.runtime.spawn(group, holding.stop(timeout_s), name=f"stop {holding.lease.key}")
        return sum(holding.lease.state is not HeldState.RELEASED for holding in held)


def _nothing() -> None:
    return None
