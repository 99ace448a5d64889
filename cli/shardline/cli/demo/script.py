"""What happens to the stream and the fleet during the demo, and when: a table of fractions of the load time.

Pure: time comes as a fraction, chance as a `random.Random`. Each action is due exactly once, in the table's order.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random

    from shardline.common.hashing import Shard

__all__ = ["TIMELINE", "Action", "Script", "choose_merge", "choose_split", "choose_victim", "middle"]


class Action(StrEnum):
    """One thing that the demo does to the stream or the fleet."""

    SPLIT = "split"
    MERGE = "merge"
    KILL = "kill"
    START = "start"


TIMELINE: tuple[tuple[float, Action], ...] = (
    (0.2, Action.SPLIT),
    (0.4, Action.MERGE),
    (0.6, Action.KILL),
    (0.8, Action.START),
)


class Script:
    """Gives each action of a timeline once, when its fraction of the load time has come."""

    def __init__(self, timeline: Sequence[tuple[float, Action]] = TIMELINE) -> None:
        self._left = list(timeline)

    @property
    def done(self) -> bool:
        """Say whether every action has been given out."""
        return not self._left

    def due(self, fraction: float) -> list[Action]:
        """Return the actions that are due at `fraction` (0 start of load, 1 its end) and were not given before."""
        due: list[Action] = []
        while self._left and self._left[0][0] <= fraction:
            due.append(self._left.pop(0)[1])
        return due


def choose_split(open_shards: Iterable[Shard], rng: Random) -> Shard:
    """Return an open shard to split: one of the widest."""
    ordered = sorted(open_shards, key=lambda s: s.shard_id)
    width = max(s.hash_range.width for s in ordered)
    return rng.choice([s for s in ordered if s.hash_range.width == width])


def middle(shard: Shard) -> int:
    """Return the hash key at which the upper half of a shard begins."""
    return shard.hash_range.start + shard.hash_range.width // 2


def choose_merge(open_shards: Iterable[Shard], rng: Random) -> tuple[Shard, Shard] | None:
    """Return two open shards that lie side by side, rather not children of the split; None where there are none."""
    ordered = sorted(open_shards, key=lambda s: s.hash_range.start)
    pairs = [(left, right) for left, right in pairwise(ordered) if left.hash_range.meets(right.hash_range)]
    untouched = [pair for pair in pairs if not any(shard.parent_shard_ids for shard in pair)]
    return rng.choice(untouched or pairs) if pairs else None


def choose_victim(shards_by_worker: Mapping[str, int], rng: Random) -> str | None:
    """Return the live worker to kill, one of those that own the most shards so that it hurts; None without any."""
    if not shards_by_worker:
        return None
    most = max(shards_by_worker.values())
    return rng.choice(sorted(worker for worker, count in shards_by_worker.items() if count == most))
