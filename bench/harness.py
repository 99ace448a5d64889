"""What the benches share: a case, the workload's records, and the measuring of CPU time.

A case measures one implementation ("who") at one piece of work. Its `measure` prepares what it needs, times only the
work, and returns CPU seconds per user record of this process. The runner (`python -m bench`) starts a process for every
repetition of every case and alternates between the cases of one piece of work, so that a slow minute of the machine
hits all of them.

A figure is anything else worth printing (an import's time, the longest step); it has a unit and no peer to divide by.

To add one: a file `bench/cases_NAME.py` with `CASES`, a list of `Case`, and perhaps `FIGURES`, a list of `Figure`.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = 1_000
AGGREGATE_BYTES_MAX = 51_200


@dataclass(frozen=True, slots=True)
class Goal:
    """What a case may cost at most, as a share of what `peer` costs at the same work in the same run."""

    peer: str
    at_most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One implementation of one piece of work; `measure` returns CPU seconds per user record."""

    work: str  # encode, decode, produce, consume, ...
    bytes: int  # The data of one user record.
    who: str
    measure: Callable[[], float]
    wire: str | None = None  # "json" or "cbor" where the work goes over HTTP.
    tls: bool = False
    goals: tuple[Goal, ...] = ()

    @property
    def name(self) -> str:
        """The case's name on the command line and between processes."""
        parts = [self.work, str(self.bytes), self.who.replace(" ", "_"), self.wire or "-", "tls" if self.tls else "-"]
        return "/".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number that is no CPU time per user record; `measure` returns it in `unit`."""

    what: str
    who: str
    unit: str
    measure: Callable[[], float]

    @property
    def name(self) -> str:
        """The figure's name on the command line and between processes."""
        return f"{self.what}/{self.who}".replace(" ", "_")


def user_records(count: int, data_bytes: int) -> list[tuple[str, bytes]]:
    """Return `count` pairs of partition key and data: keys drawn from 1,000, data that does not repeat."""
    chance = Random(20)
    keys = [f"user-{number:08}" for number in range(KEYS)]
    return [(chance.choice(keys), chance.randbytes(data_bytes)) for _ in range(count)]


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds this process spends in `work`, garbage collection of what was before left out."""
    gc.collect()
    gc.freeze()
    start = time.process_time()
    work()
    return time.process_time() - start
