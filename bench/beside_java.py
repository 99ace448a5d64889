"""`make bench-java`: CPU microseconds per user record beside the KPL and the KCL, run from their released jars.

    python -m bench.beside_java [--only produce consume] [--bytes 100 1024] [--rounds N]

All processes of each side are counted (the JVM, and the KPL's native daemon), start-up and warm-up are not; the sides
take turns in the same run, on the same endpoint of ours: producers over TLS on one that stores nothing, consumers over
HTTP on one that is full, their leases in its DynamoDB. Prints a table with ratios and goals, writes
out/bench-java.json, and exits with status 0 only if every goal is reached; or where there is no JDK and Maven, which it
says.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from shardline.cli.demo.messages import Note, Ready, decode
from shardline.cli.demo.processes import Child
from shardline.common.errors import ShardlineError

from bench.__main__ import ROOT, machine, measured_apart
from bench.null_kinesis import STREAM as SINK
from bench.null_kinesis import null_kinesis
from bench.prefilled import STREAM, prefilled_endpoint
from tools.jvm import KCL, KPL, KPL_NEWEST, command_of, environment, missing, processor_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SIZES: Final = (100, 1_024)
PUT: Final = {100: 400_000, 1_024: 200_000}
PUT_WARM: Final = {100: 300_000, 1_024: 150_000}
READ: Final = {100: 3_000_000, 1_024: 400_000}
READ_WARM: Final = {100: 2_000_000, 1_024: 400_000}
READ_WARM_OURS: Final = {100: 300_000, 1_024: 40_000}
GOALS: Final = {("produce", 100): 1 / 20, ("produce", 1_024): 1 / 6, ("consume", 100): 0.65, ("consume", 1_024): 0.65}
ROUNDS: Final = {"produce": 4, "consume": 2}
OURS: Final = "shardline"
CASES: Final = {
    OURS: "produce/{size}/shardline_cbor/cbor/tls",
    f"{OURS}, blocking": "produce/{size}/shardline_cbor,_blocking/cbor/tls",
}
"""Ours, as `make bench` measures it: its cases' names."""
READY_S_MAX: Final = 120.0
NOTE_S_MAX: Final = 300.0
_POLL_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Row:
    """One side of one piece of work; `share` is ours of theirs, and `goal` the most that it may be."""

    work: str
    bytes: int
    who: str
    us_per_user_record: float
    us_min: float
    us_max: float
    share: float | None = None
    goal: float | None = None

    @property
    def missed(self) -> bool:
        """Say whether there is a goal that is not reached."""
        return self.goal is not None and self.share is not None and self.share > self.goal


class Side:
    """A child process that says when it has done what it was asked to, and its processor time."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._waiting: list[object] = []

    @property
    def seconds(self) -> float:
        """Processor seconds of the process and everything it started, so far."""
        return processor_seconds(self._child.pid)

    def say(self, word: str) -> None:
        """Give it a word."""
        self._child.send(word)

    def wait(self, kind: type[object], seconds: float) -> None:
        """Wait for its next message of that kind; raises `ShardlineError` where it ends or takes too long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._waiting += [decode(line) for line in self._child.read()]
            while self._waiting:
                if isinstance(self._waiting.pop(0), kind):
                    return
            if self._child.exit_status is not None:
                break
            time.sleep(_POLL_S)
        last = " / ".join(self._child.error_lines[-5:])
        raise ShardlineError(f"{self._child.name} said no {kind.__name__} (exit {self._child.exit_status}): {last}")


@contextmanager
def started(name: str, command: str | Sequence[str], settings: Mapping[str, Any]) -> Iterator[Side]:
    """Run a child until the end of the block; it is ready when the block begins."""
    child = Child(name, command, {"name": name, **settings}, environment())
    try:
        side = Side(child)
        side.wait(Ready, READY_S_MAX)
        yield side
    finally:
        child.close()


