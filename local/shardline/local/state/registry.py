"""Streams by name and ARN, and their statuses in time: what every call of the state starts from.

A change that takes time (CREATING, UPDATING, DELETING) is a due time and an action; `settle` carries out what is due,
in order of time, before anything else is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common.limits import STREAM_NAME_LENGTH_MAX
from shardline.common.ports.kinesis import Stream
from shardline.local.state.events import RecordsTrimmed, ShardClosed, ShardOpened, StreamStatus
from shardline.local.state.options import KinesisOptions, Limits
from shardline.local.state.refusal import in_use, not_found, validation
from shardline.local.state.throttle import ControlThrottle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shardline.local.state.consumer import Consumer
    from shardline.local.state.events import Sink
    from shardline.local.state.shard import ShardLog
    from shardline.local.state.stream import StreamState

__all__ = ["Registry"]


class Registry:
    """Holds the streams; `sink`, if set, is told of every event as it applies."""

    def __init__(self, options: KinesisOptions | None = None, sink: Sink | None = None) -> None:
        self.options = options or KinesisOptions()
        self.sink = sink
        self.streams: dict[str, StreamState] = {}
        self.consumers: dict[str, Consumer] = {}
        self.control = ControlThrottle()
        self._due_s = float("inf")

    # --- identity ---

    def stream_arn(self, name: str) -> str:
        """Return the ARN of a stream of this endpoint."""
        return f"arn:aws:kinesis:{self.options.region}:{self.options.account_id}:stream/{name}"

    def resolve(self, stream: Stream, now: float) -> StreamState:
        """Return the stream; raise ResourceNotFoundException where there is none."""
        self.settle(now)
        found = self.streams.get(stream.name)
        if found is None or (stream.arn is not None and stream.arn != found.arn):
            raise not_found(f"Stream {stream.name} under account {self.options.account_id} not found.")
        return found

    def active(self, stream: Stream, now: float) -> StreamState:
        """Return a stream that must be ACTIVE (control calls); raise ResourceInUseException where it is not."""
        found = self.resolve(stream, now)
        if found.status != "ACTIVE":
            raise in_use(
                f"Stream {stream.name} under account {self.options.account_id} not ACTIVE, "
                f"instead in state {found.status}"
            )
        return found

    def readable(self, stream: Stream, now: float) -> StreamState:
        """Return a stream whose data can be used (ACTIVE or UPDATING); raise ResourceNotFoundException otherwise."""
        found = self.resolve(stream, now)
        if found.status not in {"ACTIVE", "UPDATING"}:
            raise not_found(f"Stream {stream.name} under account {self.options.account_id} not found.")
        return found

    def shard(self, found: StreamState, shard_id: str, now: float) -> ShardLog:
        """Return a shard that ListShards would name, trimmed to now; raise ResourceNotFoundException otherwise."""
        shard = found.get(shard_id)
        if shard is not None:
            self.trim(found, shard, now)
        if shard is None or found.is_over(shard, now):
            raise not_found(
                f"Could not find shard {shard_id} in stream {found.name} under account {self.options.account_id}."
            )
        return shard

    def admit(self, operation: str, subject: str, now: float) -> None:
        """Charge a control call to its rate where limits are on; raise LimitExceededException."""
        if self.options.limits is Limits.SERVICE:
            self.control.admit(operation, subject, now)

    # --- time ---

    def settle(self, now: float) -> None:
        """Carry out every change of status that is due by `now`, oldest first."""
        while self._due_s <= now:
            due = [s for s in self.streams.values() if s.on_due is not None and s.due_s <= now]
            if due:
                stream = min(due, key=lambda s: s.due_s)
                action, stream.on_due = stream.on_due, None
                assert action is not None
                action(stream.due_s)
            self._reckon()

    def next_wakeup(self) -> float | None:
        """Return when the next change of status is due (epoch seconds), or None."""
        return None if self._due_s == float("inf") else self._due_s

    def _reckon(self) -> None:
        self._due_s = min((s.due_s for s in self.streams.values() if s.on_due is not None), default=float("inf"))

    def later(self, stream: StreamState, status: str, delay_s: float, now: float, act: Callable[[float], None]) -> None:
        """Put `stream` into `status` and carry out `act` after `delay_s` (at once for 0)."""
        self.set_status(stream, status, now)
        stream.due_s, stream.on_due = now + delay_s, act
        self._reckon()
        self.settle(now)

    def set_status(self, stream: StreamState, status: str, now: float) -> None:
        """Change a stream's status and tell the sink."""
        stream.status = status
        self.emit_status(stream.name, status, now)

    def trim(self, stream: StreamState, shard: ShardLog, now: float) -> None:
        """Drop what has fallen out of retention: with a shard that is not listed any more, all of it."""
        dropped, last = shard.trim(float("inf") if stream.is_over(shard, now) else stream.horizon(now))
        if dropped and self.sink is not None:
            self.sink(RecordsTrimmed(now, stream.name, shard.shard_id, dropped, last))

    # --- the log ---

    def drop_consumer(self, consumer: Consumer) -> None:
        """Forget a registered consumer; its subscriptions end with ResourceNotFoundException."""
        self.consumers.pop(consumer.arn, None)
        for subscription in consumer.subscriptions.values():
            subscription.end("ResourceNotFoundException")

    def emit_status(self, name: str, status: str, now: float) -> None:
        """Tell the sink of a stream's status."""
        if self.sink is not None:
            self.sink(StreamStatus(now, name, status))

    def resharded(self, stream: StreamState, closed: Iterable[ShardLog], opened: Iterable[ShardLog]) -> None:
        """Tell the sink of a reshard: closed shards first."""
        if self.sink is None:
            return
        for shard in closed:
            assert shard.closed_s is not None
            assert shard.ending is not None
            self.sink(ShardClosed(shard.closed_s, stream.name, shard.shard_id, shard.ending, shard.written))
        for shard in opened:
            self.sink(ShardOpened(shard.opened_s, stream.name, shard.shard_id, shard.parents))


def check_name(name: str) -> Stream:
    """Return the identity of a stream to create; raise ValidationException for a name the service refuses."""
    try:
        return Stream(name)
    except ValueError:
        raise validation(
            "1 validation error detected: Value at 'streamName' failed to satisfy constraint: Member must have length "
            f"from 1 to {STREAM_NAME_LENGTH_MAX} and match [a-zA-Z0-9_.-]+"
        ) from None
