"""The failure stories that happen between a shard and its handler (`reliability.md` 8), in every way of calling one.

As in `test_stories`, the oracle judges every world. What has to be damaged inside the product for a story to happen
(a hand-over that fails, an iterator from the wrong position) is damaged here, at every place in turn.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from shardline.consumer.config import DeliveryConfig, Retrieval
from shardline.consumer.driver.reader import Reader
from shardline.consumer.events import TaskFailed
from shardline.local.sim import SimRuntime
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.world import World
from tests.sim.knobs import HandlerFaults
from tests.sim.mutants import ALL_BUGS
from tests.sim.planting import planted
from tests.sim.settings import Knobs
from tests.sim.stories import tell
from tests.sim.world import World as Judged

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from shardline.consumer.handler import Record

pytestmark = [pytest.mark.untraced, pytest.mark.slow]

MODES: Final[dict[str, dict[str, Any]]] = {
    "records": {},
    "batches": {"per_batch": True},
    "lanes": {"lanes": 3},
    "threads": {"blocking": True},
    "batches on threads": {"blocking": True, "per_batch": True},
    "lanes on threads": {"blocking": True, "lanes": 3},
    "processes": {"processes": 2, "dies": 0.02},
    "batches in processes": {"processes": 2, "dies": 0.02, "per_batch": True},
    "lanes in processes": {"processes": 2, "dies": 0.02, "lanes": 3},
}
"""Every way in which a handler is called."""


async def _quiet(_: Judged) -> None:
    """Leave the trouble to the handlers."""


async def _crashes(world: Judged) -> None:
    """Cut one worker after another off from power."""
    for turn in range(6):
        await asyncio.sleep(15)
        world.fleet.crash(world.fleet.slots[turn % len(world.fleet.slots)])


async def _garbage(world: Judged) -> None:
    """Store blobs that look like aggregates and are none between what the producers put."""
    for _ in range(60):
        await asyncio.sleep(1)
        world.outsiders.garbage()


@pytest.mark.parametrize("parks", [None, 2])
@pytest.mark.parametrize("mode", MODES)
def test_story_1_what_a_handler_fails_at_is_not_buried(mode: str, parks: int | None) -> None:
    """It fails now and then, and for minutes at some records: they are held, or parked; no checkpoint passes one."""
    handler = HandlerFaults(fails=0.2, poison=0.05, slow=0.1, slow_s=1.0, park_attempts=parks, **MODES[mode])
    result = tell(_crashes, handler=handler, chaos_s=120.0, restart_s=5.0)
    assert result.counts["handler failed"] > 5
    assert result.counts["handler failed at a poison record"] > 0


@pytest.mark.parametrize("bug", ["checkpoint at hand-over", "failure taken for done"])
@pytest.mark.parametrize("mode", MODES)
def test_a_buried_record_is_found_in_every_mode(mode: str, bug: str) -> None:
    """The oracle that story 1 relies on catches both ways to bury one, however the handler is called (I3)."""
    handler = HandlerFaults(fails=0.2, slow=0.3, slow_s=3.0, **MODES[mode])
    knobs = Knobs(seed=1, profile="story", shards=2, chaos_s=120.0, handler=handler, records_per_s=3.0)
    with planted(ALL_BUGS[bug]):
        result = Judged(knobs).run()
    assert result.violations
    assert {one.invariant for one in result.violations} <= {"I1", "I2", "I3"}  # Whichever of them comes first.


@pytest.mark.parametrize("mode", MODES)
def test_story_3_a_malformed_aggregate_comes_whole_and_harms_no_neighbour(mode: str) -> None:
    """Aggregates with wrong indices, sizes and fields between good ones: each is delivered as the blob that it is."""
    handler = HandlerFaults(fails=0.05, **MODES[mode])
    result = tell(_garbage, handler=handler)
    assert result.counts["malformed aggregate stored"] > 30


# --- story 10 --------------------------------------------------------------------------------------------------------


class _Spawns(SimRuntime):
    """A runtime that cannot start one of its tasks."""

    fails_at: int
    spawned = 0

    def spawn(self, group: asyncio.TaskGroup, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Start a task, or fail."""
        self.spawned += 1
        if self.spawned == self.fails_at:
            coroutine.close()
            raise MemoryError(name)
        return super().spawn(group, coroutine, name=name)


