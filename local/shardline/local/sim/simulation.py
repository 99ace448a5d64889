"""`Simulation`: one seeded world: a virtual loop, hosts on it, and short ways to run a coroutine in virtual time.

::

    def test_a_minute_takes_no_time() -> None:
        async def main(sim: Simulation) -> float:
            await asyncio.sleep(60)
            return sim.now

        assert run(main, seed=3) == 60

One seed is one world: `Simulation.trace` is equal whenever seed, code and Python's minor version are.
"""

from __future__ import annotations

import functools
from contextvars import copy_context
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from shardline.common.errors import InvalidInput
from shardline.local.sim.hosts import EPOCH_S, HOST, Host
from shardline.local.sim.loop import VirtualLoop
from shardline.local.sim.runtime import SimRuntime
from shardline.local.sim.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Simulation", "current_host", "run", "simulated"]

T = TypeVar("T")
P = ParamSpec("P")


class Simulation:
    """One world in virtual time; `random` is the world's own chance, apart from scheduling's and the hosts'.

    `until_s` limits the simulated time of each `run`; None means no limit.
    """

    def __init__(self, seed: int | str = 0, *, until_s: float | None = None, shuffle: bool = True) -> None:
        self.seed = seed
        self.until_s = until_s
        self.loop = VirtualLoop(seed, shuffle=shuffle)  # type: ignore[abstract]  # Sockets, signals: not in here.
        self.threads = Threads(self.loop)
        self.random = Random(f"world/{seed}")
        self.hosts: dict[str, Host] = {}
        self.main_host = self.host("main")
        self.runtime = SimRuntime(self.main_host)
        self._log = blake2b(digest_size=8)

    @property
    def now(self) -> float:
        """The simulation's time in seconds from 0."""
        return self.loop.now

    @property
    def wall_s(self) -> float:
        """The true time of day in epoch seconds, which the services go by."""
        return EPOCH_S + self.loop.now

    def host(self, name: str) -> Host:
        """Return a new machine; a crashed one's name may be used again (restart with the same identity).

        Raises `InvalidInput` for the name of a machine that is up.
        """
        earlier = self.hosts.get(name)
        if earlier is not None and earlier.alive:
            raise InvalidInput("name", f"another one: host {name} is alive")
        generation = len([key for key in self.hosts if key.partition("\n")[0] == name])
        if earlier is not None:
            self.hosts[f"{name}\n{generation}"] = earlier
        self.hosts[name] = made = Host(self.loop, name, f"host/{self.seed}/{name}/{generation}")
        return made

    def at(self, when_s: float, action: Callable[..., object], *arguments: Any) -> None:
        """Do `action` at the simulated time `when_s`, on no host."""
        self.loop.call_real(when_s, action, *arguments)

    def note(self, line: str) -> None:
        """Add a line to what `trace` is computed from."""
        self._log.update(line.encode())
        self._log.update(b"\n")

    @property
    def trace(self) -> str:
        """A digest of all that happened: every jump of the clock, every callback counted, every `note`."""
        total = self._log.copy()
        total.update(f"{self.loop.trace} {self.loop.steps} {self.loop.now!r} {self.random.getstate()}".encode())
        return total.hexdigest()

    def run(self, main: Callable[[Simulation], Coroutine[Any, Any, T]]) -> T:
        """Run `main(self)` on the host "main" and return its result; may be called again to go on.

        Raises what `main` raises, `Deadlock`, `Livelock`, `TimeLimit`, or the first exception that nobody took.
        """
        return self.run_coroutine(main(self))

    def run_coroutine(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the host "main" and return its result."""
        context = copy_context()
        context.run(HOST.set, self.main_host)
        task = self.loop.create_task(coroutine, name="main", context=context)
        return self.loop.run_until(task, limit_s=self.until_s)

    def close(self) -> None:
        """End what still runs; nothing of it acts on the world any more."""
        self.loop.close()
        self.threads.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def current_host() -> Host:
    """Return the host whose code asks; raise `RuntimeError` outside any."""
    host = HOST.get()
    if host is None:
        raise RuntimeError("no simulated host runs this code")
    return host


def run(
    main: Callable[[Simulation], Coroutine[Any, Any, T]],
    *,
    seed: int | str = 0,
    until: float | None = None,
    shuffle: bool = True,
) -> T:
    """Run `main(simulation)` in a new world and return its result; `until` limits the simulated seconds.

    Raises what `main` raises, `Deadlock` when nothing can ever happen again, `Livelock` when time stands still,
    `TimeLimit` at `until`, or the first exception that nobody took (in a task or a callback).
    """
    with Simulation(seed, until_s=until, shuffle=shuffle) as simulation:
        return simulation.run(main)


def simulated(
    *, seeds: int = 1, first: int = 0, until: float | None = None
) -> Callable[[Callable[P, Coroutine[Any, Any, None]]], Callable[P, None]]:
    """Turn an asynchronous test into one that runs in virtual time, once for each of `seeds` seeds from `first` on.

    A failure carries a note that names the seed.
    """

    def decorate(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
        @functools.wraps(test)
        def in_virtual_time(*args: P.args, **kwargs: P.kwargs) -> None:
            for seed in range(first, first + seeds):
                with Simulation(seed, until_s=until) as simulation:
                    try:
                        simulation.run_coroutine(test(*args, **kwargs))
                    except BaseException as error:
                        error.add_note(f"in virtual time, seed {seed}, t={simulation.now:.6f}")
                        raise

        return in_virtual_time

    return decorate
