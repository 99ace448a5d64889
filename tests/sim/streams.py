"""Worlds with several streams in one lease table: all but the first are left and taken up again while workers run.

Each stream has an oracle of its own, for their shards bear the same ids; rows are told apart by the stream in their
keys. A stream that is not listed is promised nothing: its leases may go, after the waiting period, and its records
wait. As soon as it is listed again everything is promised anew: whatever was acknowledged is processed, by whichever
rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from shardline.common.ports.kinesis import Stream
from shardline.consumer.streams import FormerStreams, TrackingConfig
from shardline.local.sim.oracle import Oracle
from shardline.local.sim.oracles.leaving import Leaving
from shardline.local.sim.truth import Started
from shardline.local.state.events import ConditionFailed, ItemApplied
from shardline.local.state.refusal import Refusal

if TYPE_CHECKING:
    from random import Random

    from shardline.local.sim.hosts import Host
    from shardline.local.sim.truth import Lease
    from shardline.local.state.events import StateEvent

    from tests.sim.settings import Knobs
    from tests.sim.world import World

__all__ = ["Streams", "several_streams"]

FIRST: Final = "orders"
_POLL_S: Final = 10.0
_WAIT_S: Final = 20.0
_STALE_S: Final = 180.0
"""How long after a stream was listed again somebody may act on a list, or a read, from before: paused, or late."""
_OPEN_SHARDS_MAX: Final = 6


def several_streams(knobs: Knobs, random: Random) -> Knobs:
    """Read two or three streams, of which all but the first come and go; nobody has his hands in the table."""
    handler = replace(knobs.handler, park_attempts=None, park_keys=False)
    come = random.choice((0.3, 1.0, 3.0))
    rates = replace(knobs.rates, come=come, row_deleted=0.0, row_edited=0.0)
    former = random.random() < 0.5
    return replace(
        knobs,
        streams=random.randint(2, 3),
        delete_former=former,
        auditor=knobs.auditor or former,  # Rows that a leader with an old list deletes are the audit's to bring back.
        shards=min(knobs.shards, 6),
        handler=handler,
        rates=rates,
        retention_s=None,
        read_ahead=None,
    )


class _Coming(Oracle):
    """Judges a stream that may be left and taken up again."""

    _left = False
    _left_s = float("inf")
    """Since when it is left, as far as somebody with an old list may know."""
    _taken_up_s = float("-inf")

    @property
    def _unpromised(self) -> bool:
        return self._left or self.simulation.now < self._taken_up_s + _STALE_S

    def leave(self) -> None:
        """Take that the stream is not listed any more."""
        if self.simulation.now >= self._taken_up_s + _STALE_S:
            self._left_s = self.simulation.now
        self._left, self._covered = True, False

    def take_up(self) -> None:
        """Take that it is listed again."""
        self._left, self._taken_up_s = False, self.simulation.now

    def _row_deleted(self, lease: Lease) -> None:
        waited = self.simulation.now >= self._left_s + _WAIT_S
        if self._sender_id() is None or not (self._unpromised and waited):
            super()._row_deleted(lease)
            return
        self.reached["lease of a former stream deleted"] += 1
        lease.forget()
        lease.ended = False
        lease.begin(None, Started("free", self.simulation.now))
        self._covered = False

    def _check_coverage(self, key: str) -> None:
        if self._unpromised:
            self._covered = False
        else:
            super()._check_coverage(key)


class Streams:
    """All streams of a world but the first, which has the world's own oracle; which of them are listed now."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random: Random = world.sim.random
        names = [f"{FIRST}-{number}" for number in range(2, world.knobs.streams + 1)]
        self.others = {name: self._oracle() for name in names}
        self._leaving = [Leaving(oracle) for oracle in self.others.values()]
        self._listed = set(names)

    def _oracle(self) -> _Coming:
        world = self._world
        oracle = _Coming(world.sim, world.network, failover_s=world.knobs.failover_s)
        oracle.stop_at_first, oracle.in_turn = world.oracle.stop_at_first, world.oracle.in_turn
        return oracle

    def create(self) -> None:
        """Create them, half as large as the first."""
        for name in self.others:
            self._world.state.create_stream(name, max(1, self._world.knobs.shards // 2), now=self._world.sim.wall_s)
            self._note_ranges(name)

    def _note_ranges(self, name: str) -> None:
        shards = self._world.state.streams[name].shards.values()
        self.others[name].ranges.update({shard.shard_id: shard.hash_range for shard in shards})

    # --- what workers are told ---------------------------------------------------------------------------------------

    def listed(self) -> list[str]:
        """Return the streams that workers are to read now."""
        return [FIRST, *sorted(self._listed)]

    @property
    def tracking(self) -> TrackingConfig:
        """How workers follow the list."""
        former = FormerStreams.DETECT if self._world.knobs.delete_former else FormerStreams.KEEP
        return TrackingConfig(poll_s=_POLL_S, former=former, former_wait_s=_WAIT_S)

    # --- which oracle ------------------------------------------------------------------------------------------------

    def oracle_of(self, stream: str) -> Oracle:
        """Return who judges a stream."""
        return self.others.get(stream, self._world.oracle)

    def judge(self, event: StateEvent) -> StateEvent | None:
        """Judge an event of another stream, and return None; else the event as the first stream's oracle reads it."""
        if isinstance(event, ItemApplied | ConditionFailed):
            stream, shard_id = self.place_of(event.key)
            event = event._replace(key=shard_id)
        else:
            stream = event.stream
        if stream not in self.others:
            return event
        self.others[stream].sink(event)
        return None

    def place_of(self, key: str) -> tuple[str, str]:
        """Return the stream and the shard that a lease key names, the first stream where it names none."""
        parts = key.split(":")  # Account, name, epoch, shard.
        return (parts[1], parts[3]) if len(parts) == 4 else (FIRST, key)

    def identify(self, host: Host, worker_id: str) -> None:
        """Say to every oracle which worker id a host's worker has."""
        for oracle in (self._world.oracle, *self.others.values()):
            oracle.identify(host, worker_id)

    # --- trouble -----------------------------------------------------------------------------------------------------

    def act(self) -> None:
        """Leave one of the streams, take it up again, or change its shards."""
        name = self._random.choice(sorted(self.others))
        if self._random.random() < 1 / 3:
            self._reshard(name)
        elif name in self._listed:
            self._world.network.count["stream left"] += 1
            self._listed.remove(name)
            self.others[name].leave()
        else:
            self._world.network.count["stream taken up again"] += 1
            self._take_up(name)

    def _take_up(self, name: str) -> None:
        self._listed.add(name)
        self.others[name].take_up()

    def restore(self) -> None:
        """Take up all that are left."""
        for name in sorted(set(self.others) - self._listed):
            self._take_up(name)

    def _reshard(self, name: str) -> None:
        state, now, stream = self._world.state, self._world.sim.wall_s, Stream(name)
        shards = sorted(state.streams[name].open, key=lambda shard: shard.hash_range.start)
        at = self._random.randrange(len(shards))
        try:
            if len(shards) > 1 and (len(shards) >= _OPEN_SHARDS_MAX or self._random.random() < 0.5):
                at = min(at, len(shards) - 2)
                state.merge_shards(stream, shards[at].shard_id, shards[at + 1].shard_id, now=now)
            else:
                middle = (shards[at].hash_range.start + shards[at].hash_range.end) // 2
                state.split_shard(stream, shards[at].shard_id, str(middle), now=now)
        except Refusal:
            self._world.network.count["reshard refused"] += 1
        self._note_ranges(name)

    # --- the end -----------------------------------------------------------------------------------------------------

    def finish(self, alive: list[str] | None = None, *, orphaned_s_max: float = 0.0) -> None:
        """Judge the end of the run, as the world does for the first stream."""
        for oracle in self.others.values():
            oracle.finish(alive, orphaned_s_max=orphaned_s_max)

    @property
    def leavings(self) -> list[Leaving]:
        """The judges of workers that leave, of all streams."""
        return [self._world.leaving, *self._leaving]

    def stored(self) -> None:
        """Judge the checkpoints once all have left."""
        for leaving in self._leaving:
            leaving.stored()
