"""Enhanced fan-out: registered consumers and their subscriptions, as values of time; doors carry the events out.

Invariants: one live subscription per consumer and shard; every event names the number after which another subscription
continues without gap or repeat; an event is bounded in records and bytes; a subscription ends exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from shardline.common.limits import CONSUMERS_PER_STREAM_MAX, MIB, SHARD_READ_BYTES_PER_S
from shardline.common.ports.kinesis import StartAt, Stream, SubscribeEvent
from shardline.local.state.data import DataPlane
from shardline.local.state.options import Limits
from shardline.local.state.refusal import in_use, invalid, limit, not_found, validation

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.local.state.shard import ShardLog
    from shardline.local.state.stream import StreamState

__all__ = ["Consumer", "Consumers", "Subscription"]

_EVENT_RECORDS_MAX: Final = 1000
_EVENT_BYTES_MAX: Final = 1 * MIB
_LIST_MAX: Final = 100


@dataclass(slots=True, eq=False)
class Consumer:
    """A registered consumer; `ready_s` and `gone_s` bound its being ACTIVE (epoch seconds)."""

    name: str
    arn: str
    stream_arn: str
    created_s: float
    ready_s: float
    gone_s: float = float("inf")
    tags: dict[str, str] = field(default_factory=dict[str, str])
    subscriptions: dict[str, Subscription] = field(default_factory=dict[str, "Subscription"])

    def status(self, now: float) -> str:
        """Return CREATING, ACTIVE or DELETING."""
        if self.gone_s != float("inf"):
            return "DELETING"
        return "ACTIVE" if now >= self.ready_s else "CREATING"


class Consumers(DataPlane):
    """RegisterStreamConsumer and its family, and SubscribeToShard; each raises `Refusal`."""

    def register_consumer(
        self, stream_arn: str, name: str, *, now: float, tags: dict[str, str] | None = None
    ) -> Consumer:
        """Register a consumer, CREATING for `options.consumer_creating_s`; 20 per stream at most."""
        stream = self.readable(_stream_of(stream_arn), now)
        self.admit("RegisterStreamConsumer", stream.name, now)
        try:
            Stream(name)  # Consumers are named as streams are.
        except ValueError:
            raise validation("Value at 'consumerName' must be 1 to 128 characters of a-zA-Z0-9_.-") from None
        mine = self._of(stream.arn, now)
        if name in mine:
            raise in_use(f"Consumer {name} under stream {stream.name} already exists.")
        if len(mine) >= CONSUMERS_PER_STREAM_MAX:
            raise limit(f"A stream can have {CONSUMERS_PER_STREAM_MAX} registered consumers.")
        arn = f"{stream.arn}/consumer/{name}:{int(now)}"
        consumer = Consumer(name, arn, stream.arn, now, now + self.options.consumer_creating_s, tags=dict(tags or {}))
        self.consumers[arn] = consumer
        return consumer

    def _of(self, stream_arn: str, now: float) -> dict[str, Consumer]:
        for consumer in [c for c in self.consumers.values() if c.gone_s <= now]:
            self.drop_consumer(consumer)
        return {c.name: c for c in self.consumers.values() if c.stream_arn == stream_arn}

    def find_consumer(
        self, *, now: float, stream_arn: str | None = None, name: str | None = None, arn: str | None = None
    ) -> Consumer:
        """Return a consumer by its ARN, or by its stream's ARN and its name."""
        if arn is not None:
            self._of("", now)
            found = self.consumers.get(arn)
        elif stream_arn is not None and name is not None:
            found = self._of(self.resolve(_stream_of(stream_arn), now).arn, now).get(name)
        else:
            raise invalid("Either ConsumerARN, or StreamARN and ConsumerName, must be given.")
        if found is None:
            raise not_found(f"Consumer {arn or name} not found.")
        return found

    def list_consumers(
        self, stream_arn: str, *, now: float, results_max: int | None = None, next_token: str | None = None
    ) -> tuple[list[Consumer], str | None]:
        """Return one page of a stream's consumers, by name."""
        stream = self.resolve(_stream_of(stream_arn), now)
        size = _LIST_MAX if results_max is None else results_max
        if not 1 <= size <= 10_000:  # noqa: PLR2004 - API ListStreamConsumers.
            raise validation(f"Value at 'maxResults' must be from 1 to 10000, got {size}.")
        after = "" if next_token is None else str(self._content(next_token, now).get("consumer", ""))
        mine = self._of(stream.arn, now)
        names = sorted(n for n in mine if n > after)
        page = names[:size]
        token = self._token(now, consumer=page[-1]) if len(names) > size else None
        return [mine[n] for n in page], token

    def deregister_consumer(self, consumer: Consumer, *, now: float) -> None:
        """Remove a consumer: DELETING for `options.consumer_deleting_s`, then gone; its subscriptions end."""
        if consumer.gone_s == float("inf"):
            consumer.gone_s = now + self.options.consumer_deleting_s
        self._of("", now)

    # --- subscriptions ---

    def subscribe(self, consumer_arn: str, shard_id: str, start: StartAt, *, now: float) -> Subscription:
        """Subscribe; within five seconds of the last one for this consumer and shard: ResourceInUseException.

        Later, the new one takes over and the old one ends with a ResourceInUseException event.
        """
        consumer = self.find_consumer(arn=consumer_arn, now=now)
        if consumer.status(now) != "ACTIVE":
            raise in_use(f"Consumer {consumer.name} is {consumer.status(now)}.")
        stream = self.readable(_stream_of(consumer.stream_arn), now)
        shard = self.shard(stream, shard_id, now)
        old = consumer.subscriptions.get(shard.shard_id)
        if old is not None and now - old.started_s < self.options.subscribe_again_after_s:
            raise in_use(f"Another active subscription exists for this consumer: {consumer.name}.")
        position = self.position(shard, start, now)
        if old is not None:
            old.end("ResourceInUseException")
        subscription = Subscription(self, stream, shard, position, now)
        consumer.subscriptions[shard.shard_id] = subscription
        return subscription


