"""`make sim-scale`: one big world: 20 workers, 200 shards, one simulated hour with faults; CPU seconds and memory."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

from shardline.local.sim.network import Faults

from tests.sim.knobs import Knobs, Rates
from tests.sim.world import World

__all__ = ["knobs", "main"]


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


def main(arguments: list[str] | None = None) -> int:
    """Play the big world and report; return 1 if an invariant broke."""
    parser = argparse.ArgumentParser(prog="make sim-scale")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--out", default="out/sim-scale.json")
    options = parser.parse_args(arguments)
    begin = time.process_time()
    world = World(knobs(options.seed, options.workers, options.shards, options.minutes))
    result = world.run()
    calls = sum(n for name, n in result.counts.items() if name[0].isupper() and " " not in name)
    report = {
        "workers": options.workers,
        "shards": options.shards,
        "simulated_s": round(result.simulated_s),
        "cpu_s": round(time.process_time() - begin, 1),
        "memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "steps": result.steps,
        "api_calls": calls,
        "records": result.records,
        "lost": result.lost,
        "redelivered": result.redelivered,
        "resent": result.resent,
        "lease_moves": sum(lease.moves for lease in world.oracle.leases.values()),
        "violations": len(result.violations),
        "error": result.error.partition("\n")[0],
    }
    for name, value in report.items():
        print(f"{name:<16}{value}")
    for violation in result.violations[:5]:
        print(violation)
    Path(options.out).parent.mkdir(exist_ok=True)
    Path(options.out).write_text(json.dumps(report, indent=1) + "\n")
    return 1 if result.failed or result.lost else 0


if __name__ == "__main__":
    sys.exit(main())
