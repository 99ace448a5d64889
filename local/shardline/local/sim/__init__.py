"""Simulation: unmodified asyncio code in virtual time, on hosts that crash, stop and drift, over a network that fails.

`run(main, seed=3)` runs a coroutine function in virtual time; `simulated` does so for an asynchronous test;
`Simulation` is the world that both make. Nothing is imported until it is used (`shardline.common._lazy`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common._lazy import exports

if TYPE_CHECKING:
    from shardline.local.sim.hosts import Host
    from shardline.local.sim.runtime import SimRuntime
    from shardline.local.sim.simulation import Simulation, current_host, run, simulated
    from shardline.local.sim.work import Deadlock, Livelock, SimulationError, TimeLimit

# Exported name -> module of this package.
_EXPORTS: dict[str, str] = {
    "Deadlock": "work",
    "Host": "hosts",
    "Livelock": "work",
    "SimRuntime": "runtime",
    "Simulation": "simulation",
    "SimulationError": "work",
    "TimeLimit": "work",
    "current_host": "simulation",
    "run": "simulation",
    "simulated": "simulation",
}

__all__ = [
    "Deadlock",
    "Host",
    "Livelock",
    "SimRuntime",
    "Simulation",
    "SimulationError",
    "TimeLimit",
    "current_host",
    "run",
    "simulated",
]

__getattr__, __dir__ = exports(__name__, _EXPORTS, extra="local")
