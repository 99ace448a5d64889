"""`park_key`: a key's later records follow its poison record into the lot, whoever owns the shard, until released."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from shardline.common.ports.kinesis import Distribution, PutEntry, Stream
from shardline.common.ports.lease_store import Key, Update, UpdateItem
from shardline.common.ports.state_store import StateItem
from shardline.common.state_items import STATE_KEY
from shardline.consumer import parked_keys
from shardline.consumer.events import KeyParked, KeyReleased, KeysFull, KeysLoaded
from shardline.consumer.parked_keys import keys_of, state_key
from shardline.consumer.policy import park_key, per_key
from shardline.consumer.processor import Checkpointer, ShardProcessor
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.town import FIRST, TABLE, Town
from tests.consumer.world import QUICK

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.consumer.handler import Batch, Record
    from shardline.consumer.policy import PerKey


class Quiet(ShardProcessor):
    """A processor of a town."""

    town: Town

    async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
        """Handle and checkpoint."""
        await self.town.many(batch)
        await checkpointer.checkpoint()

    async def shard_ended(self, checkpointer: Checkpointer) -> None:
        """Checkpoint."""
        await checkpointer.checkpoint()


@pytest.mark.parametrize("mode", ["record", "batch", "blocking record", "per key", "blocking per key", "processor"])
def test_a_parked_keys_later_records_follow_it(mode: str) -> None:
    """Of the poison's key everything from the poison on is in the lot, in order; of the others nothing (P1, P3)."""

    async def main(sim: Simulation) -> None:
        town = Town(sim, shards=1)
        await town.create()
        lot = town.open_lot()
        policy = park_key(lot.append, attempts=3)
        if mode == "processor":
            Quiet.town = town
            town.start("w0", processor=Quiet, on_failure=policy)
        else:
            handlers: dict[str, Callable[..., object]] = {"batch": town.many, "record": town.one, "per key": town.one}
            concurrency = per_key(4) if "per key" in mode else None
            handler = handlers.get(mode, town.handle)
            town.start("w0", handler, batch=mode == "batch", concurrency=concurrency, on_failure=policy)
        await town.load(10)
        await asyncio.sleep(60)
        await town.stop()
        assert [int(parked.data) for parked in lot] == town.of_poison() == town.lost
        assert [(parked.reason, parked.attempts) for parked in lot[:2]] == [("ValueError", 3), ("KeyParked", 0)]
        assert town.disorder == []
        assert town.duplicates == 0
        assert town.parked()["k8"].first.position < town.parked()["k8"].last.position
        (event,) = town.named(KeyParked)
        assert "k8" not in repr(event)
        assert town.rows()[FIRST].checkpoint.sequence_number >= town.parked()["k8"].last.position.sequence_number

    run(main, until=600)


@pytest.mark.parametrize("concurrency", [None, per_key(4)], ids=["in order", "per key"])
def test_a_hot_parked_key_costs_one_write_per_batch(concurrency: PerKey | None) -> None:
    """All of a key's records in a batch are noted at once: a shard whose key is parked does not wait for each."""

    async def main(sim: Simulation) -> None:
        town = Town(sim, shards=1)
        await town.create()
        town.put(500, keys=17)
        town.put(500, keys=1)  # Of k0, which is parked with 600.

        async def handle(record: Record) -> None:
            if record.data == b"600":
                raise ValueError("poison")
            town.saw(record)

        policy = park_key(town.open_lot().append, attempts=1)
        town.start("w0", handle, on_failure=policy, concurrency=concurrency)
        await asyncio.sleep(60)
        await town.stop()
        assert town.parked_numbers() == list(range(600, 1000))
        assert town.parked_item().version < 6

    run(main, until=300)


