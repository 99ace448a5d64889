"""`make sim-scale`: large fleets in virtual time, one figure for each thing an operator asks about them.

    make sim-scale                          balance, calls, kill, reshard, faults: some minutes on two cores
    make sim-scale ARGS="--only kill"       one of them
    make sim-scale ARGS="--only large"      10,000 shards for a quarter of an hour: takes long, and only when asked for

`out/sim-scale.json` keeps the last figures of every scenario, each with the commit that gave them. The exit code says
whether a bound of DESIGN.md was missed, a record lost or an invariant broken.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

from shardline.local.sim.network import Faults

from tests.sim.knobs import Knobs, Rates
from tests.sim.scale_scenarios import SCENARIOS, Figures
from tests.sim.world import World

__all__ = ["faults", "knobs", "main"]

USUAL: Final = ("faults", "balance", "kill", "reshard", "calls")
"""What runs unless told otherwise, longest first: two run at a time."""
FAULTS_MINUTES: Final = 60.0


def knobs(seed: int, workers: int, shards: int, minutes: float) -> Knobs:
    """Return the big world's knobs: half a record per second and shard, a crash each other minute, and so on."""
    faults = Faults(request_lost=0.003, reply_lost=0.003, late=0.002, slow=0.004, error_before=0.003, throttled=0.003)
    return Knobs(
        seed=seed,
        profile="scale",
        workers=workers,
        shards=shards,
        producers=2,
        keys=500,
        records_per_s=0.25 * shards,
        chaos_s=60 * minutes,
        idle_s=5.0,
        kinesis=faults,
        dynamodb=faults,
        rates=Rates(crash=0.6, pause=0.8, partition=0.9, reshard=0.4, storm=0.05),
    )


def faults(seed: int, workers: int = 20, shards: int = 200, minutes: float = FAULTS_MINUTES) -> Figures:
    """Play an hour of faults on 20 workers and 200 shards before the oracle."""
    world = World(knobs(seed, workers, shards, minutes))
    result = world.run()
    return {
        "workers": workers,
        "shards": shards,
        "simulated_s": round(result.simulated_s),
        "steps": result.steps,
        "api_calls": sum(n for name, n in result.counts.items() if name[0].isupper() and " " not in name),
        "records": result.records,
        "lost": result.lost,
        "redelivered": result.redelivered,
        "resent": result.resent,
        "lease_moves": sum(lease.moves for lease in world.oracle.leases.values()),
        "violations": len(result.violations),
        "missed": [str(violation) for violation in result.violations[:5]]
        + [result.error.partition("\n")[0]] * bool(result.error),
    }


def _play(name: str, seed: int, minutes: float) -> Figures:
    """Play one scenario, in a process of its own, and add what it cost."""
    begin = time.process_time()
    figures = faults(seed, minutes=minutes) if name == "faults" else SCENARIOS[name](seed)
    figures["cpu_s"] = round(time.process_time() - begin, 1)
    figures["memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return figures


def _show(value: Any, indent: int = 1) -> None:
    for key, one in value.items():
        if isinstance(one, dict):
            print(f"{'  ' * indent}{key}")
            _show(one, indent + 1)
        else:
            print(f"{'  ' * indent}{key:<{26 - 2 * indent}}{one}")


def _commit() -> str:
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "no commit"


def _read(path: Path) -> Figures:
    """Return the figures of earlier runs; none where the file is not one of ours."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {name: figures for name, figures in found.items() if name in (*SCENARIOS, "faults")}


def main(arguments: list[str] | None = None) -> int:
    """Play the scenarios asked for and report; return 1 if one missed a bound."""
    parser = argparse.ArgumentParser(prog="make sim-scale")
    parser.add_argument("--only", action="append", choices=[*SCENARIOS, "faults"], help="may be given several times")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--minutes", type=float, default=FAULTS_MINUTES, help="how long the scenario faults makes trouble"
    )
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--out", default="out/sim-scale.json")
    options = parser.parse_args(arguments)
    out = Path(options.out)
    report, commit, missed = _read(out), _commit(), False
    with ProcessPoolExecutor(options.jobs, max_tasks_per_child=1) as pool:
        names = options.only or USUAL
        playing = {name: pool.submit(_play, name, options.seed, options.minutes) for name in names}
        for name, played in playing.items():
            report[name] = {"commit": commit, "seed": options.seed, **played.result()}
            missed = missed or bool(report[name]["missed"])
            print(name)
            _show(report[name])
            out.parent.mkdir(exist_ok=True)
            out.write_text(json.dumps(report, indent=1) + "\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
