"""What runs in a process of a handler with `processes=`: takes batches from a pipe, calls the handler, says how far.

Invariants: no record is begun after the moment that the parent allows, a moment of the machine's monotonic clock that
the parent moves on while it holds the lease; `done` counts only records whose handler has returned; the process ends
with its parent, however that ends, for the pipe then closes. Signals are for the parent: it drains, and hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
from inspect import iscoroutine
from typing import TYPE_CHECKING

from shardline.common.clock import AsyncioRuntime
from shardline.consumer.handler import Batch
from shardline.consumer.reasons import place_of, reason_of
from shardline.consumer.spec import HandlerSpec

if TYPE_CHECKING:
    from ctypes import c_double, c_uint64
    from multiprocessing.connection import Connection

    from shardline.consumer.handler import Record

__all__ = ["READY", "run"]

READY = "ready"


def run(pipe: Connection, pickled: bytes, allowed: c_double, done: c_uint64) -> None:
    """Serve batches until the parent hangs up. `allowed` and `done` are shared with it: a float, and an integer."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError), asyncio.Runner() as runner:
        function, batch, codec = pickle.loads(pickled)  # noqa: S301 - our own parent wrote it.
        spec = HandlerSpec.of(function, batch=batch, codec=codec)
        pipe.send((READY, os.getpid()))
        while True:
            work = pipe.recv()
            call = _Call(spec, runner, allowed, done)
            pipe.send(call.run(work))


class _Call:
    """The handling of one batch, or of one record."""

    def __init__(self, spec: HandlerSpec, runner: asyncio.Runner, allowed: c_double, done: c_uint64) -> None:
        self._spec = spec
        self._runner = runner
        self._allowed = allowed
        self._done = done
        self._monotonic = AsyncioRuntime().monotonic

    def run(self, work: Batch | Record) -> tuple[str, str] | None:
        """Return why and where the handler failed, if it did; `done` tells how many records it went through."""
        try:
            if not isinstance(work, Batch):
                self._one(work)
            elif self._spec.takes_batch:
                self._batch(work)
            else:
                self._each(work)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its failure, and is retried.
            return reason_of(error), place_of(error)
        return None

    def _one(self, record: Record) -> None:
        if self._may_begin():
            self._call(record)
            self._done.value = 1

    def _batch(self, batch: Batch) -> None:
        if self._may_begin():
            part, given = self._spec.prepare(batch)
            self._call(given)
            self._done.value = len(part)

    def _each(self, batch: Batch) -> None:
        for number, record in batch.numbered():
            if record is not None:
                if not self._may_begin():
                    return
                self._call(record)
            self._done.value = number

    def _may_begin(self) -> bool:
        return self._monotonic() < self._allowed.value

    def _call(self, given: object) -> None:
        answer = self._spec.function(given)
        if iscoroutine(answer):
            self._runner.run(answer)
