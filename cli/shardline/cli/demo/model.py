"""What the demo's screen shows: shards, their owners, rates and lag, the fleet, and the last events.

Pure: takes the processes' messages and ListShards as they come, with `now`, and gives a `Snapshot`, an immutable value
that the view draws. Owners are what workers said last; a killed worker's shards are orphans until another one starts.
Bounded: one row per shard and worker, `EVENTS_MAX` events, two seconds of counts and one entry per Kinesis record.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from shardline.cli.demo.messages import Acknowledged, Delivered, Note, ShardEnded, ShardStarted, ShardStopped
from shardline.common.records import SHARD_END

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shardline.cli.demo.messages import Message
    from shardline.common.hashing import Shard

__all__ = ["EVENTS_MAX", "Counts", "Live", "ShardRow", "ShardState", "Snapshot", "WorkerRow", "lineage"]

EVENTS_MAX = 12
_WINDOW_S = 2.0
_NOTE_S = 1.0


class ShardState(StrEnum):
    """Where a shard stands: taking records, closed by a reshard, or read to its end."""

    OPEN = "open"
    CLOSED = "closed"
    ENDED = "ended"


class ShardRow(NamedTuple):
    """One shard on the screen; `prefix` draws its place in the lineage.

    `lag_s` is how long the oldest acknowledged Kinesis record waits for a handler, 0 where none does.
    """

    prefix: str
    shard_id: str
    also_from: str | None
    state: ShardState
    owner: str | None
    records_per_s: float
    lag_s: float
    processed: int


class WorkerRow(NamedTuple):
    """One worker process on the screen."""

    name: str
    pid: int
    state: str
    shards: int
    records_per_s: float


class Counts(NamedTuple):
    """The ledger's counts as the screen shows them."""

    sent: int = 0
    acknowledged: int = 0
    processed: int = 0
    pending: int = 0
    duplicates: int = 0
    order_violations: int = 0


class Snapshot(NamedTuple):
    """All that is drawn at one time."""

    title: str
    phase: str
    elapsed_s: float
    load_s: float
    counts: Counts
    shards: tuple[ShardRow, ...]
    workers: tuple[WorkerRow, ...]
    views: tuple[tuple[str, int], ...]
    alarms: int
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Worker:
    pid: int
    state: str


@dataclass(slots=True)
class _Progress:
    """What is known of one shard from its handlers."""

    owner: str | None = None
    ended: bool = False
    processed: int = 0
    recent: deque[tuple[float, int, str]] = field(default_factory=deque[tuple[float, int, str]])
    had: set[int] = field(default_factory=set[int])
    waiting: dict[int, float] = field(default_factory=dict[int, float])


