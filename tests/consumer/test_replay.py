"""Replaying parked keys: in order, before the key is released, going on where it was, whatever else happens."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import InvalidInput
from shardline.consumer.parking import FileLot, StreamLot
from shardline.consumer.policy import Parked, park_key
from shardline.consumer.replaying import Replayed, open_parked_keys
from shardline.local import LocalServices
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.town import FIRST, Lot, Town

if TYPE_CHECKING:
    from pathlib import Path

    from shardline.consumer.handler import Record


async def settled(sim: Simulation, shards: int = 1) -> Town:
    """Return a town whose worker w0 has parked k8."""
    town = Town(sim, shards=shards)
    await town.create()
    town.start("w0", town.one, on_failure=park_key(town.open_lot().append, attempts=2))
    await town.load(5)
    await asyncio.sleep(10)
    town.poison = False
    return town


def test_a_replay_puts_a_keys_records_back_in_order_and_releases_it() -> None:
    """Records go on arriving meanwhile; in the end every record was handled once, each key in order (P3)."""

    async def main(sim: Simulation) -> None:
        town = await settled(sim)
        async with open_parked_keys("app", town.lot, connection=town.services, runtime=sim.runtime) as parked:
            (key,) = await parked.keys("orders")
            assert (key.partition_key, key.reason, key.attempts) == ("k8", "ValueError", 2)
            assert await parked.keys("others") == []
            loading = town.hosts["w0"].spawn(town.load(20))
            done = await parked.replay("orders", "k8", town.one)
            await loading
            await asyncio.sleep(20)
            assert done.released
            assert await parked.keys() == []
            await town.stop()
        assert town.lost == []
        assert town.disorder == []
        assert town.duplicates == 0
        assert 0 < done.records == len(town.lot) < len(town.of_poison())

    run(main, until=600)


def test_a_replay_follows_the_key_through_a_reshard() -> None:
    """Parent and children have the key; its records come in order from one to the other, and it is released in all."""

    async def main(sim: Simulation) -> None:
        town = await settled(sim)
        town.split()
        await town.load(20)
        await asyncio.sleep(10)
        async with open_parked_keys("app", town.lot, connection=town.services, runtime=sim.runtime) as parked:
            assert {key.lease for key in await parked.keys()} >= {shard.shard_id for shard in town.open_shards()}
            assert (await parked.replay("orders", "k8", town.handle)).released
        await town.load(5)
        await asyncio.sleep(20)
        await town.stop()
        assert town.lost == []
        assert town.disorder == []

    run(main, until=600)


def test_a_replay_that_failed_goes_on_where_it_was() -> None:
    """What the handler raises leaves the key parked; the next replay begins with the record that failed."""

    async def main(sim: Simulation) -> None:
        town = await settled(sim)
        numbers: list[int] = []

        async def twice(record: Record) -> None:
            if len(numbers) == 2:
                raise ValueError("again")
            numbers.append(int(record.data))

        async with open_parked_keys("app", town.lot, connection=town.services, runtime=sim.runtime) as parked:
            with pytest.raises(ValueError, match="again"):
                await parked.replay("orders", "k8", twice)
            assert town.parked()["k8"].replayed
            done = await parked.replay("orders", "k8", lambda record: numbers.append(int(record.data)))
        await town.stop()
        assert done == Replayed(records=len(town.lot) - 2, released=True)
        assert numbers == [int(parked.data) for parked in town.lot] == town.of_poison()

    run(main, until=600)


def test_a_record_that_is_not_in_the_lot_keeps_its_key_parked() -> None:
    """The table knows the last record; a lot that does not show it (another one was meant) releases nothing."""

    async def main(sim: Simulation) -> None:
        town = await settled(sim)
        part = Lot(parked for parked in town.lot[:-1])
        async with open_parked_keys("app", part, connection=town.services, runtime=sim.runtime) as parked:
            done = await parked.replay("orders", "k8", town.one, wait_s=5)
            assert done == Replayed(records=len(part), released=False, missing=(town.parked()["k8"].last,))
            with pytest.raises(InvalidInput, match="wait_s must be from 0"):
                await parked.replay("orders", "k8", town.one, wait_s=-1)
        async with open_parked_keys("app", connection=town.services, runtime=sim.runtime) as parked:
            with pytest.raises(InvalidInput, match="lots must be given"):
                await parked.replay("orders", "k8", town.one)
        await town.stop()

    run(main, until=600)


def test_a_key_is_released_as_it_is_only_by_name() -> None:
    """`release` leaves the lot alone and lets newer records pass; a key that is not parked is no error."""

    async def main(sim: Simulation) -> None:
        town = await settled(sim)
        before = town.of_poison()
        async with open_parked_keys("app", connection=town.services, runtime=sim.runtime) as parked:
            assert await parked.release("orders", "k8") == 1
            assert await parked.release("orders", "k8") == 0
        await town.load(5)
        await asyncio.sleep(20)
        await town.stop()
        assert town.lost == before == town.parked_numbers()

    run(main, until=600)


def test_an_application_without_a_state_table_has_no_parked_keys() -> None:
    """Listing makes nothing and raises nothing."""
    services = LocalServices()

    async def story() -> None:
        async with open_parked_keys("app", connection=services) as parked:
            assert await parked.keys() == []

    asyncio.run(story())
    assert services.tables.tables == {}


def _parked(number: int, key: str = "k8", stream: str = "orders") -> Parked:
    return Parked(
        stream=stream,
        shard_id=FIRST,
        sequence_number=str(number),
        sub_sequence_number=0,
        partition_key=key,
        explicit_hash_key=None,
        data=b"\x00%d" % number,
        headers={"a": "b"},
        arrival_time_s=1.5,
        reason="ValueError",
        attempts=2,
        parked_at_s=2.5,
    )


def test_a_file_lot_is_read_back_whole(tmp_path: Path) -> None:
    """Records come back equal, of the stream and key asked for; a line that a crash tore costs no other record."""
    lot = FileLot(tmp_path / "lot.jsonl")

    async def read() -> list[Parked]:
        return [parked async for parked in lot.records("orders", "k8")]

    assert asyncio.run(read()) == []
    lot(_parked(1))
    with lot.path.open("ab") as file:
        file.write(b'{"stream":"orders","shar')
    for parked in (_parked(2), _parked(3, key="k9"), _parked(4, stream="clicks"), _parked(5)):
        lot(parked)
    assert asyncio.run(read()) == [_parked(1), _parked(2), _parked(5)]


def test_a_stream_lot_is_read_back_whole() -> None:
    """From all shards of the lot's stream, closed ones too, over several pages."""

    async def main(sim: Simulation) -> None:
        town = Town(sim, shards=2, stream="lot")
        await town.create()
        lot = StreamLot("lot", connection=town.services)
        for number in range(1, 20):
            if number == 10:
                town.split()
                await asyncio.sleep(10)
            await lot(_parked(number, key="k8" if number % 2 else "k9"))
        read = [parked async for parked in lot.records("orders", "k8")]
        assert sorted(read, key=lambda parked: int(parked.sequence_number)) == [_parked(n) for n in range(1, 20, 2)]

    run(main, until=600)


