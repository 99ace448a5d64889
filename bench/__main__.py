"""`make bench`: CPU microseconds per user record, ours and the peers' side by side, as ratios to the peer.

    python -m bench [--only TEXT ...] [--repetitions N] [--list]

Prints a table for people, and writes out/bench.json: `rows` (work, bytes, who, wire, tls, us_per_user_record: the
median of the repetitions, `us_min` and `us_max`, and `goals`: peer, at_most, ratio of the medians, met), `figures`
(what, who, value, unit), the commit and the machine they are from. Exit status 1 says that a goal was missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from bench.harness import Case, Figure, Goal

ROOT = Path(__file__).resolve().parent.parent
# Each piece of work is compared with the first of these that does it.
PEERS = ("boto3 put_records", "boto3 get_records", "boto3 + aws-kinesis-agg", "aws-kinesis-agg", "aiobotocore")


def cases() -> list[Case]:
    """Return every case of the `cases_*` files, grouped by work, size, wire and TLS."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
    found: list[Case] = [case for name in files for case in importlib.import_module(f"bench.{name}").CASES]
    return sorted(found, key=lambda case: (case.work, case.bytes, case.tls))


def figures() -> list[Figure]:
    """Return every figure of the `cases_*` files."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
    return [figure for name in files for figure in getattr(importlib.import_module(f"bench.{name}"), "FIGURES", [])]


def measured_apart(name: str) -> float:
    """Return what the case or figure of that name measures, once, in a process of its own."""
    command = [sys.executable, "-m", "bench", "--measure", name]
    run = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    return float(run.stdout.split()[-1])


def rows_of(group: list[Case], repetitions: int) -> list[dict[str, object]]:
    """Measure one piece of work: the cases take turns, and each row holds the median."""
    values: dict[str, list[float]] = {case.name: [] for case in group}
    for _ in range(repetitions):
        for case in group:
            values[case.name].append(measured_apart(case.name) * 1e6)
    medians = {case.who: statistics.median(values[case.name]) for case in group}
    return [
        {
            "work": case.work,
            "bytes": case.bytes,
            "who": case.who,
            "wire": case.wire,
            "tls": case.tls,
            "us_per_user_record": round(medians[case.who], 4),
            "us_min": round(min(values[case.name]), 4),
            "us_max": round(max(values[case.name]), 4),
            "goals": [
                judged(goal, medians[case.who], medians[goal.peer]) for goal in case.goals if goal.peer in medians
            ],
        }
        for case in group
    ]


def judged(goal: Goal, ours: float, peers: float) -> dict[str, object]:
    """Return a goal with what was reached."""
    ratio = ours / peers
    return {"peer": goal.peer, "at_most": goal.at_most, "ratio": round(ratio, 4), "met": ratio <= goal.at_most}


def show(rows: list[dict[str, object]]) -> None:
    """Print the rows of one piece of work, each with its ratio to the peer."""
    micros = {str(row["who"]): float(str(row["us_per_user_record"])) for row in rows}
    peer = next((who for who in PEERS if who in micros), None)
    for row in rows:
        wire = f"{row['wire'] or ''}{' tls' if row['tls'] else ''}"
        us = float(str(row["us_per_user_record"]))
        ratio = f"{micros[peer] / us:6.2f} x {peer}" if peer and us else ""
        print(f"{row['work']:8} {row['bytes']:>6} B  {row['who']:24} {wire:9} {us:9.3f} us  {ratio}", flush=True)
        for goal in goals_of(row):
            verdict = "met" if goal["met"] else "MISSED"
            print(f"{'':18} {goal['ratio']:.3f} of {goal['peer']}, at most {goal['at_most']}: {verdict}", flush=True)


def goals_of(row: dict[str, object]) -> list[dict[str, object]]:
    """Return a row's goals, each with what was reached."""
    return cast("list[dict[str, object]]", row["goals"])


def measured_figures(chosen: list[Figure]) -> list[dict[str, object]]:
    """Measure each figure once (one that needs a median makes its own), print and return them."""
    found: list[dict[str, object]] = []
    for figure in chosen:
        value = round(measured_apart(figure.name), 3)
        print(f"{figure.what}, {figure.who}: {value} {figure.unit}", flush=True)
        found.append({"what": figure.what, "who": figure.who, "value": value, "unit": figure.unit})
    return found


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "commit": git.stdout.strip() or None,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "processors": os.cpu_count(),
    }


def main() -> int:
    """Run the benches that were asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="medians of N (1 to 99; default 5)")
    parser.add_argument("--list", action="store_true", help="print the cases' names and stop")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not 1 <= options.repetitions <= 99:
        parser.error(f"--repetitions {options.repetitions}: 1 to 99 allowed")
    if options.measure:
        every: list[Case | Figure] = [*cases(), *figures()]
        (asked,) = [each for each in every if each.name == options.measure]
        print(asked.measure())
        return 0
    chosen = [case for case in cases() if any(text in case.name for text in options.only)]
    chosen_figures = [figure for figure in figures() if any(text in figure.name for text in options.only)]
    if not chosen and not chosen_figures:
        parser.error(f"--only {' '.join(options.only)}: no case has such a name (see --list)")
    if options.list:
        print("\n".join([case.name for case in chosen] + [figure.name for figure in chosen_figures]))
        return 0
    rows: list[dict[str, object]] = []
    for _, group in groupby(chosen, key=lambda case: (case.work, case.bytes, case.tls)):
        rows += (new := rows_of(list(group), options.repetitions))
        show(new)
    (ROOT / "out").mkdir(exist_ok=True)
    found = measured_figures(chosen_figures)
    report = {"rows": rows, "figures": found, "repetitions": options.repetitions, **machine()}
    (ROOT / "out" / "bench.json").write_text(json.dumps(report) + "\n")
    missed = sum(not goal["met"] for row in rows for goal in goals_of(row))
    if missed:
        print(f"{missed} of the goals MISSED")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
