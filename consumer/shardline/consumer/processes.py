"""Processes of our own for handlers that need the processor: each with a pipe, so that one that dies harms no other.

    @worker.handler("orders", processes=4)
    def bill(record: Record) -> None: ...      # at module level: a process imports it by its name

A batch goes through the pipe as the Kinesis records came, and is taken apart (and decoded, with a codec) over there.
While the handler runs, shared memory tells how far it is, so that checkpoints go on and a process that dies, or is
killed, costs exactly the record it had in hand; that record's failure goes to the failure policy as any other.

Invariants: a process works for one call at a time; it begins no record after the moment that the lease allows; a call
that is cancelled (lease lost, handler hung) has its process killed, which a thread cannot be.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import pickle
from ctypes import c_double, c_uint64
from typing import TYPE_CHECKING, Final, Self

from shardline.common.errors import HandlerProcessFailed, InvalidInput
from shardline.consumer.process_child import READY, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from shardline.common.ports.runtime import Runtime
    from shardline.consumer.handler import Batch, Record
    from shardline.consumer.spec import HandlerSpec

__all__ = ["ProcessPool"]

_TICK_S: Final = 0.2
_START_TIMEOUT_S: Final = 60.0
_END_TIMEOUT_S: Final = 5.0
_SPAWN: Final = multiprocessing.get_context("spawn")  # A fork of a process with threads may inherit a held lock.


class _Child:
    """One process with its pipe."""

    def __init__(self, pickled: bytes) -> None:
        self.allowed = _SPAWN.RawValue(c_double, 0.0)
        self.done = _SPAWN.RawValue(c_uint64, 0)
        self._pipe, theirs = _SPAWN.Pipe()
        arguments = (theirs, pickled, self.allowed, self.done)
        self._process = _SPAWN.Process(target=run, args=arguments, name="shardline handler", daemon=True)
        try:
            self._process.start()
        finally:
            theirs.close()

    def wait_ready(self) -> None:
        """Wait until the handler is imported; raises `InvalidInput` where it cannot be."""
        try:
            ready = self._pipe.poll(_START_TIMEOUT_S) and self._pipe.recv()[0] == READY
        except (EOFError, OSError):
            ready = False
        if not ready:
            self.kill()
            allowed = "a function that a fresh process can import (a program starts under `if __name__ == '__main__'`)"
            raise InvalidInput("handler with processes", allowed)

    def call(self, work: Batch | Record) -> tuple[str, str] | None:
        """Send work and wait for its outcome; raises `EOFError` or `OSError` when the process is gone."""
        self._pipe.send(work)
        answer: tuple[str, str] | None = self._pipe.recv()
        return answer

    @property
    def exit_code(self) -> int | None:
        """The exit status of a process that has ended (below zero: the signal), once it has been waited for."""
        self._process.join(_END_TIMEOUT_S)
        return self._process.exitcode

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()
        self._pipe.close()

    def hang_up(self) -> None:
        """Let an idle process end."""
        self._pipe.close()
        self._process.join(_END_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()


class ProcessPool:
    """The processes of one handler, at most `spec.processes`, each started when it is first needed.

    Entering starts the first. Raises `InvalidInput` then for a handler or codec that cannot go to another process.
    """

    def __init__(self, spec: HandlerSpec, runtime: Runtime) -> None:
        self._pickled = _pickled(spec)
        self._runtime = runtime
        self._free = asyncio.Semaphore(spec.processes)
        self._idle: list[_Child] = []

    async def __aenter__(self) -> Self:
        self._idle.append(await self._started())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the processes end; calls have ended or were cancelled before."""
        idle, self._idle = self._idle, []
        for child in idle:
            await self._runtime.run_blocking(child.hang_up)

    async def call(
        self, work: Batch | Record, *, until: Callable[[], float], progress: Callable[[int], None]
    ) -> HandlerProcessFailed | None:
        """Hand work to a process and return its failure, if it failed.

        Waits for a process that is free. `until` gives the moment of the runtime's monotonic clock after which no
        record may be begun; `progress` is told that it has begun (0) and how many of the records are done, again and
        again, and at the end. Cancelled, the process is killed.
        """
        async with self._free:
            child = self._idle.pop() if self._idle else await self._started()
            try:
                failure = await self._watched(child, work, until, progress)
            except BaseException:
                child.kill()
                raise
            if failure is not None and failure.ended:
                child.kill()
            else:
                self._idle.append(child)
            return failure

    async def _watched(
        self, child: _Child, work: Batch | Record, until: Callable[[], float], progress: Callable[[int], None]
    ) -> HandlerProcessFailed | None:
        child.done.value = 0
        child.allowed.value = until()
        progress(0)
        async with asyncio.TaskGroup() as group:
            calling = self._runtime.spawn(group, self._outcome(child, work), name="handler process")
            try:
                while not calling.done():
                    await asyncio.wait((calling,), timeout=_TICK_S)
                    child.allowed.value = until()
                    progress(child.done.value)
            except asyncio.CancelledError:
                child.kill()  # Or the thread that waits for its answer would wait on.
                raise
        return calling.result()

    async def _outcome(self, child: _Child, work: Batch | Record) -> HandlerProcessFailed | None:
        try:
            failed = await self._runtime.run_blocking(child.call, work)
        except (EOFError, OSError):
            status = await self._runtime.run_blocking(lambda: child.exit_code)
            return HandlerProcessFailed(f"process ended with status {status}", ended=True)
        return None if failed is None else HandlerProcessFailed(*failed, ended=False)

    async def _started(self) -> _Child:
        child = await self._runtime.run_blocking(_Child, self._pickled)
        try:
            await self._runtime.run_blocking(child.wait_ready)
        except BaseException:
            with contextlib.suppress(OSError):
                child.kill()
            raise
        return child


def _pickled(spec: HandlerSpec) -> bytes:
    try:
        return pickle.dumps((spec.given, spec.takes_batch, spec.codec))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        allowed = "a function at module level, and a codec, that another process can import by name"
        raise InvalidInput("handler with processes", allowed) from error