class Live:
    """The state behind the screen; `events_total` counts all events, for a printer that shows each once."""

    def __init__(self) -> None:
        self._shards: dict[str, Shard] = {}
        self._progress: dict[str, _Progress] = {}
        self._workers: dict[str, _Worker] = {}
        self._events: deque[str] = deque(maxlen=EVENTS_MAX)
        self._views: Counter[str] = Counter()
        self._alarms = 0
        self._notes: dict[tuple[str, str], tuple[float | None, int]] = {}
        self.events_total = 0
        self._orphaned: dict[str, tuple[float, str]] = {}
        self.takeovers: list[float] = []

    @property
    def parents(self) -> dict[str, tuple[str, ...]]:
        """The parents of each shard known."""
        return {shard.shard_id: shard.parent_shard_ids for shard in self._shards.values()}

    @property
    def open_shards(self) -> list[Shard]:
        """The shards that take records, as last listed."""
        return [shard for shard in self._shards.values() if shard.is_open]

    def on_shards(self, shards: Iterable[Shard]) -> None:
        """Take one whole ListShards."""
        self._shards = {shard.shard_id: shard for shard in shards}

    def on_worker(self, name: str, pid: int, state: str) -> None:
        """Take note that a worker process has come, stands, stops or is gone."""
        self._workers[name] = _Worker(pid, state)

    def on_killed(self, name: str, elapsed_s: float) -> int:
        """Leave the shards of a killed worker without owner; return how many."""
        self._workers[name] = replace(self._workers[name], state="killed")
        orphans = [shard_id for shard_id, progress in self._progress.items() if progress.owner == name]
        for shard_id in orphans:
            self._progress[shard_id].owner = None
            self._orphaned[shard_id] = (elapsed_s, name)
        return len(orphans)

    def on_event(self, elapsed_s: float, text: str) -> None:
        """Something worth a line happened."""
        self._events.append(f"{elapsed_s:6.1f}s  {text}")
        self.events_total += 1

    def last_events(self, count: int) -> list[str]:
        """Return the last `count` events, at most `EVENTS_MAX`, oldest first."""
        return list(self._events)[-count:] if count > 0 else []

    def shards_by_worker(self) -> dict[str, int]:
        """Return how many shards each live worker owns."""
        owned = Counter(p.owner for p in self._progress.values() if p.owner is not None)
        return {name: owned[name] for name, worker in self._workers.items() if worker.state == "up"}

    def on_message(self, name: str, message: Message, elapsed_s: float) -> None:
        """Take what process `name` said; messages that the screen does not show are passed over."""
        if isinstance(message, Delivered):
            self._delivered(name, message, elapsed_s)
        elif isinstance(message, Acknowledged):
            progress = self._of(message.shard_id)
            if message.sequence_number not in progress.had:
                progress.waiting[message.sequence_number] = elapsed_s
        elif isinstance(message, ShardStarted) and message.position == SHARD_END.text:
            pass  # The lease of a shard that was read to its end, on its way to be removed.
        elif isinstance(message, ShardStarted):
            self._own(name, message.shard_id, elapsed_s)
            self.on_event(elapsed_s, f"{name} starts {_short(message.shard_id)} at {message.position}")
        elif isinstance(message, ShardStopped):
            progress = self._of(message.shard_id)
            if progress.owner == name:
                progress.owner = None
            if not progress.ended:
                self.on_event(elapsed_s, f"{name} leaves {_short(message.shard_id)}: {message.reason}")
        elif isinstance(message, ShardEnded):
            progress = self._of(message.shard_id)
            progress.ended, progress.owner = True, None
            self.on_event(elapsed_s, f"{name} read {_short(message.shard_id)} to its end")
        elif isinstance(message, Note):
            self._note(name, message.text, elapsed_s)

    def _note(self, name: str, text: str, elapsed_s: float) -> None:
        """Show a note, unless its kind (up to the first colon) was shown within a second: then only count it."""
        kind = (name, text.partition(":")[0])
        shown_s, more = self._notes.get(kind, (None, 0))
        if shown_s is not None and 0 <= elapsed_s - shown_s < _NOTE_S:
            self._notes[kind] = (shown_s, more + 1)
            return
        self._notes[kind] = (elapsed_s, 0)
        self.on_event(elapsed_s, f"{name}: {text}" + (f" (and {more} more since)" if more else ""))

    def _of(self, shard_id: str) -> _Progress:
        return self._progress.setdefault(shard_id, _Progress())

    def _own(self, name: str, shard_id: str, elapsed_s: float) -> None:
        if self._workers[name].state == "killed":
            return  # Its last words, read after the kill.
        self._of(shard_id).owner = name
        orphaned = self._orphaned.pop(shard_id, None)
        if orphaned is not None:
            since, victim = orphaned
            self.takeovers.append(elapsed_s - since)
            self.on_event(
                elapsed_s, f"{name} took {_short(shard_id)} over from {victim} after {elapsed_s - since:.1f} s"
            )

    def _delivered(self, name: str, message: Delivered, elapsed_s: float) -> None:
        progress = self._of(message.shard_id)
        count = sum(len(record.ids) for record in message.records)
        progress.processed += count
        for record in message.records:
            progress.waiting.pop(record.sequence_number, None)
            progress.had.add(record.sequence_number)
        progress.recent.append((elapsed_s, count, name))
        _forget(progress.recent, elapsed_s)
        self._views.update(message.views)
        self._alarms += message.alarms

    def snapshot(self, *, title: str, phase: str, elapsed_s: float, load_s: float, counts: Counts) -> Snapshot:
        """Return what to draw now."""
        for progress in self._progress.values():
            _forget(progress.recent, elapsed_s)
        by_worker = Counter[str]()
        for progress in self._progress.values():
            for _, count, name in progress.recent:
                by_worker[name] += count
        owned = Counter(p.owner for p in self._progress.values() if p.owner is not None)
        return Snapshot(
            title=title,
            phase=phase,
            elapsed_s=elapsed_s,
            load_s=load_s,
            counts=counts,
            shards=tuple(self._row(prefix, shard, also, elapsed_s) for prefix, shard, also in lineage(self._shards)),
            workers=tuple(
                WorkerRow(name, worker.pid, worker.state, owned[name], by_worker[name] / _WINDOW_S)
                for name, worker in self._workers.items()
            ),
            views=tuple(sorted(self._views.items())),
            alarms=self._alarms,
            events=tuple(self._events),
        )

    def _row(self, prefix: str, shard: Shard, also_from: str | None, now: float) -> ShardRow:
        progress = self._progress.get(shard.shard_id, _Progress())
        state = ShardState.ENDED if progress.ended else ShardState.OPEN if shard.is_open else ShardState.CLOSED
        rate = sum(count for _, count, _ in progress.recent) / _WINDOW_S
        # Kinesis records are acknowledged (nearly) in order: the first entry is the oldest.
        lag_s = now - next(iter(progress.waiting.values()), now)
        return ShardRow(prefix, shard.shard_id, also_from, state, progress.owner, rate, lag_s, progress.processed)


