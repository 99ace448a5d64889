"""The virtual-time loop: asyncio runs on it unchanged, time jumps, chance comes from the seed, mistakes are loud."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from math import inf, nextafter
from typing import TYPE_CHECKING

import pytest

from shardline.local.sim import Deadlock, Livelock, Simulation, TimeLimit, run, simulated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY_S = 86_400.0


def test_a_day_takes_no_time() -> None:
    """Sleeping moves the virtual clock by exactly the time slept."""

    async def main(sim: Simulation) -> float:
        await asyncio.sleep(DAY_S)
        return sim.now

    assert run(main) == pytest.approx(DAY_S)


def test_asyncio_primitives_work() -> None:
    """Queue, Event, Lock, Semaphore, Condition, gather, wait_for, timeout and TaskGroup behave as on a stock loop."""

    async def main(sim: Simulation) -> list[object]:
        queue: asyncio.Queue[int] = asyncio.Queue(2)
        event, lock = asyncio.Event(), asyncio.Lock()
        seen: list[object] = []

        async def produce() -> None:
            for number in range(5):
                await queue.put(number)
            event.set()

        async def consume() -> None:
            for _ in range(5):
                async with lock:
                    seen.append(await queue.get())
            await event.wait()

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            group.create_task(consume())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await asyncio.sleep(10)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 2)
        seen.append(round(sim.now, 3))
        seen += await asyncio.gather(asyncio.sleep(1, "one"), asyncio.to_thread(lambda: "thread"))
        return seen

    assert run(main, seed=5) == [0, 1, 2, 3, 4, 5.0, "one", "thread"]


def test_the_seed_chooses_the_interleaving() -> None:
    """Tasks that are ready at one moment run in an order drawn from the seed: over seeds, in every order."""

    async def main(sim: Simulation) -> str:
        order: list[str] = []

        async def step(name: str) -> None:
            await asyncio.sleep(1)
            order.append(name)

        await asyncio.gather(*(step(name) for name in "abc"))
        assert sim.now == pytest.approx(1)
        return "".join(order)

    assert {run(main, seed=seed) for seed in range(40)} == {"abc", "acb", "bac", "bca", "cab", "cba"}
    assert run(main, shuffle=False) == "abc"


def test_a_deadlock_names_what_every_task_waits_for() -> None:
    """When nothing can ever happen again the run ends, and says which task waits where."""

    async def main(sim: Simulation) -> None:
        sim.host("machine").spawn(asyncio.Event().wait(), name="stuck one")
        await asyncio.Lock().acquire()
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"main: main at locks\.py:\d+ Event\.wait\n  machine: stuck one at locks\.py"):
        run(main)


@pytest.mark.untraced
def test_a_livelock_ends() -> None:
    """A task that yields for ever without time moving is reported, not waited for."""

    async def main(_: Simulation) -> None:
        while True:  # noqa: ASYNC110 - the mistake to be found.
            await asyncio.sleep(0)

    with pytest.raises(Livelock, match="callbacks at t=0"):
        run(main)


@pytest.mark.untraced
def test_a_livelock_of_timers_ends() -> None:
    """Timers that are due at once, for ever, are a livelock too: the clock does not move."""

    async def main(sim: Simulation) -> None:
        def again() -> None:
            sim.loop.call_at(sim.loop.time(), again)

        again()
        await asyncio.sleep(1)

    with pytest.raises(Livelock, match="callbacks at t=0"):
        run(main)


def test_a_timer_a_rounding_ahead_moves_the_clock() -> None:
    """Whoever waits until his host's clock shows the next representable instant gets there in a few steps."""

    async def main(sim: Simulation) -> int:
        loop, steps = sim.loop, 0
        sim.main_host.drift(-37)
        for _ in range(200):
            await asyncio.sleep(sim.random.random())
            due = nextafter(loop.time(), inf)
            while loop.time() < due:
                steps += 1
                future = loop.create_future()
                loop.call_at(due, future.set_result, None)
                await future
        return steps

    assert run(main, seed=3) <= 2 * 200


