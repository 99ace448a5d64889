"""The workers of a world: each on a host of its own, with the application's handler; they crash and come back."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from shardline.common.errors import ServiceError
from shardline.consumer.config import DeliveryConfig, LeaseConfig, Retrieval, TableConfig, WorkerConfig
from shardline.consumer.config import Fleet as FleetKind
from shardline.consumer.events import BatchProcessed, LeaseAcquired, LeaseLost, WorkerStarted
from shardline.consumer.retrieval.polling import PollingSettings
from shardline.consumer.worker import Worker
from shardline.local.sim import SimRuntime

from tests.sim.application import Application
from tests.sim.chaos import APPLICATION

if TYPE_CHECKING:
    from shardline.common.events import Event
    from shardline.local.sim.hosts import Host

    from tests.sim.knobs import Knobs
    from tests.sim.world import World

__all__ = ["Fleet", "Slot"]

STREAM = "orders"
_STOP_S = 30.0
"""How long a worker may take to leave by its configuration, which is the default one."""


class Slot:
    """One place in the fleet: the host that stands there now, and its worker."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.lives = 0
        self.host: Host | None = None
        self.worker: Worker | None = None
        self.application: Application | None = None
        self.began_s = 0.0
        """When the worker began."""
        self.worker_id = ""
        self.task: asyncio.Task[None] | None = None
        self.asked_s: float | None = None
        """When the worker was asked to leave."""

    @property
    def alive(self) -> bool:
        """Say whether a host stands here that was not cut off from power."""
        return self.host is not None and self.host.alive


