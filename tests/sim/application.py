"""The application of a world's workers: handlers of every kind, which tell the oracle what they get and misbehave.

What goes wrong is drawn from the knobs: slow, failing now and then, failing for ever at some records, hanging,
blocking a thread, swallowing its own cancellation. A result counts only if nobody had told the handler to stop.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from zlib import crc32

from shardline.common.records import Position
from shardline.consumer.policy import park_key, park_record, per_key
from shardline.local.sim.oracle import user_ids
from shardline.local.sim.threads import sleep_blocking

from tests.sim.outsiders import MAGIC
from tests.sim.pools import ProcessDied, VirtualPool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.consumer.handler import Batch, Handler, Record
    from shardline.consumer.policy import FailurePolicy, Parked
    from shardline.consumer.worker import Worker
    from shardline.local.sim import SimRuntime

    from tests.sim.world import World

__all__ = ["Application"]

_NEVER_S = 1e9


class HandlerError(Exception):
    """What a failing application handler raises."""


class Application:
    """The handlers of one worker."""

    def __init__(self, world: World, worker_id: str) -> None:
        self._world = world
        self._worker_id = worker_id
        self._faults = world.knobs.handler
        self._oracle = world.oracle
        self.stuck: dict[str, float] = {}
        """Shard -> when a call began that hangs on its thread, or hung for longer than it might."""

    def register(self, worker: Worker, runtime: SimRuntime) -> None:
        """Register the handler that the knobs ask for."""
        faults = self._faults
        functions: dict[tuple[bool, bool], Handler] = {
            (False, False): self.take,
            (True, False): self.take_batch,
            (False, True): self.take_blocking,
            (True, True): self.take_batch_blocking,
        }
        worker.add_handler(
            functions[faults.per_batch, faults.blocking],
            batch=faults.per_batch,
            concurrency=per_key(faults.lanes) if faults.lanes > 1 and not faults.per_batch else None,
            on_failure=self._policy(),
        )
        if faults.processes:
            tracked = worker._tracked
            tracked._handlers = {
                stream: replace(spec, pool=VirtualPool(self._world, spec, runtime, faults.processes))  # type: ignore[arg-type]  # The same contract.
                for stream, spec in tracked._handlers.items()
            }

    def _policy(self) -> FailurePolicy | None:
        attempts = self._faults.park_attempts
        if attempts is None:
            return None
        park = park_key if self._faults.park_keys else park_record
        return park(self._lot_blocking if self._faults.blocking else self._lot, attempts=attempts)

    async def _lot(self, parked: Parked) -> None:
        """Keep a parked record; now and then the lot cannot."""
        position = self._parking(parked)
        await asyncio.sleep(self._world.network.draw_s(0.5))
        self._park(parked, position)

    def _lot_blocking(self, parked: Parked) -> None:
        """Keep a parked record, called on a thread."""
        position = self._parking(parked)
        sleep_blocking(self._world.network.draw_s(0.5))
        self._park(parked, position)

    def _parking(self, parked: Parked) -> Position:
        position = Position(int(parked.sequence_number), parked.sub_sequence_number)
        self._oracle.parking(self._worker_id, parked.shard_id, position)
        return position

    def _park(self, parked: Parked, position: Position) -> None:
        if self._world.chaos.on and self._world.network.chance(self._faults.fails / 2, "parking failed"):
            raise HandlerError
        if not user_ids(parked.data):
            self._world.blobs.delivered(parked.shard_id, position, parked.data)
            if not self._oracle.is_superseded(self._worker_id, parked.shard_id):
                self._world.blobs.processed(parked.shard_id, position)
        elif self._faults.park_keys:
            self._world.parking.parked(self._worker_id, parked)
        else:
            self._oracle.parked(self._worker_id, parked.shard_id, position, parked.data)

    # --- the handlers ------------------------------------------------------------------------------------------------

    async def take(self, record: Record) -> None:
        """Handle one record."""
        self._delivered(record)
        self._processed([record], cancelled=await self._misbehave([record]))

    async def take_batch(self, batch: Batch) -> None:
        """Handle a batch."""
        records = list(batch)
        for record in records:
            self._delivered(record)
        self._processed(records, cancelled=await self._misbehave(records))

    def take_blocking(self, record: Record) -> None:
        """Handle one record on a thread."""
        self._delivered(record)
        self._misbehave_blocking([record])
        self._processed([record])

    def take_batch_blocking(self, batch: Batch) -> None:
        """Handle a batch on a thread."""
        records = list(batch)
        for record in records:
            self._delivered(record)
        self._misbehave_blocking(records)
        self._processed(records)

    # --- what the oracle is told -------------------------------------------------------------------------------------

    def _delivered(self, record: Record) -> None:
        oracle = self._world.streams.oracle_of(record.stream)
        if oracle is self._oracle:
            self._world.memory.delivered(self._worker_id, record.shard_id, record.position)
        users = user_ids(record.data)
        if not users or record.data.startswith(MAGIC):
            self._world.blobs.delivered(record.shard_id, record.position, record.data)
            return
        (user,) = users
        if record.misplaced:
            self._oracle.reached["misplaced record delivered"] += 1
        if self._faults.park_keys:
            self._world.parking.delivered(self._worker_id, record)
        oracle.delivered(self._worker_id, record.shard_id, record.position, record.token, user)

    def _processed(self, records: Sequence[Record], *, cancelled: bool = False) -> None:
        for record in records:
            users = user_ids(record.data)
            if len(users) != 1:
                if not cancelled and not self._oracle.is_late(self._worker_id, record.shard_id, record.token):
                    self._world.blobs.processed(record.shard_id, record.position)
                continue
            (user,) = users
            self._world.streams.oracle_of(record.stream).processed(
                self._worker_id, record.shard_id, record.position, record.token, user, cancelled=cancelled
            )

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    async def _misbehave(self, records: Sequence[Record]) -> bool:
        """Misbehave by chance; returns whether the handler was cancelled meanwhile, and paid no heed."""
        faults, network = self._faults, self._world.network
        if not self._world.chaos.on:
            return False
        cancelled = False
        if network.chance(faults.stubborn, "handler stubborn"):
            cancelled = await self._go_on_regardless(network.draw_s(2 * faults.slow_s))
        elif network.chance(faults.slow, "handler slow"):
            await asyncio.sleep(network.draw_s(faults.slow_s))
        if network.chance(faults.hangs, "handler hung"):
            await asyncio.sleep(_NEVER_S)
        self._fail(records)
        return cancelled

    async def _go_on_regardless(self, seconds: float) -> bool:
        """Work for so long, whoever cancels it (F36); returns whether somebody did."""
        loop, cancelled = asyncio.get_running_loop(), False
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                self._oracle.reached["cancellation swallowed"] += 1
                cancelled = True
        return cancelled

    def _misbehave_blocking(self, records: Sequence[Record]) -> None:
        faults, network = self._faults, self._world.network
        if not self._world.chaos.on:
            return
        if network.chance(faults.slow + faults.stubborn, "handler blocked its thread"):
            sleep_blocking(network.draw_s(2 * faults.slow_s))
        if network.chance(faults.hangs, "handler hung on its thread"):
            self.stuck[records[0].shard_id] = self._world.sim.now
            sleep_blocking(faults.timeout_s + network.draw_s(faults.timeout_s))
        self._fail(records)

    def _fail(self, records: Sequence[Record]) -> None:
        faults, network = self._faults, self._world.network
        if network.chance(faults.dies, "process died"):
            raise ProcessDied
        if network.chance(faults.fails, "handler failed"):
            raise HandlerError(records[0].data)  # As applications do; nobody may repeat it.
        if faults.poison and any(_is_poison(record, faults.poison) for record in records):
            network.count["handler failed at a poison record"] += 1
            raise HandlerError


def _is_poison(record: Record, share: float) -> bool:
    """Say whether the handler fails at this record whenever it comes, wherever."""
    users = user_ids(record.data)
    return len(users) == 1 and crc32(users[0].id.encode()) % 1000 < 1000 * share
