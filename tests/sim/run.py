"""`make sim`: as many seeds as fit in the time, swarm and focused profiles, and one line for each thing that matters.

    make sim                            90 seconds, at least 100 worlds
    make sim SEEDS=50000 FIRST=1        that many seeds from that one on
    make sim ARGS="--profile 'late applies' --seed 17 --trace"
    make sim ARGS="--seed 17 --shrink"

A failure prints one line that replays it. The report goes to out/sim.json as well.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.sim.knobs import PROFILES, draw
from tests.sim.reach import SEEDS, WANTED, missing, reached_by, wanted_of
from tests.sim.shrink import shrink
from tests.sim.world import Result, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

SECONDS = 90.0
SEEDS_MIN = 100
CPU_S_MAX = 60
"""A world that needs more has hung inside one callback."""
_SEEDS_PER_POOL = 200
_LAST_WORLD_S = 3.0
"""A world that is begun so long before the end is done by then."""
REACH_SEEDS = 400


class Hung(BaseException):
    """The world did not end within its CPU time."""


def play(seed: int, profile: str) -> Result:
    """Play one world, with a limit on CPU time."""

    def hung(_number: int, _frame: FrameType | None) -> None:
        raise Hung

    signal.signal(signal.SIGPROF, hung)
    signal.setitimer(signal.ITIMER_PROF, CPU_S_MAX)
    try:
        return World(draw(seed, profile)).run()
    except Hung:
        return Result(seed=seed, profile=profile, error=f"hung: no end after {CPU_S_MAX} CPU seconds")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def profile_of(seed: int) -> str:
    """Return the profile that a seed is played under: swarm, and every third seed a focused one."""
    names = [name for name in PROFILES if name != "swarm"]
    return names[seed // 3 % len(names)] if seed % 3 == 0 else "swarm"


def replay_line(result: Result) -> str:
    """Return the command that plays a failed world again."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    why = str(result.violations[0]) if result.violations else result.error.partition("\n")[0]
    return (
        f"make sim PYTHON=python{minor} ARGS=\"--seed {result.seed} --profile '{result.profile}' --trace\""
        f"  # at {commit.stdout.strip() or 'no commit'}: {why}"
    )


class Totals:
    """The sums over all worlds played."""

    def __init__(self) -> None:
        self.worlds = 0
        self.seconds = 0.0
        self.records = 0
        self.lost = 0
        self.redelivered = 0
        self.resent = 0
        self.failures: list[Result] = []
        self.counts: Counter[str] = Counter()
        self.reached: Counter[str] = Counter()
        self.by_swarm: Counter[str] = Counter()
        self.profiles: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        """Take one world."""
        self.worlds += 1
        self.seconds += result.simulated_s
        self.records += result.records
        self.lost += result.lost
        self.redelivered += result.redelivered
        self.resent += result.resent
        self.counts += result.counts
        self.reached += result.reached
        self.profiles[result.profile] += 1
        if result.profile == "swarm":
            self.by_swarm += result.counts + result.reached

    def report(self) -> dict[str, Any]:
        """Return the figures by name."""
        return {
            "seeds": self.worlds,
            "simulated_hours": round(self.seconds / 3600, 2),
            "records": self.records,
            "lost": self.lost,
            "redelivered": self.redelivered,
            "resent": self.resent,
            "violations": sum(len(r.violations) for r in self.failures),
            "failed_worlds": len(self.failures),
            "profiles": dict(sorted(self.profiles.items())),
            "faults": {
                str(name): number for name, number in sorted(self.counts.items()) if " " in name or name in _ONE
            },
            "reached": {name: self.reached[name] + self.counts[name] for name in WANTED},
        }


_ONE = ("slow", "hung", "throttled", "unreachable", "crash", "pause", "split", "merge", "clock")


def jobs(first: int, profile: str | None) -> Iterator[tuple[int, str]]:
    """Yield worlds, for ever."""
    for seed in count(first):
        yield seed, profile or profile_of(seed)


def focus(profile: str) -> tuple[set[str], list[Result]]:
    """Play a profile's first seeds until each of its branches was reached; return what was not, and the worlds."""
    left, played = wanted_of(profile), list[Result]()
    for seed in SEEDS:
        if not left:
            break
        played.append(play(seed, profile))
        left -= reached_by(played[-1])
    return left, played