class Subscription:
    """One SubscribeToShard; a door calls `poll`, sends what it returns, and waits for `wake` or `next_wakeup`."""

    def __init__(self, state: Consumers, stream: StreamState, shard: ShardLog, position: int, now: float) -> None:
        self._state = state
        self._stream = stream
        self._shard = shard
        self._position = position
        self.started_s = now
        self._ends_s = now + state.options.subscription_lifetime_s
        self._sent_s = float("-inf")
        self._free_s = now
        self.ended = False
        self.error: str | None = None
        self._waker: Callable[[], None] | None = None

    def watch(self, waker: Callable[[], None]) -> None:
        """Have `waker` called whenever `poll` may have something to say."""
        self._waker = waker
        self._shard.watchers.append(waker)

    def close(self) -> None:
        """Stop watching: the client has gone. Its five seconds still count."""
        self.ended = True
        if self._waker is not None and self._waker in self._shard.watchers:
            self._shard.watchers.remove(self._waker)

    def end(self, error: str) -> None:
        """End with an exception event of that name."""
        if not self.ended:
            self.error = error
            if self._waker is not None:
                self._waker()

    def poll(self, now: float) -> SubscribeEvent | None:
        """Return the next event to send now, or None; sets `ended` when it is the last, or when the time is over."""
        self._state.settle(now)
        if self.ended:
            return None
        if self._state.streams.get(self._stream.name) is not self._stream:
            self.error = self.error or "ResourceNotFoundException"
        if self.error is not None or now >= self._ends_s:
            self.ended = True
            return None
        self._state.trim(self._stream, self._shard, now)
        self._position = max(self._position, self._shard.trimmed)  # What expired unread is not waited for.
        event = self._records(now) if now >= self._free_s else None
        if event is None and now >= self._sent_s + self._state.options.heartbeat_s:  # As `next_wakeup` adds it up.
            event = SubscribeEvent((), self._continuation(), self._shard.behind_ms(self._position, now))
        if event is not None:
            self._sent_s = now
        return event

    def _records(self, now: float) -> SubscribeEvent | None:
        shard, state = self._shard, self._state
        records, after, size = shard.read(self._position, _EVENT_RECORDS_MAX, _EVENT_BYTES_MAX)
        ended = state.at_end(shard, after, empty=not records)
        if not records and not ended:
            return None
        self._position = after
        state.emit_read(self._stream, shard, records, after, now)
        if state.options.limits is Limits.SERVICE:
            self._free_s = now + size / SHARD_READ_BYTES_PER_S
        if ended:
            self.ended = True
            return SubscribeEvent(records, None, 0, state.children(shard))
        return SubscribeEvent(records, self._continuation(), shard.behind_ms(after, now))

    def _continuation(self) -> str:
        shard = self._shard
        number = shard.numbers(self._position - 1) if self._position > shard.held else shard.numbering.starting()
        return str(number)

    def next_wakeup(self) -> float:
        """Return when `poll` has something to say at the latest (epoch seconds)."""
        due = min(self._ends_s, self._sent_s + self._state.options.heartbeat_s)
        busy = self._shard.tail > self._position or not self._shard.is_open
        return min(due, self._free_s) if busy else due


def _stream_of(stream_arn: str) -> Stream:
    try:
        stream = Stream.of(stream_arn)
    except ValueError:
        raise validation("Value at 'streamARN' must be a stream's ARN.") from None
    if stream.arn is None:
        raise validation("Value at 'streamARN' must be a stream's ARN.")
    return stream
