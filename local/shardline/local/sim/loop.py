"""The virtual-time asyncio loop: one thread, a clock that jumps to the next timer, and scheduling drawn from a seed.

asyncio's own C tasks, futures, sleep, timeout, Queue, Event, Lock and TaskGroup run on it unchanged. Invariants:

* Time moves only when nothing is ready. Which of the ready callbacks runs next is drawn from the seed, so that one seed
  is one interleaving, in any process and under any PYTHONHASHSEED (tasks hash by serial number: TaskGroup keeps a set).
* `time()` is the clock of the host whose code asks (`hosts`); timers are kept in the simulation's time.
* Nothing ready and no timer left is a deadlock and raises `Deadlock` with what every task waits for; a million
  callbacks without time moving raise `Livelock`.
* Whatever reaches the loop's exception handler fails the run: no exception is lost (I18).
"""

from __future__ import annotations

import asyncio
import gc
import sys
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from random import Random
from struct import pack
from typing import TYPE_CHECKING, Any, Never, TypeVar, TypeVarTuple, cast
from zlib import crc32

from shardline.local.sim.hosts import HOST, Host
from shardline.local.sim.work import (
    Deadlock,
    Livelock,
    SimulationError,
    TimeLimit,
    VirtualHandle,
    VirtualTask,
    bury,
    where,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator

__all__ = ["Deadlock", "Livelock", "SimulationError", "TimeLimit", "VirtualHandle", "VirtualLoop", "VirtualTask"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_STEPS_AT_ONE_INSTANT_MAX = 1_000_000
_COLLECT_STEPS = 500_000
_TICK_S = 1e-6
"""A timer that lies ahead at all lies at least this far ahead, so that rounding cannot stop time."""
_CANCELLED_TIMERS_MAX = 1_000


class VirtualLoop(asyncio.AbstractEventLoop):
    """See the module. `now` is the simulation's time in seconds from 0, `steps` the callbacks run."""

    def __init__(self, seed: int | str = 0, *, shuffle: bool = True) -> None:
        self.now = 0.0
        self.steps = 0
        self.ready: list[VirtualHandle] = []
        self.trace = 0
        self.failures: list[BaseException] = []
        self._random = Random(f"schedule/{seed}")
        self._shuffle = shuffle
        self._timers: list[tuple[float, int, VirtualHandle]] = []
        self._serial = 0
        self._cancelled_timers = 0
        self._running = False
        self._closed = False
        self._instant_steps = 0

    # --- callbacks and timers ---

    def time(self) -> float:
        """Return the monotonic clock of the host whose code asks; the simulation's time outside any host."""
        host = HOST.get()
        return self.now if host is None else host.monotonic()

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Make `callback` ready."""
        handle = VirtualHandle(self, callback, args, context if context is not None else copy_context(), 0.0)
        if not self._closed:
            self.ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Make `callback` ready; there is only one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run `callback` after `delay` seconds of the caller's host."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run `callback` when the clock of the caller's host shows `when`."""
        handle = VirtualHandle(self, callback, args, context if context is not None else copy_context(), when)
        host = HOST.get()
        # Whether it lies ahead is asked of the caller's clock: translated, rounding may put it at the present instant,
        # and code that waits until its clock shows `when` would ask again for ever.
        if when <= (self.now if host is None else host.monotonic()):
            self._schedule(self.now, handle)
        else:
            self._schedule(max(when if host is None else host.real_time(when), self.now + _TICK_S), handle)
        return handle

    def call_real(self, real: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Run `callback` at the simulation's time `real`, on no host: what the world does, not a machine."""
        handle = VirtualHandle(self, callback, args, Context(), real)
        self._schedule(max(real, self.now), handle)
        return handle

    def _schedule(self, real: float, handle: VirtualHandle) -> None:
        if self._closed:
            return
        self._serial += 1
        handle._scheduled = True  # noqa: SLF001 - the base class's own field, which loops set.
        heappush(self._timers, (real, self._serial, handle))

    def timer_cancelled(self) -> None:
        """Count a cancelled timer, and drop them all when they are most of the heap."""
        self._cancelled_timers += 1
        if self._cancelled_timers > _CANCELLED_TIMERS_MAX and self._cancelled_timers * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapify(self._timers)
            self._cancelled_timers = 0

    def reschedule(self, host: Host) -> None:
        """Place the timers of `host` anew after its clock was changed."""
        self._timers = [
            (max(self.now, host.real_time(handle.when())) if handle.host is host else at, serial, handle)
            for at, serial, handle in self._timers
        ]
        heapify(self._timers)

    # --- running ---

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Run until `future`, a future of this loop or a coroutine, is done and return its result."""
        main: asyncio.Future[T] = future if isinstance(future, asyncio.Future) else self.create_task(_outcome(future))
        return self.run_until(main)

    def run_until(self, main: asyncio.Future[T], *, limit_s: float | None = None) -> T:
        """Run until `main` is done and return its result.

        Raises its exception, `Deadlock`, `Livelock`, `TimeLimit` at the simulated time `limit_s`, or the first
        exception that nobody took.
        """
        hooks = sys.get_asyncgen_hooks()
        collecting = gc.isenabled()
        gc.disable()  # Collections come at counted steps: finalizers must not depend on what ran before in the process.
        sys.set_asyncgen_hooks(firstiter=self._generator_started, finalizer=self._generator_dropped)
        asyncio._set_running_loop(self)  # noqa: SLF001 - documented for loop implementers.
        self._running = True
        try:
            while not main.done():
                self._turn(main, limit_s)
        finally:
            self._running = False
            asyncio._set_running_loop(None)  # noqa: SLF001 - documented for loop implementers.
            sys.set_asyncgen_hooks(*hooks)
            if collecting:
                gc.enable()
        return main.result()

    def _turn(self, main: asyncio.Future[Any], limit_s: float | None) -> None:
        """Run every callback that is ready, then let time jump."""
        ready, chance, run_one, failures = self.ready, self._random.random, self._run_one, self.failures
        last = -1 if self._shuffle else 0
        while ready:
            handle = ready.pop(last)
            if ready and last:  # Any of those that were ready, by chance: the last one takes its place.
                index = int(chance() * (len(ready) + 1))
                if index < len(ready):
                    handle, ready[index] = ready[index], handle
            run_one(handle)
            if failures:
                raise failures[0]
            if main.done():
                return
        self._advance(limit_s)

    def _run_one(self, handle: VirtualHandle) -> None:
        host = handle.host
        if handle._cancelled or (host is not None and host.power and not host.admit(handle)):  # noqa: SLF001 - the base class's own field; ON is 0.
            return
        self.steps += 1
        self._instant_steps += 1
        try:
            handle._context.run(handle._callback, *handle._args)  # noqa: SLF001 - the base class's own fields.
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - a callback's failure fails the run, as the module says.
            self.failures.append(error)
        if self._instant_steps > _STEPS_AT_ONE_INSTANT_MAX:
            last = handle._callback  # noqa: SLF001 - the base class's own field.
            raise Livelock(f"{self._instant_steps} callbacks at t={self.now:.6f}, the last {last!r}\n{self.waiting()}")
        if self.steps % _COLLECT_STEPS == 0:
            gc.collect()

    def _advance(self, limit_s: float | None) -> None:
        """Jump to the next timer, and make all timers of that moment ready."""
        timers = self._timers
        while timers and self._useless(timers[0][2]):
            heappop(timers)
        if not timers:
            raise Deadlock(f"nothing is ready and nothing is timed at t={self.now:.6f}\n{self.waiting()}")
        moment = timers[0][0]
        if limit_s is not None and moment > limit_s:
            raise TimeLimit(f"not finished at t={limit_s:g}\n{self.waiting()}")
        self.trace = crc32(pack("<dQ", moment, self.steps), self.trace)
        if moment > self.now:
            self.now = moment
            self._instant_steps = 0
        while timers and timers[0][0] <= moment:
            handle = heappop(timers)[2]
            handle._scheduled = False  # noqa: SLF001 - the base class's own field.
            if not handle._cancelled:  # noqa: SLF001 - the base class's own field.
                self.ready.append(handle)

    def _useless(self, handle: VirtualHandle) -> bool:
        if handle._cancelled:  # noqa: SLF001 - the base class's own field.
            self._cancelled_timers = max(0, self._cancelled_timers - 1)
            return True
        if handle.host is not None and not handle.host.alive:
            handle.host.keep(handle)
            return True
        return False

    def waiting(self) -> str:
        """Return one line for each unfinished task of a living host: its host, its name and where it waits."""
        tasks = sorted((t for t in self._tasks() if not t.done()), key=lambda t: t.serial)
        lines = [
            f"  {task.host.name if task.host else '-'}: {task.get_name()} at {where(task)}"
            for task in tasks
            if task.host is None or task.host.alive
        ]
        return "\n".join(lines) if lines else "  no task waits"

    # --- tasks and futures ---

    def create_future(self) -> asyncio.Future[Any]:
        """Return a new future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]  # typeshed's overloads differ between 3.11 and 3.13.
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None, **_options: Any
    ) -> VirtualTask[T]:
        """Start a task, on the host of its context."""
        self._serial += 1
        task = VirtualTask(coro, self, name, context if context is not None else copy_context(), self._serial)
        if self._closed:
            bury(task)  # Clean-up code that starts a task while everything ends: it will never run.
        return task

    def _tasks(self) -> list[VirtualTask[Any]]:
        return [task for task in asyncio.all_tasks(self) if isinstance(task, VirtualTask)]

    def tasks_of(self, host: Host) -> list[VirtualTask[Any]]:
        """Return the unfinished tasks of `host`, oldest first."""
        return sorted((t for t in self._tasks() if t.host is host), key=lambda t: t.serial)

    def timers_of(self, host: Host) -> int:
        """Return how many timers of `host` are to fire yet."""
        return sum(1 for _, _, handle in self._timers if handle.host is host and not handle.cancelled())

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # The executor is ignored.
        """Run a blocking function on a virtual thread: it takes no time, and its result comes by a callback."""
        del executor
        return self.start_thread(0.0, func, args)

    def start_thread(self, seconds: float, function: Callable[..., T], arguments: tuple[Any, ...]) -> asyncio.Future[T]:
        """Run a blocking function on a virtual thread of the caller's host, done after `seconds`; return its future."""
        future: asyncio.Future[T] = self.create_future()
        self.call_later(seconds, _finish, future, function, arguments)
        return future

    def _generator_started(self, generator: AsyncGenerator[Any, Any]) -> None:
        host = HOST.get()
        if host is not None:
            host.watch(generator)

    def _generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self._closed:
            self.create_task(_close_generator(generator), name="close a dropped generator")

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: generators are closed as they are dropped."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's signature.
        """Nothing to do: there are no threads."""

    # --- state, errors, end ---

    def is_running(self) -> bool:
        """Say whether `run_until_complete` is on the stack."""
        return self._running

    def is_closed(self) -> bool:
        """Say whether `close` was called."""
        return self._closed

    def get_debug(self) -> bool:
        """Return False: asyncio's debug mode reads real clocks."""
        return False

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's signature.
        """Ignore the wish."""

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep the failure; it fails the run."""
        if self._closed:
            return
        error = context.get("exception")
        self.failures.append(error if isinstance(error, BaseException) else SimulationError(context["message"]))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep the failure; it fails the run."""
        self.default_exception_handler(context)

    def stop(self) -> Never:
        """Refuse: the main coroutine's end ends the run."""
        raise NotImplementedError("a simulation ends when its main coroutine does")

    def close(self) -> None:
        """End what is unfinished, dead hosts' tasks too, without letting any of it act on the world."""
        if self._closed:
            return
        self._closed = True
        unfinished = sorted(self._tasks(), key=lambda t: t.serial)  # Before their callbacks, which may alone hold them.
        self.ready.clear()
        asyncio._set_running_loop(self)  # noqa: SLF001 - clean-up code may ask for the running loop.
        try:
            for task in unfinished:
                bury(task)
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001 - documented for loop implementers.
        self.ready.clear()
        self._timers.clear()


def _finish(future: asyncio.Future[T], function: Callable[..., T], arguments: tuple[Any, ...]) -> None:
    """Run a virtual thread's function and hand over its outcome, unless it was abandoned."""
    try:
        result = function(*arguments)
    except Exception as error:  # noqa: BLE001 - handed to whoever awaits.
        if not future.cancelled():
            future.set_exception(error)
    else:
        if not future.cancelled():
            future.set_result(result)


async def _outcome(awaitable: Generator[Any, None, T] | Awaitable[T]) -> T:
    return await cast("Awaitable[T]", awaitable)


async def _close_generator(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()