def test_a_new_owner_loads_the_parked_keys_first() -> None:
    """After a crash, and after a graceful stop, the key's records go on into the lot and to no handler."""

    async def main(sim: Simulation) -> None:
        town = Town(sim, shards=1)
        await town.create()
        policy = park_key(town.open_lot().append, attempts=2)
        town.start("w0", town.one, on_failure=policy)
        await town.load(5)
        town.crash("w0")
        town.start("w1", town.one, on_failure=policy)
        await town.load(20)
        await town.stop("w1")
        town.start("w2", town.one, on_failure=policy)
        await town.load(5)
        await asyncio.sleep(30)
        await town.stop()
        assert town.parked_numbers() == town.of_poison() == town.lost
        assert town.disorder == []
        assert len(town.named(KeyParked)) == 1
        assert len(town.named(KeysLoaded)) == 2

    run(main, until=600)


@pytest.mark.parametrize("merge", [False, True], ids=["split", "split and merge"])
def test_the_children_of_a_shard_inherit_its_parked_keys(merge: bool) -> None:
    """Both children of a split, and the child of their merge, know the key; its records stay in order in the lot."""

    async def main(sim: Simulation) -> None:
        town = Town(sim, shards=1)
        await town.create()
        policy = park_key(town.open_lot().append, attempts=2)
        for name in ("w0", "w1"):
            town.start(name, town.one, on_failure=policy)
        await town.load(5)
        town.split()
        await town.load(20)
        if merge:
            town.merge()
            await town.load(20)
        await asyncio.sleep(60)
        await town.stop()
        assert town.parked_numbers() == town.of_poison() == town.lost
        assert town.disorder == []
        for shard in town.open_shards():
            assert list(town.parked(shard.shard_id)) == ["k8"]

    run(main, until=900)


def test_a_released_key_goes_to_the_handler_again() -> None:
    """A worker learns of a release when the key's next record is about to follow: that one is delivered."""

    async def main(sim: Simulation) -> None:
        town = Town(sim, shards=1)
        await town.create()
        town.start("w0", town.one, on_failure=park_key(town.open_lot().append, attempts=2))
        await town.load(5)
        await asyncio.sleep(10)
        before = town.of_poison()
        assert [lease.parked_keys for lease in town.workers["w0"].health().leases] == [1]
        _release(town)
        await town.load(5)
        await asyncio.sleep(20)
        await town.stop()
        assert town.parked_numbers() == before == town.lost
        assert len(town.named(KeyReleased)) == 1
        assert town.parked() == {}

    run(main, until=600)


def _release(town: Town) -> None:
    """Release k8 as an operator does, by hand."""
    digest = town.parked()["k8"].digest
    key = Key(STATE_KEY, state_key(FIRST).text)
    names = frozenset({f"key:{digest}", f"last:{digest}"})
    town.services.tables.write(UpdateItem(TABLE, key, Update(remove=names, add={"version": 1})), town.wall())


