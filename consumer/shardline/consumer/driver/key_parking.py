"""Keeps one lease's parked keys: loads them before anything is delivered, parks keys, follows them into the lot.

Invariants: nothing is delivered before `begin` has claimed the item, so no earlier owner can park a key unseen; a key
stands in the table before `park` returns; a record follows only once the table has it noted as one of its key's, which
nobody releases before its last is in the lot: a key that was released is found so, and never parked behind the back of
whoever released it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from shardline.common.errors import ShardlineError, Superseded
from shardline.common.ports.lease_store import Key
from shardline.common.state import FencedState
from shardline.consumer.events import KeyParked, KeyReleased, KeysFull, KeysLoaded
from shardline.consumer.leases.row import LEASE_KEY, LeaseRow, read_row
from shardline.consumer.parked_keys import (
    KEYS_MAX,
    ParkedKey,
    Place,
    following,
    has_begun,
    inheriting,
    keys_of,
    parking,
    state_key,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from shardline.common.ports.lease_store import Update
    from shardline.common.ports.state_store import StateItem, StateStore
    from shardline.common.records import Position
    from shardline.consumer.driver.context import Context
    from shardline.consumer.driver.keeper import Keeper
    from shardline.consumer.handler import Batch, Record

__all__ = ["KeyParking", "forget_keys"]


class KeyParking:
    """The parked keys of one lease in one tenure; several lanes may ask at once."""

    def __init__(
        self, context: Context, state: StateStore, stream: str, keeper: Keeper, stopping: asyncio.Event
    ) -> None:
        self._context = context
        self._store = state
        self._stream = stream
        self._keeper = keeper
        self._lease = keeper.lease
        self.stopping = stopping
        self._timeout_s = context.times.timeout_s
        self._state = FencedState(state, state_key(self._lease.key), self._lease.token, timeout_s=self._timeout_s)
        self._keys: dict[str, ParkedKey] = {}
        self._lock = asyncio.Lock()

    def __len__(self) -> int:
        """Return how many keys are parked, as far as is known here."""
        return len(self._keys)

    def holds(self, record: Record) -> bool:
        """Say whether a record's key is parked, as far as is known here, and the record is to follow it."""
        partition_key = record.partition_key
        key = None if partition_key is None else self._keys.get(partition_key)
        return key is not None and key.takes(Place(record.shard_id, record.position))

    def first_of(self, batch: Batch) -> Record | None:
        """Return the first record of a batch that is to follow its parked key, or None."""
        return next((record for record in batch if self.holds(record)), None) if self._keys else None

    # --- loading -----------------------------------------------------------------------------------------------------

    async def begin(self) -> bool:
        """Claim the lease's item and load its keys; False when stopped, or when the lease is over, before."""
        if not await self._until_done("state.claim", self._claim):
            return False
        if self._keys:
            self._context.events.emit(KeysLoaded(lease=self._lease.key, keys=len(self._keys)))
        return True

    async def _claim(self) -> None:
        try:
            await self._load(0)
        except Superseded as error:
            # A newer owner, and then the lease is over soon; or a token of an earlier life of the lease's row, which
            # somebody has deleted: a renewal that was sent after we saw the token, and applied, proves it.
            await self._keeper.renewed_after(self._context.runtime.monotonic())
            if self._lease.over:
                raise
            await self._load(error.token)

    async def _load(self, over_token: int) -> None:
        parents = await self._inherited()
        item = await self._state.claim(lambda item: inheriting(item, self._stream, parents), over_token=over_token)
        self._keys = keys_of(item)

    async def _inherited(self) -> list[StateItem]:
        """Return the items of the nearest ancestors that have one, unless the lease has begun its own."""
        own = await self._get(self._lease.key)
        if own is not None and has_begun(own):
            return []
        row = self._lease.row
        found: list[StateItem] = []
        seen: set[str] = set()
        waiting = [row.sibling_key(parent) for parent in row.parents]
        while waiting:
            key = waiting.pop()
            if key in seen:
                continue
            seen.add(key)
            item = await self._get(key)
            if item is not None:
                found.append(item)
            else:  # Nobody who parks keys has read that shard; it may stand between us and one who did.
                waiting.extend(await self._parents_of(key))
        return found

    async def _get(self, lease_key: str) -> StateItem | None:
        return await self._store.get(state_key(lease_key), timeout_s=self._timeout_s)

    async def _parents_of(self, lease_key: str) -> list[str]:
        context = self._context
        key = Key(LEASE_KEY, lease_key)
        item = await context.store.get(context.table, key, consistent=True, timeout_s=self._timeout_s)
        row = None if item is None else read_row(item)
        return [row.sibling_key(parent) for parent in row.parents] if isinstance(row, LeaseRow) else []

    # --- parking -----------------------------------------------------------------------------------------------------

    async def room(self, position: Position) -> bool:
        """Say whether one more key may be parked; if not, say so aloud, and look whether any was released."""
        if len(self._keys) < KEYS_MAX:
            return True
        self._context.events.emit(KeysFull(lease=self._lease.key, position=str(position), keys=len(self._keys)))
        with contextlib.suppress(ShardlineError):
            async with self._lock:
                self._see(await self._state.look())
        return len(self._keys) < KEYS_MAX

    async def park(self, record: Record, reason: str, attempts: int) -> bool:
        """Park a record's key; False when stopped, or when the lease is over, before it stands in the table."""
        if record.partition_key is None:
            return True
        place = Place(record.shard_id, record.position)
        key = ParkedKey(
            stream=record.stream,
            partition_key=record.partition_key,
            lease=self._lease.key,
            first=place,
            last=place,
            parked_at_s=self._context.runtime.wall(),
            reason=reason,
            attempts=attempts,
        )
        if not await self._change("state.park", lambda item: parking(item, key)):
            return False
        self._context.events.emit(
            KeyParked(lease=self._lease.key, position=str(record.position), key=key.digest, keys=len(self._keys))
        )
        return True

    async def follow(self, record: Record, batch: Iterable[Record]) -> ParkedKey | None:
        """Note that a record follows its key; None when that did not come to be: released, or stopped before.

        One write notes all of the key's records in `batch`, which the caller lets follow one after another. A caller
        that gets None asks `holds` again.
        """
        partition_key = record.partition_key
        assert partition_key is not None, "only keys are parked"
        place = Place(record.shard_id, record.position)
        key = self._keys.get(partition_key)
        if key is None or not _covers(key.last, place):
            last = max((one.position for one in batch if one.partition_key == partition_key), default=place.position)
            upto = Place(place.shard_id, max(last, place.position))
            await self._change("state.follow", lambda item: following(item, partition_key, upto))
        key = self._keys.get(partition_key)
        return key if key is not None and _covers(key.last, place) else None

    async def _change(self, call: str, missing: Callable[[StateItem | None], Update | None]) -> bool:
        async def change() -> None:
            async with self._lock:
                self._see(await self._state.change(missing))

        return await self._until_done(call, change)

    def _see(self, item: StateItem | None) -> None:
        keys = {} if item is None else keys_of(item)
        for gone in self._keys.keys() - keys.keys():
            self._context.events.emit(KeyReleased(lease=self._lease.key, key=self._keys[gone].digest))
        self._keys = keys

    async def _until_done(self, call: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Do `work` until it succeeds; False when stopped, or when the lease is over, before."""
        context, attempts = self._context, 0
        while not self.stopping.is_set() and not self._lease.over:
            try:
                await work()
            except ShardlineError as error:
                context.report(call, error, self._lease.key)
            else:
                return True
            attempts += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(context.config.delivery.retry.delay_s(attempts, context.runtime.random)):
                    await self.stopping.wait()
        return False


def _covers(last: Place, place: Place) -> bool:
    return last.shard_id == place.shard_id and last.position >= place.position


async def forget_keys(context: Context, row: LeaseRow, children: Iterable[str]) -> None:
    """Delete the parked keys of a lease that was cleaned up, if each child has inherited them.

    A child that only a Java worker has read has not: its next owner of ours then still finds them here.
    """
    state, timeout_s = context.state, context.times.timeout_s
    item = None if state is None else await state.get(state_key(row.key), timeout_s=timeout_s)
    if state is None or item is None:
        return
    heirs = [await state.get(state_key(row.sibling_key(child)), timeout_s=timeout_s) for child in children]
    if heirs and all(heir is not None and has_begun(heir) for heir in heirs):
        await state.delete(item, timeout_s=timeout_s)
