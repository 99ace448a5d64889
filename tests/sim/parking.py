"""Parked keys in a world: the lot, the operator who replays it, and the judge of both and of the state table.

The judge knows no object of the product: it sees the table's items at the moment a write applies, what joins the lot,
what handlers and replays get. Its invariants are named PK1 to PK6.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from shardline.common.errors import NotFound, ServiceError
from shardline.common.records import Position
from shardline.consumer.replaying import open_parked_keys
from shardline.local.sim import SimRuntime
from shardline.local.sim.oracle import user_ids
from shardline.local.sim.truth import row_position
from shardline.local.state.events import ItemApplied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from shardline.common.ports.lease_store import Item
    from shardline.consumer.handler import Record
    from shardline.consumer.policy import Parked
    from shardline.consumer.replaying import ParkedKeys
    from shardline.local.sim.oracle import Oracle
    from shardline.local.sim.truth import ShardTruth
    from shardline.local.state.events import StateEvent

    from tests.sim.world import World

__all__ = ["INVARIANTS", "Operator", "ParkingJudge"]

INVARIANTS: Final = {
    "PK1": "A key stands in the table under its shard's lease before its record enters the lot.",
    "PK2": "No record of a key reaches the owner's handler while an earlier one of its lineage waits in the lot.",
    "PK3": "While a checkpoint covers a record that waits in the lot, its key stands in the table.",
    "PK4": "A replay hands over a key's records in order, from parent to child.",
    "PK5": "A key is released only when all of its records that joined the lot were replayed.",
    "PK6": "An item goes only when the children have its keys; its fence never goes back.",
}
_PREFIX: Final = "parked-keys/"
_REPLAY_S_MAX: Final = 20.0


class _Waiting(NamedTuple):
    """A record in the lot: its shard, and its number there."""

    shard_id: str
    number: int


class ParkingJudge:
    """Judges one world whose workers park keys; `lot` holds what they parked."""

    def __init__(self, oracle: Oracle) -> None:
        self.lot: list[Parked] = []
        self._oracle = oracle
        self._items: dict[str, Item] = {}
        self._waiting: defaultdict[str, set[_Waiting]] = defaultdict(set)  # By key: in the lot, and not replayed.
        self._here: defaultdict[str, dict[_Waiting, str]] = defaultdict(dict)  # The same by shard, with their keys.
        self._joined: dict[_Waiting, float] = {}
        self._replayed: set[_Waiting] = set()

    # --- the tables --------------------------------------------------------------------------------------------------

    def sink(self, event: StateEvent) -> None:
        """Take an event of the fake stream or table, and hand it on to the oracle."""
        self._oracle.sink(event)
        if not isinstance(event, ItemApplied):
            return
        if event.key.startswith(_PREFIX):
            self._state_applied(event.key.removeprefix(_PREFIX), event.before, event.after)
        elif self._waiting and event.after is not None and "checkpoint" in event.after:
            self._checkpointed(event.key, row_position(event.after))

    def _state_applied(self, lease: str, before: Item | None, after: Item | None) -> None:
        self._oracle.simulation.note(f"{self._oracle.simulation.now} state {lease} {len(after or ())}")
        if after is None:
            self._item_deleted(lease, before or {})
            return
        self._items[lease] = after
        if before is None:
            return
        if _count(after, "token") < _count(before, "token") or _count(after, "version") <= _count(before, "version"):
            self._oracle.violate("PK6", lease, "the fence of its parked keys went back")
        for digest in _digests(before) - _digests(after):
            self._oracle.reached["key released"] += 1
            for key, waiting in self._waiting.items():
                if _digest(key) == digest:
                    self._check_replayed(lease, waiting)

    def _check_replayed(self, lease: str, waiting: set[_Waiting]) -> None:
        shard = self._oracle.shards[lease]
        for one in waiting:
            if one.shard_id in self._lineage(shard):
                left = self._oracle.shards[one.shard_id].records[one.number].id
                self._oracle.violate("PK5", lease, f"a key was released, and {left} of it waits in the lot")

    def _item_deleted(self, lease: str, before: Item) -> None:
        self._items.pop(lease, None)
        self._oracle.reached["parked keys of a finished shard deleted"] += 1
        for child in self._oracle.shards.values():
            if lease in child.parents and child.shard_id not in self._items:
                self._oracle.violate("PK6", lease, f"its keys went, and {child.shard_id} has not inherited them")
        del before

    def _checkpointed(self, lease: str, stored: Position) -> None:
        waiting = self._here.get(lease)
        if not waiting:
            return
        shard, item = self._oracle.shards[lease], self._items.get(lease)
        standing = frozenset() if item is None else frozenset(_digests(item))
        for one, key in waiting.items():
            if shard.positions[one.number] <= stored and _digest(key) not in standing:
                what = f"{stored} was stored, and the key of {shard.records[one.number].id} does not stand"
                self._oracle.violate("PK3", lease, what)

    # --- workers -----------------------------------------------------------------------------------------------------

    def delivered(self, worker: str, record: Record) -> None:
        """Take a record that a handler of a worker gets.

        One whose lease was stolen a moment ago (I11 says how long ago) knows what stood there until then, and cannot
        know what his successor has parked since.
        """
        (user,) = user_ids(record.data)
        waiting = self._waiting.get(user.key)
        if not waiting:
            return
        shard, lease = self._oracle.shards[record.shard_id], self._oracle.leases[record.shard_id]
        index = shard.index_of.get(record.position, -1)
        lineage = self._lineage(shard)
        ended = lease.superseded(worker)
        for one in waiting:
            behind = one.number <= index if one.shard_id == shard.shard_id else one.shard_id in lineage
            if behind and ended is not None and self._joined[one] >= ended.started.at_s:
                self._oracle.reached["delivered after a steal what was parked since"] += 1
            elif behind:
                first = self._oracle.shards[one.shard_id].records[one.number].id
                self._oracle.violate("PK2", record.shard_id, f"{user.id} was delivered, {first} of its key is parked")

    def parked(self, worker: str, parked: Parked) -> None:
        """Take a record that joins the lot: its key stands in the table, everything of it before is done.

        A worker that was superseded while its lot took the record has parked nothing: its successor parks it again.
        """
        (user,) = user_ids(parked.data)
        shard = self._oracle.shards[parked.shard_id]
        index = shard.index_of[Position(int(parked.sequence_number), parked.sub_sequence_number)]
        one = _Waiting(shard.shard_id, index)
        self.lot.append(parked)
        if shard.records[index] != user:
            self._oracle.violate("I1", shard.shard_id, f"what was parked at {index} is not {user.id} whole")
        if not self._oracle.is_superseded(worker, shard.shard_id):
            shard.done[index] = shard.delivered[index] = 1
            self._oracle.excused_ids.add(user.id)
        else:
            self._oracle.reached["record joined the lot late"] += 1
            shard.late.add((worker, index))
        if one in self._replayed:
            self._oracle.reached["record parked again after its replay"] += 1
            return
        if not _stands(self._items.get(shard.shard_id), user.key):
            self._oracle.violate("PK1", shard.shard_id, f"{user.id} joined the lot, its key does not stand")
        earlier = (before for before in shard.by_key[user.key] if before < index)
        if not all(shard.is_through(worker, before) for before in earlier):
            self._oracle.violate("I2", shard.shard_id, f"{user.id} joined the lot before earlier ones of its key")
        self._oracle.reached["record followed its key" if parked.attempts == 0 else "key parked"] += 1
        self._waiting[user.key].add(one)
        self._joined.setdefault(one, self._oracle.simulation.now)
        self._here[shard.shard_id][one] = user.key

    def _lineage(self, shard: ShardTruth) -> set[str]:
        """Return a shard and all of its ancestors."""
        found: set[str] = set()
        left = [shard.shard_id]
        while left:
            shard_id = left.pop()
            if shard_id not in found:
                found.add(shard_id)
                left.extend(self._oracle.shards[shard_id].parents)
        return found

    # --- the operator ------------------------------------------------------------------------------------------------

    async def records(self, stream: str, partition_key: str) -> AsyncIterator[Parked]:
        """Read the lot; see `ReadableLot`."""
        for parked in list(self.lot):
            if (parked.stream, parked.partition_key) == (stream, partition_key):
                yield parked

    def replayed(self, record: Record) -> None:
        """Take a record that a replay hands over: every earlier one of its key must have been."""
        (user,) = user_ids(record.data)
        shard = self._oracle.shards[record.shard_id]
        this = _Waiting(record.shard_id, shard.index_of[record.position])
        ancestors = self._lineage(shard) - {shard.shard_id}
        for one in self._waiting[user.key]:
            if one.shard_id in ancestors or (one.shard_id == shard.shard_id and one.number < this.number):
                before = self._oracle.shards[one.shard_id].records[one.number].id
                self._oracle.violate("PK4", record.shard_id, f"{user.id} was replayed before {before}")
        self._oracle.reached["record replayed"] += 1
        self._replayed.add(this)
        self._waiting[user.key].discard(this)
        self._here[record.shard_id].pop(this, None)

    def finish(self) -> None:
        """Judge the end: whatever joined the lot was replayed, and no key is parked."""
        for waiting in self._waiting.values():
            for one in waiting:
                left = self._oracle.shards[one.shard_id].records[one.number].id
                self._oracle.violate("I1", one.shard_id, f"{left} was parked, and never replayed")
        for lease, item in self._items.items():
            if _digests(item):
                self._oracle.violate("PK5", lease, "a key is parked for ever")


class Operator:
    """Replays the parked keys of a world now and then, sometimes not to the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._host = world.sim.host("operator")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to replay now and then."""
        self._task = self._host.spawn(self._now_and_then(), name="operator")

    async def finish(self) -> None:
        """Replay all that is left, faults being over; the workers still run."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._host.spawn(self._all(), name="operator's last replays")

    async def _now_and_then(self) -> None:
        random = self._world.sim.random
        while True:
            await asyncio.sleep(random.uniform(5.0, 90.0))
            try:
                async with asyncio.timeout(random.choice((1.0, _REPLAY_S_MAX))):
                    await self._all()
            except TimeoutError:
                self._world.oracle.reached["replay cut short"] += 1
            except ServiceError:
                self._world.oracle.reached["replay failed"] += 1

    async def _all(self) -> None:
        async with open_parked_keys(
            "billing",
            self._world.parking,
            connection=self._world.services,
            runtime=SimRuntime(self._host),
            timeout_s=2.0,
        ) as parked:
            for key in sorted({(key.stream, key.partition_key) for key in await parked.keys()}):
                await self._one(parked, *key)

    async def _one(self, parked: ParkedKeys, stream: str, partition_key: str) -> None:
        try:
            done = await parked.replay(stream, partition_key, self._take, wait_s=5.0)
        except NotFound:
            return
        if not done.released:
            self._world.oracle.reached["replay waited in vain"] += 1

    async def _take(self, record: Record) -> None:
        self._world.parking.replayed(record)
        await asyncio.sleep(0.01)


@cache
def _digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:32]


def _digests(item: Mapping[str, object]) -> set[str]:
    return {name.removeprefix("key:") for name in item if name.startswith("key:")}


def _stands(item: Item | None, key: str) -> bool:
    return item is not None and f"key:{_digest(key)}" in item


def _count(item: Item, name: str) -> int:
    value = item.get(name)
    assert isinstance(value, int)
    return value
