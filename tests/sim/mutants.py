"""`make sim-mutants`: plant each bug, and say which seed or model check caught it, and in how many CPU seconds."""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tests.sim.bugs import BUGS
from tests.sim.delivery_bugs import DELIVERY_BUGS
from tests.sim.lease_model import KNOWN_BROKEN, SOUND, explore
from tests.sim.parking_bugs import PARKING_BUGS
from tests.sim.planting import Bug, TargetGoneError, planted
from tests.sim.promise_bugs import PROMISE_BUGS
from tests.sim.run import play
from tests.sim.stream_bugs import STREAM_BUGS

ALL_BUGS = BUGS | DELIVERY_BUGS | PARKING_BUGS | PROMISE_BUGS | STREAM_BUGS
BUDGET_S = 20.0
_PER_POOL = 16
"""Bugs for which processes live: they grow, and a pool that replaces them one by one deadlocks (CPython 115634)."""
_MISTAKES = {"AttributeError", "NameError", "TypeError", "KeyError"}
"""A world that ends so shows a mistake in the planting, not the planted bug."""

__all__ = ["ALL_BUGS", "BUDGET_S", "Caught", "hunt", "main"]


class Caught(NamedTuple):
    """What became of a planted bug; `by` is empty when nothing caught it, `model` where the model check has no rule."""

    bug: str
    by: str
    symptom: str
    cpu_s: float
    model: str = ""


def hunt(name: str, *, budget_s: float = BUDGET_S) -> Caught:
    """Plant a bug and look for it: by simulation where it has code to plant in, and by the model where that has a rule.

    Both must find it where it has both.
    """
    bug, begin = ALL_BUGS[name], time.process_time()
    model = by_model(bug.model) if bug.model else ""
    if bug.model and not model:
        return Caught(name, "", "not by the model check", time.process_time() - begin)
    if not bug.targets:
        return Caught(name, "model check", model, time.process_time() - begin, model)
    found = _by_simulation(name, bug, budget_s)
    return found._replace(model=model)


def by_model(rule: str) -> str:
    """Return what the broken rule breaks in the model, and in how many steps; empty if nothing."""
    violation = explore(KNOWN_BROKEN[rule][0]).violation
    return "" if violation is None else f"{violation.invariant} in {len(violation.steps)} steps"


def _by_simulation(name: str, bug: Bug, budget_s: float) -> Caught:
    begin = time.process_time()
    with planted(bug):
        for seed in count(1):
            for profile in bug.worlds:
                result = play(seed, profile)
                spent = time.process_time() - begin
                symptom = result.violations[0].invariant if result.violations else result.error.partition(":")[0]
                if symptom in _MISTAKES:
                    raise RuntimeError(f"{name}: the planting itself is broken: {result.error}")
                if symptom:
                    return Caught(name, f"{profile} {seed}", symptom, spent)
                if spent > budget_s:
                    return Caught(name, "", "", spent)
    raise AssertionError("a bug needs a world or a rule of the model")


def hunt_all(name: str) -> Caught:
    """Hunt a bug for the table; one that cannot be planted any more counts as not caught, and says so."""
    try:
        return hunt(name)
    except (TargetGoneError, RuntimeError) as error:
        return Caught(name, "", str(error), 0.0)


def _line(caught: Caught) -> str:
    model = f"  (model: {caught.model})" if caught.model and caught.by != "model check" else ""
    return f"{caught.bug:<52}{caught.by or 'NOT CAUGHT':<22}{caught.symptom:<18}{caught.cpu_s:6.1f} CPU s{model}"


def main(arguments: list[str] | None = None) -> int:
    """Hunt every bug; return 1 if one was not caught within its budget, or a sound rule of the model breaks."""
    parser = argparse.ArgumentParser(prog="make sim-mutants")
    parser.add_argument("--bug", choices=ALL_BUGS, action="append")
    parser.add_argument(
        "--model", action="store_true", help="also check the sound rules, restarts and a leader included"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", default="out/sim-mutants.json")
    options = parser.parse_args(arguments)
    wanted = options.bug or list(ALL_BUGS)
    found: list[Caught] = []
    for first in range(0, len(wanted), _PER_POOL):
        with ProcessPoolExecutor(options.processes) as pool:
            for caught in pool.map(hunt_all, wanted[first : first + _PER_POOL]):
                found.append(caught)
                print(_line(caught), flush=True)
    with ProcessPoolExecutor(options.processes) as pool:
        sound = dict(zip(SOUND, pool.map(explore, SOUND.values()), strict=True)) if options.model else {}
    for name, result in sound.items():
        print(f"model: {name}: {result.states} states, {'holds' if result.violation is None else result.violation}")
    report = {"caught": sum(bool(c.by) for c in found), "planted": len(found), "bugs": [c._asdict() for c in found]}
    Path(options.out).parent.mkdir(exist_ok=True)
    Path(options.out).write_text(json.dumps(report, indent=1) + "\n")
    print(f"{report['caught']} of {report['planted']} planted bugs caught")
    return 0 if report["caught"] == report["planted"] and all(r.violation is None for r in sound.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
