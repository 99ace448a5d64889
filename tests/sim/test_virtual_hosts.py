"""Hosts in virtual time: they crash, pause, have clocks of their own, and lose time."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from shardline.local.sim import Simulation, current_host, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY_S = 86_400.0


def test_a_crash_runs_no_finally() -> None:
    """A crashed host's tasks never run again, not even their `finally` blocks, garbage collection included."""
    log: list[str] = []

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(1)
            yield 2
        finally:
            log.append("generator finally")

    async def work(name: str) -> None:
        try:
            async for _ in generate():
                await asyncio.sleep(10)
        finally:
            log.append(name)

    async def main(sim: Simulation) -> list[str]:
        victim, other = sim.host("victim"), sim.host("other")
        victim.spawn(work("dead"))
        other.spawn(work("alive"))
        sim.at(5, victim.crash)
        await asyncio.sleep(6)
        gc.collect()
        await asyncio.sleep(60)
        gc.collect()
        return list(log)

    assert run(main) == ["generator finally", "alive"]


def test_a_restart_may_use_the_same_name() -> None:
    """A crashed host's name can be taken by a new machine with a clock and chance of its own; a live one's cannot."""
    with Simulation(1) as sim:
        first = sim.host("a")
        with pytest.raises(ValueError, match="alive"):
            sim.host("a")
        first.crash()
        second = sim.host("a")
        assert second is not first
        assert second.monotonic() != first.monotonic()


def test_a_paused_host_does_nothing_until_it_resumes() -> None:
    """SIGSTOP: timers that fall into the pause fire at its end; other hosts go on; clocks go on."""

    async def main(sim: Simulation) -> tuple[list[float], list[float]]:
        ticks: dict[str, list[float]] = {"stopped": [], "running": []}

        async def tick(name: str) -> None:
            for _ in range(4):
                await asyncio.sleep(1)
                ticks[name].append(round(sim.now, 3))

        stopped, running = sim.host("stopped"), sim.host("running")
        stopped.spawn(tick("stopped"))
        running.spawn(tick("running"))
        sim.at(1.5, stopped.pause_for, 10)
        await asyncio.sleep(20)
        return ticks["stopped"], ticks["running"]

    assert run(main) == ([1, 11.5, 12.5, 13.5], [1, 2, 3, 4])


def test_stolen_time_moves_the_caller_and_stops_its_neighbours() -> None:
    """Code that computes for three seconds sees its clock move, and nothing else on its host runs meanwhile."""

    async def main(sim: Simulation) -> tuple[float, float]:
        host = sim.host("busy")
        neighbour: list[float] = []

        async def tick() -> None:
            await asyncio.sleep(1)
            neighbour.append(sim.now)

        async def compute() -> float:
            await asyncio.sleep(0.5)
            begin = asyncio.get_running_loop().time()
            current_host().burn(3)
            return asyncio.get_running_loop().time() - begin

        host.spawn(tick())
        spent = await host.spawn(compute())
        await asyncio.sleep(5)
        return spent, neighbour[0]

    spent, ticked = run(main)
    assert spent == pytest.approx(3)
    assert ticked == pytest.approx(3.5)


def test_each_host_has_a_clock_of_its_own() -> None:
    """Clocks start apart, drift and jump; a host sleeps by its own clock; a jump fires what it makes due."""

    async def main(sim: Simulation) -> list[float]:
        fast, still = sim.host("fast"), sim.host("still")
        assert fast.monotonic() != still.monotonic()
        fast.drift(100_000)
        woke: list[float] = []

        async def sleeper() -> None:
            begin = asyncio.get_running_loop().time()
            await asyncio.sleep(11)
            assert asyncio.get_running_loop().time() - begin >= 10.99
            woke.append(sim.now)
            await asyncio.sleep(100)
            woke.append(sim.now)

        task = fast.spawn(sleeper())
        sim.at(20, fast.jump, 200)
        await task
        return woke

    assert run(main) == pytest.approx([10, 20], abs=1e-3)


def test_crash_after_counts_callbacks() -> None:
    """A host can be made to crash between any two of its callbacks."""

    async def main(sim: Simulation) -> int:
        count = 0

        async def loop() -> None:
            nonlocal count
            while True:
                count += 1
                await asyncio.sleep(0)

        host = sim.host("fused")
        host.spawn(loop())
        host.crash_after(7)
        await asyncio.sleep(1)
        return count

    assert run(main) == 6
