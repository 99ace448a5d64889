"""What every part of the worker's driver needs, in one value; and small helpers around calls that can fail."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from shardline.common.backoff import Backoff
from shardline.common.errors import Ambiguous, Denied, ProtocolViolation, ServiceError
from shardline.consumer.events import CallFailed, TaskFailed
from shardline.consumer.steering import Pauses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shardline.common.errors import HandlerGaveUp
    from shardline.common.events import Events
    from shardline.common.ports.kinesis import KinesisApi, Stream
    from shardline.common.ports.lease_store import LeaseStore
    from shardline.common.ports.runtime import Runtime
    from shardline.common.ports.state_store import StateStore
    from shardline.consumer.bounds import Bounds, PaceKeeper
    from shardline.consumer.config import WorkerConfig
    from shardline.consumer.driver.streams import Streams
    from shardline.consumer.leases.row import LeaseRow
    from shardline.consumer.leases.times import LeaseTimes
    from shardline.consumer.leases.writes import LeaseWrites
    from shardline.consumer.lineage import Start
    from shardline.consumer.spec import HandlerSpec

__all__ = ["Caller", "Context", "StreamPlan", "attempt", "is_ambiguous", "missing_permission", "pause", "supervise"]

T = TypeVar("T")

_CONTROL_BACKOFF = Backoff(first_s=0.2, max_s=5.0, floor=0.5)


class Caller(Protocol):
    """Whoever makes calls that are repeated: its clock and chance, and where it says that one failed."""

    @property
    def runtime(self) -> Runtime:
        """Clock and chance."""
        ...

    def report(self, call: str, error: Exception, lease: str = "") -> None:
        """Emit that a call failed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """One stream of the worker.

    `lease_prefix` is its serialised identity in multi-stream mode, `consumer_arn` whom to subscribe as with enhanced
    fan-out; None otherwise.
    """

    stream: Stream
    handler: HandlerSpec
    start: Start | None
    lease_prefix: str | None = None
    consumer_arn: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The worker's collaborators and settings; `table` is the lease table's name, `me` this worker's id.

    `fan_out` and `state` are open only where a stream or a policy needs them.
    """

    application: str
    me: str
    table: str
    runtime: Runtime
    kinesis: KinesisApi
    store: LeaseStore
    events: Events
    config: WorkerConfig
    times: LeaseTimes
    writes: LeaseWrites
    streams: Streams
    give_up: Callable[[HandlerGaveUp], None]
    fan_out: KinesisApi | None = None
    state: StateStore | None = None
    pauses: Pauses = field(default_factory=Pauses)
    bounds: Bounds | None = None
    pace: PaceKeeper | None = None

    def plan_for(self, row: LeaseRow) -> StreamPlan | None:
        """Return the stream that a lease belongs to, or None for a stream that is not this worker's."""
        return self.streams.of(row.stream_name)

    def report(self, call: str, error: Exception, lease: str = "") -> None:
        """Emit that a call failed."""
        code = error.code if isinstance(error, ServiceError) else type(error).__name__
        known, missing = not is_ambiguous(error), missing_permission(error)
        self.events.emit(CallFailed(call=call, lease=lease, error=code, known=known, missing=missing))


def missing_permission(error: Exception) -> str:
    """Return the permission whose lack an error tells of, action and resource; empty for any other error."""
    return error.permission if isinstance(error, Denied) else ""


def is_ambiguous(error: Exception) -> bool:
    """Say whether a failed call may have been applied all the same."""
    return isinstance(error, Ambiguous | ProtocolViolation)


async def pause(event: asyncio.Event, seconds: float | None) -> None:
    """Wait until `event` is set, `seconds` at most (None: without end); clears the event."""
    if not event.is_set():
        # The timer sets the event itself: a time-out that cancels costs three times as much, for each lease and round.
        timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, event.set)
        try:
            await event.wait()
        finally:
            if timer is not None:
                timer.cancel()
    event.clear()


async def attempt(caller: Caller, what: str, call: Callable[[], Awaitable[T]], *, within_s: float) -> T:
    """Return what `call` returns, repeating it with back-off while it fails in a retryable way, for `within_s` at most.

    Only for calls that may be repeated whatever became of the last one. Raises the last error when time is up, and at
    once what is not retryable (`Denied`, `NotFound`, `Rejected`).
    """
    deadline = caller.runtime.monotonic() + within_s
    attempts = 0
    while True:
        try:
            return await call()
        except ServiceError as error:
            attempts += 1
            delay = _CONTROL_BACKOFF.delay_s(attempts, caller.runtime.random)
            if not error.retryable or caller.runtime.monotonic() + delay >= deadline:
                raise
            caller.report(what, error)
            await asyncio.sleep(delay)


async def supervise(context: Context, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until it returns; when it raises, say so and start it again after a back-off.

    A background task that dies silently is how workers turn into zombies (`reliability.md` 8, story 5).
    """
    failures = 0
    while True:
        started = context.runtime.monotonic()
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it was, the work must go on; it is reported.
            lived = context.runtime.monotonic() - started
            failures = 1 if lived > 60 else failures + 1  # noqa: PLR2004 - a minute of good work forgives.
            delay = _CONTROL_BACKOFF.delay_s(failures, context.runtime.random)
            text = error.code if isinstance(error, ServiceError) else type(error).__name__
            missing = missing_permission(error)
            context.events.emit(
                TaskFailed(task=name, error=text, retry_in_s=delay, worker_id=context.me, missing=missing)
            )
            await asyncio.sleep(delay)
        else:
            return
