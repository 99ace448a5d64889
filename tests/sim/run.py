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
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.sim.knobs import PROFILES, draw
from tests.sim.reach import WANTED, focused, missing
from tests.sim.shrink import shrink
from tests.sim.world import Result, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

SECONDS = 90.0
SEEDS_MIN = 100
CPU_S_MAX = 60
"""A world that needs more has hung inside one callback."""
CHUNK = 4
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


def play_some(jobs: list[tuple[int, str]]) -> list[Result]:
    """Play several worlds in one process."""
    return [play(seed, profile) for seed, profile in jobs]


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
        if result.failed:
            self.failures.append(result)

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


def jobs(first: int, profile: str | None) -> Iterator[list[tuple[int, str]]]:
    """Yield chunks of worlds, for ever."""
    seeds = count(first)
    while True:
        chunk = [next(seeds) for _ in range(CHUNK)]
        yield [(seed, profile or profile_of(seed)) for seed in chunk]


def play_many(options: argparse.Namespace) -> Totals:
    """Play worlds on two processes until the time, or the number of seeds, is reached."""
    totals, begin = Totals(), time.monotonic()
    source, handed = jobs(options.first, options.profile), 0

    def more() -> bool:
        if options.seeds:
            return handed < int(options.seeds)
        return handed < SEEDS_MIN or time.monotonic() - begin < float(options.seconds)

    with ProcessPoolExecutor(options.processes, max_tasks_per_child=64) as pool:
        running: list[Future[list[Result]]] = []
        while more() or running:
            while more() and len(running) < options.processes + 1:
                chunk = next(source)[: options.seeds - handed if options.seeds else CHUNK]
                handed += len(chunk)
                running.append(pool.submit(play_some, chunk))
            for result in running.pop(0).result():
                totals.add(result)
                if result.failed:
                    print(replay_line(result), flush=True)
    return totals


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
    begin = time.monotonic()
    totals = play_many(options)
    unreached = [] if options.profile else focused_failures()
    report = totals.report() | {"seconds": round(time.monotonic() - begin, 1), "unreached": unreached}
    if totals.worlds >= REACH_SEEDS and options.profile is None:
        report["swarm_unreached"] = missing(totals.reached + totals.counts)
    Path(options.out).parent.mkdir(exist_ok=True)
    Path(options.out).write_text(json.dumps(report, indent=1) + "\n")
    print_report(report)
    return 1 if totals.failures or unreached or report.get("swarm_unreached") else 0


def focused_failures() -> list[str]:
    """Play each wanted branch's own seed; return those that did not reach it."""
    return [name for name in WANTED if not focused(name)]


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
        print("NOT REACHED by any of the seeds:", ", ".join(report["swarm_unreached"]))
    print(f"{'lost':<28}{report['lost']}")
    print(f"{'violations':<28}{report['violations']}")
    print(f"{report['seeds']} worlds in {report['seconds']} s, {report['failed_worlds']} failed")


if __name__ == "__main__":
    sys.exit(main())