def test_the_time_limit_ends_a_run() -> None:
    """`until` bounds the simulated time."""

    async def main(_: Simulation) -> None:
        while True:  # noqa: ASYNC110 - what never ends.
            await asyncio.sleep(7)

    with pytest.raises(TimeLimit, match="not finished at t=100"):
        run(main, until=100)


def test_an_exception_that_nobody_takes_fails_the_run() -> None:
    """Neither a failing callback nor a failing forgotten task goes unseen."""

    async def in_callback(sim: Simulation) -> None:
        sim.loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    async def in_task(sim: Simulation) -> None:
        async def fail() -> None:
            raise LookupError("nobody looks")

        sim.main_host.spawn(fail())
        await asyncio.sleep(1)
        gc.collect()
        await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError):
        run(in_callback)
    with pytest.raises(LookupError):
        run(in_task)


def test_a_cancelled_blocking_call_still_runs_on_its_thread() -> None:
    """Abandoning a virtual thread does not stop it, exactly as with a real one."""
    done: list[str] = []

    async def main(sim: Simulation) -> None:
        sim.runtime.blocking_s_max = 10
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1e-9):
                await sim.runtime.run_blocking(done.append, "ran")
        assert done == []
        await asyncio.sleep(11)

    run(main)
    assert done == ["ran"]


@simulated(seeds=3)
async def test_the_decorator_runs_a_test_in_virtual_time() -> None:
    """`simulated` turns an asynchronous test into one in virtual time."""
    begin = asyncio.get_running_loop().time()
    await asyncio.sleep(1000)
    assert asyncio.get_running_loop().time() - begin >= 1000


def test_the_decorator_names_the_failing_seed() -> None:
    """A failure under `simulated` carries a note with the seed that shows it."""

    @simulated(seeds=10, first=4)
    async def fails() -> None:
        await asyncio.sleep(2)
        raise LookupError

    with pytest.raises(LookupError) as caught:
        fails()
    assert caught.value.__notes__ == ["in virtual time, seed 4, t=2.000000"]


TRACE_PROGRAM = """
import asyncio
from shardline.local.sim import Simulation

async def worker(sim, queue, names):
    while True:
        name = await queue.get()
        names.add(name)
        await asyncio.sleep(sim.main_host.random.random())
        sim.note(name)

async def main(sim):
    queue = asyncio.Queue()
    try:
        async with asyncio.timeout(50), asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(worker(sim, queue, set()))
            while True:
                queue.put_nowait(str(sim.random.random()))
                await asyncio.sleep(sim.random.random() / 5)
    except TimeoutError:
        pass

for seed in range(3):
    with Simulation(seed) as sim:
        sim.run(main)
        print(sim.trace)
"""


def test_one_seed_is_one_trace_in_every_process() -> None:
    """Equal seeds give equal traces in two processes with different hash seeds, and different seeds differ (I22)."""
    traces = [
        subprocess.run(
            [sys.executable, "-c", TRACE_PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        for hash_seed in ("1", "2")
    ]
    assert traces[0] == traces[1]
    assert len(set(traces[0])) == 3


def test_nested_clean_up_that_awaits_is_unwound_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crashed task's coroutines are closed from the innermost on: none is left to the garbage collector."""
    left: list[str] = []

    async def leave(name: str) -> None:
        left.append(name)
        await asyncio.sleep(1)
        left.append(f"{name} never")

    @asynccontextmanager
    async def room(name: str) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await leave(name)

    async def inner() -> None:
        async with room("inner"), room("innermost"):
            await asyncio.sleep(100)

    async def outer() -> None:
        async with room("outer"):
            await inner()

    async def main(sim: Simulation) -> None:
        host = sim.host("a")
        host.spawn(outer())
        await asyncio.sleep(1)
        host.crash()

    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    run(main)
    gc.collect()
    assert left == ["innermost", "inner", "outer"]
    assert unraisable == []