async def _delivered_all(world: World, name: str, runtime: _Spawns) -> None:
    """Run a worker, again when it breaks down, until everything was delivered; nothing is lost or out of order."""
    for turn in range(5):
        worker = world.worker(f"{name}-{turn}")
        runtime.host = world.hosts[f"{name}-{turn}"]
        worker._runtime = runtime
        serving = runtime.host.spawn(worker.serve())
        done = asyncio.ensure_future(world.drained(120.0))
        await asyncio.wait((serving, done), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            worker.stop()
            await asyncio.wait((serving, done))
            break
        done.cancel()
        assert serving.exception() is not None
    assert world.lost == []
    assert world.disorder == []


def test_story_10_a_task_that_cannot_be_started_loses_nothing() -> None:
    """Of all the tasks that a worker starts until it is at work, each in turn cannot be: it says so, or starts anew."""
    reached = 0

    async def main(sim: Simulation) -> None:
        nonlocal reached
        for fails_at in range(1, 25):
            world = World(sim, shards=2, stream=f"orders-{fails_at}")
            await world.create()
            world.put(30)
            runtime = _Spawns(sim.host(f"none-{fails_at}"))
            runtime.fails_at = fails_at
            await _delivered_all(world, f"w{fails_at}", runtime)
            reached += runtime.spawned >= fails_at

    run(main, until=24 * 3600)
    assert reached == 24


@pytest.mark.parametrize("retrieval", [Retrieval.POLLING, Retrieval.FANOUT])
def test_story_10_a_page_that_cannot_be_handed_over_is_fetched_again(
    retrieval: Retrieval, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue between reader and handler refuses each page in turn: the reader begins behind what was queued."""
    take, failed = Reader._take, 0

    def flaky(self: Reader, page: Any, size: int) -> None:
        nonlocal failed
        if page.records and failed < 30 and page.records[0].sequence_number not in refused:
            refused.add(page.records[0].sequence_number)
            failed += 1
            raise MemoryError
        take(self, page, size)

    refused: set[str] = set()
    monkeypatch.setattr(Reader, "_take", flaky)

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=2)
        await world.create()
        world.start("w0", retrieval=retrieval, consumer_name="app" if retrieval is Retrieval.FANOUT else None)
        await world.load(20)
        world.split()
        await world.load(20)
        await world.drained(300.0)
        await world.stop()
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])
        assert len(world.named(TaskFailed)) == failed > 10

    run(main, until=1200)


# --- stories 13 and 14 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_story_13_an_iterator_expires_behind_a_slow_handler(mode: str) -> None:
    """Iterators live for three seconds, handlers take up to twenty: nothing comes twice, or not at all."""
    handler = HandlerFaults(slow=0.2, slow_s=20.0, timeout_s=60.0, **{**MODES[mode], "dies": 0.0})
    result = tell(_quiet, handler=handler, iterator_lifetime_s=3.0, read_ahead=5, chaos_s=180.0, quiet_s=900.0)
    assert result.reached["event call.failed"] > 0
    assert result.redelivered == 0


@pytest.mark.parametrize("start", ["LATEST", "TRIM_HORIZON", 0.0])
def test_story_14_no_iterator_goes_back_to_the_start_or_on_to_the_end(start: str | float) -> None:
    """Every iterator expires before its second use, through restarts too: reading goes on behind what was done."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        state = world.services.state
        await world.create()
        world.put(20)
        await asyncio.sleep(30)
        if start == "LATEST":
            world.acknowledged.clear()  # Those lie before the start.
        for turn in range(4):
            world.start(f"w{turn}", start=start)
            await asyncio.sleep(3)
            state.options = replace(state.options, iterator_lifetime_s=0.5)
            await world.load(20, 5)
            world.crash(f"w{turn}") if turn % 2 else await world.stop()
            await world.load(5, 5)
            state.options = replace(state.options, iterator_lifetime_s=300.0)
        world.start("last", start=start)
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])
        assert world.duplicates < 40  # What two crashes cost, not the whole stream.

    run(main, until=1200)


# --- stories 15 and 17 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [False, True])
def test_story_15_a_crash_inside_an_aggregate_skips_nothing_of_it(batch: bool) -> None:
    """Behind each of the records of one aggregate in turn: the next owner goes on with the one after it."""

    async def main(sim: Simulation) -> None:
        for crash_at in range(9):
            world = World(sim, shards=1, stream=f"orders-{crash_at}-{batch}")
            await world.create()
            world.put(9, per_aggregate=9)
            reached, application = asyncio.Event(), f"app-{crash_at}-{batch}"

            async def one(record: Record, world: World = world, at: int = crash_at, reached: Any = reached) -> None:
                world.saw(record)
                if int(record.data) == at and not reached.is_set():
                    await asyncio.sleep(2)  # The record before stands in the table.
                    reached.set()
                    await asyncio.sleep(100)

            async def many(records: Any, one: Any = one) -> None:
                for record in records:
                    await one(record)

            how: dict[str, Any] = {"application": application, "delivery": DeliveryConfig(checkpoint_records=1)}
            world.start(f"a{crash_at}", many if batch else one, batch=batch, **how)
            await reached.wait()
            world.crash(f"a{crash_at}")
            world.start(f"b{crash_at}", **how)
            await asyncio.sleep(60)
            await world.stop()
            assert sorted(world.seen) == list(range(9))
            twice = [number for number in range(9) if world.seen[number] == 2]
            assert twice == (list(range(crash_at + 1)) if batch else [crash_at])

    run(main, until=24 * 3600)


@pytest.mark.parametrize("mode", MODES)
def test_story_17_no_checkpoint_covers_what_was_only_queued(mode: str) -> None:
    """Workers are cut off from power between any two of their steps: what the table covers was handled (I3, I1)."""

    async def script(world: Judged) -> None:
        for callbacks in range(1, 120, 4):
            slot = world.fleet.slots[callbacks % len(world.fleet.slots)]
            world.fleet.crash(slot, callbacks=callbacks)
            await asyncio.sleep(6)

    handler = HandlerFaults(slow=0.2, slow_s=1.0, fails=0.05, **MODES[mode])
    result = tell(script, handler=handler, restart_s=2.0, checkpoint_records=1, failover_s=5.0, records_per_s=5.0)
    assert result.counts["crash"] > 10 or sum(result.counts.values()) > 10
