"""One stream's producer, as a pure machine: inputs with `now`, effects out.

Inputs: `put`, `on_answer`, `on_failure`, `on_map`, `on_summary` (and their failures), `flush`, `close`, `wakeup`.
Effects: requests to send, questions to ask, deliveries that are done, events. The driver calls `pump(now)` after any
input, performs what `take_effects` gives, and comes back at `next_wakeup()`.

The path of a record: accepted -> open aggregate of its predicted shard -> package -> lane of its shard -> request ->
answer judged -> delivery resolved; or back to its lane, cut anew if the shard map has changed meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from shardline.common.limits import RECORD_BYTES_MAX_DEFAULT
from shardline.common.ports.kinesis import PutEntry
from shardline.producer.aggregator import Aggregator, Group
from shardline.producer.batcher import Batcher
from shardline.producer.concurrency import Gate
from shardline.producer.config import (
    BODY_FACTOR,
    Consumers,
    OnGap,
    Ordering,
    StreamSettings,
    request_bytes,
)
from shardline.producer.delivery import Delivery
from shardline.producer.effects import AskMap, AskSummary, SendRequest
from shardline.producer.events import StreamClosed
from shardline.producer.inquiries import Inquiries
from shardline.producer.intake import Intake
from shardline.producer.ordering import KeyGate, ShardStops
from shardline.producer.router import Router
from shardline.producer.settling import Settler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from random import Random

    from shardline.common.errors import InvalidInput
    from shardline.common.events import Event
    from shardline.common.hashing import Shard
    from shardline.common.ports.kinesis import PutOutcome, StreamSummary
    from shardline.producer.budget import Share
    from shardline.producer.concurrency import Slots
    from shardline.producer.effects import Effect
    from shardline.producer.package import Package
    from shardline.producer.stats import Stats

__all__ = ["Pipeline"]

_HOLD_S: Final = 1.0
"""How long the first records wait for the first shard map."""
_ATTEMPT_S_MIN: Final = 1.0
"""An attempt gets this long even if its records expire sooner: a time-out of milliseconds would only make doubt."""
_CUTS_PER_PUMP: Final = 64


class Pipeline:
    """The producer of one stream. `new_delivery` makes the driver's kind of delivery from number and time."""

    def __init__(
        self,
        stream: str,
        settings: StreamSettings,
        share: Share,
        slots: Slots,
        random: Random,
        now: float,
        new_delivery: Callable[[int, float], Delivery] = Delivery,
    ) -> None:
        self.stream = stream
        self.settings = settings
        self.share = share
        self._slots = slots
        self._make_delivery = new_delivery
        self._number = 0
        self.deliveries: OrderedDict[int, Delivery] = OrderedDict()
        """Open deliveries, oldest first; a plain dictionary would look for the first among all that were removed."""
        ordered = settings.ordering is not Ordering.NONE
        self.router = Router(settings, random, now, split_explicit=not ordered)
        self.aggregator = Aggregator(settings, share, self.new_delivery)
        self.aggregator.keep_keys = settings.ordering is Ordering.BY_KEY
        self.aggregator.hold_until = now + _HOLD_S
        self.request_bytes_max = request_bytes(settings, share.budget.bytes_max)
        strict = settings.ordering is Ordering.BY_SHARD
        self.batcher = Batcher(settings, strict=strict, bytes_max=self.request_bytes_max)
        self.keys = KeyGate(self.new_delivery) if settings.ordering is Ordering.BY_KEY else None
        self.stops = ShardStops()
        self.gate = Gate(random)
        self.settler = Settler(self, random)
        self._requests = 0
        self._effects: list[Effect] = []
        self.events: list[Event] = []
        self.done: list[Delivery] = []
        """Deliveries that are done and whose waiters are to be woken."""
        self._barrier = 0
        self._starved = False
        """Whether a request waits for memory: the end of another one, of whatever stream, gives it."""
        self.closed = False
        self.refusal: InvalidInput | None = None
        """Why nothing may be put: the settings do not fit the stream."""
        self.room = False
        """Whether memory was given back, or bounds have changed, since the driver looked last."""
        self._intake = Intake(self)
        self._inquiries = Inquiries(self)

    # ---- putting ----------------------------------------------------------------------------------------------------

    def put(
        self,
        data: object,
        partition_key: object,
        explicit_hash_key: int | str | None,
        headers: Mapping[str, str] | None,
        now: float,
    ) -> tuple[Delivery, int] | None:
        """See `Intake.put`."""
        return self._intake.put(data, partition_key, explicit_hash_key, headers, now)

    def release(self, partition_key: str | None = None, explicit_hash_key: int | str | None = None) -> None:
        """See `Intake.release`."""
        self._intake.release(partition_key, explicit_hash_key)

    @property
    def record_bytes_max(self) -> int:
        """What data and partition key of a record may weigh together."""
        return self.settings.record_bytes_max or self.router.summary.record_bytes_max or RECORD_BYTES_MAX_DEFAULT

    @property
    def aggregating(self) -> bool:
        """Whether records are aggregated now."""
        safe = not self.router.summary.auto or self.settings.consumers is Consumers.ANY
        return self.settings.aggregation and safe

    # ---- answers ----------------------------------------------------------------------------------------------------

    def on_answer(self, request_id: int, outcomes: Sequence[PutOutcome], now: float) -> None:
        """Take the answer to a request: one outcome for each entry, in order."""
        self.settler.on_answer(request_id, outcomes, now)

    def on_failure(self, request_id: int, error: BaseException, now: float) -> None:
        """Take the failure of a whole request."""
        self.settler.on_failure(request_id, error, now)

    def on_map(self, shards: Iterable[Shard], now: float) -> None:
        """See `Inquiries.on_map`."""
        self._inquiries.on_map(shards, now)

    def on_map_failure(self, error: BaseException, now: float) -> None:
        """See `Inquiries.on_map_failure`."""
        self._inquiries.on_map_failure(error, now)

    def on_summary(self, summary: StreamSummary, now: float) -> None:
        """See `Inquiries.on_summary`."""
        self._inquiries.on_summary(summary, now)

    def on_summary_failure(self, error: BaseException, now: float) -> None:
        """See `Inquiries.on_summary_failure`."""
        self._inquiries.on_summary_failure(error, now)

    def on_auto(self, now: float) -> None:
        """See `Inquiries.on_auto`."""
        self._inquiries.on_auto(now)

    # ---- time -------------------------------------------------------------------------------------------------------

    def pump(self, now: float) -> None:
        """Do all that is due: ask, seal, expire, cut what a new map moves, send."""
        if self.router.keeper.inquiry.start(now):
            self._effects.append(AskMap())
        if self.router.summary.inquiry.start(now):
            self._effects.append(AskSummary())
        self.aggregator.seal_due(now)
        self.queue_sealed(now)
        self.settler.expire(self.batcher.expire(now), now)
        self._cut_stale(now)
        self._send(now)

    def next_wakeup(self) -> float | None:
        """Return when `pump` has something to do if nothing happens before; None if only an input can tell."""
        times: list[float | None] = [
            self.router.keeper.inquiry.next_wakeup(),
            self.router.summary.inquiry.next_wakeup(),
            self.aggregator.next_deadline(),
            self.settler.next_expiry(),
        ]
        if self.batcher.count or self.batcher.isolated:
            waits = self._starved or (self.gate.failures and self.gate.in_flight)
            sends = self._slots.free and not waits
            if not sends or self.gate.open_at > self.batcher.wake_at:
                times.append(self.batcher.next_expiry())
            if sends:
                times.append(max(self.batcher.wake_at, self.gate.open_at))
        return min([at for at in times if at is not None], default=None)

    def take_effects(self) -> list[Effect]:
        """Return what is to be done now, and forget it."""
        effects, self._effects = self._effects, []
        return effects

    # ---- barriers ---------------------------------------------------------------------------------------------------

    def flush(self, now: float) -> int:
        """Send everything at once; return the barrier that `passed` tells of."""
        self.aggregator.seal_all(now)
        self.queue_sealed(now)
        self._barrier = self._number
        self.batcher.flushing = True
        self.batcher.wake_at = now
        return self._number

    def passed(self, barrier: int) -> bool:
        """Say whether every record accepted before the barrier is resolved."""
        return next(iter(self.deliveries), barrier + 1) > barrier

    def close(self, now: float) -> int:
        """Accept nothing more, and send everything; return the barrier."""
        self.closed = True
        self.aggregator.forget_routes()
        return self.flush(now)

    def abort(self, now: float) -> None:
        """Give up everything unresolved: not written, or unknown where an attempt may have been applied."""
        self.closed = True
        self.aggregator.forget_routes()
        pending = self.pending_records
        self.aggregator.seal_all(now)
        self.queue_sealed(now)
        self.settler.abort(now)
        stats = self.stats
        self.events.append(
            StreamClosed(
                stream=self.stream,
                pending=pending,
                delivered=stats.delivered,
                failed=stats.not_written,
                unknown=stats.unknown,
            )
        )

    # ---- looking ----------------------------------------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        """Whether a put has sealed something that `pump` should look at."""
        return bool(self.done) or self.batcher.filled

    @property
    def pending_records(self) -> int:
        """Records accepted and not resolved."""
        return self.share.records + self.aggregator.open_records()

    @property
    def stats(self) -> Stats:
        """Counters since the start."""
        return self.settler.stats

    def oldest_at(self) -> float | None:
        """Return when the oldest unresolved record was put, None if there is none."""
        oldest = next(iter(self.deliveries.values()), None)
        return oldest.opened_at if oldest is not None else None

    # ---- inside -----------------------------------------------------------------------------------------------------

    def new_delivery(self, now: float) -> Delivery:
        """Make an open delivery."""
        self._number += 1
        delivery = self._make_delivery(self._number, now)
        self.deliveries[self._number] = delivery
        return delivery

    def queue_sealed(self, now: float) -> None:
        """Move sealed packages to their lanes."""
        sealed = self.aggregator.sealed
        if sealed:
            self.aggregator.sealed = []
            for package in sealed:
                self.enqueue(package, now)

    def enqueue(self, package: Package, now: float) -> None:
        """Move a sealed package to its lane."""
        if self.keys is not None:
            self.keys.on_sealed(package)
        self.batcher.add(package, now)

    def enqueue_groups(self, groups: Sequence[Group], now: float, like: Package | None = None) -> None:
        """Pack records that have deliveries already and queue them; `like` is the package they were in before."""
        singly = not self.aggregating
        put_at = min(group.part.delivery.opened_at for group in groups) if like is None else like.put_at
        for place, found in self.router.sort(groups):
            for package in self.aggregator.pack(found, place, put_at, now, singly=singly):
                if self.keys is not None:
                    self.keys.on_sealed(package)
                if like is None:
                    self.batcher.add(package, now)
                else:
                    package.inherit(like)
                    self.batcher.add_again(package, now)

    def cut(self, package: Package, now: float) -> None:
        """Put a package's records into new packages, by the map in use."""
        groups = self.router.groups_of(package)
        self.share.release(package.cost, package.count)
        self.enqueue_groups(groups, now, like=package)

    def on_new_places(self, now: float) -> None:
        """Take the records of open aggregates that a new map would cut, and pack them by it."""
        self.aggregator.forget_routes()
        self.router.on_new_map()
        moved = [b for b in self.aggregator.buffers.values() if not self.router.stands(b.place) or not self.aggregating]
        for buffer in moved:
            group = self.aggregator.take_out(buffer)
            if group is not None:
                self.enqueue_groups([group], now)
        self.batcher.wake_at = now
        self._cut_stale(now, everything=self.settings.ordering is Ordering.BY_SHARD)
        current = self.router.keeper.current
        self.batcher.forget(lambda shard_id: current is not None and current.get(shard_id) is not None)

    def _cut_stale(self, now: float, *, everything: bool = False) -> None:
        """Cut queued packages whose place no longer stands; a few at a time, the rest at the next pump."""
        left = 2**31 if everything else _CUTS_PER_PUMP
        for lane in self.batcher.stale(self.router.stands):
            while left and (heads := lane.heads()):
                package = min(heads)
                self.batcher.take(lane, package)
                if package.uniform or not package.aggregated:
                    self.batcher.replace(package, self.router.place(self.router.groups_of(package)[0].records[0]), now)
                else:
                    self.cut(package, now)
                left -= 1

    def _send(self, now: float) -> None:
        self._starved = False
        while self._slots.free and self.gate.may_send(now):
            isolated = bool(self.batcher.isolated)
            packages = self.batcher.isolated.popleft() if isolated else self.batcher.gather(now)
            if not packages:
                return
            body = int(sum([package.size for package in packages]) * BODY_FACTOR)
            if not self.share.budget.try_body(body):
                self.batcher.put_back(packages, now, isolated=isolated)
                self._starved = True
                return
            self._slots.take()
            self.gate.on_sent()
            self._requests += 1
            self.settler.on_sent(self._requests, packages, body, now)
            entries = tuple([PutEntry(one.blob, one.partition_key, one.explicit_hash_key) for one in packages])
            left = max([package.expires_at for package in packages]) - now
            timeout_s = min(self.settings.request_timeout_s, max(left, _ATTEMPT_S_MIN))
            self._effects.append(SendRequest(self._requests, entries, timeout_s))

    def end_request(self, body: int, now: float, *, answered: bool) -> None:
        """Give back a request's memory and its place."""
        self.share.budget.give_body_back(body)
        self._slots.give_back(now, answered=answered)

    def finish(self, delivery: Delivery) -> None:
        """Note that a delivery is done."""
        del self.deliveries[delivery.number]
        self.done.append(delivery)
        if self.batcher.flushing and self.passed(self._barrier):
            self.batcher.flushing = False

    def go_on(self, package: Package, now: float, *, good: bool) -> None:
        """Let successors of a settled package go, or fail with it, where an order is kept."""
        good = good or self.settings.on_gap is OnGap.CONTINUE
        if self.keys is not None:
            going, failing = self.keys.on_settled(
                package, self.aggregator.bytes_max if self.aggregating else 0, good=good
            )
            for group in failing:
                self.settler.fail_line(group)
            if going:
                self.settler.release_line(going)
                self.enqueue_groups(going, now)
        elif self.settings.ordering is Ordering.BY_SHARD and not good and package.hash_range is not None:
            self.stops.stop(package.hash_range)
            self.settler.fail_successors(package.hash_range, now)
