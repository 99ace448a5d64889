"""The producers of a world: they put records that say who they are, and tell the oracle what they were told."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from shardline.common.errors import ServiceError
from shardline.common.events import Events
from shardline.common.records import Position
from shardline.local.sim import SimRuntime
from shardline.local.sim.oracle import payload
from shardline.local.sim.oracles.secrets import CANARY
from shardline.local.sim.truth import Place, UserId
from shardline.producer.config import Ordering, ProducerSettings, StreamSettings
from shardline.producer.outcome import Delivered, NotWritten
from shardline.producer.producer import Producer
from shardline.producer.report import UndeliveredError

if TYPE_CHECKING:
    from shardline.common.events import Event
    from shardline.local.sim.hosts import Host
    from shardline.producer.outcome import Outcome

    from tests.sim.world import World

__all__ = ["Writers"]

FIRST = "orders"
_FLUSHES = 0.02


class Writers:
    """All producers of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: list[asyncio.Task[None]] = []
        self._hosts: list[Host] = []
        self._stop = False

    def start(self) -> None:
        """Start every producer."""
        for index in range(self._world.knobs.producers):
            host = self._world.sim.host(f"producer-{index}")
            self._hosts.append(host)
            self._begin(host, index, FIRST)
        for index, stream in enumerate(self._world.streams.others, self._world.knobs.producers):
            host = self._world.sim.host(f"producer-{index}")
            self._hosts.append(host)
            self._begin(host, index, stream)

    def is_first(self, host: Host | None) -> bool:
        """Say whether a host's producer writes to the first stream."""
        return host in self._hosts[: self._world.knobs.producers]

    def _begin(self, host: Host, index: int, stream: str) -> None:
        writer = _Writer(self._world, index, self, stream)
        self._tasks.append(host.spawn(writer.run(SimRuntime(host)), name=f"producer-{index}"))

    @property
    def stopped(self) -> bool:
        """Say whether producers are to put no more."""
        return self._stop

    async def finish(self) -> None:
        """Let every producer send what it has and close."""
        self._stop = True
        await asyncio.gather(*self._tasks)
        for host in self._hosts:
            self._world.leaving.gone(host)


class _Writer:
    def __init__(self, world: World, index: int, writers: Writers, stream: str) -> None:
        self._world = world
        self._stream = stream
        self._oracle = world.streams.oracle_of(stream)
        self._memory = world.memory if stream == FIRST else None  # It judges by the first stream's truth.
        self._index = index
        self._writers = writers
        self._numbers: Counter[str] = Counter()
        self._count = 0
        self._since: list[UserId] = []
        self._name = f"producer-{index}"
        self._producer: Producer | None = None

    async def run(self, runtime: SimRuntime) -> None:
        """Put records until told to stop, then close."""
        try:
            while not self._writers.stopped:
                try:
                    async with Producer(
                        self._stream,
                        self._settings(),
                        connection=self._world.services,
                        producer_settings=self._producer_settings(),
                        events=Events(self._watch),
                        runtime=runtime,
                    ) as p:
                        self._producer = p
                        await self._write(p, runtime)
                    self._account(closed=True)
                except UndeliveredError:
                    self._world.oracle.reached["producer closed with records undelivered"] += 1
                except ServiceError:
                    self._world.oracle.reached["producer could not start"] += 1
                    await asyncio.sleep(1)
        except Exception as error:  # noqa: BLE001 - the product failed: the world ends with it.
            self._world.sim.loop.failures.append(error)

    def _watch(self, event: Event) -> None:
        self._world.secrets.check(event.name, str(event))
        self._account()

    def _account(self, *, closed: bool = False) -> None:
        """Hold the producer's account of its memory against its limit."""
        if self._producer is not None and self._memory is not None:
            budget = self._producer.engine.budget
            self._memory.accounted(self._name, budget.used, budget.peak, budget.bytes_max, closed=closed)

    def _producer_settings(self) -> ProducerSettings:
        bytes_max = self._world.knobs.memory_bytes
        return ProducerSettings() if bytes_max is None else ProducerSettings(memory_bytes_max=bytes_max)

    def _settings(self) -> StreamSettings:
        knobs = self._world.knobs
        settings = self._usual_settings()
        if knobs.memory_bytes is None:
            return settings
        small = knobs.memory_bytes // 64
        return replace(settings, request_bytes_max=2 * small, record_bytes_max=small, aggregate_bytes_max=small - 1)

    def _usual_settings(self) -> StreamSettings:
        knobs = self._world.knobs
        return StreamSettings(
            aggregation=knobs.aggregation,
            linger_s=knobs.linger_s,
            ttl_s=knobs.ttl_s,
            ordering=Ordering.BY_KEY if knobs.by_key else Ordering.NONE,
            buffer_records_max=knobs.buffer_records,
            shard_map_refresh_s=60.0,
        )

    async def _write(self, producer: Producer, runtime: SimRuntime) -> None:
        knobs, random = self._world.knobs, runtime.random
        while not self._writers.stopped:
            await asyncio.sleep(random.expovariate(knobs.records_per_s / 3))
            for _ in range(random.randint(1, 5)):
                await self._put(producer, f"{CANARY}-{self._index}k{random.randrange(knobs.keys)}")
            if random.random() < _FLUSHES:
                await self._flush(producer)

    async def _flush(self, producer: Producer) -> None:
        """Ask for a barrier, and hold it to its word."""
        before, self._since = self._since, []
        report = await producer.flush(5.0)
        if report.pending:
            self._since = [*before, *self._since]
        else:
            self._oracle.flushed(before)

    async def _put(self, producer: Producer, key: str) -> None:
        self._count += 1
        self._numbers[key] += 1
        user = UserId(f"{self._index}-{self._count}", key, self._numbers[key])
        self._since.append(user)
        self._oracle.putting(user)
        data = payload(user, self._world.knobs.padding)
        await producer.put(data, key, callback=lambda told: self._told(user, told))
        if self._memory is not None:
            self._memory.accepted(self._name, user.id, len(data) + len(key))

    def _told(self, user: UserId, outcome: Outcome) -> None:
        if self._memory is not None:
            self._memory.resolved(self._name, user.id)
        if isinstance(outcome, Delivered):
            position = Position(int(outcome.sequence_number), outcome.sub_sequence_number)
            self._oracle.outcome(user, "delivered", Place(outcome.shard_id, position))
        else:
            self._oracle.outcome(user, "not written" if isinstance(outcome, NotWritten) else "unknown")
