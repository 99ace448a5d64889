"""What a Lambda and an event loop feel of the decoder: the cold import, and the longest step on hostile input."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from shardline.common import deaggregation
from shardline.common.deaggregation import Validation

from bench.harness import Case, Figure

IMPORTS = 15
HOSTILE_BYTES = 10 * 2**20


def children_cpu_s() -> float:
    """Return the CPU seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def import_ms(module: str, *folders: str) -> float:
    """Return milliseconds of CPU that a bare interpreter takes longer when it imports `module`: median, in turns."""
    paths = f"import sys; sys.path[:0] = {list(folders)!r}\n"
    seconds: dict[str, list[float]] = {"": [], f"import {module}": []}
    for _ in range(IMPORTS + 1):
        for code, spent in seconds.items():
            start = children_cpu_s()
            subprocess.run([sys.executable, "-S", "-E", "-c", paths + code], check=True)
            spent.append(children_cpu_s() - start)
    bare, loaded = (statistics.median(spent[1:]) for spent in seconds.values())  # The first one writes the byte code.
    return 1000 * (loaded - bare)


def our_import_ms() -> float:
    """Return what importing `shardline.common.deaggregation` costs."""
    return import_ms("shardline.common.deaggregation", str(Path(deaggregation.__file__).parents[2]))


def peer_import_ms() -> float:
    """Return what importing aws-kinesis-agg's deaggregator costs, six and protobuf included."""
    found = find_spec("aws_kinesis_agg")
    assert found is not None
    assert found.origin is not None
    return import_ms("aws_kinesis_agg.deaggregator", str(Path(found.origin).parents[1]))


def longest_step_ms(name: str) -> float:
    """Return the longest step of validating a hostile blob of 10 MiB, in ms of CPU (others may preempt us)."""
    from tests.common.hostile import HOSTILE

    check = Validation(HOSTILE[name].build(HOSTILE_BYTES))
    longest, done = 0.0, False
    while not done:
        start = time.thread_time()
        done = check.step()
        longest = max(longest, time.thread_time() - start)
    return 1000 * longest


CASES: list[Case] = []
FIGURES = [
    Figure(what="cold import", who="shardline.common.deaggregation", unit="ms", measure=our_import_ms),
    Figure(what="cold import", who="aws-kinesis-agg", unit="ms", measure=peer_import_ms),
    *(
        Figure(what="longest decode step", who=f"10 MiB of {name}", unit="ms", measure=partial(longest_step_ms, name))
        for name in ("records", "empty keys", "unknown fields")
    ),
]
