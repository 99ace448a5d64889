"""What the pytest fixtures hand out: a stream to reshard and expire at will, and programs on hosts that can die.

Nothing here knows a producer or a worker: `SimLab.start` takes a function that makes whatever asynchronous context
manager the test wants to run, from the simulated services and the host's runtime.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.local.sim.doors import SimServices
from shardline.local.sim.network import Faults, Network, Service
from shardline.local.sim.runtime import SimRuntime
from shardline.local.sim.simulation import Simulation
from shardline.local.state.core import KinesisState
from shardline.local.tables.core import LeaseTables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from shardline.common.ports.services import Services
    from shardline.local.sim.hosts import Host
    from shardline.local.state.shard import ShardLog

__all__ = ["Program", "SimLab", "StreamControl"]


class StreamControl:
    """One in-memory stream as a test handles it; calls apply at once and raise `Refusal` as the service would."""

    def __init__(self, state: KinesisState, clock: Callable[[], float], name: str, shards: int) -> None:
        self.name = name
        self._state = state
        self._clock = clock
        self._stream = Stream(name)
        state.create_stream(name, shards, now=clock())

    def put(self, data: bytes, partition_key: str) -> str:
        """Store one record past every fault; return its sequence number."""
        (outcome,) = self._state.put_records(self._stream, [PutEntry(data, partition_key)], now=self._clock())
        if outcome.sequence_number is None:
            raise AssertionError(f"the stream refused the record: {outcome.error_code}")
        return outcome.sequence_number

    def put_many(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Store records given as (partition key, data)."""
        for key, data in records:
            self.put(data, key)

    @property
    def open_shards(self) -> list[str]:
        """The ids of the open shards, by hash range."""
        return [shard.shard_id for shard in self._open]

    @property
    def _open(self) -> list[ShardLog]:
        return sorted(self._state.streams[self.name].open, key=lambda shard: shard.hash_range.start)

    def split(self, index: int = 0) -> None:
        """Split the open shard of that place in the middle."""
        shard = self._open[index]
        middle = sum(shard.hash_range) // 2
        self._state.split_shard(self._stream, shard.shard_id, str(middle), now=self._clock())

    def merge(self, index: int = 0) -> None:
        """Merge the open shard of that place with the next one."""
        left, right = self.open_shards[index : index + 2]
        self._state.merge_shards(self._stream, left, right, now=self._clock())

    @property
    def iterator_lifetime_s(self) -> float:
        """How long an iterator is good for; set it low, and iterators held longer than that are expired."""
        return self._state.options.iterator_lifetime_s

    @iterator_lifetime_s.setter
    def iterator_lifetime_s(self, seconds: float) -> None:
        self._state.options = replace(self._state.options, iterator_lifetime_s=seconds)

    def __repr__(self) -> str:
        return f"StreamControl({self.name}, {len(self.open_shards)} open shards)"


class Program:
    """A context manager of the test's that runs on a host of its own."""

    def __init__(self, host: Host, task: asyncio.Task[None], leave: asyncio.Event) -> None:
        self.host = host
        self._task = task
        self._leave = leave

    def crash(self) -> None:
        """Cut the host's power: nothing of it runs again, no `finally` block either."""
        self.host.crash()

    def pause_for(self, seconds: float) -> None:
        """Stop the host as SIGSTOP does, and let it go on after so much simulated time."""
        self.host.pause_for(seconds)

    def leave(self) -> None:
        """Ask the program to leave its context (a graceful stop); it does so while the simulation runs on."""
        self._leave.set()

    @property
    def ended(self) -> bool:
        """Say whether the program has left its context, or failed."""
        return self._task.done()


class SimLab:
    """A world in virtual time for a test: streams, programs, faults; `run(seconds)` lets time pass."""

    def __init__(self, seed: int | str = 0) -> None:
        self.simulation = Simulation(seed)
        self.network = Network(self.simulation)
        self.state = KinesisState()
        self.tables = LeaseTables()
        self.services = SimServices(self.network, self.state, self.tables)
        self._programs: list[Program] = []

    @property
    def now(self) -> float:
        """The simulated time in seconds from 0."""
        return self.simulation.now

    def stream(self, name: str, shards: int = 1) -> StreamControl:
        """Create a stream and return its controls."""
        return StreamControl(self.state, self.services.clock, name, shards)

    def faults(self, service: Service, **shares: float) -> None:
        """Let a service misbehave from now on; the shares are those of `Faults`, all others 0."""
        self.network.set_faults(service, Faults(**shares))

    def start(
        self, make: Callable[[Services, SimRuntime], AbstractAsyncContextManager[Any]], *, name: str | None = None
    ) -> Program:
        """Start a program on a new host: `make(services, runtime)` gives what is entered, and left by `leave`."""
        host = self.simulation.host(name or f"host-{len(self._programs)}")
        leave = asyncio.Event()

        async def live() -> None:
            async with make(self.services, SimRuntime(host, threads=self.simulation.threads)):
                await leave.wait()

        program = Program(host, host.spawn(live(), name=host.name), leave)
        self._programs.append(program)
        return program

    def run(self, seconds: float) -> None:
        """Let so much simulated time pass; raises what a program raised."""

        async def wait(_: Simulation) -> None:
            await asyncio.sleep(seconds)

        self.simulation.run(wait)
        for program in self._programs:
            if program.ended and program.host.alive:
                program._task.result()  # noqa: SLF001 - the program is this module's own.

    def close(self) -> None:
        """End everything that still runs."""
        self.simulation.close()
