"""A world with one poison record, the lot that it goes to, and the parked keys as they stand in the table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shardline.common.ports.lease_store import Key
from shardline.common.ports.state_store import StateItem
from shardline.common.state_items import STATE_KEY, read_item
from shardline.consumer.parked_keys import keys_of, state_key

from tests.consumer.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shardline.consumer.handler import Batch, Record
    from shardline.consumer.parked_keys import ParkedKey
    from shardline.consumer.policy import Parked

FIRST = "shardId-000000000000"
TABLE = "app-shardline"

__all__ = ["FIRST", "TABLE", "Lot", "Town"]


class Lot(list["Parked"]):
    """A lot in memory."""

    async def records(self, stream: str, partition_key: str) -> AsyncIterator[Parked]:
        """Yield a key's records."""
        for parked in list(self):
            if (parked.stream, parked.partition_key) == (stream, partition_key):
                yield parked


class Town(World):
    """A world whose record 25 of key k8 fails for ever, and the lot of its workers."""

    def open_lot(self) -> Lot:
        """Return an empty lot."""
        self.lot = Lot()
        self.poison = True
        return self.lot

    def handle(self, record: Record) -> None:
        """Handle a record unless it is the poison."""
        if self.poison and record.data == b"25":
            raise ValueError("poison")
        self.saw(record)

    async def one(self, record: Record) -> None:
        """Handle a record, asynchronously."""
        await asyncio.sleep(0.001)
        self.handle(record)

    async def many(self, batch: Batch) -> None:
        """Handle a batch that nothing is seen of when one fails."""
        if self.poison and any(record.data == b"25" for record in batch):
            raise ValueError("poison")
        for record in batch:
            self.saw(record)

    def parked(self, lease: str = FIRST) -> dict[str, ParkedKey]:
        """Return the keys that stand in the table for a lease."""
        return keys_of(self.parked_item(lease))

    def parked_item(self, lease: str = FIRST) -> StateItem:
        """Return the item that holds a lease's parked keys; an empty one where there is none."""
        key = state_key(lease)
        item = self.services.tables.get(TABLE, Key(STATE_KEY, key.text), self.wall(), consistent=True)
        read = StateItem(key=key, token=0, version=0) if item is None else read_item(item)
        assert isinstance(read, StateItem)
        return read

    def of_poison(self) -> list[int]:
        """Return what of k8 belongs into the lot: 25 and what was put after it."""
        return [number for number in self.acknowledged if number % 17 == 8 and number >= 25]

    def parked_numbers(self) -> list[int]:
        """Return what is in the lot, each once, in its order there."""
        return list(dict.fromkeys(int(parked.data) for parked in self.lot))
