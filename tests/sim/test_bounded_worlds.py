"""Backfills amid faults: whatever dies, the run ends by itself, with all of its stretch handled, and nothing beyond."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from shardline.consumer.bounds import Bounds
from shardline.consumer.events import WorkerStopped
from shardline.local.sim.network import Service
from shardline.local.sim.oracle import user_ids
from shardline.local.sim.oracles.leaving import Leaving

from tests.sim.fleet import Fleet
from tests.sim.knobs import draw
from tests.sim.world import STREAM, World

if TYPE_CHECKING:
    from shardline.common.events import Event
    from shardline.consumer.worker import Worker
    from shardline.local.sim import Simulation
    from shardline.local.sim.hosts import Host

    from tests.sim.fleet import Slot
    from tests.sim.knobs import Knobs

_BEFORE_S = 120.0
_END_S = 600.0
_UNDISTURBED_S: Final = 30.0
"""As long as leaving may take, and as a request may be on its way."""


class _Fleet(Fleet):
    """Workers of a bounded run: each ends by itself, and is started again as a supervisor would."""

    until_s = 0.0
    ended = 0

    def _worker(self, slot: Slot, host: Host) -> Worker:
        worker = super()._worker(slot, host)
        worker._bounds = Bounds.of(self.until_s, None, wall_s=0.0)
        return worker

    def _in_peace(self, asked_s: float | None) -> bool:
        """Nobody asks these workers: each ends by itself, and what faults before it excuse is for `_Leaving` to say."""
        return super()._in_peace(asked_s) or (asked_s is None and not self._world.chaos.on)

    def _watch(self, slot: Slot, event: Event) -> None:
        self.ended += isinstance(event, WorkerStopped) and not self._stopping
        super()._watch(slot, event)


class _Leaving(Leaving):
    """Judges what a run leaves behind; its leases once faults have ended for long, as then it has learned of them all.

    Amid faults a worker may not learn that one was given back: others rescue it then, as after any death.
    """

    faults_ended_s = float("inf")
    judged = 0

    def left(self, worker_id: str, **known: Any) -> None:
        """Judge a worker that has left, unless a fault may have been in its way."""
        if self._judge.simulation.now >= self.faults_ended_s + _UNDISTURBED_S:
            self.judged += 1
            super().left(worker_id, **known)


class BoundedWorld(World):
    """Producers and reshards first, a bounded run amid the knobs' faults after; then what it missed or overran."""

    def __init__(self, knobs: Knobs) -> None:
        super().__init__(knobs)
        self.fleet = self.bounded = _Fleet(self)
        self.leaving = self.departures = _Leaving(self.oracle)
        self.missed: set[str] = set()
        self.overrun: set[str] = set()

    async def play(self, _: Simulation) -> None:
        """Play the world to its end."""
        self.writers.start()
        for _turn in range(3):
            await asyncio.sleep(_BEFORE_S / 4)
            self.chaos.reshard()
        await asyncio.sleep(_BEFORE_S / 4)
        self.bounded.until_s = self.sim.wall_s
        self.fleet.start()
        self.network.set_faults(Service.KINESIS, self.knobs.kinesis)
        self.network.set_faults(Service.DYNAMODB, self.knobs.dynamodb)
        await self.chaos.run(self.knobs.chaos_s)
        self.network.heal()
        self.chaos.end()
        self.departures.faults_ended_s = self.sim.now
        await self.writers.finish()
        await asyncio.sleep(_UNDISTURBED_S)
        self.bounded.ended = 0
        for _turn in range(int(_END_S / 5)):
            if self.bounded.ended >= len(self.fleet.slots):
                break
            await asyncio.sleep(5)
        await self.fleet.stop()
        self._compare()

    def _compare(self) -> None:
        within, beyond = set[str](), set[str]()
        for shard in self.state.streams[STREAM.name].shards.values():
            for record in shard._records:
                found = {user.id for user in user_ids(record.data)}
                (within if record.arrival_time_s < self.bounded.until_s else beyond).update(found)
        self.missed = within - self.oracle.processed_ids - self.oracle.excused_ids  # Parked counts as handled.
        self.overrun = (beyond - within) & self.oracle.processed_ids


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("profile", ["healthy", "reshard storm", "lost replies", "generations", "operator", "swarm"])
def test_a_backfill_ends_whole(profile: str) -> None:
    """Crashes, storms and reshards beside it: nothing missed, nothing beyond, and every worker has ended by itself."""
    judged = 0
    for seed in range(1, 4):
        knobs = replace(draw(seed, profile), healthy=False, calm=False, settle_s=0.0, chaos_s=180.0)
        world = BoundedWorld(replace(knobs, rates=replace(knobs.rates, clock=0.0)))
        result = world.run()
        assert not result.failed, (seed, [str(one) for one in result.violations[:3]], result.error)
        assert (world.missed, world.overrun) == (set(), set()), seed
        assert world.bounded.ended >= len(world.fleet.slots), seed
        assert len(world.oracle.processed_ids) > 50
        judged += world.departures.judged
    assert judged
