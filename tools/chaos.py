"""`make chaos`: minutes of SIGKILL, SIGSTOP and resharding on real processes; what was lost, and what it cost.

    python -m tools.chaos [--minutes M] [--seed N] [--retrieval polling|fanout] [--rate R] [--shards N] [--workers N]

The demo's processes and its oracle, with another script (`shardline.cli.demo.chaos_script`): during M minutes of load
workers are killed and replaced, others stand still for 1 to 20 s and go on as if nothing had happened, shards split and
merge. A drain follows. Exit status 0 only if nothing was lost, nothing came out of order, and no process broke down.
Signals go to children of this process only, by their id.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Final

from shardline.cli.demo.chaos_report import ChaosOutcome, Latencies
from shardline.cli.demo.chaos_script import PAUSE_S, Deed, chaos_steps, choose_paused
from shardline.cli.demo.play import Play
from shardline.cli.demo.run import run
from shardline.cli.demo.script import Action, choose_victim
from shardline.cli.demo.settings import FAILOVER_S, RATE, SEED, SHARDS, WORKERS, DemoSettings
from shardline.cli.input import whole_number
from shardline.common.errors import InvalidInput, ShardlineError

if TYPE_CHECKING:
    from random import Random

    from shardline.cli.demo.outcome import Outcome
    from shardline.cli.demo.place import OwnStream, Place
    from shardline.cli.demo.screen import Screen

SECONDS: Final = (20.0, 7200.0)
DRAIN_S: Final = 120
SHOW_S: Final = 1.0
REPLACE_S: Final = (0.0, 4.0)


class Chaos(Play):
    """One run of chaos."""

    title = "chaos"

    def __init__(self, settings: DemoSettings, place: Place, stream: OwnStream, screen: Screen) -> None:
        super().__init__(settings, place, stream, screen)
        self._steps = chaos_steps(settings.seconds, settings.shards, self._rng)
        self._reshards_planned = sum(step.deed in (Deed.SPLIT, Deed.MERGE) for step in self._steps)
        self._reshards_tried = 0
        self._paused: dict[str, float] = {}
        self._replacements: list[float] = []
        self._stops = 0
        self._shown_s = -SHOW_S
        self._latencies = Latencies(settings.ids_max)
        self.fleet.listen(self._latencies)

    @staticmethod
    def plan(settings: DemoSettings) -> str:
        """Return how many deeds there will be."""
        low, high = PAUSE_S
        return (
            f"SIGKILLs, each replaced within {REPLACE_S[1]:.0f} s, SIGSTOPs of {low:.0f} to {high:.0f} s, splits and "
            f"merges at times drawn from the seed; workers read by {settings.retrieval}"
        )

    def _advance(self) -> None:
        now = self.fleet.elapsed_s
        self._mend(now)
        while self._steps and self._steps[0].at_s <= now:
            step = self._steps.pop(0)
            if step.deed is Deed.KILL:
                self._kill(now, self._rng)
            elif step.deed is Deed.STOP:
                self._pause(now + step.length_s)
            else:
                self._reshards.put_nowait(Action(step.deed))

    def _kill(self, now: float, rng: Random) -> None:
        """Kill a worker that is up, standing still or not (every other time a busiest one); have it replaced soon."""
        owned = self._live.shards_by_worker()
        victim = choose_victim(owned if self.fleet.kills % 2 == 0 else dict.fromkeys(owned, 0), rng)
        if victim is not None:
            self._paused.pop(victim, None)
            self.fleet.kill(victim)
            self._replacements.append(now + rng.uniform(*REPLACE_S))

    def _pause(self, until: float) -> None:
        name = choose_paused(list(self._live.shards_by_worker()), set(self._paused), self._rng)
        if name is not None:
            self._paused[name] = until
            self._stops += 1
            self.fleet.pause(name)

    def _mend(self, now: float) -> None:
        """Replace the killed and continue the stopped whose time has come."""
        for due in [one for one in self._replacements if one <= now]:
            self._replacements.remove(due)
            self._start_worker()
        for name in [name for name, until in self._paused.items() if until <= now]:
            del self._paused[name]
            self.fleet.resume(name)

    async def _reshard_once(self, action: Action) -> None:
        try:
            await super()._reshard_once(action)
        finally:
            self._reshards_tried += 1

    def _reshards_over(self) -> bool:
        """Say whether the script has been played, and no one is stopped or to be replaced; mends, in each round."""
        self._mend(self.fleet.elapsed_s)
        played = not self._steps and self._reshards_tried == self._reshards_planned
        return (played or bool(self.fleet.broken)) and not self._paused and not self._replacements

    async def _stop(self) -> bool:
        self._mend(float("inf"))
        return await super()._stop()

    def _show(self) -> None:
        """Show seldom: what is shown costs the more the longer the stream's history is."""
        now = self.fleet.elapsed_s
        if self._phase == "done" or not 0 <= now - self._shown_s < SHOW_S:
            self._shown_s = now
            super()._show()

    def _outcome(self, load_s: float, drain_s: float, *, stopped: bool) -> Outcome:
        return ChaosOutcome.of(
            super()._outcome(load_s, drain_s, stopped=stopped),
            stops=self._stops,
            retrieval=self._settings.retrieval,
            failover_s=FAILOVER_S,
            latencies=self._latencies,
        )


def settings_of(arguments: list[str]) -> DemoSettings:
    """Return the settings for what was typed; raise `InvalidInput` naming the option and its range."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", default="30", help="load time, fractions allowed; the drain follows")
    parser.add_argument("--seed", default="1", help="repeats what is done and when")
    parser.add_argument("--retrieval", choices=("polling", "fanout"), default="polling")
    parser.add_argument("--rate", default="500", help="user records per second")
    parser.add_argument("--shards", default="4", help="shards at the start, at least 2")
    parser.add_argument("--workers", default="4", help="worker processes, at least 2")
    parser.add_argument("--out", default="out/chaos.json")
    options = parser.parse_args(arguments)
    return DemoSettings(
        seconds=_seconds(options.minutes),
        seed=whole_number("--seed", options.seed, *SEED),
        retrieval=options.retrieval,
        rate=whole_number("--rate", options.rate, *RATE),
        shards=whole_number("--shards", options.shards, 2, SHARDS[1]),
        workers=whole_number("--workers", options.workers, 2, WORKERS[1]),
        drain=DRAIN_S,
        stream="shardline-chaos",
        out=options.out,
    )


def _seconds(minutes: str) -> int:
    try:
        seconds = float(minutes) * 60
    except ValueError:
        seconds = float("nan")
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise InvalidInput("--minutes", f"from {SECONDS[0] / 60:.2g} to {SECONDS[1] / 60:g}")
    return round(seconds)


def main() -> int:
    """Run chaos; return the exit status."""
    try:
        return run(settings_of(sys.argv[1:]), Chaos)
    except ShardlineError as error:
        sys.stderr.write(f"chaos: {error}\n")
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


if __name__ == "__main__":
    sys.exit(main())
