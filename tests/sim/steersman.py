"""Worlds whose workers are steered while everything else goes wrong: pauses, seeks back, skips; the oracle is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common.errors import SeekAhead
from shardline.common.records import TRIM_HORIZON, Position
from shardline.consumer.events import ShardMoved
from shardline.consumer.sought import RecordsSkipped, ShardSought

from tests.sim.chaos import Chaos
from tests.sim.fleet import Fleet
from tests.sim.world import STREAM, World

if TYPE_CHECKING:
    from shardline.common.events import Event
    from shardline.consumer.worker import Worker

    from tests.sim.fleet import Slot
    from tests.sim.knobs import Knobs

__all__ = ["SteeredWorld"]

_STEERED_PER_MINUTE = 6.0
_PAUSE_S_MAX = 60.0


def _position(text: str) -> Position:
    number, _, sub = text.partition("/")
    return Position.parse(number, int(sub or 0))


class _Fleet(Fleet):
    """Tells the oracle what steered workers say of their seeks."""

    def _watch(self, slot: Slot, event: Event) -> None:
        oracle = self._world.oracle
        if isinstance(event, ShardSought):
            oracle.sought(slot.worker_id, event.lease, event.token, _position(event.first))
        elif isinstance(event, RecordsSkipped):
            after = _position(event.after) if event.after else None
            oracle.sought(slot.worker_id, event.lease, event.token, _position(event.before))
            oracle.skipped(event.lease, after, _position(event.before))
            numbers = (-1 if after is None else after.sequence_number, _position(event.before).sequence_number)
            self._world.blobs.skipped(event.lease, *numbers)
        elif isinstance(event, ShardMoved):
            self._world.memory.forget(slot.worker_id, event.lease)  # What was read and waited was let go.
        super()._watch(slot, event)


class _Chaos(Chaos):
    """Steers, beside all other trouble."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._acts.append((_STEERED_PER_MINUTE, self._steer))

    def _begun(self, worker: Worker, shard: str | None) -> None:
        """Tell of readers that begin by order, which may do so amid an outage (I17)."""
        slot = next((one for one in self._world.fleet.slots if one.worker is worker), None)
        if self._world.storms is not None and slot is not None and slot.host is not None:
            self._world.storms.begun(slot.host.name, 1 if shard is not None else len(worker.shards()))

    def _resume(self, worker: Worker, shard: str | None) -> None:
        self._begun(worker, shard)
        worker.resume(shard=shard)

    def _steer(self) -> None:
        victim = self._victim()
        if victim is None or victim.worker is None:
            return
        worker, random = victim.worker, self._random
        shards = [one.shard_id for one in worker.shards()]
        shard = random.choice(shards) if shards and random.random() < 0.7 else None
        drawn = random.random()
        if drawn < 0.4:
            self._count("steered: pause")
            worker.pause(shard=shard)
            self._world.sim.at(self._world.sim.now + random.random() * _PAUSE_S_MAX, self._resume, worker, shard)
        elif drawn < 0.6:
            self._count("steered: back")
            back_s = self._world.sim.wall_s - random.random() * 120
            worker.seek(TRIM_HORIZON if random.random() < 0.5 else back_s, shard=shard)
        elif drawn < 0.75 and shard is not None:
            self._count("steered: skip")
            worker.pause(shard=shard)
            self._world.sim.at(self._world.sim.now + random.random() * _PAUSE_S_MAX, self._skip, worker, shard)
        elif shard is not None:
            self._seek_record(worker, shard)

    def _skip(self, worker: Worker, shard: str) -> None:
        """Skip to the newest record: unlike LATEST, that arrives even if nothing more is written."""
        positions = self._world.oracle.shards[shard].positions
        if positions:
            worker.seek(positions[-1], shard=shard, skip=True)
        self._resume(worker, shard)

    def _seek_record(self, worker: Worker, shard: str) -> None:
        positions = self._world.oracle.shards[shard].positions
        if not positions:
            return
        self._count("steered: record")
        try:
            worker.seek(self._random.choice(positions[-20:]), shard=shard)
        except SeekAhead:
            self._count("steered: refused")

    def end(self) -> None:
        """Let everybody read on, too."""
        for slot in self._world.fleet.slots:
            if slot.worker is not None:
                self._resume(slot.worker, None)
        super().end()


class SteeredWorld(World):
    """A world with a steersman."""

    def __init__(self, knobs: Knobs, *, stop_at_first: bool = True) -> None:
        super().__init__(knobs, stop_at_first=stop_at_first)
        assert STREAM.name == "orders", "lease keys are shard ids: one stream"
        self.fleet = _Fleet(self)
        self.chaos = _Chaos(self)
