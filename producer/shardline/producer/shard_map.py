"""The producer's picture of the stream's shards: when to ask for it, what it was a moment ago, and AUTO placement.

The old map stays in use until a new one replaces it whole. Invariants: one question at a time (single flight); failures
back off with jitter; ranges of shards that closed are remembered for a while, for answers that come late, and are
overwritten as soon as a new map says otherwise (a stream that was deleted and made again reuses shard ids).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shardline.common.backoff import Backoff
from shardline.common.errors import Denied
from shardline.common.hashing import ShardMap
from shardline.common.ports.kinesis import Distribution

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from shardline.common.hashing import HashRange, Shard
    from shardline.common.ports.kinesis import StreamSummary

__all__ = ["Inquiry", "MapKeeper", "SummaryKeeper"]

_REMEMBER_S: Final = 300.0
"""How long the range of a closed shard is kept for late answers (`kpl.md` 10.3, rule 4: some minutes)."""
_DENIED_AGAIN_S: Final = 300.0
_INCOMPLETE_AGAIN_S: Final = 1.0


class Inquiry:
    """When to ask the control plane something: at once when wanted, at an interval, after a back-off on failure."""

    __slots__ = ("_backoff", "_every_s", "_random", "asking", "failures", "next_at")

    def __init__(self, every_s: float, random: Random, now: float) -> None:
        self._every_s = every_s
        self._random = random
        self._backoff = Backoff(first_s=0.5, max_s=30.0, floor=0.5)
        self.asking = False
        self.failures = 0
        self.next_at = now

    def want(self, now: float) -> None:
        """Ask as soon as the back-off allows."""
        if self.failures == 0:
            self.next_at = min(self.next_at, now)

    def start(self, now: float) -> bool:
        """Say whether to ask now, and note that it is being asked."""
        if self.asking or now < self.next_at:
            return False
        self.asking = True
        return True

    def on_answer(self, now: float) -> None:
        """Note an answer: ask again after the interval, give or take a fifth."""
        self.asking = False
        self.failures = 0
        self.next_at = now + self._every_s * (0.8 + 0.4 * self._random.random())

    def on_failure(self, now: float, error: BaseException) -> None:
        """Note a failure: ask again after a back-off; rarely where we may not ask."""
        self.asking = False
        self.failures += 1
        wait = self._backoff.delay_s(self.failures, self._random)
        self.next_at = now + (_DENIED_AGAIN_S if isinstance(error, Denied) and not error.retryable else wait)

    def next_wakeup(self) -> float | None:
        """Return when to ask next, None while an answer is awaited."""
        return None if self.asking else self.next_at


class MapKeeper:
    """The current map and the ranges of shards that were open lately."""

    __slots__ = ("_closed", "current", "inquiry", "version")

    def __init__(self, every_s: float, random: Random, now: float) -> None:
        self.inquiry = Inquiry(every_s, random, now)
        self.current: ShardMap | None = None
        self.version = 0
        self._closed: dict[str, tuple[HashRange, float]] = {}  # Id -> range and when to forget it.

    def on_map(self, shards: Iterable[Shard], now: float) -> bool:
        """Take a new map and return whether it differs from the old one."""
        self.inquiry.on_answer(now)
        # Pages may repeat a shard while the stream changes.
        fresh = ShardMap({shard.shard_id: shard for shard in shards}.values())
        if not fresh.complete:
            # A listing may lag behind a reshard: what it does not tell is placed by key until it does.
            self.inquiry.next_at = now + _INCOMPLETE_AGAIN_S
        old = self.current
        if old is not None and [(s.shard_id, s.hash_range) for s in old.shards] == [
            (s.shard_id, s.hash_range) for s in fresh.shards
        ]:
            return False
        self._forget(now)
        for shard in old.shards if old is not None else ():
            self._closed[shard.shard_id] = (shard.hash_range, now + _REMEMBER_S)
        for shard in fresh.shards:
            self._closed.pop(shard.shard_id, None)
        self.current = fresh
        self.version += 1
        return True

    def range_of(self, shard_id: str) -> HashRange | None:
        """Return the range of a shard that is open, or was lately."""
        shard = self.current.get(shard_id) if self.current is not None else None
        if shard is not None:
            return shard.hash_range
        closed = self._closed.get(shard_id)
        return closed[0] if closed else None

    def _forget(self, now: float) -> None:
        self._closed = {name: kept for name, kept in self._closed.items() if kept[1] > now}

    def __repr__(self) -> str:
        return f"MapKeeper({self.current!r}, version={self.version})"


class SummaryKeeper:
    """What DescribeStreamSummary says: AUTO placement, the record limit, and whether the stream was made anew.

    Where we may not ask, answers judge: `on_misses` counts answers in a row from shards that were not predicted.
    """

    __slots__ = ("_misses", "auto", "created_at_s", "denied", "inquiry", "on_demand", "record_bytes_max")

    _MISSES_MAX = 5
    """Answers in a row from unpredicted shards after which the stream is asked, or taken to place records itself."""

    def __init__(self, every_s: float, random: Random, now: float) -> None:
        self.inquiry = Inquiry(every_s, random, now)
        self.auto = False
        self.on_demand: bool | None = None
        self.record_bytes_max: int | None = None
        self.created_at_s: float | None = None
        self.denied = False
        self._misses = 0

    def on_summary(self, summary: StreamSummary, now: float) -> tuple[bool, bool]:
        """Take a summary; return whether AUTO placement changed, and whether the stream is another one of that name."""
        self.inquiry.on_answer(now)
        self.denied = False
        anew = self.created_at_s is not None and summary.created_at_s != self.created_at_s
        self.created_at_s = summary.created_at_s
        self.on_demand = summary.on_demand
        self.record_bytes_max = summary.record_bytes_max
        auto = summary.distribution is Distribution.AUTO
        changed = auto != self.auto
        self.auto = auto
        return changed, anew

    def on_failure(self, error: BaseException, now: float) -> None:
        """Note that the question failed."""
        self.inquiry.on_failure(now, error)
        self.denied = isinstance(error, Denied) and not error.retryable

    def on_hit(self) -> None:
        """Note an answer from the predicted shard."""
        self._misses = 0

    def on_miss(self, now: float) -> bool:
        """Note an answer from another shard than predicted; return whether AUTO placement is now taken for given.

        Several in a row have the stream asked at once; where we may not ask, they decide.
        """
        self._misses += 1
        if self._misses < self._MISSES_MAX or self.auto:
            return False
        self._misses = 0
        if not self.denied:
            self.inquiry.want(now)
            return False
        self.auto = True
        return True