def test_a_replay_survives_lost_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release whose answer is lost is looked up, not taken for done, and not made twice."""
    from shardline.common.errors import Ambiguous
    from shardline.common.state import StateTable

    async def main(sim: Simulation) -> None:
        town = await settled(sim)
        write, calls = StateTable.write, 0

        async def losing(self: StateTable, *arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls % 3 == 1:
                raise Ambiguous("RequestTimeout")
            written = await write(self, *arguments, **options)  # type: ignore[arg-type]  # Handed on as they came.
            if calls % 3 == 2:
                raise Ambiguous("RequestTimeout")
            return written

        async with open_parked_keys("app", town.lot, connection=town.services, runtime=sim.runtime) as parked:
            monkeypatch.setattr(StateTable, "write", losing)
            assert (await parked.replay("orders", "k8", town.one)).released
            monkeypatch.undo()
        await town.stop()
        assert town.lost == []
        assert town.duplicates == 0

    run(main, until=600)


def test_replayed_records_say_that_no_lease_is_held() -> None:
    """Everything of the record is as it was, its id too; the token is 0."""

    async def main(sim: Simulation) -> None:
        town = await settled(sim)
        seen: list[tuple[str, int, str | None]] = []

        async def look(record: Record) -> None:
            seen.append((record.id, record.token, record.partition_key))

        town.lot[0] = replace(town.lot[0], headers={"trace": "1"})
        async with open_parked_keys("app", town.lot, connection=town.services, runtime=sim.runtime) as parked:
            await parked.replay("orders", "k8", look)
        await town.stop()
        first = town.lot[0]
        assert seen[0] == (f"orders/{FIRST}/{first.sequence_number}/0", 0, "k8")

    run(main, until=300)
