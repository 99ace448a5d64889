"""Bad luck: crashes, pauses, partitions, storms, reshards, clocks that jump, at the rates of a world's knobs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shardline.common.ports.kinesis import Stream
from shardline.common.ports.lease_store import Delete, Key
from shardline.local.sim.network import Cut, Service
from shardline.local.state.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.fleet import Slot
    from tests.sim.world import World

__all__ = ["APPLICATION", "Chaos"]

_STREAM = Stream("orders")
APPLICATION = "billing"
_OPEN_SHARDS_MAX = 16
_PAUSE_S_MAX = 40.0
_CUT_S_MAX = 40.0
_WAYS = (Cut.REQUESTS, Cut.REPLIES, Cut.BOTH, Cut.SLOW_REPLIES)


class Chaos:
    """Makes trouble while `on`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.sim.random
        self.on = False
        self._relapsing: set[int] = set()
        self.ended_s = float("-inf")
        rates = world.knobs.rates
        self._acts: list[tuple[float, Callable[[], None]]] = [
            (rates.crash, self._crash),
            (rates.pause, self._pause),
            (rates.partition, self._partition),
            (rates.storm, self._storm),
            (rates.outage, self._outage),
            (rates.reshard, self.reshard),
            (rates.clock, self._clock),
            (rates.stolen, self._steal_time),
            (rates.squeeze, self._squeeze),
            (rates.relapse, self._relapse),
            (rates.row_deleted, self._delete_row),
            (rates.leave, self._leave),
            (rates.garbage, world.outsiders.garbage),
            (rates.naive, world.outsiders.naive),
            (rates.row_edited, world.outsiders.edit_row),
            (rates.switch, world.outsiders.switch),
            (rates.come, world.streams.act),
        ]

    async def run(self, seconds: float) -> None:
        """Make trouble for so long."""
        self.on = True
        end = self._world.sim.now + seconds
        total = sum(rate for rate, _ in self._acts)
        while total and self._world.sim.now < end:
            await asyncio.sleep(min(self._random.expovariate(total / 60.0), end - self._world.sim.now + 0.001))
            if self._world.sim.now < end:
                self._one(total)
        await asyncio.sleep(max(0.0, end - self._world.sim.now))

    def _one(self, total: float) -> None:
        drawn = self._random.random() * total
        for rate, act in self._acts:
            drawn -= rate
            if drawn < 0:
                act()
                return

    def end(self) -> None:
        """Undo what does not end by itself: everybody is back, nobody is stopped."""
        self.on, self.ended_s = False, self._world.sim.now
        for slot in self._world.fleet.slots:
            while slot.host is not None and slot.host.paused:
                slot.host.resume()
        self._world.fleet.restore()
        self._world.streams.restore()

    def _victim(self) -> Slot | None:
        alive = [slot for slot in self._world.fleet.slots if slot.alive]
        return self._random.choice(alive) if alive else None

    def _count(self, name: str) -> None:
        self._world.network.count[name] += 1

    def _crash(self) -> None:
        victim = self._victim()
        if victim is not None:
            self._count("crash")
            self._world.fleet.crash(victim, callbacks=self._random.choice((0, 0, 1, 3, 10, 30)))

    def _leave(self) -> None:
        victim = self._victim()
        if victim is not None:
            self._world.fleet.leave(victim)

    def _pause(self) -> None:
        victim = self._victim()
        if victim is not None and victim.host is not None:
            self._count("pause")
            victim.host.pause_for(1 + self._random.random() ** 2 * _PAUSE_S_MAX)

    def _partition(self) -> None:
        victim = self._victim()
        if victim is None or victim.host is None:
            return
        service = self._random.choice((Service.DYNAMODB, Service.DYNAMODB, Service.KINESIS))
        self._world.network.cut(victim.host, service, self._random.choice(_WAYS))
        seconds = 1 + self._random.random() * _CUT_S_MAX
        self._world.sim.at(self._world.sim.now + seconds, self._world.network.mend, victim.host, service)

    def _squeeze(self) -> None:
        """Let a worker's writes land while their answers come late or not at all, and then let no more of them land.

        Whoever counts a lease from the answer believes in it for too long.
        """
        victim = self._victim()
        if victim is None or victim.host is None:
            return
        self._count("squeeze")
        sim, network, host = self._world.sim, self._world.network, victim.host
        failover_s, random = self._world.knobs.failover_s, self._random
        network.cut(host, Service.DYNAMODB, random.choice((Cut.SLOW_REPLIES, Cut.REPLIES)))
        at = sim.now + failover_s * random.uniform(0.2, 0.5)
        sim.at(at, network.mend, host, Service.DYNAMODB)
        at += failover_s * random.uniform(0.0, 0.3)
        sim.at(at, network.cut, host, Service.DYNAMODB, Cut.REQUESTS)
        sim.at(at + failover_s * random.uniform(1.0, 3.0), network.mend, host, Service.DYNAMODB)

    def _relapse(self) -> None:
        """Let a worker die with its renewals on their way, and lose all that its successor of that name writes.

        The successor sees the leases renewed, and not by itself. If it counts them from its own sending, it believes
        in them for too long.
        """
        victim = self._victim()
        if victim is None or victim.host is None:
            return
        self._count("relapse")
        sim, network, host = self._world.sim, self._world.network, victim.host
        network.cut(host, Service.DYNAMODB, Cut.LATE_REQUESTS)
        died = sim.now + self._random.uniform(0.5, 1.0) * self._world.knobs.failover_s / 3
        sim.at(died, network.mend, host, Service.DYNAMODB)
        sim.at(died, self._world.fleet.crash, victim)
        self._relapsing.add(victim.index)

    def started(self, slot: Slot) -> None:
        """Take that a worker has started: the next thing it does is to pick up its leases."""
        if slot.index in self._relapsing and self.on and slot.host is not None:
            self._relapsing.remove(slot.index)
            network, sim = self._world.network, self._world.sim
            network.cut(slot.host, Service.DYNAMODB, Cut.WRITES)
            sim.at(sim.now + 2 * self._world.knobs.failover_s, network.mend, slot.host, Service.DYNAMODB)

    def _storm(self) -> None:
        service = self._random.choice((Service.DYNAMODB, Service.KINESIS))
        self._world.network.storm(service, self._random.choice((3.0, 60.0)) * self._random.random())

    def _outage(self) -> None:
        service = self._random.choice((Service.DYNAMODB, Service.KINESIS, Service.KINESIS))
        self._world.network.outage(service, 60.0 * self._random.random())

    def reshard(self) -> None:
        """Split a shard, or merge two neighbours."""
        state, now = self._world.state, self._world.sim.wall_s
        shards = sorted(state.streams[_STREAM.name].open, key=lambda s: s.hash_range.start)
        try:
            if len(shards) > 1 and (len(shards) >= _OPEN_SHARDS_MAX or self._random.random() < 0.5):
                at = self._random.randrange(len(shards) - 1)
                state.merge_shards(_STREAM, shards[at].shard_id, shards[at + 1].shard_id, now=now)
                self._count("merge")
            else:
                shard = self._random.choice(shards)
                middle = (shard.hash_range.start + shard.hash_range.end) // 2
                state.split_shard(_STREAM, shard.shard_id, str(middle), now=now)
                self._count("split")
        except Refusal:
            self._count("reshard refused")
        self._world.note_ranges()

    def _clock(self) -> None:
        victim = self._victim()
        if victim is None or victim.host is None:
            return
        self._count("clock")
        drawn = self._random.random()
        if drawn < 0.3:
            victim.host.jump(self._random.random() * 30)
        elif drawn < 0.6:
            victim.host.drift(self._random.uniform(-200, 200))
        else:
            victim.host.jump_wall(self._random.uniform(-3600, 3600))

    def _steal_time(self) -> None:
        victim = self._victim()
        if victim is not None and victim.host is not None:
            self._count("time stolen")
            victim.host.pause_for(self._random.choice((0.5, 3.0, 12.0)))

    def _delete_row(self) -> None:
        """Delete, as an operator would, the row of a shard that is still read (F38); a repair brings it back.

        Not of one whose child has a row: that says that its parents are finished (`kcl.md` 5.5), whoever deletes it.
        Nor of one that is closed: its reader may be about to make its children's rows.
        """
        world = self._world
        leased = {lease.shard_id for lease in world.oracle.leases.values() if lease.present}
        proven = {parent for name in leased for parent in world.oracle.shards[name].parents}
        unfinished = [one for one in world.oracle.leases.values() if one.present and not one.ended]
        closed = {shard.shard_id for shard in world.oracle.shards.values() if shard.closed}
        keys = sorted(one.key for one in unfinished if one.shard_id not in proven | closed)
        if keys and world.knobs.auditor:
            self._count("row deleted by hand")
            key = Key("leaseKey", self._random.choice(keys))
            world.tables.write(Delete(APPLICATION, key), world.sim.wall_s)
