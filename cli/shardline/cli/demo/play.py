"""Plays the demo: fleet, load, script, drain; gives what was found.

One loop reads the processes twenty times a second, keeps the screen, and plays the script. Changes of the stream take
their time elsewhere (half a minute on AWS), so they run beside it, one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from random import Random
from typing import TYPE_CHECKING, Final

from shardline.cli.demo.fleet import Fleet
from shardline.cli.demo.model import Counts, Live
from shardline.cli.demo.outcome import Outcome
from shardline.cli.demo.report import Ledger
from shardline.cli.demo.script import TIMELINE, Action, Script, choose_merge, choose_split, choose_victim, middle
from shardline.cli.demo.settings import ProcessSettings
from shardline.common.errors import ShardlineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.cli.demo.place import OwnStream, Place
    from shardline.cli.demo.screen import Screen
    from shardline.cli.demo.settings import DemoSettings

__all__ = ["Play"]

_TICK_S: Final = 0.05
_SHARDS_S: Final = 2.0
_START_S_MAX: Final = 60.0
_SPREAD_S_MAX: Final = 3.0
_FLUSH_S_MAX: Final = 60.0
_STOP_S_MAX: Final = 20.0


class Play:
    """One run; `fleet` is to be closed by whoever made it. A subclass plays another script."""

    title = "demo"

    def __init__(self, settings: DemoSettings, place: Place, stream: OwnStream, screen: Screen) -> None:
        self._settings = settings
        self._place = place
        self._stream = stream
        self._screen = screen
        self._ledger = Ledger(settings.ids_max)
        self._live = Live()
        self._rng = Random(settings.seed)
        self._script = Script()
        self._reshards: asyncio.Queue[Action] = asyncio.Queue()
        self._done = {Action.SPLIT: 0, Action.MERGE: 0}
        self._phase = "starting"
        self._events_shown = 0
        self._worker_count = 0
        self.fleet = Fleet(self._ledger, self._live, place.environment)

    @staticmethod
    def plan(settings: DemoSettings) -> str:
        """Return what will be done to stream and fleet, for people."""
        return ", ".join(f"{action} at {fraction * settings.seconds:.0f} s" for fraction, action in TIMELINE)

    async def run(self) -> Outcome:
        """Start, load, drain, stop; return what was found."""
        self._live.on_shards(await self._stream.shards())
        try:
            return await self._run()
        except BaseExceptionGroup as group:
            first, *others = group.exceptions
            if others:
                raise
            raise first from None  # A closed pipe, say: as plain as it would be without a task group.

    async def _run(self) -> Outcome:
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(self._watch_shards()), group.create_task(self._reshard())]
            for _ in range(self._settings.workers):
                self._start_worker()
            self.fleet.start_producer(self._process("producer"))
            load_s = drain_s = 0.0
            if await self._tick_until(self._all_ready, _START_S_MAX) and not self.fleet.broken:
                await self._tick_until(self._spread, _SPREAD_S_MAX)
                load_s = await self._load()
                drain_s = await self._drain()
            stopped = await self._stop()
            for task in background:
                task.cancel()
        self._live.on_shards(await self._stream.shards())
        return self._outcome(load_s, drain_s, stopped=stopped)

    def _outcome(self, load_s: float, drain_s: float, *, stopped: bool) -> Outcome:
        settings = self._settings
        return Outcome(
            report=self._ledger.report(self._live.parents),
            seconds=settings.seconds,
            load_s=load_s,
            drain_s=drain_s,
            kills=self.fleet.kills,
            splits=self._done[Action.SPLIT],
            merges=self._done[Action.MERGE],
            starts=self._worker_count - settings.workers,
            takeovers=tuple(self._live.takeovers),
            seed=settings.seed,
            rate=settings.rate,
            shards=settings.shards,
            workers=settings.workers,
            stopped_cleanly=stopped,
            broken=tuple((child.name, child.exit_status or 0, *child.error_lines[-3:]) for child in self.fleet.broken),
        )

    def _process(self, name: str) -> ProcessSettings:
        settings, place = self._settings, self._place
        return ProcessSettings(
            name=name,
            stream=settings.stream,
            region=place.region,
            kinesis_url=place.kinesis_url,
            other_url=place.other_url,
            rate=settings.rate,
            seconds=settings.seconds,
            seed=settings.seed,
            local=place.local,
            retrieval=settings.retrieval,
        )

    def _start_worker(self) -> None:
        self._worker_count += 1
        name = f"worker-{self._worker_count}"
        self.fleet.start_worker(self._process(name))
        self._live.on_event(self.fleet.elapsed_s, f"{name} started")

    def _all_ready(self) -> bool:
        """Say whether every process stands (or one of them never will)."""
        return bool(self.fleet.broken) or all(child.ready for child in self.fleet.children)

    def _spread(self) -> bool:
        """Say whether every shard has an owner and no worker has two more than another: a fleet that has settled."""
        owned = self._live.shards_by_worker()
        return sum(owned.values()) == self._settings.shards and max(owned.values()) - min(owned.values()) <= 1

    async def _load(self) -> float:
        """Let the producer run, and play the script; return the seconds it took until every outcome was known."""
        producer = self.fleet.producer
        assert producer is not None
        self._phase = "load"
        self.fleet.set_clock()
        producer.send("go")

        def over() -> bool:
            self._advance()
            return producer.figures is not None or producer.exit_status is not None

        await self._tick_until(over, self._settings.seconds + _FLUSH_S_MAX)
        return self.fleet.elapsed_s

    def _advance(self) -> None:
        """Do what the script has for now."""
        for action in self._script.due(self.fleet.elapsed_s / self._settings.seconds):
            self._act(action)

    def _act(self, action: Action) -> None:
        """Do one thing of the script, or have it done."""
        if action is Action.KILL:
            victim = choose_victim(self._live.shards_by_worker(), self._rng)
            if victim is not None:
                self.fleet.kill(victim)
        elif action is Action.START:
            self._start_worker()
        else:
            self._reshards.put_nowait(action)

    async def _drain(self) -> float:
        """Read on until every acknowledged record was processed; return the seconds it took, or the longest allowed."""
        self._phase = "drain"
        before = self.fleet.elapsed_s

        def over() -> bool:
            return self.fleet.workers_alive == 0 or (self._ledger.pending == 0 and self._reshards_over())

        await self._tick_until(over, self._settings.drain)
        return self.fleet.elapsed_s - before

    def _reshards_over(self) -> bool:
        """Say whether the script has been played, as far as the producer let it."""
        return bool(self.fleet.broken) or (self._script.done and sum(self._done.values()) == len(self._done))

    async def _stop(self) -> bool:
        """Ask every process to stop; return whether all did, and with exit status 0."""
        self._phase = "stopping"
        for child in self.fleet.children:
            child.send("stop")
        await self._tick_until(lambda: all(c.exit_status is not None for c in self.fleet.children), _STOP_S_MAX)
        stopped = all(child.killed or child.exit_status == 0 for child in self.fleet.children)
        self.fleet.end_all()
        self.fleet.finish()
        self._phase = "done"
        self._show()
        return stopped

    async def _tick_until(self, over: Callable[[], bool], seconds_max: float) -> bool:
        """Read the processes and keep the screen until `over`; return False when the time was up before."""
        until = time.monotonic() + seconds_max
        while time.monotonic() < until:
            self.fleet.tick()
            self._show()
            if over():
                return True
            await asyncio.sleep(_TICK_S)
        return False

    def _show(self) -> None:
        ledger, live = self._ledger, self._live
        snapshot = live.snapshot(
            title=f"shardline {self.title}: stream {self._settings.stream}",
            phase=self._phase,
            elapsed_s=self.fleet.elapsed_s,
            load_s=self._settings.seconds,
            counts=Counts(
                ledger.sent_count,
                ledger.acknowledged_count,
                ledger.processed_count,
                ledger.pending,
                ledger.duplicates,
                ledger.order_violations(live.parents),
            ),
        )
        new = live.last_events(live.events_total - self._events_shown)
        self._events_shown = live.events_total
        self._screen.show(snapshot, new)

    async def _watch_shards(self) -> None:
        """List the shards every now and then: others may reshard too."""
        while True:
            with contextlib.suppress(ShardlineError):
                self._live.on_shards(await self._stream.shards())
            await asyncio.sleep(_SHARDS_S)

    async def _reshard(self) -> None:
        """Carry out splits and merges, one after the other."""
        while True:
            action = await self._reshards.get()
            try:
                await self._reshard_once(action)
            except ShardlineError as error:
                self._live.on_event(self.fleet.elapsed_s, f"the {action} failed: {error}")

    async def _reshard_once(self, action: Action) -> None:
        live = self._live
        live.on_shards(await self._stream.shards())
        if action is Action.SPLIT:
            shard = choose_split(live.open_shards, self._rng)
            live.on_event(self.fleet.elapsed_s, f"split {shard.shard_id}")
            await self._stream.split(shard.shard_id, middle(shard))
        else:
            pair = choose_merge(live.open_shards, self._rng)
            if pair is None:
                live.on_event(self.fleet.elapsed_s, "no two shards lie side by side: nothing to merge")
                return
            left, right = pair
            live.on_event(self.fleet.elapsed_s, f"merge {left.shard_id} with {right.shard_id}")
            await self._stream.merge(left.shard_id, right.shard_id)
        self._done[action] += 1
        live.on_shards(await self._stream.shards())
