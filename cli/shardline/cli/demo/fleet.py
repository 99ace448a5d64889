"""The demo's processes together: started, listened to in order, and what they say carried to ledger and screen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from shardline.cli.demo.inbox import Inbox
from shardline.cli.demo.messages import Acknowledged, Delivered, Done, Failed, Ready, Sent, decode
from shardline.cli.demo.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shardline.cli.demo.messages import Message
    from shardline.cli.demo.model import Live
    from shardline.cli.demo.report import Ledger
    from shardline.cli.demo.settings import ProcessSettings

__all__ = ["Fleet"]

_PRODUCER = "shardline.cli.demo.producer_process"
_WORKER = "shardline.cli.demo.worker_process"


class Fleet:
    """One producer process and the worker processes; `elapsed_s` counts from the start of the load, or of the fleet."""

    def __init__(self, ledger: Ledger, live: Live, environment: Mapping[str, str]) -> None:
        self._ledger = ledger
        self._live = live
        self._environment = environment
        self._listeners: list[Callable[[Message], None]] = []
        self._inbox = Inbox()
        self._started = time.monotonic()
        self._gone: set[str] = set()
        self.producer: Child | None = None
        self.workers: dict[str, Child] = {}
        self.kills = 0
        self.broken: list[Child] = []

    @property
    def elapsed_s(self) -> float:
        """Seconds since the clock was set."""
        return time.monotonic() - self._started

    def set_clock(self) -> None:
        """Count from now on."""
        self._started = time.monotonic()

    @property
    def children(self) -> list[Child]:
        """Every process started, dead ones too."""
        return [*self.workers.values(), *([self.producer] if self.producer else [])]

    @property
    def workers_alive(self) -> int:
        """How many worker processes run."""
        return sum(1 for worker in self.workers.values() if worker.exit_status is None)

    def start_producer(self, settings: ProcessSettings) -> None:
        """Start the producer process; it waits for `go`."""
        self.producer = Child(settings.name, _PRODUCER, settings.as_fields(), self._environment)

    def start_worker(self, settings: ProcessSettings) -> None:
        """Start a worker process, which joins the fleet by itself."""
        child = Child(settings.name, _WORKER, settings.as_fields(), self._environment)
        self.workers[settings.name] = child
        self._live.on_worker(child.name, child.pid, "starting")

    def kill(self, name: str) -> None:
        """Kill a worker with SIGKILL."""
        child = self.workers[name]
        child.kill()
        self.kills += 1
        shards = self._live.on_killed(name, self.elapsed_s)
        self._live.on_event(self.elapsed_s, f"SIGKILL {name} (process {child.pid}), which owned {shards} shards")

    def pause(self, name: str) -> None:
        """Stop a worker with SIGSTOP; `resume` lets it go on."""
        child = self.workers[name]
        child.pause()
        self._live.on_event(self.elapsed_s, f"SIGSTOP {name} (process {child.pid})")

    def resume(self, name: str) -> None:
        """Let a worker go on after `pause`; one that was killed meanwhile stays dead."""
        child = self.workers[name]
        if not child.killed:
            child.resume()
            self._live.on_event(self.elapsed_s, f"SIGCONT {name}")

    def listen(self, listener: Callable[[Message], None]) -> None:
        """Hand each message to `listener` too, in the same order."""
        self._listeners.append(listener)

    def tick(self) -> None:
        """Read all processes, and take what they said in the order in which they said it."""
        until = time.monotonic()
        for child in self.children:
            self._inbox.add(child.name, [decode(line) for line in child.read()])
        for name, message in self._inbox.take(until):
            self._take(name, message)
        for child in self.children:
            if child.exit_status is not None and child.name not in self._gone:
                self._on_exit(child)

    def finish(self) -> None:
        """Take everything that was said before now, by processes that have ended."""
        for child in self.children:
            self._inbox.add(child.name, [decode(line) for line in child.read()])
        for name, message in self._inbox.take(float("inf")):
            self._take(name, message)

    def _on_exit(self, child: Child) -> None:
        """Note once that a process is gone, and whether it went as it should."""
        self._gone.add(child.name)
        if child.killed:
            return
        if child.exit_status == 0:
            state = "stopped"
        else:
            state = "failed"
            self.broken.append(child)
            self._live.on_event(self.elapsed_s, f"{child.name} left with exit status {child.exit_status}")
        if child is not self.producer:
            self._live.on_worker(child.name, child.pid, state)

    def _take(self, name: str, message: Message) -> None:
        if isinstance(message, Delivered):
            self._ledger.delivered(message.shard_id, message.records, misplaced=message.misplaced)
        elif isinstance(message, Acknowledged):
            self._ledger.acknowledged(
                message.ids,
                message.shard_id,
                message.sequence_number,
                bytes_sent=message.bytes_sent,
                bytes_alone=message.bytes_alone,
            )
        elif isinstance(message, Failed):
            self._ledger.failed(message.records, unknown=message.unknown)
            self._live.on_event(self.elapsed_s, f"{name}: {message.records} records failed: {message.reason}")
        elif isinstance(message, Sent):
            self._ledger.sent(message.total)
        elif isinstance(message, Ready | Done):
            self._on_life(name, message)
        self._live.on_message(name, message, self.elapsed_s)
        for listener in self._listeners:
            listener(message)

    def _on_life(self, name: str, message: Ready | Done) -> None:
        child = self.workers.get(name) or self.producer
        assert child is not None
        if isinstance(message, Done):
            child.figures = message.figures
            return
        child.ready = True
        if child is not self.producer and not child.killed:
            self._live.on_worker(name, child.pid, "up")

    def end_all(self) -> None:
        """End every process that still runs, so that what it said is whole; its pipes stay readable."""
        for child in self.children:
            child.end()

    def close(self) -> None:
        """End every process that still runs."""
        for child in self.children:
            child.close()
