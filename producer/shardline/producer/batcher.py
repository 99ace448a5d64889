"""Packages waiting to be sent, by shard, and how they are gathered into requests.

A request goes out when it is full (entries or bytes) or when the first of its packages is due; it takes from every
shard that has tokens, in turn. Invariants: at most 500 entries and 10 MiB, keys included, per request (a larger package
goes alone); what failed is sent before what is new, in the order in which it was put; a shard without tokens, or a
large record waiting for its own, holds up nothing else.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from shardline.producer.limiter import ShardLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shardline.producer.config import StreamSettings
    from shardline.producer.package import Package
    from shardline.producer.places import Place

__all__ = ["Batcher", "Lane"]

_NEVER: Final = float("inf")


class Lane:
    """One shard's queues; `shard_id` None is the lane of packages that no map could place."""

    __slots__ = ("again", "blocked_until", "fresh", "large", "limiter", "shard_id", "unresolved")

    def __init__(self, shard_id: str | None, limiter: ShardLimiter) -> None:
        self.shard_id = shard_id
        self.limiter = limiter
        self.again: list[Package] = []
        self.fresh: deque[Package] = deque()
        self.large: deque[Package] = deque()
        self.blocked_until = 0.0
        self.unresolved = 0
        """Packages taken and not yet settled; order by shard allows one."""

    def heads(self) -> list[Package]:
        """Return what may go next: the oldest that failed or else the oldest new one, and the oldest large one."""
        found = [self.again[0]] if self.again else [self.fresh[0]] if self.fresh else []
        if self.again and self.fresh and self.fresh[0].rank < self.again[0].rank:
            found = [self.fresh[0]]
        return [*found, self.large[0]] if self.large else found

    def remove(self, package: Package) -> None:
        """Take out one of the heads."""
        if self.large and self.large[0] is package:
            self.large.popleft()
        elif self.again and self.again[0] is package:
            heappop(self.again)
        else:
            assert self.fresh[0] is package, "only heads are taken"
            self.fresh.popleft()

    def __len__(self) -> int:
        return len(self.again) + len(self.fresh) + len(self.large)

    def __repr__(self) -> str:
        return f"Lane({self.shard_id}, {len(self)} queued, {self.limiter!r})"


