"""The examples of docs/worker.md, executed as they stand, in virtual time."""

from __future__ import annotations

import asyncio
import functools
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shardline.common import connection
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.common.ports.state_store import StateItem
from shardline.consumer.driver.stating import open_state
from shardline.consumer.events import RetrievalChosen
from shardline.consumer.parking import FileLot
from shardline.consumer.policy import park_key, park_record
from shardline.local import LocalServices
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.town import Town
from tests.consumer.world import World
from tests.pages import programs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from shardline.consumer.handler import Record

EXAMPLES = programs("docs/worker.md")
PAYLOADS = (b'{"id":1,"total":2.5}', b"no order", b'{"id":2,"total":7.5}')


def example(naming: str) -> dict[str, Any]:
    """Execute the example that defines a name, and return its names."""
    (number,) = (at for at, text in enumerate(EXAMPLES) if re.search(rf"(def|class) {naming}\b", text))
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(EXAMPLES[number], f"worker.md {number}", "exec", dont_inherit=True), names)
    return names


def ran(start: Callable[[World], None]) -> None:
    """Start a worker on a stream that holds two orders and something else; check that it gets through."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        for data in PAYLOADS:
            world.services.state.put_records(Stream("orders"), [PutEntry(data, "k")], now=world.wall())
        start(world)
        await asyncio.sleep(100)
        await world.stop()
        (row,) = world.rows().values()
        assert row.checkpoint.sequence_number > 0
        assert row.owner is None

    run(main, until=600)


def test_the_handler(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It gets the orders as its model; what is none is parked after five attempts."""
    names = example("bill")
    lot = FileLot(tmp_path / "parked.jsonl")
    policy = park_record(lot, attempts=5)
    ran(lambda world: void(world.start("w0", names["bill"], model=names["Order"], on_failure=policy)))
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == ["2.5", "7.5"]
    (parked,) = map(json.loads, lot.path.read_text().splitlines())
    assert (parked["reason"], parked["attempts"]) == ("DecodeFailure", 5)


def test_the_pulled_batches(capsys: pytest.CaptureFixture[str]) -> None:
    """The program pulls every record, once."""
    export = example("export")["export"]

    def start(world: World) -> None:
        worker = world.worker("w0", pull=True)
        world.leaving["w0"] = world.hosts["w0"].spawn(export(worker))

    ran(start)
    assert capsys.readouterr().out.count("total") == 2


def test_the_processor(capsys: pytest.CaptureFixture[str]) -> None:
    """It gets every record, and checkpoints them itself."""
    porter = example("Porter")["Porter"]
    ran(lambda world: void(world.start("w0", processor=porter)))
    assert capsys.readouterr().out.splitlines() == [repr(data) for data in PAYLOADS]


def test_the_subscriber() -> None:
    """With its settings shards are subscribed to, and everything comes."""
    config = example("subscriber")["subscriber"]().config
    worlds: list[World] = []

    def start(world: World) -> None:
        worlds.append(world)
        world.start("w0", note, retrieval=config.retrieval, consumer_name=config.consumer_name)

    seen: list[bytes] = []

    async def note(record: Record) -> None:
        seen.append(record.data)

    ran(start)
    assert seen == list(PAYLOADS)
    (chosen,) = worlds[0].named(RetrievalChosen)
    assert chosen.as_fields()["retrieval"] == "fanout"


def test_the_sink() -> None:
    """It is read behind the position that it says."""
    names = example("keep")
    ran(lambda world: void(world.start("w0", names["keep"], positions=names["position"])))
    ((_, data),) = names["rows"].values()
    assert data == PAYLOADS[-1]


def test_the_backfill(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It reads the stretch again, and returns."""
    names = example("again")

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        start = world.wall()
        world.put(5)
        await asyncio.sleep(10)
        world.put(5)
        monkeypatch.setattr(connection, "Connection", lambda: world.services)
        given = functools.partial(names["backfill"], runtime=sim.runtime)
        names["again"].__globals__["backfill"] = given
        summary = await names["again"](*(datetime.fromtimestamp(at, UTC) for at in (start, start + 5)))
        assert summary.records == 5

    run(main, until=600)
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_the_many_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker asks the function for its streams, each with a start of its own or the worker's."""
    monkeypatch.setattr(connection, "Connection", LocalServices)
    names = example("streams")
    assert [config.key for config in names["streams"]()] == ["orders", "refunds"]
    assert names["tracked"].config.tracking.former_wait_s == 3600


def void(_: object) -> None:
    """Drop a value."""


def test_the_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It lists the parked key, puts its records through a handler in order, and says what became of them."""
    monkeypatch.chdir(tmp_path)
    names = example("mend")

    async def main(sim: Simulation) -> None:
        town = Town(sim, shards=1)
        await town.create()
        town.open_lot()
        town.start("w0", town.one, application="billing", on_failure=park_key(FileLot("parked.jsonl"), attempts=2))
        await town.load(5)
        await asyncio.sleep(20)
        town.poison = False
        monkeypatch.setattr(connection, "Connection", lambda: town.services)
        await names["mend"](town.one)
        await town.stop()
        assert town.lost == []

    run(main, until=300)
    assert "released=True" in capsys.readouterr().out


def test_the_state_of_ones_own() -> None:
    """It counts every record, and nobody writes under an older token."""
    names = example("Counter")

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        for data in PAYLOADS:
            world.services.state.put_records(Stream("orders"), [PutEntry(data, "k")], now=world.wall())
        async with open_state("billing", connection=world.services, runtime=sim.runtime) as store:
            names["store"] = store
            world.start("w0", processor=names["Counter"])
            await asyncio.sleep(60)
            await world.stop()
            (item,) = (await store.page(timeout_s=1)).items
            assert isinstance(item, StateItem)
            assert item.fields["count"] == len(PAYLOADS)

    run(main, until=300)