def produce(size: int, rounds: int) -> list[Row]:
    """Measure the KPL, its newest version and ours by turns."""
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        null = stack.enter_context(null_kinesis())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="shardline-kpl-"))
        where = urlsplit(null.url)
        settings = {"host": where.hostname, "port": where.port, "ca_bundle": null.ca_bundle, "stream": SINK}
        sides: dict[str, Side] = {}
        for program in (KPL, KPL_NEWEST):
            command = command_of(program, ROOT / "out" / "java" / f"{program.name}-bench.log", level="warn")
            more = {"data_bytes": size, "folder": f"{folder}/{program.name}"}
            sides[program.name] = stack.enter_context(started(program.name, command, settings | more))
            _put(sides[program.name], PUT_WARM[size])
        for _ in range(rounds):
            for name, side in sides.items():
                found.setdefault(name, []).append(_put(side, PUT[size]) / PUT[size])
            for name, case in CASES.items():
                found.setdefault(name, []).append(measured_apart(case.format(size=size)))
    return rows("produce", size, found, KPL.name)


def _put(side: Side, records: int) -> float:
    """Return the processor seconds that it takes to put so many records, acknowledged."""
    before = side.seconds
    side.say(f"go {records}")
    side.wait(Note, NOTE_S_MAX)
    return side.seconds - before


def consume(size: int, rounds: int) -> list[Row]:
    """Measure the KCL and ours in turns; each run is a new application, from the beginning of the stream."""
    found: dict[str, list[float]] = {}
    with prefilled_endpoint(size, 2 * (READ[size] + READ_WARM[size])) as url:
        command = command_of(KCL, ROOT / "out" / "java" / f"{KCL.name}-bench.log", level="warn")
        for number in range(rounds):
            settings = {"url": url, "stream": STREAM, "failover_ms": 10_000, "shard_sync_ms": 1_000}
            java = settings | {"application": f"kcl-{number}", "work": "count", "parent_poll_ms": 1_000}
            with started(KCL.name, command, java | {"marks": _marks(READ_WARM[size], size)}) as side:
                found.setdefault(KCL.name, []).append(_read(side) / READ[size])
            ours = settings | {"application": f"ours-{number}", "marks": _marks(READ_WARM_OURS[size], size)}
            with started(OURS, "bench.worker_child", ours) as side:
                found.setdefault(OURS, []).append(_read(side) / READ[size])
    return rows("consume", size, found, KCL.name)


def _marks(warm: int, size: int) -> list[int]:
    return [warm, warm + READ[size]]


def _read(side: Side) -> float:
    """Return the processor seconds between a reader's two marks."""
    side.wait(Note, NOTE_S_MAX)
    before = side.seconds
    side.wait(Note, NOTE_S_MAX)
    return side.seconds - before


def rows(work: str, size: int, found: Mapping[str, Sequence[float]], theirs: str) -> list[Row]:
    """Return the medians, each with its share of what `theirs` takes; ours with the goal."""
    medians = {who: statistics.median(values) for who, values in found.items()}
    return [
        Row(
            work,
            size,
            who,
            round(medians[who] * 1e6, 3),
            round(min(values) * 1e6, 3),
            round(max(values) * 1e6, 3),
            None if who == theirs else round(medians[who] / medians[theirs], 4),
            round(GOALS[work, size], 4) if who == OURS else None,
        )
        for who, values in found.items()
    ]


def show(found: Sequence[Row]) -> None:
    """Print rows for people."""
    for row in found:
        spread = f"({row.us_min:.2f} to {row.us_max:.2f})"
        share = "" if row.share is None else f"{row.share:.3f} of it, 1/{1 / row.share:.1f}"
        goal = "" if row.goal is None else f"goal {row.goal:.3f} {'MISSED' if row.missed else 'reached'}"
        us = f"{row.us_per_user_record:8.2f} us"
        print(f"{row.work:8}{row.bytes:>6} B  {row.who:22}{us}  {spread:20} {share:24} {goal}".rstrip(), flush=True)


def main() -> int:
    """Run what was asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench-java", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=("produce", "consume"), default=["produce", "consume"])
    parser.add_argument("--bytes", nargs="+", type=int, choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, choices=range(1, 10), help="medians of so many, 1 to 9 (4 and 2)")
    options = parser.parse_args()
    if reason := missing():
        print(f"SKIPPED bench-java: {reason}")
        return 0
    found: list[Row] = []
    sizes: list[int] = options.bytes
    for work, measure in (("produce", produce), ("consume", consume)):
        for size in sizes if work in options.only else []:
            found += (new := measure(size, options.rounds or ROUNDS[work]))
            show(new)
    report = {"rows": [asdict(row) for row in found], "rounds": options.rounds or ROUNDS, **machine()}
    (ROOT / "out" / "bench-java.json").write_text(json.dumps(report) + "\n")
    return 1 if any(row.missed for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