class Batcher:
    """All lanes of a stream. `alive` says whether a lane's shard is still open (None is never closed)."""

    __slots__ = (
        "_bytes_max",
        "_entries_max",
        "_outstanding",
        "_share",
        "_strict",
        "_turn",
        "bytes",
        "count",
        "filled",
        "flushing",
        "isolated",
        "lanes",
        "wake_at",
    )

    def __init__(self, settings: StreamSettings, *, strict: bool, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._entries_max = settings.request_entries_max
        self._share = settings.rate_share
        self._strict = strict  # One unresolved package per lane.
        self._turn = 0
        self.lanes: dict[str | None, Lane] = {}
        self.isolated: deque[list[Package]] = deque()
        """Parts of a request that the service refused as a whole: each is sent by itself, to find the culprit."""
        self.bytes = 0
        self.count = 0
        self.filled = False
        """Whether a request may have become full since `gather` looked last."""
        self.flushing = False
        self._outstanding: dict[int, Package] = {}  # By shard: sent or unjudged.
        self.wake_at = _NEVER
        """When there may be something to send (or to expire); recomputed by `gather`."""

    def lane(self, shard_id: str | None, now: float) -> Lane:
        """Return the lane of a shard, made if need be."""
        lane = self.lanes.get(shard_id)
        if lane is None:
            lane = self.lanes[shard_id] = Lane(shard_id, ShardLimiter(self._share, now))
        return lane

    def add(self, package: Package, now: float) -> None:
        """Queue a new package."""
        lane = self.lane(package.shard_id, now)
        if not self._strict and package.size > lane.limiter.large_bytes:
            lane.large.append(package)
        else:
            lane.fresh.append(package)
        self._note(package, lane)

    def add_again(self, package: Package, now: float) -> None:
        """Queue a package that was sent before, or made of one that was: ahead of all that is new."""
        lane = self.lane(package.shard_id, now)
        heappush(lane.again, package)
        self._note(package, lane)

    def settled(self, package: Package) -> None:
        """Note that a package which was taken has come back, whatever became of it."""
        lane = self.lanes.get(package.shard_id)
        if lane is not None and lane.unresolved:
            lane.unresolved -= 1
        if self._strict:
            self._outstanding.pop(id(package), None)
            self.wake_at = 0.0

    def hold(self, package: Package) -> None:
        """Let nothing of a package's range pass, by shard, until it is `settled` after all: its verdict is not out."""
        if self._strict:
            self._outstanding[id(package)] = package

    def let_go(self, package: Package) -> None:
        """End `hold`."""
        if self._outstanding.pop(id(package), None) is not None:
            self.wake_at = 0.0

    def gather(self, now: float) -> list[Package]:
        """Return the packages of the next request, or nothing when none is worth sending yet.

        Expired packages are returned too, by `expire`, which comes first.
        """
        if now < self.wake_at and not self.filled:
            return []
        self.filled = False
        chosen, full = self._choose(now)
        if chosen and (full or self.flushing or any(package.collect_by <= now for package in chosen)):
            self._turn += 1
            self.wake_at = 0.0
            self.filled = self.bytes >= self._bytes_max or self.count >= self._entries_max
            return chosen
        for package in reversed(chosen):
            self._put_back(package, now)
        self._plan(now)
        return []

    def expire(self, now: float) -> list[Package]:
        """Take out and return the packages whose time to live is over."""
        if now < self.wake_at:
            return []
        gone: list[Package] = []
        for lane in self.lanes.values():
            while True:
                dead = [package for package in lane.heads() if package.expires_at <= now]
                if not dead:
                    break
                for package in dead:
                    self.take(lane, package)
                gone += dead
        return gone

    def drain(self, lanes: Iterable[Lane] | None = None) -> list[Package]:
        """Take out every package of the lanes given (None: all, and the isolated), in the order they would go in."""
        out: list[Package] = []
        for lane in self.lanes.values() if lanes is None else lanes:
            while heads := lane.heads():
                package = min(heads)
                self.take(lane, package)
                out.append(package)
        if lanes is None:
            for group in self.isolated:
                out += group
            self.isolated.clear()
        return sorted(out)

    def stale(self, stands: Callable[[Package], bool]) -> list[Lane]:
        """Return the lanes whose packages no longer go where they were to go."""
        return [lane for lane in self.lanes.values() if any(not stands(package) for package in lane.heads())]

    def replace(self, package: Package, place: Place, now: float) -> None:
        """Queue a package that was taken out under another place."""
        package.shard_id, package.hash_range = place.shard_id, place.hash_range
        self.add_again(package, now)

    def put_back(self, packages: list[Package], now: float, *, isolated: bool) -> None:
        """Undo `gather` (or the taking of an isolated part): there is no memory for the request now."""
        if isolated:
            self.isolated.appendleft(packages)
            return
        for package in reversed(packages):
            self._put_back(package, now)

    def next_expiry(self) -> float | None:
        """Return when the first of the queued packages expires."""
        return min((package.expires_at for lane in self.lanes.values() for package in lane.heads()), default=None)

    def forget(self, keep: Callable[[str], bool]) -> None:
        """Drop idle lanes of shards that are gone (and their limiters): resharding must not grow us."""
        self.lanes = {
            name: lane
            for name, lane in self.lanes.items()
            if name is None or keep(name) or len(lane) or lane.unresolved
        }

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _choose(self, now: float) -> tuple[list[Package], bool]:
        """Take packages from every lane that has tokens; say whether the request is full."""
        chosen: list[Package] = []
        size = 0
        lanes = [lane for lane in self.lanes.values() if lane.again or lane.fresh or lane.large]
        start = self._turn % len(lanes) if lanes else 0
        for lane in (*lanes[start:], *lanes[:start]):
            if self._strict and self._must_wait(lane):
                continue
            while heads := self._affordable(lane, now):
                package = heads[0]
                if chosen and (size + package.size > self._bytes_max or len(chosen) >= self._entries_max):
                    return chosen, True
                self.take(lane, package)
                lane.limiter.take(now, package.size)
                lane.unresolved += 1
                self.hold(package)
                chosen.append(package)
                size += package.size
                if self._strict:
                    break
        return chosen, size >= self._bytes_max or len(chosen) >= self._entries_max

    def _must_wait(self, lane: Lane) -> bool:
        """Say whether, by shard, something older of the same hash keys is on its way, or waits in another lane."""
        package = min(lane.heads())
        if any(one.covers(package) for one in self._outstanding.values()):
            return True
        others = (head for other in self.lanes.values() if other is not lane for head in other.heads())
        return any(head.rank < package.rank and head.covers(package) for head in others)

    def _affordable(self, lane: Lane, now: float) -> list[Package]:
        """Return the heads that have tokens; note until when the lane is blocked if none has."""
        heads = lane.heads()
        if len(heads) == 1:  # Almost always.
            wait_s = lane.limiter.wait_s(now, heads[0].size)
            lane.blocked_until = 0.0 if wait_s <= 0 else now + wait_s
            return heads if wait_s <= 0 else []
        waits = [(lane.limiter.wait_s(now, package.size), package) for package in heads]
        ready = [package for wait, package in waits if wait <= 0]
        lane.blocked_until = 0.0 if ready or not waits else now + min(wait for wait, _ in waits)
        return ready

    def take(self, lane: Lane, package: Package) -> None:
        """Take one of a lane's heads out of the queues."""
        lane.remove(package)
        self.bytes -= package.size
        self.count -= 1

    def _put_back(self, package: Package, now: float) -> None:
        lane = self.lane(package.shard_id, now)
        lane.limiter.give_back(now, package.size)
        lane.unresolved -= 1
        self._outstanding.pop(id(package), None)
        if package.attempts:
            heappush(lane.again, package)
        elif not self._strict and package.size > lane.limiter.large_bytes:
            lane.large.appendleft(package)
        else:
            lane.fresh.appendleft(package)
        self.bytes += package.size
        self.count += 1

    def _note(self, package: Package, lane: Lane) -> None:
        self.bytes += package.size
        self.count += 1
        self.filled = self.filled or self.bytes >= self._bytes_max or self.count >= self._entries_max
        due = 0.0 if self.flushing else package.collect_by
        self.wake_at = min(self.wake_at, max(due, lane.blocked_until), package.expires_at)

    def _plan(self, now: float) -> None:
        """Compute when `gather` is worth calling again."""
        wake_at = _NEVER
        for lane in self.lanes.values():
            for package in lane.heads():
                wake_at = min(wake_at, package.expires_at)
                if not (self._strict and self._must_wait(lane)):
                    due = now if self.flushing else package.collect_by
                    wake_at = min(wake_at, max(due, lane.blocked_until))
        self.wake_at = wake_at

    def __repr__(self) -> str:
        return f"Batcher({self.count} packages, {self.bytes} bytes, {len(self.lanes)} lanes)"
