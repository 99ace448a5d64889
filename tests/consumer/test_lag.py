"""Lag by shard and stream, and what the readers do: true also where nothing is read, or nothing handled."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from shardline.common.ports.kinesis import GetRecordsPage, StartAt, StartKind
from shardline.common.records import KinesisRecord
from shardline.consumer.config import Retrieval
from shardline.consumer.retrieval.lag import Lag
from shardline.consumer.retrieval.polling import PollingSettings, ShardPolling
from shardline.consumer.rounds import WorkerPulse
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.world import World

if TYPE_CHECKING:
    from shardline.consumer.handler import Record
    from shardline.consumer.health import LeaseHealth

FIRST = "shardId-000000000000"


def test_the_lag_is_the_last_pages_while_pages_come() -> None:
    """Unknown before the first; what the service says, as long as it says it often enough."""
    lag = Lag()
    assert lag.ms(5.0) is None
    lag.on_page(1500, 10.0, waits=False)
    assert [lag.ms(at) for at in (10.0, 20.0, 20.5, 30.0)] == [1500, 1500, 2000, 11_500]
    lag.on_page(None, 31.0, waits=False)
    assert lag.ms(31.0) == 12_500
    lag.on_page(0, 32.0, waits=False)
    assert lag.ms(32.0) == 0


def test_what_waits_for_the_handler_counts_from_its_reading() -> None:
    """The oldest page decides, until it is consumed; what is dropped does not wait."""
    lag = Lag()
    lag.on_page(3000, 10.0, waits=True)
    lag.on_page(0, 11.0, waits=True)
    lag.on_page(0, 15.0, waits=False)
    assert lag.ms(15.0) == 8000
    lag.on_consumed()
    assert lag.ms(15.0) == 4000
    lag.on_consumed()
    lag.on_consumed()
    assert lag.ms(15.0) == 0
    lag.on_page(None, 16.0, waits=True)
    assert lag.ms(17.0) == 1000
    lag.forget_waiting()
    assert lag.ms(17.0) == 0


def test_polling_says_what_it_does() -> None:
    """Catching up, at the head, idle with a grown pause, full, failing, ended."""
    shard = ShardPolling(
        StartAt(StartKind.TRIM_HORIZON), PollingSettings(idle_s=0.5, idle_s_max=2.0, prefetch_records=2), Random(1), 0.0
    )
    record = KinesisRecord("1", b"xy", "k", 0.0)

    def page(*records: KinesisRecord, behind: int, then: str | None = "i") -> GetRecordsPage:
        return GetRecordsPage(list(records), then, behind, ())

    found = [(shard.doing, shard.pause_s)]
    for answer in (page(record, behind=5000), page(behind=0), page(behind=0), page(behind=0)):
        shard.on_page(answer, 1.0)
        found.append((shard.doing, shard.pause_s))
    assert found == [("catching up", 0.5), ("catching up", 0.5), ("idle", 1.0), ("idle", 2.0), ("idle", 2.0)]
    assert shard.waiting == (1, 2)
    shard.on_page(page(record, behind=0), 2.0)
    assert (shard.doing, shard.waiting) == ("full", (2, 4))
    shard.on_consumed(2, 4)
    assert (shard.doing, shard.pause_s) == ("at the head", 0.5)
    shard.on_failed(3.0)
    assert shard.doing == "failing"
    shard.on_page(page(behind=0, then=None), 4.0)
    assert shard.doing == "ended"


def lag_of(one: LeaseHealth) -> int:
    """Return a shard's lag, which is known."""
    assert one.lag_ms is not None
    return one.lag_ms


def test_a_paused_shards_lag_grows_and_a_read_ones_does_not() -> None:
    """By shard, by stream, in `health()` and in the pulse."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.services.state.create_stream("refunds", 1, now=world.wall())
        await asyncio.sleep(5)
        worker = world.start("w0", streams=["orders", "refunds"])
        world.put(10)
        world.put(5, stream="refunds")
        await asyncio.sleep(10)
        worker.pause("orders", FIRST)
        await asyncio.sleep(60)
        by_shard = {(one.stream, one.shard_id): one for one in worker.shards()}
        paused = by_shard["orders", FIRST]
        assert 45_000 < lag_of(paused) < 61_000
        assert paused.millis_behind_latest == 0
        others = [one for where, one in by_shard.items() if where != ("orders", FIRST)]
        assert [(lag_of(one), one.reading) for one in others] == [(0, "idle")] * 2
        assert all(one.pause_s == 1.0 for one in others)
        assert worker.health().lags == {"orders": paused.lag_ms, "refunds": 0}
        pulse = [event for event in world.named(WorkerPulse) if isinstance(event, WorkerPulse)][-1]
        assert dict(pulse.streams)["refunds"] == 0
        assert dict(pulse.streams)["orders"] > 40_000
        assert sum(count for _, count in pulse.reading) == 3
        measured = {(one.metric.name, dict(one.dimensions).get("StreamId")) for one in pulse.measurements()}
        assert ("MillisBehindLatest", "refunds") in measured
        worker.resume()
        await asyncio.sleep(5)
        assert worker.health().lags["orders"] == 0
        await world.stop()

    run(main, until=600)


def test_a_stuck_handlers_lag_grows() -> None:
    """What waits behind it was at the head when it was read; it is not any more."""

    async def main(sim: Simulation) -> None:
        for retrieval, doing in ((Retrieval.POLLING, "idle"), (Retrieval.FANOUT, "subscribed")):
            world = World(sim, shards=1, stream=f"of-{retrieval}")
            await world.create()

            async def stuck(_: Record) -> None:
                await asyncio.sleep(1000)

            name = f"w-{retrieval}"
            worker = world.start(name, stuck, retrieval=retrieval)
            world.put(10, stream=world.stream)
            await asyncio.sleep(40)
            (one,) = worker.shards()
            assert 30_000 < lag_of(one) < 41_000
            assert (one.reading, one.waiting_records > 0, one.waiting_bytes > 0) == (doing, True, True)
            world.crash(name)

    run(main, until=600)
