"""A small world in virtual time: a stream, a lease table, and workers on hosts of their own that can crash."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.common.ports.lease_store import Delete, Key, Put
from shardline.consumer.config import DeliveryConfig, LeaseConfig, Retrieval, WorkerConfig
from shardline.consumer.leases.row import LeaseRow, read_row
from shardline.consumer.retrieval.polling import PollingSettings
from shardline.consumer.streams import TrackingConfig
from shardline.consumer.worker import Worker
from shardline.local.doors.services import LocalServices
from shardline.local.sim.runtime import SimRuntime

from tests.consumer.rows import aggregate

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.events import Event
    from shardline.common.hashing import Shard
    from shardline.common.ports.lease_store import Item, Value
    from shardline.consumer.handler import Record
    from shardline.consumer.processor import ShardProcessor
    from shardline.local.sim.hosts import Host
    from shardline.local.sim.simulation import Simulation

QUICK = LeaseConfig(failover_s=3.0, call_timeout_s=1.0, parent_poll_s=1.0, audit_s=10.0)


@dataclass
class World:
    """One application on one stream ("orders" unless named); records are numbered, each with a key.

    `seen` counts deliveries per number, `acknowledged` holds what the stream took, `disorder` lists (key, number) of
    first deliveries below an earlier one of the same key.
    """

    sim: Simulation
    shards: int = 2
    stream: str = "orders"
    services: LocalServices = field(init=False)
    seen: Counter[int] = field(default_factory=Counter)
    acknowledged: list[int] = field(default_factory=list)
    placed: dict[tuple[str, str], list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    disorder: list[tuple[str, int]] = field(default_factory=list)
    events: list[tuple[str, Event]] = field(default_factory=list)
    hosts: dict[str, Host] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    leaving: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _highest: dict[str | None, int] = field(default_factory=dict)
    _next: int = 0
    _free: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.services = LocalServices(clock=self.sim.runtime.wall)

    async def create(self, stream: str | None = None, shards: int | None = None) -> None:
        """Create the stream and wait until it is active."""
        self.services.state.create_stream(stream or self.stream, shards or self.shards, now=self.wall())
        await asyncio.sleep(5)

    async def delete(self, stream: str | None = None) -> None:
        """Delete the stream, its consumers too, and wait until it is gone."""
        self.services.state.delete_stream(Stream(stream or self.stream), now=self.wall(), enforce_consumers=True)
        await asyncio.sleep(5)

    def wall(self) -> float:
        """Return the world's wall clock."""
        return self.sim.runtime.wall()

    # --- the stream ---

    def put(self, count: int, *, keys: int = 17, per_aggregate: int = 1, stream: str | None = None) -> None:
        """Put numbered records, in aggregates if asked for (each of one key)."""
        for first in range(self._next, self._next + count, per_aggregate):
            numbers = range(first, min(first + per_aggregate, self._next + count))
            key = f"k{(first // per_aggregate) % keys}"
            data = aggregate(*((key, b"%d" % n) for n in numbers)) if per_aggregate > 1 else b"%d" % first
            out = self.services.state.put_records(Stream(stream or self.stream), [PutEntry(data, key)], now=self.wall())
            assert out[0].sequence_number is not None
            place = self.placed[stream or self.stream, str(out[0].shard_id)]
            place.extend((int(out[0].sequence_number), number) for number in numbers)
            self.acknowledged.extend(numbers)
        self._next += count

    async def load(self, seconds: int, per_second: int = 20, **how: Any) -> None:
        """Put records for some seconds."""
        for _ in range(seconds):
            self.put(per_second, **how)
            await asyncio.sleep(1)

    def open_shards(self) -> list[Shard]:
        """Return the open shards by hash range."""
        listed = self.services.state.list_shards(Stream(self.stream), now=self.wall()).shards
        return sorted((one for one in listed if one.is_open), key=lambda one: one.hash_range)

    def split(self, index: int = 0) -> None:
        """Split an open shard in the middle."""
        shard = self.open_shards()[index]
        middle = (shard.hash_range.start + shard.hash_range.end) // 2 + 1
        self.services.state.split_shard(Stream(self.stream), shard.shard_id, str(middle), now=self.wall())

    def merge(self, index: int = 0) -> None:
        """Merge an open shard with its neighbour."""
        shards = self.open_shards()
        left, right = shards[index], shards[index + 1]
        self.services.state.merge_shards(Stream(self.stream), left.shard_id, right.shard_id, now=self.wall())

    # --- the fleet ---

    def worker(
        self,
        name: str,
        handler: Callable[..., Any] | None = None,
        *,
        batch: bool = False,
        pull: bool = False,
        processor: Callable[[], ShardProcessor] | None = None,
        **settings: Any,
    ) -> Worker:
        """Return a worker that is not started."""
        host = self.hosts[name] = self.sim.host(name)
        config = WorkerConfig(
            worker_id=name,
            leases=settings.pop("leases", QUICK),
            delivery=settings.pop("delivery", DeliveryConfig()),
            retrieval=settings.pop("retrieval", Retrieval.AUTO),
            consumer_name=settings.pop("consumer_name", None),
            metrics=settings.pop("metrics", None),
            polling=settings.pop("polling", PollingSettings()),
            tracking=settings.pop("tracking", TrackingConfig(poll_s=5.0)),
        )
        how = {name: settings.pop(name, None) for name in ("concurrency", "on_failure", "model", "codec", "positions")}
        settings.setdefault("start", "TRIM_HORIZON")
        settings.setdefault("streams", self.stream)
        worker = Worker(
            settings.pop("application", "app"),
            connection=self.services,
            config=config,
            runtime=SimRuntime(host),
            listeners=[lambda event: self.events.append((name, event))],
            **settings,
        )
        if processor is not None:
            worker.add_processor(processor, on_failure=how["on_failure"], positions=how["positions"])
        elif pull:
            assert handler is None, "a worker whose batches are pulled has no handler"
        else:
            worker.add_handler(handler or self.see, batch=batch, **how)
        self.workers[name] = worker
        return worker

    def start(self, name: str, handler: Callable[..., Any] | None = None, **settings: Any) -> Worker:
        """Start a worker on a host of its own."""
        worker = self.worker(name, handler, **settings)
        self.leaving[name] = self.hosts[name].spawn(worker.serve())
        return worker

    async def stop(self, *names: str) -> None:
        """Stop workers gracefully and wait until they have left."""
        for name in names or list(self.leaving):
            self.workers[name].stop()
        for name in names or list(self.leaving):
            await self.leaving.pop(name)

    def crash(self, name: str) -> None:
        """Cut a worker's power."""
        del self.leaving[name]
        self.hosts[name].crash()

    async def see(self, record: Record) -> None:
        """Take a record as a handler that works a little."""
        await asyncio.sleep(0.001)
        self.saw(record)

    async def see_slowly(self, record: Record) -> None:
        """Take ten records a second."""
        await asyncio.sleep(0.1)
        self.saw(record)

    async def stuck(self, record: Record) -> None:
        """Take a record once `unstick` was called."""
        await self._free.wait()
        await self.see(record)

    def unstick(self) -> None:
        """Let handlers that are stuck go on."""
        self._free.set()

    def saw(self, record: Record) -> None:
        """Note that a record was handled."""
        number, key = int(record.data), record.partition_key
        if number not in self.seen and number < self._highest.get(key, -1):
            self.disorder.append((str(key), number))
        self.seen[number] += 1
        self._highest[key] = max(number, self._highest.get(key, -1))

    # --- what came of it ---

    async def drained(self, seconds: float = 60.0) -> None:
        """Wait until everything acknowledged was seen, `seconds` at most."""
        deadline = self.sim.now + seconds
        while self.lost and self.sim.now < deadline:  # noqa: ASYNC110 - virtual time costs nothing.
            await asyncio.sleep(0.5)

    @property
    def lost(self) -> list[int]:
        """Acknowledged records that no handler has seen."""
        return [number for number in self.acknowledged if number not in self.seen]

    @property
    def duplicates(self) -> int:
        """Deliveries beyond the first."""
        return sum(self.seen.values()) - len(self.seen)

    def rows(self) -> dict[str, LeaseRow]:
        """Return the lease rows as they stand."""
        page = self.services.tables.scan_page("app", self.wall(), consistent=True)
        rows = [read_row(item) for item in page.items]
        return {row.key: row for row in rows if isinstance(row, LeaseRow)}

    def item(self, key: str) -> Item:
        """Return a row as it stands, attribute by attribute."""
        item = self.services.tables.get("app", Key("leaseKey", key), self.wall(), consistent=True)
        assert item is not None
        return item

    def overwrite(self, key: str, *without: str, **attributes: Value) -> None:
        """Write a row as an operator (or a bug) would: some attributes changed, others taken away, no condition."""
        item = {name: value for name, value in self.item(key).items() if name not in without}
        self.services.tables.write(Put("app", {**item, **attributes}), self.wall())

    def deletion(self, key: str) -> Delete:
        """Return an operator's deletion of a lease row."""
        return Delete("app", Key("leaseKey", key))

    def named(self, kind: type[Event]) -> list[Event]:
        """Return the events of a kind, oldest first."""
        return [event for _, event in self.events if isinstance(event, kind)]