def test_as_many_keys_as_may_be_parked_hold_the_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key more than an item may hold is not parked: its record is tried on, loudly, until there is room."""
    from shardline.consumer.driver import key_parking

    monkeypatch.setattr(key_parking, "KEYS_MAX", 1)

    async def main(sim: Simulation) -> None:
        town = Town(sim, shards=1)
        await town.create()
        town.open_lot()

        async def handle(record: Record) -> None:
            if record.data in (b"25", b"26"):
                raise ValueError("poison")
            town.saw(record)

        town.start("w0", handle, on_failure=park_key(town.lot.append, attempts=2))
        await town.load(5)
        await asyncio.sleep(60)
        assert town.parked_numbers() == [25]
        assert max(town.seen) == 24
        assert town.named(KeysFull)
        _release(town)
        await asyncio.sleep(60)
        await town.stop()
        assert town.parked_numbers() == [25, *(number for number in range(26, 100) if number % 17 == 9)]

    run(main, until=600)


def test_a_record_without_a_key_is_parked_alone() -> None:
    """On an AUTO stream there is no key to park: the record goes, its neighbours stay."""

    async def main(sim: Simulation) -> None:
        town = Town(sim, shards=1)
        await town.create()
        town.open_lot()
        seen: list[bytes] = []

        async def handle(record: Record) -> None:
            if record.data == b"1":
                raise ValueError("poison")
            seen.append(record.data)

        town.services.state.streams["orders"].distribution = Distribution.AUTO
        for number in range(4):
            entry = PutEntry(b"%d" % number, None)
            town.services.state.put_records(Stream("orders"), [entry], now=town.wall())
        town.start("w0", handle, on_failure=park_key(town.lot.append, attempts=2))
        await asyncio.sleep(30)
        await town.stop()
        assert ([parked.data for parked in town.lot], seen) == ([b"1"], [b"0", b"2", b"3"])
        assert town.parked() == {}

    run(main, until=300)


def test_a_lease_row_that_was_made_again_does_not_lock_its_keys_out() -> None:
    """Tokens begin anew with a new row; the owner waits for a renewal, then takes the old item over, keys and all."""

    async def main(sim: Simulation) -> None:
        town = Town(sim, shards=1)
        await town.create()
        policy = park_key(town.open_lot().append, attempts=2)
        for name in ("w0", "w1"):
            town.start(name, town.one, on_failure=policy)
            await town.load(20)
            await asyncio.sleep(5)  # Everything is seen.
            await town.stop()
        old = town.parked_item()
        town.services.tables.write(town.deletion(FIRST), town.wall())
        town.poison = False
        town.start("w2", town.one, on_failure=policy)
        await asyncio.sleep(120)
        await town.stop()
        assert town.parked_item().token < old.token
        assert town.lost == town.of_poison() == town.parked_numbers()
        assert town.duplicates == len(town.seen)

    run(main, until=900)


def test_a_finished_shards_keys_go_with_its_lease() -> None:
    """Once the children have inherited and the lease is cleaned up, nothing is left of the parent's item."""

    async def main(sim: Simulation) -> None:
        town = Town(sim, shards=1)
        await town.create()
        policy = park_key(town.open_lot().append, attempts=2)
        town.start("w0", town.one, on_failure=policy, leases=replace(QUICK, clean_up_s=5.0))
        await town.load(5)
        town.split()
        await town.load(20)
        await asyncio.sleep(120)
        await town.stop()
        page = town.services.tables.scan_page(TABLE, town.wall(), consistent=True)
        children = {state_key(shard.shard_id).text for shard in town.open_shards()}
        assert {str(item[STATE_KEY]) for item in page.items} == children
        assert FIRST not in town.rows()

    run(main, until=900)


def test_keys_are_inherited_past_a_shard_that_somebody_else_read() -> None:
    """Where a worker without the policy (or a Java one) read the shard between, the nearest ancestor's keys count."""

    async def main(sim: Simulation) -> None:
        town = Town(sim, shards=1)
        await town.create()
        policy = park_key(town.open_lot().append, attempts=2)
        quiet = replace(QUICK, clean_up=False)
        town.start("w0", town.one, on_failure=policy, leases=quiet)
        await town.load(5)
        await town.stop()
        town.split()
        town.poison = False
        town.start("w1", town.one, leases=quiet)
        await town.load(10)
        await town.stop()
        town.merge()
        town.start("w2", town.one, on_failure=policy, leases=quiet)
        await town.load(30)
        await town.stop()
        (shard,) = town.open_shards()
        assert list(town.parked(shard.shard_id)) == ["k8"]
        assert town.disorder == []

    run(main, until=900)


def test_no_table_is_made_without_the_policy() -> None:
    """An application that parks no keys has no state table."""

    async def main(sim: Simulation) -> None:
        town = Town(sim, shards=1)
        await town.create()
        town.start("w0")
        await town.load(5)
        await town.stop()
        assert set(town.services.tables.tables) == {"app"}

    run(main, until=300)


def test_what_cannot_be_understood_is_not_guessed() -> None:
    """A place without its three parts, and a parked key without its bytes, are refused."""
    for text in ("", "x", "shard/1", "shard/1/x", "/1/2"):
        with pytest.raises(ValueError, match="^(place|sequence_number) must be"):
            parked_keys.Place.parse(text)
    broken = StateItem(key=state_key("s"), token=1, version=1, fields={"key:x": {"key": "text"}})
    with pytest.raises(ValueError, match="parked key must be bytes"):
        keys_of(broken)
