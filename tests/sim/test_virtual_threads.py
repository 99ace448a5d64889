"""Virtual threads: blocking functions take virtual time, one at a time, and none is left behind."""

from __future__ import annotations

import asyncio
import threading

import pytest

from shardline.local.sim import SimRuntime, Simulation
from shardline.local.sim.threads import sleep_blocking


def _runtime(sim: Simulation, **options: float) -> SimRuntime:
    return SimRuntime(sim.main_host, threads=sim.threads, **options)


def test_a_blocking_function_takes_virtual_time_and_the_loop_goes_on() -> None:
    """Two threads sleep side by side while a task ticks; their results and errors come back."""
    ticks: list[float] = []

    async def tick(sim: Simulation) -> None:
        while True:
            await asyncio.sleep(10)
            ticks.append(sim.now)

    def work(seconds: float) -> float:
        sleep_blocking(seconds)
        sleep_blocking(seconds)
        if seconds > 20:
            raise ValueError("too long")
        return seconds

    async def main(sim: Simulation) -> None:
        runtime = _runtime(sim)
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(tick(sim))
            short = group.create_task(runtime.run_blocking(work, 15))
            with pytest.raises(ValueError, match="too long"):
                await runtime.run_blocking(work, 25)
            assert await short == 15
            ticking.cancel()
        assert sim.now == pytest.approx(50)

    with Simulation(1) as sim:
        sim.run(main)
        assert sim.threads.running == 0
    assert len(ticks) in {4, 5}


def test_an_abandoned_call_runs_on() -> None:
    """Cancelling the wait changes nothing for the thread, as with real ones."""
    finished: list[float] = []

    async def main(sim: Simulation) -> None:
        def work() -> None:
            sleep_blocking(30)
            finished.append(sim.now)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await _runtime(sim).run_blocking(work)
        assert sim.threads.running == 1
        await asyncio.sleep(60)

    with Simulation(1) as sim:
        sim.run(main)
    assert finished == [pytest.approx(30)]


def test_threads_stop_and_die_with_their_host() -> None:
    """A paused host's thread sleeps on until it resumes; a dead one's never wakes, and closing unwinds it."""
    woke: dict[str, float] = {}
    before = threading.active_count()

    async def main(sim: Simulation) -> None:
        def work(name: str) -> None:
            sleep_blocking(10)
            woke[name] = sim.now

        hosts = {name: sim.host(name) for name in ("paused", "dead")}
        for name, host in hosts.items():
            host.spawn(SimRuntime(host, threads=sim.threads).run_blocking(work, name))
        await asyncio.sleep(5)
        hosts["paused"].pause_for(40)
        hosts["dead"].crash()
        await asyncio.sleep(100)

    with Simulation(1) as sim:
        sim.run(main)
        assert sim.threads.running == 1
    assert woke == {"paused": pytest.approx(45)}
    assert threading.active_count() == before


def test_only_a_virtual_thread_may_sleep() -> None:
    """Blocking on the loop would stop the world: it raises."""
    with pytest.raises(RuntimeError, match="virtual thread"):
        sleep_blocking(1)
