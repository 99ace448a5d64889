"""The stage of the scale figures: a large fleet on a healthy network, and what is measured while it lives.

The product's workers run unmodified, on hosts of their own; every open shard gets a record every `record_s`. Nothing is
judged here but what must hold anyway: `lost` and `repeated` count records by number.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.common.records import SHARD_END
from shardline.consumer.config import LeaseConfig, TableConfig, WorkerConfig
from shardline.consumer.retrieval.polling import PollingSettings
from shardline.consumer.worker import Worker
from shardline.local.sim import SimRuntime, Simulation
from shardline.local.sim.doors import SimServices
from shardline.local.sim.network import Network, Service
from shardline.local.state import events
from shardline.local.state.core import KinesisState
from shardline.local.tables.core import LeaseTables

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.consumer.handler import Batch
    from shardline.local.sim.hosts import Host
    from shardline.local.sim.network import Sender
    from shardline.local.state.shard import ShardLog

__all__ = ["APPLICATION", "Member", "Stage", "percentile"]

APPLICATION: Final = "billing"
_STREAM: Final = Stream("orders")
_TICK_S: Final = 1.0


class Member(NamedTuple):
    """One worker of the fleet on its host."""

    name: str
    host: Host
    worker: Worker
    task: asyncio.Task[None]


class Stage:
    """One stream, one lease table, a fleet; `run` plays a coroutine function on it in virtual time."""

    def __init__(
        self,
        seed: int | str,
        shards: int,
        *,
        leases: LeaseConfig | None = None,
        idle_s: float = 5.0,
        record_s: float = 5.0,
        weight: Callable[[int], int] = lambda _: 100,
        retention_s: float = 86_400.0,
    ) -> None:
        """`weight` gives the bytes of a record by its shard's place at the start."""
        self.sim = Simulation(seed)
        self.network = Network(self.sim)
        self.network.observe = self._called
        self.state = KinesisState()
        self.tables = LeaseTables(sink=self._applied)
        self.services = SimServices(self.network, self.state, self.tables)
        self.members: dict[str, Member] = {}
        self.calls: Counter[tuple[str, str]] = Counter()
        self.moves = 0
        self.owner: dict[str, str | None] = {}
        self.last_seen: dict[str, float] = {}
        self.first_after: dict[str, float] = {}
        """When each shard was first seen since this was last cleared."""
        self.pause_s: dict[str, float] = {}
        """The longest time without a record, by shard, since it was last cleared."""
        self.repeated = 0
        self._leases = leases or LeaseConfig()
        self._idle_s = idle_s
        self._record_s = record_s
        self._weight = weight
        self._seen = bytearray()
        self._started = 0
        self._finished: set[str] = set()
        self.state.create_stream(_STREAM.name, shards, now=self.sim.wall_s)
        self.state.streams[_STREAM.name].retention_hours = retention_s / 3600  # type: ignore[assignment]  # Shorter than the service grants, to spare memory.

    # --- the stream ---------------------------------------------------------------------------------------------------

    def open_shards(self) -> list[ShardLog]:
        """Return the open shards by hash range."""
        return sorted(self.state.streams[_STREAM.name].open, key=lambda shard: shard.hash_range.start)

    def split(self, shard: ShardLog) -> None:
        """Split a shard in the middle."""
        middle = (shard.hash_range.start + shard.hash_range.end) // 2 + 1
        self.state.split_shard(_STREAM, shard.shard_id, str(middle), now=self.sim.wall_s)

    def merge(self, left: ShardLog, right: ShardLog) -> None:
        """Merge two neighbours."""
        self.state.merge_shards(_STREAM, left.shard_id, right.shard_id, now=self.sim.wall_s)

    async def write(self) -> None:
        """Put records for ever: one into every open shard every `record_s`, spread over that time."""
        turn, turns = 0, max(1, round(self._record_s / _TICK_S))
        while True:
            for place, shard in enumerate(self.open_shards()):
                if place % turns == turn % turns:
                    data = b"%d" % len(self._seen)
                    entry = PutEntry(data.ljust(self._weight(place), b" "), "k", str(shard.hash_range.start))
                    (outcome,) = self.state.put_records(_STREAM, [entry], now=self.sim.wall_s)
                    assert outcome.sequence_number is not None, outcome.error_code
                    self._seen.append(0)
            turn += 1
            await asyncio.sleep(_TICK_S)

    @property
    def records(self) -> int:
        """How many records were put."""
        return len(self._seen)

    @property
    def lost(self) -> int:
        """How many records no handler has seen (yet)."""
        return self._seen.count(0)

    async def _handle(self, batch: Batch) -> None:
        now, shard_id = self.sim.now, batch.shard_id
        since = self.last_seen.get(shard_id)
        if since is not None and now - since > self.pause_s.get(shard_id, 0.0):
            self.pause_s[shard_id] = now - since
        self.last_seen[shard_id] = now
        self.first_after.setdefault(shard_id, now)
        for record in batch:
            number = int(record.data)
            self.repeated += self._seen[number]
            self._seen[number] = 1

    # --- the fleet ----------------------------------------------------------------------------------------------------

    def start(self, count: int = 1) -> list[Member]:
        """Start workers on new hosts, all at once; return them."""
        return [self._start_one() for _ in range(count)]

    def _start_one(self) -> Member:
        self._started += 1
        name = f"worker-{self._started:03}"
        host = self.sim.host(name)
        config = WorkerConfig(
            worker_id=name,
            table=TableConfig(deletion_protection=False),
            leases=self._leases,
            polling=PollingSettings(idle_s=self._idle_s, idle_s_max=self._idle_s),
        )
        worker = Worker(
            APPLICATION,
            streams=_STREAM,
            start="TRIM_HORIZON",
            connection=self.services,
            config=config,
            runtime=SimRuntime(host),
        )
        worker.add_handler(self._handle, batch=True)
        self.members[name] = Member(name, host, worker, host.spawn(worker.serve(), name=name))
        return self.members[name]

    def kill(self, member: Member) -> None:
        """SIGKILL."""
        del self.members[member.name]
        member.host.crash()

    async def leave(self, *members: Member) -> None:
        """SIGTERM, and wait until they have left."""
        for member in members:
            member.worker.stop()
        for member in members:
            await member.task
            del self.members[member.name]

    def leader(self) -> Member | None:
        """Return who says that it leads, if anybody does."""
        return next((member for member in self.members.values() if member.worker.health().leads), None)

    # --- the lease table ----------------------------------------------------------------------------------------------

    def _applied(self, event: events.StateEvent) -> None:
        if not isinstance(event, events.ItemApplied):
            return
        item = event.after
        if item is None:
            self.owner.pop(event.key, None)
            return
        if "checkpoint" not in item:
            return
        if item["checkpoint"] == str(SHARD_END):
            self._finished.add(event.key)
        owner = item.get("checkpointOwner") or item.get("leaseOwner")
        name = None if owner is None else str(owner)
        before = self.owner.get(event.key)
        self.owner[event.key] = name
        if name is not None and name != before:
            self.moves += 1

    def held(self) -> dict[str, int]:
        """Return how many unfinished leases each living worker has in the table."""
        counts = Counter(owner for key, owner in self.owner.items() if owner and key not in self._finished)
        return {name: counts[name] for name in self.members}

    def leases_of(self, name: str) -> set[str]:
        """Return the unfinished leases of a worker."""
        return {key for key, owner in self.owner.items() if owner == name and key not in self._finished}

    @property
    def all_owned(self) -> bool:
        """Say whether the unfinished leases are those of the open shards, each in the hands of somebody alive."""
        unfinished = [owner for key, owner in self.owner.items() if key not in self._finished]
        open_shards = len(self.state.streams[_STREAM.name].open)
        return len(unfinished) == open_shards and all(owner in self.members for owner in unfinished)

    @property
    def spread(self) -> int:
        """How far the holdings of living workers differ."""
        held = self.held().values()
        return max(held, default=0) - min(held, default=0)

    async def until(self, test: Callable[[], bool], *, within_s: float) -> float | None:
        """Wait until `test` holds, looking every second; return the seconds it took, None if it did not come true."""
        begin = self.sim.now
        while not test():
            if self.sim.now - begin >= within_s:
                return None
            await asyncio.sleep(_TICK_S)
        return self.sim.now - begin

    def scan_pages(self) -> int:
        """Return how many calls a scan of the whole table takes now."""
        pages, start = 0, None
        while pages == 0 or start is not None:
            start = self.tables.scan_page(APPLICATION, self.sim.wall_s, start=start).next_start
            pages += 1
        return pages

    # --- calls --------------------------------------------------------------------------------------------------------

    def _called(self, sender: Sender) -> None:
        if sender.service is Service.DYNAMODB and sender.host is not None:
            self.calls[sender.host.name, sender.operation] += 1


def percentile(values: list[float], share: float) -> float | None:
    """Return the value that `share` of the values do not exceed, rounded; None of none."""
    ordered = sorted(values)
    return round(ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)], 1) if ordered else None