def _forget(recent: deque[tuple[float, int, str]], elapsed_s: float) -> None:
    """Drop counts older than the window."""
    while recent and recent[0][0] < elapsed_s - _WINDOW_S:
        recent.popleft()


def _short(shard_id: str) -> str:
    """Return a shard's id without the zeros that tell nobody anything."""
    number = shard_id.removeprefix("shardId-").lstrip("0")
    return f"shard {number or '0'}"


def lineage(shards: Mapping[str, Shard]) -> list[tuple[str, Shard, str | None]]:
    """Return the shards as a drawn tree: (prefix, shard, second parent or None), children below their first parent.

    A parent that is not listed (trimmed) makes its child a root. Shards on a level go by hash range.
    """
    children: dict[str | None, list[Shard]] = {}
    for shard in sorted(shards.values(), key=lambda s: (s.hash_range.start, s.shard_id)):
        known = [parent for parent in shard.parent_shard_ids if parent in shards]
        children.setdefault(known[0] if known else None, []).append(shard)
    rows: list[tuple[str, Shard, str | None]] = []
    for root in children.get(None, ()):
        rows.append(("", root, None))
        _draw(children, shards, root, "", rows)
    return rows


def _draw(
    children: Mapping[str | None, Sequence[Shard]],
    shards: Mapping[str, Shard],
    parent: Shard,
    indent: str,
    rows: list[tuple[str, Shard, str | None]],
) -> None:
    """Append what is below `parent`; the tree is as deep as the stream was resharded."""
    level = children.get(parent.shard_id, ())
    for index, shard in enumerate(level):
        last = index == len(level) - 1
        known = [one for one in shard.parent_shard_ids if one in shards]
        rows.append((indent + ("└ " if last else "├ "), shard, known[1] if len(known) > 1 else None))
        _draw(children, shards, shard, indent + ("  " if last else "│ "), rows)
