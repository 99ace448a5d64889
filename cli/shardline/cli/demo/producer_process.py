"""The demo's producer, in a process of its own; run by `shardline demo` as ``python -m``.

It puts events at the asked rate, and tells the parent of each record's own outcome, as `put`'s delivery gives it. What
a Kinesis record weighs is read off the requests themselves, between producer and SDK, not off the producer's counters.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Final, cast

from shardline.cli.demo.child import Parent
from shardline.cli.demo.clickstream import Clickstream
from shardline.cli.demo.messages import Acknowledged, Done, Failed, Note, Ready, Sent
from shardline.cli.demo.place import connection_of
from shardline.cli.demo.settings import ProcessSettings
from shardline.common.events import Events
from shardline.producer import Delivered, Producer, UndeliveredError, Unknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from shardline.common.events import Event
    from shardline.common.ports.kinesis import KinesisApi, PutEntry, PutOutcome, Stream
    from shardline.common.ports.lease_store import LeaseStore
    from shardline.common.ports.metrics import MetricsApi
    from shardline.common.ports.services import Services
    from shardline.producer import AwaitableDelivery

__all__: list[str] = []

_TICK_S: Final = 0.01
_LATE_S_MAX: Final = 1.0
"""A producer that is held back stops this long after the load time, however many events it still had to put."""
_WEIGHTS_MAX: Final = 100_000


class _Scales:
    """Services that weigh each Kinesis record (data and partition key) on its way out, and change nothing."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._weights: OrderedDict[tuple[str, str], int] = OrderedDict()

    @property
    def region(self) -> str:
        """The region's name."""
        return self._services.region

    @asynccontextmanager
    async def kinesis(self, *, connections_max: int = 24) -> AsyncIterator[KinesisApi]:
        """Open Kinesis."""
        async with self._services.kinesis(connections_max=connections_max) as api:
            yield cast("KinesisApi", _WeighedKinesis(api, self))

    def lease_store(self) -> AbstractAsyncContextManager[LeaseStore]:
        """Open DynamoDB (a producer does not)."""
        return self._services.lease_store()

    def metrics(self) -> AbstractAsyncContextManager[MetricsApi]:
        """Open CloudWatch (a producer does not)."""
        return self._services.metrics()

    def weighed(self, entries: Sequence[PutEntry], outcomes: Sequence[PutOutcome]) -> None:
        """Keep the weights of what was written, until somebody asks; at most so many."""
        for entry, outcome in zip(entries, outcomes, strict=False):
            if outcome.shard_id is not None and outcome.sequence_number is not None:
                weight = len(entry.data) + len((entry.partition_key or "").encode())
                self._weights[outcome.shard_id, outcome.sequence_number] = weight
        while len(self._weights) > _WEIGHTS_MAX:
            self._weights.popitem(last=False)

    def take(self, shard_id: str, sequence_number: str) -> int:
        """Return what that Kinesis record weighs, 0 where it is not known."""
        return self._weights.pop((shard_id, sequence_number), 0)


class _WeighedKinesis:
    """A `KinesisApi` whose PutRecords is weighed."""

    def __init__(self, api: KinesisApi, scales: _Scales) -> None:
        self._api = api
        self._scales = scales

    async def put_records(
        self, stream: Stream, entries: Sequence[PutEntry], *, timeout_s: float
    ) -> Sequence[PutOutcome]:
        """Put, and weigh."""
        outcomes = await self._api.put_records(stream, entries, timeout_s=timeout_s)
        self._scales.weighed(entries, outcomes)
        return outcomes

    def __getattr__(self, name: str) -> object:
        return getattr(self._api, name)


class _Load:
    """Puts events at a steady rate and settles their deliveries."""

    def __init__(self, parent: Parent, settings: ProcessSettings, producer: Producer, scales: _Scales) -> None:
        self._parent = parent
        self._settings = settings
        self._producer = producer
        self._scales = scales
        self._events = Clickstream(Random(settings.seed))
        self._told = 0
        self._open: dict[AwaitableDelivery, list[tuple[int, int]]] = {}

    async def run(self) -> None:
        """Put for the load time; return when every record's outcome has been told."""
        total = self._settings.rate * self._settings.seconds
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            elapsed = 0.0
            while elapsed < self._settings.seconds:
                await asyncio.sleep(_TICK_S)
                elapsed = time.monotonic() - started
                due = min(total, int(elapsed * self._settings.rate))
                await self._put_until(due, started + self._settings.seconds + _LATE_S_MAX, group)
                self._tell_sent()
            await self._producer.flush()

    def _tell_sent(self) -> None:
        """Tell the parent how many events were put, if there are more than it knows of."""
        if self._told < self._events.next_id:
            self._told = self._events.next_id
            self._parent.say(Sent(self._parent.now(), self._told))

    async def _put_until(self, number: int, deadline: float, group: asyncio.TaskGroup) -> None:
        """Put the events below `number`, at the latest by `deadline`; one task settles each (shared) delivery."""
        while self._events.next_id < number and time.monotonic() < deadline:
            event_id = self._events.next_id
            key, data = self._events.next_event(time.time())
            delivery = await self._producer.put(data, key)
            records = self._open.get(delivery)
            if records is None:
                records = self._open[delivery] = []
                group.create_task(self._settle(delivery))
            records.append((event_id, len(data) + len(key)))

    async def _settle(self, delivery: AwaitableDelivery) -> None:
        """Tell the parent of each record's outcome once the delivery is done."""
        await delivery.wait()
        written: dict[tuple[str, str], list[tuple[int, int]]] = {}
        failed: Counter[tuple[bool, str]] = Counter()
        for index, record in enumerate(self._open.pop(delivery)):
            outcome = delivery.result_at(index)
            if isinstance(outcome, Delivered):
                written.setdefault((outcome.shard_id, outcome.sequence_number), []).append(record)
            else:
                reason = "" if outcome is None else f"{outcome.reason} ({outcome.code})"
                failed[not outcome or isinstance(outcome, Unknown), reason] += 1
        self._tell_sent()
        for (shard_id, sequence_number), records in written.items():
            ids = tuple(event_id for event_id, _ in records)
            alone = sum(weight for _, weight in records)
            weight = self._scales.take(shard_id, sequence_number)
            self._parent.say(Acknowledged(self._parent.now(), shard_id, int(sequence_number), weight, alone, ids))
        for (unknown, reason), count in failed.items():
            self._parent.say(Failed(self._parent.now(), count, unknown, reason))


def _watch(parent: Parent, event: Event) -> None:
    """Tell the parent of trouble."""
    if event.level in ("warning", "error"):
        fields = ", ".join(f"{name} {value}" for name, value in event.as_fields().items())
        parent.say(Note(parent.now(), f"{event.name}: {fields}"))


async def _produce() -> None:
    parent = Parent()
    settings = ProcessSettings.of(parent.settings)
    scales = _Scales(connection_of(settings))
    events = Events(lambda event: _watch(parent, event))
    try:
        async with Producer(settings.stream, connection=scales, events=events) as producer:
            parent.say(Ready(parent.now()))
            if await parent.word() == "go":
                await _Load(parent, settings, producer, scales).run()
    except UndeliveredError as error:
        parent.say(Note(parent.now(), str(error)))  # Each record's outcome has been told already.
    parent.say(Done(parent.now(), {}))


if __name__ == "__main__":
    asyncio.run(_produce())
