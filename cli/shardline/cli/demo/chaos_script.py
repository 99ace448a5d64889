"""What `make chaos` does to stream and fleet, and when: drawn from the seed before the run, so that it repeats.

Pure: times are seconds of load, chance is a `random.Random`. The load time is cut into equal slots per kind of deed and
each slot gets one, at a random time inside it: deeds come close together now and then, and never fail to come. Splits
and merges are walked so that the stream keeps between half and twice its first number of shards.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from random import Random

__all__ = ["PAUSE_S", "Deed", "Step", "chaos_steps", "choose_paused"]

KILL_EVERY_S: Final = 20.0
STOP_EVERY_S: Final = 15.0
RESHARD_EVERY_S: Final = 15.0
PAUSE_S: Final = (1.0, 20.0)
_RESHARDS_MIN: Final = 2


class Deed(StrEnum):
    """One thing that chaos does; `STOP` is SIGSTOP, and SIGCONT after a while."""

    KILL = "kill"
    STOP = "stop"
    SPLIT = "split"
    MERGE = "merge"


class Step(NamedTuple):
    """A deed at seconds `at_s` of the load; `length_s` is how long a stopped worker stands still."""

    at_s: float
    deed: Deed
    length_s: float = 0.0


def chaos_steps(seconds: float, shards: int, rng: Random) -> list[Step]:
    """Return the steps of a load of `seconds` on a stream of `shards` (at least 2), in order of time.

    Whatever the length: at least one kill, one stop, one split and one merge.
    """
    steps = [Step(at_s, Deed.KILL) for at_s in _times(seconds, KILL_EVERY_S, 1, rng)]
    steps += [Step(at_s, Deed.STOP, rng.uniform(*PAUSE_S)) for at_s in _times(seconds, STOP_EVERY_S, 1, rng)]
    open_shards = shards
    for index, at_s in enumerate(_times(seconds, RESHARD_EVERY_S, _RESHARDS_MIN, rng)):
        split = _splits(index, open_shards, shards, rng)
        open_shards += 1 if split else -1
        steps.append(Step(at_s, Deed.SPLIT if split else Deed.MERGE))
    return sorted(steps)


def _times(seconds: float, every_s: float, count_min: int, rng: Random) -> list[float]:
    """Return one random time inside each of equal slots of about `every_s`."""
    count = max(count_min, round(seconds / every_s))
    slot_s = seconds / count
    return [(index + rng.random()) * slot_s for index in range(count)]


def _splits(index: int, open_shards: int, shards: int, rng: Random) -> bool:
    """Say whether the reshard is a split: the first one is, the second is a merge, the others as it comes."""
    if index < _RESHARDS_MIN:
        return index == 0
    if open_shards <= max(2, shards // 2):
        return True
    return open_shards < 2 * shards and rng.choice((True, False))


def choose_paused(up: list[str], paused: set[str], rng: Random) -> str | None:
    """Return a worker to stop, any that runs; None where that would leave none running."""
    running = sorted(set(up) - paused)
    return rng.choice(running) if len(running) > 1 else None
