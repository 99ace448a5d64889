"""How soon a fleet goes on when somebody leaves, dies or never worked, in virtual time (`reliability.md` P10)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import Denied
from shardline.common.ports.lease_store import Key, Put, Update, UpdateItem
from shardline.common.records import SHARD_END
from shardline.consumer.events import LeadershipChanged, LeasesCleanedUp, LeasesRescued, TaskFailed
from shardline.local.doors.lease_store import MemoryLeaseStore
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.world import QUICK, World

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Page, Value


def leader(world: World) -> str:
    """Return who leads."""
    return next(name for name in world.leaving if world.workers[name].health().leads)


@pytest.mark.parametrize("seed", range(3))
def test_a_leader_that_leaves_is_followed_at_once(seed: int) -> None:
    """The others see within a watch period that the lock is gone, and need not wait for their next heartbeat."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=4)
        await world.create()
        for turn in range(3):
            world.start(f"w{turn}")
        await world.load(20)
        await world.stop(leader(world))
        left = sim.now
        while not any(world.workers[name].health().leads for name in world.leaving):
            await world.load(1, per_second=4)
        assert sim.now - left <= QUICK.failover_s / 5 + 1
        await world.drained()
        await world.stop()
        assert (world.lost, world.duplicates) == ([], 0)

    run(main, seed=seed, until=600)


@pytest.mark.parametrize("seed", range(3))
def test_children_do_not_wait_for_a_dead_leader(seed: int) -> None:
    """Once the leader's own leases stand still, a new shard's lease is taken at a watcher's second look."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=6)
        await world.create()
        for turn in range(3):
            world.start(f"w{turn}")
        await world.load(30)
        dead = leader(world)
        alive = [i for i, shard in enumerate(world.open_shards()) if world.rows()[shard.shard_id].owner != dead]
        world.crash(dead)
        await world.load(9)  # The dead leader's leases have been rescued meanwhile, but nobody leads.
        parent = world.open_shards()[alive[0]].shard_id
        world.split(alive[0])
        split = sim.now
        while len([row for row in world.rows().values() if parent in row.parents and row.owner]) < 2:
            await world.load(1)
        assert sim.now - split <= 2 + 2 * QUICK.failover_s / 5 + 1
        assert not any(world.workers[name].health().leads for name in world.leaving)
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])

    run(main, seed=seed, until=600)


def test_finished_leases_are_not_rescued() -> None:
    """A dead worker's finished leases wait for a leader to be cleaned up; nobody writes to them before."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=3)
        await world.create()
        world.start("w0")
        await world.load(10)
        world.split()
        while not any(row.checkpoint == SHARD_END for row in world.rows().values()):
            await world.load(1)
        finished = next(row for row in world.rows().values() if row.checkpoint == SHARD_END)
        world.start("w1")
        await world.load(3)
        world.crash("w0")
        await world.load(20)
        rescued = [key for event in world.named(LeasesRescued) for key in event.leases]  # type: ignore[attr-defined]  # Of that kind.
        assert rescued
        assert finished.key not in rescued
        assert world.rows()[finished.key].owner == "w0"
        await world.load(600, per_second=1)  # A new leader assigns it, and its new owner cleans it up.
        assert world.named(LeasesCleanedUp)
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])

    run(main, until=1800)


def test_a_zombie_that_reports_and_takes_nothing_is_passed_over() -> None:
    """A Java worker that lost a start race may report and never look for its leases: it holds none up for long."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=6)
        await world.create()
        world.start("w0")
        world.start("w1")
        await world.load(10)
        store = MemoryLeaseStore(world.services.tables, world.wall)

        async def report() -> None:
            while True:
                now = int(world.wall())
                changes: dict[str, Value] = {
                    "entityType": "WORKER_METRIC_STATS",
                    "lut": now,
                    "sts": {},
                    "opr": {},
                    "sup": 1,
                    "slu": now,
                }
                update = UpdateItem("app", Key("leaseKey", "zombie"), Update(set=changes))
                await store.write(update, timeout_s=1)
                await asyncio.sleep(30)

        zombie = asyncio.create_task(report())
        held_up = 0
        for _ in range(300):
            await world.load(1, per_second=6)
            held_up += sum(row.owner == "zombie" for row in world.rows().values())
        zombie.cancel()
        assert 0 < held_up < 300 * 6 // 20  # Seconds times leases: less than one in twenty.
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])

    run(main, until=900)


def test_a_zombie_that_leads_and_does_nothing_is_worked_around() -> None:
    """A lock that is renewed by somebody who assigns nothing leaves no lease unowned for longer than the bound."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=4)
        await world.create()
        store = MemoryLeaseStore(world.services.tables, world.wall)
        world.start("w0")
        await asyncio.sleep(0.5)

        async def hold() -> None:
            for turn in range(1000):
                item = {
                    "leaseKey": "Leader",
                    "ownerName": "zombie",
                    "leaseDuration": "120000",
                    "recordVersionNumber": f"version-{turn}",
                    "entityType": "LEADER",
                }
                await store.write(Put("app", item), timeout_s=1)
                await asyncio.sleep(30)

        zombie = asyncio.create_task(hold())
        world.start("w1")
        await world.load(60)
        assert {row.owner for row in world.rows().values()} <= {"w0", "w1"}
        world.crash("w0")
        died = sim.now
        while {row.owner for row in world.rows().values()} != {"w1"}:
            await world.load(1)
        assert sim.now - died <= 2 * QUICK.failover_s + 2 * QUICK.failover_s / 5 + 3
        world.split()
        await world.load(30)
        zombie.cancel()
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])

    run(main, until=900)


def test_a_leader_that_cannot_look_gives_the_lock_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three periods without a scan, a permission having been taken away, and somebody else leads (story 5)."""
    scan = MemoryLeaseStore.scan_page
    blind: set[str] = set()

    async def denied(self: MemoryLeaseStore, *arguments: object, **named: object) -> Page:
        task = asyncio.current_task()
        if task is not None and getattr(task, "host", None) is not None and task.host.name in blind:  # type: ignore[attr-defined]  # A task of the simulation.
            raise Denied("AccessDeniedException", "not authorized to perform: dynamodb:Scan")
        return await scan(self, *arguments, **named)  # type: ignore[arg-type]  # Passed through.

    monkeypatch.setattr(MemoryLeaseStore, "scan_page", denied)

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=4)
        await world.create()
        for turn in range(3):
            world.start(f"w{turn}")
        await world.load(20)
        first = leader(world)
        blind.add(first)
        blinded = sim.now
        while leader_or_none(world) in (None, first):
            await world.load(1)
        assert sim.now - blinded <= 6 * 2 * QUICK.failover_s
        assert [event for event in world.named(TaskFailed) if event.error == "AccessDeniedException"]  # type: ignore[attr-defined]  # Of that kind.
        assert len(world.named(LeadershipChanged)) == 3
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])

    run(main, until=900)


def leader_or_none(world: World) -> str | None:
    """Return who leads, if anybody does."""
    return next((name for name in world.leaving if world.workers[name].health().leads), None)