class Run:
    """Worlds on two processes: the focused seeds first, then as many others as were asked for, or as fit."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.totals = Totals()
        self.focused = 0
        self.unreached: list[str] = []
        self._begin = time.monotonic()
        self._handed = 0

    @property
    def seconds(self) -> float:
        """Wall seconds since the beginning."""
        return time.monotonic() - self._begin

    def _more(self) -> bool:
        if self.options.seeds:
            return self._handed < int(self.options.seeds)
        return self._handed < SEEDS_MIN or self.seconds < float(self.options.seconds) - _LAST_WORLD_S

    def play(self) -> None:
        """Play until the time, or the number of seeds, is reached."""
        source = jobs(self.options.first, self.options.profile)
        profiles = [] if self.options.profile else sorted(set(WANTED.values()))
        while profiles or self._more():
            self._play_some(profiles, source)
            profiles = []

    def _play_some(self, profiles: list[str], source: Iterator[tuple[int, str]]) -> None:
        """Play in new processes, as old ones grow; `max_tasks_per_child` would do, but deadlocks (CPython 115634)."""
        until = self._handed + _SEEDS_PER_POOL
        with ProcessPoolExecutor(self.options.processes) as pool:
            running: set[Future[Any]] = {pool.submit(focus, profile) for profile in profiles}
            while running or (self._more() and self._handed < until):
                while self._more() and self._handed < until and len(running) < 2 * self.options.processes:
                    running.add(pool.submit(play, *next(source)))
                    self._handed += 1
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    self._take(future.result())

    def _take(self, result: Result | tuple[set[str], list[Result]]) -> None:
        if isinstance(result, tuple):
            left, played = result
            self.unreached += sorted(left)
            self.focused += len(played)
            self.totals.lost += sum(one.lost for one in played)
        else:
            played = [result]
            self.totals.add(result)
        for one in played:
            if one.failed:
                print(replay_line(one), flush=True)
                self.totals.failures.append(one)

    def report(self) -> dict[str, Any]:
        """Return the figures by name."""
        totals = self.totals
        report = totals.report() | {
            "seconds": round(self.seconds, 1),
            "focused_worlds": self.focused,
            "unreached": self.unreached,
        }
        if totals.worlds >= REACH_SEEDS and self.options.profile in {None, "swarm"}:
            report["swarm_unreached"] = missing(totals.by_swarm)
        return report


def show(result: Result, *, trace: bool) -> int:
    """Print what became of one world."""
    if trace:
        print("\n".join(result.log))
    print(f"seed {result.seed}, {result.profile}: {result.simulated_s:.0f} simulated s, {result.records} records,")
    print(f"trace {result.trace}, redelivered {result.redelivered}, resent {result.resent}, lost {result.lost}")
    for violation in result.violations[:5]:
        print(violation)
    if result.error:
        print(result.error)
    return 1 if result.failed else 0


def main(arguments: list[str] | None = None) -> int:
    """Run; return 1 if any world failed."""
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=0, help="play so many seeds (default: as many as fit)")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--profile", choices=PROFILES)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, help="play this one seed")
    parser.add_argument("--trace", action="store_true", help="print the last events of the world")
    parser.add_argument("--shrink", action="store_true", help="reduce the seed's knobs to those that are needed")
    parser.add_argument("--out", default="out/sim.json")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        profile = options.profile or profile_of(options.seed)
        if options.shrink:
            return shrink(draw(options.seed, profile))
        return show(play(options.seed, profile), trace=options.trace)
    run = Run(options)
    run.play()
    report = run.report()
    Path(options.out).parent.mkdir(exist_ok=True)
    Path(options.out).write_text(json.dumps(report, indent=1) + "\n")
    print_report(report)
    return 1 if run.totals.failures or run.unreached or report.get("swarm_unreached") else 0


def print_report(report: dict[str, Any]) -> None:
    """Print the figures for people."""
    print(f"{'worlds':<28}{report['seeds']}")
    print(f"{'simulated hours':<28}{report['simulated_hours']}")
    for name in ("records", "redelivered", "resent"):
        print(f"{name:<28}{report[name]}")
    print("faults by kind:")
    for name, number in report["faults"].items():
        print(f"  {name:<40}{number}")
    print("rare branches reached:")
    for name, number in report["reached"].items():
        print(f"  {name:<58}{number}")
    if report["unreached"]:
        print("NOT REACHED by its own seed:", ", ".join(report["unreached"]))
    if report.get("swarm_unreached"):
        print("NOT REACHED by the swarm alone:", ", ".join(report["swarm_unreached"]))
    print(f"{'lost':<28}{report['lost']}")
    print(f"{'violations':<28}{report['violations']}")
    print(f"{report['focused_worlds']} focused worlds beside, {report['failed_worlds']} failed in all")
    print(f"{report['seeds']} worlds in {report['seconds']} s")


if __name__ == "__main__":
    sys.exit(main())