class Fleet:
    """All workers of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.slots = [Slot(index) for index in range(world.knobs.workers)]
        self._log: deque[tuple[float, str, Event]] = deque(maxlen=100)
        self._stopping = False

    def start(self) -> None:
        """Start every worker within a few seconds (all at once in every second world)."""
        random = self._world.sim.random
        spread_s = 0.0 if random.random() < 0.5 else 8.0
        for slot in self.slots:
            self._world.sim.at(self._world.sim.now + spread_s * random.random(), self.begin, slot)

    def begin(self, slot: Slot) -> None:
        """Start a worker on a new host in a slot, unless one lives there."""
        if slot.alive or self._stopping:
            return
        world, knobs = self._world, self._world.knobs
        slot.lives += 1
        name = f"worker-{slot.index}"
        slot.worker_id = name if knobs.same_id else f"{name}.{slot.lives}"
        slot.host = world.sim.host(name)
        slot.task = slot.host.spawn(self._live(slot, slot.host), name=slot.worker_id)

    async def _live(self, slot: Slot, host: Host) -> None:
        """Run workers one after another, as a supervisor restarts a process that ended."""
        try:
            while not self._stopping:
                try:
                    slot.worker, slot.asked_s = self._worker(slot, host), None  # Whom it followed may have been asked.
                    async with slot.worker:
                        await slot.worker.wait()
                    await self._left(slot)
                except ServiceError:
                    self._world.oracle.reached["worker could not start"] += 1
                    await asyncio.sleep(1)
        except Exception as error:  # noqa: BLE001 - the product failed: the world ends with it.
            self._world.sim.loop.failures.append(error)

    async def _left(self, slot: Slot) -> None:
        """Judge a worker that has left, where nothing was in its way; it comes back after a while."""
        world, asked_s, slot.asked_s = self._world, slot.asked_s, None
        took_s = 0.0 if asked_s is None else world.sim.now - asked_s
        world.oracle.reached["worker left"] += 1
        if self._in_peace(asked_s):
            within_s = _STOP_S + 2 * world.knobs.failover_s
            stuck = {} if slot.application is None else slot.application.stuck
            began_s = slot.began_s if world.knobs.fleet is FleetKind.KCL2 else None
            for leaving in world.streams.leavings:
                leaving.left(slot.worker_id, took_s=took_s, within_s=within_s, began_s=began_s, stuck=stuck)
        if self._stopping:
            return
        await asyncio.sleep(world.knobs.restart_s * world.sim.random.random())
        if not world.knobs.same_id:
            slot.lives += 1
            slot.worker_id = f"worker-{slot.index}.{slot.lives}"

    def _in_peace(self, asked_s: float | None) -> bool:
        """Say whether nothing was in the way of a worker that left, asked to at that time."""
        chaos = self._world.chaos
        return self._world.knobs.orderly or (not chaos.on and asked_s is not None and asked_s >= chaos.ended_s)

    def _worker(self, slot: Slot, host: Host) -> Worker:
        knobs, world = self._world.knobs, self._world
        world.streams.identify(host, slot.worker_id)
        slot.began_s = world.sim.now
        config = WorkerConfig(
            worker_id=slot.worker_id,
            table=TableConfig(deletion_protection=False),
            leases=LeaseConfig(
                failover_s=knobs.failover_s,
                audit_s=20.0 if knobs.auditor else 86_400.0,
                clean_up=knobs.clean_up,
                clean_up_s=knobs.clean_up_s,
                parent_poll_s=3.0,
                fleet=knobs.fleet,
                strategy=knobs.strategy,
            ),
            polling=_polling(knobs),
            tracking=world.streams.tracking,
            retrieval=Retrieval.FANOUT if knobs.fanout else Retrieval.AUTO,
            delivery=DeliveryConfig(
                handler_timeout_s=knobs.handler.timeout_s, checkpoint_records=knobs.checkpoint_records
            ),
        )
        runtime = SimRuntime(
            host,
            blocking_s_max=knobs.handler.thread_s,
            threads=world.sim.threads if knobs.handler.blocking else None,
        )
        worker = Worker(
            APPLICATION,
            streams=world.streams.listed if world.streams.others else STREAM,
            start="TRIM_HORIZON",
            connection=world.services,
            config=config,
            runtime=runtime,
            listeners=[lambda event: self._watch(slot, event)],
        )
        slot.application = Application(world, slot.worker_id)
        slot.application.register(worker, runtime)
        return worker

    def _watch(self, slot: Slot, event: Event) -> None:
        if isinstance(event, BatchProcessed):
            stream, shard_id = self._world.streams.place_of(event.lease)
            if stream == STREAM:
                self._world.memory.done(slot.worker_id, shard_id, int(event.last.partition("/")[0]))
            return
        if isinstance(event, WorkerStarted):
            self._world.chaos.started(slot)
        if isinstance(event, LeaseAcquired | LeaseLost):
            stream, shard_id = self._world.streams.place_of(event.lease)
            if stream == STREAM:
                self._world.memory.forget(slot.worker_id, shard_id)
        self._world.oracle.reached[f"event {event.name}"] += 1
        # Writing an event down is dear: of the chatty kinds every 16th, for what leaks leaks each time.
        if event.level != "debug" or self._world.oracle.reached[f"event {event.name}"] % 16 == 1:
            self._world.secrets.check(event.name, str(event))
        self._log.append((self._world.sim.now, slot.worker_id, event))

    @property
    def log(self) -> list[str]:
        """The last events of all workers, as lines."""
        return [f"t={at_s:.3f} {worker_id} {event}" for at_s, worker_id, event in self._log]

    # --- life and death ---

    def living(self) -> list[str]:
        """Return the ids of the workers that live."""
        return [slot.worker_id for slot in self.slots if slot.alive]

    def crash(self, slot: Slot, *, callbacks: int = 0) -> None:
        """Cut a worker's power, now or after some further callbacks, and bring it back later."""
        if slot.host is None or not slot.alive:
            return
        if callbacks:
            slot.host.crash_after(callbacks)
        else:
            slot.host.crash()
        delay_s = self._world.knobs.restart_s * (0.5 + self._world.sim.random.random())
        self._world.sim.at(self._world.sim.now + delay_s, self._revive, slot)

    def _revive(self, slot: Slot) -> None:
        if slot.host is not None and slot.host.alive:
            slot.host.crash()  # The fuse has not burnt down: its host did nothing since.
        self.begin(slot)

    def restore(self) -> None:
        """Bring everybody back at once."""
        for slot in self.slots:
            if not slot.alive:
                self.begin(slot)

    def leave(self, slot: Slot) -> None:
        """Ask a worker to stop in order, if it runs."""
        if slot.alive and slot.worker is not None and slot.worker.health().running and slot.asked_s is None:
            slot.asked_s = self._world.sim.now
            slot.worker.stop()

    def look(self) -> None:
        """Look at everything that a worker shows of itself."""
        for slot in self.slots:
            if slot.alive and slot.worker is not None:
                self._world.secrets.check("health", f"{slot.worker!r} {slot.worker.health()!r}")

    async def stop(self) -> None:
        """Ask every worker to leave, and wait until it has."""
        self._stopping = True
        tasks = [slot.task for slot in self.slots if slot.alive and slot.task is not None]
        for slot in self.slots:
            self.leave(slot)
            if slot.worker is not None and slot.alive:
                slot.worker.stop()
        await asyncio.gather(*tasks)
        for slot in self.slots:
            if slot.host is not None and slot.alive:
                self._world.leaving.gone(
                    slot.host,
                    threads=self._world.sim.threads.running_on(slot.host),
                    subscriptions=self._world.network.subscriptions[slot.host],
                )


def _polling(knobs: Knobs) -> PollingSettings:
    settings = PollingSettings(idle_s=knobs.idle_s / 2, idle_s_max=knobs.idle_s)
    if knobs.read_ahead is None:
        return settings
    return replace(settings, page_records=knobs.read_ahead, prefetch_records=knobs.read_ahead)
