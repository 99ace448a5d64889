"""Planted bugs of parked keys and of the fence of the state table; see `bugs`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from shardline.common import state
from shardline.consumer import replaying
from shardline.consumer.driver.giving_up import Failures
from shardline.consumer.driver.key_parking import KeyParking
from shardline.consumer.parked_keys import ParkedKey, Place
from shardline.consumer.replaying import ParkedKeys

from tests.sim.planting import Bug

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Update, UpdateItem

__all__ = ["PARKING_BUGS"]


def _lot_first(_original: Any) -> Any:
    async def park(self: Failures, record: Any) -> bool:
        if not await self.to_lot(record, self._reason, self.attempts):
            return False
        return self._keys is None or await self._keys.park(record, self._reason, self.attempts)

    return park


def _in_memory_only(_original: Any) -> Any:
    async def park(self: KeyParking, record: Any, reason: str, attempts: int) -> bool:
        place = Place(record.shard_id, record.position)
        self._keys[record.partition_key] = ParkedKey(
            stream=record.stream,
            partition_key=record.partition_key,
            lease=self._lease.key,
            first=place,
            last=place,
            parked_at_s=0.0,
            reason=reason,
            attempts=attempts,
        )
        return True

    return park


def _not_loaded(original: Any) -> Any:
    async def load(self: KeyParking, over_token: int) -> None:
        await original(self, over_token)
        self._keys = {}

    return load


def _not_inherited(_original: Any) -> Any:
    async def inherited(_self: KeyParking) -> list[Any]:
        return []

    return inherited


def _record_only(_original: Any) -> Any:
    return lambda _self, _record: False


def _last_not_asked(original: Any) -> Any:
    return lambda item, key, _replayed: original(item, key, None)


def _released_first(original: Any) -> Any:
    async def replay(self: ParkedKeys, held: Any, parked: Any, spec: Any) -> Any:
        for key in held:
            await self._release(key, None)
        return await original(self, held, parked, spec)

    return replay


def _last_not_noted(_original: Any) -> Any:
    async def follow(self: KeyParking, record: Any, _batch: Any) -> Any:
        return self._keys.get(record.partition_key)

    return follow


def _latest_first(original: Any) -> Any:
    async def parked(self: ParkedKeys, held: Any) -> Any:
        found = await original(self, held)
        return dict(reversed(found.items()))

    return parked


class _Confident:
    """A keeper that believes in its lease for ever."""

    async def valid(self) -> bool:
        return True

    def is_valid(self) -> bool:
        return True


def _parks_regardless(original: Any) -> Any:
    async def to_lot(self: Any, record: Any, reason: str, tries: int) -> Any:
        self._keeper = _Confident()
        self._threads = SimpleNamespace(run=self._threads.run_regardless)
        return await original(self, record, reason, tries)

    return to_lot


def _unconditional(original: Any) -> Any:
    def write_of(table: str, key: Any, update: Update, expect: Any, token: int) -> UpdateItem:
        whole = original(table, key, update, expect, token)
        return replace_write(whole)

    return write_of


def replace_write(write: UpdateItem) -> UpdateItem:
    """Return a write without its condition."""
    return write._replace(condition=())


PARKING_BUGS: dict[str, Bug] = {
    "record in the lot before its key stands": Bug(((Failures, "park", _lot_first),), ("parked keys",)),
    "parked key kept in memory only": Bug(((KeyParking, "park", _in_memory_only),), ("parked keys",)),
    "new owner does not load parked keys": Bug(((KeyParking, "_load", _not_loaded),), ("parked keys",)),
    "children do not inherit parked keys": Bug(((KeyParking, "_inherited", _not_inherited),), ("parked keys",)),
    "later records of a parked key delivered": Bug(((KeyParking, "holds", _record_only),), ("parked keys",)),
    "key released before its last record is through": Bug(
        ((replaying, "releasing", _last_not_asked),), ("parked keys",)
    ),
    "key released before its replay": Bug(((ParkedKeys, "_replay", _released_first),), ("parked keys",)),
    "last record of a parked key not noted": Bug(((KeyParking, "follow", _last_not_noted),), ("parked keys",)),
    "replay in the wrong order": Bug(((ParkedKeys, "_parked", _latest_first),), ("parked keys",)),
    "former owner parks": Bug(((Failures, "to_lot", _parks_regardless),), ("late threads", "parked keys")),
    "state written without its fence": Bug(((state, "write_of", _unconditional),), ("parked keys",)),
}
