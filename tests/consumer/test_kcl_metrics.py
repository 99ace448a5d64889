"""The worker's metrics, from batch and lease to PutMetricData, in virtual time; publishing them costs only metrics."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import InvalidInput
from shardline.common.metrics.settings import MetricsSettings
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.consumer.config import WorkerConfig
from shardline.consumer.fleet.startup import Fleet
from shardline.local.sim.simulation import Simulation, run

from tests.common.broken_metrics import Broken
from tests.consumer.world import QUICK, World

if TYPE_CHECKING:
    from shardline.consumer.handler import Record

CANARY = "canary-7f3a"


def sums(world: World) -> dict[tuple[str, tuple[tuple[str, str], ...]], tuple[float, float]]:
    """Return sample counts and sums over all uploads, by name and dimensions."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[float, float]] = {}
    for _, one in world.services.cloudwatch.sent:
        count, total = found.get((one.name, one.dimensions), (0.0, 0.0))
        found[one.name, one.dimensions] = (count + one.sample_count, total + one.sum)
    return found


def operations(world: World) -> set[str]:
    """Return the operations that were measured."""
    return {dict(one.dimensions).get("Operation", "") for _, one in world.services.cloudwatch.sent}


async def consumed(sim: Simulation, fleet: Fleet = Fleet.AUTO, metrics: MetricsSettings | None = None) -> World:
    """Run one worker over 600 records of two shards, with metrics."""
    world = World(sim)
    await world.create()
    world.start("w0", leases=replace(QUICK, fleet=fleet), metrics=metrics or MetricsSettings())
    await world.load(30)
    await world.drained()
    await asyncio.sleep(15)
    await world.stop()
    return world


def test_the_kcls_metrics_are_published_with_their_sums() -> None:
    """Records, bytes and times by shard; leases, renewals and leadership by worker; under the application's name."""
    world = run(consumed, seed=1, until=600)
    found = sums(world)
    sent = world.services.cloudwatch.sent
    shards = [shard.shard_id for shard in world.open_shards()]
    places = [(("Operation", "ProcessTask"), ("ShardId", one)) for one in shards]
    assert {one.namespace for one in sent} == {"app"}
    assert sum(found["RecordsProcessed", place][1] for place in places) == 600
    assert sum(found["DataBytesProcessed", place][1] for place in places) == sum(
        len(b"%d" % number) for number in range(600)
    )
    for place in places:
        batches = found["RecordsProcessed", place][0]
        assert found["Success", place] == (batches, batches)
        assert found["RecordProcessor.processRecords.Time", place][0] == batches
        assert found["KinesisDataFetcher.getRecords.Success", place][1] > 0
        assert found["UpdateLease.Success", place][1] >= 0
        assert ("MillisBehindLatest", place) in found
    me = ("WorkerIdentifier", "w0")
    renewals = found["RenewLease.Success", (("Operation", "RenewAllLeases"), me)]
    assert renewals[0] == renewals[1] > 10
    leases = [one.datum.maximum for one in sent if one.datum.name == "CurrentLeases"]
    assert max(leases) == 2
    assert found["Success", (("Operation", "WorkerMetricStatsReporter"), me)][1] >= 1
    assert {"LeaseAssignmentManager", "LeaseDiscovery", "LeaderDecider", "ShardSyncTask", "Scheduler:Initialize"} <= (
        operations(world)
    )
    leader = [one.datum.maximum for one in sent if one.datum.name == "LeaderDecider:IsLeader"]
    assert leader[-1] == 1
    assert not [name for name, _ in found if name == "LostLeases"]


def test_a_fleet_of_2x_measures_its_taking() -> None:
    """TakeLeases: what the table holds, and what was taken from nobody."""
    found = sums(run(lambda sim: consumed(sim, Fleet.KCL2), seed=1, until=600))
    place = (("Operation", "TakeLeases"), ("WorkerIdentifier", "w0"))
    rounds = found["TotalLeases", place][0]
    assert found["TotalLeases", place] == (rounds, 2 * rounds)
    assert found["TakenLeases", place] == (rounds, 2)
    assert found["TakeLease.Success", place] == (2, 2)
    assert found["Success", place] == (rounds, rounds)


def test_dimensions_and_levels_are_cut_as_configured() -> None:
    """With level summary and granularity stream nothing detailed is sent, and shards are summed up."""
    settings = MetricsSettings(level="summary", granularity="stream", dimensions={"Stage": "test"}, namespace="Mine")
    world = run(lambda sim: consumed(sim, metrics=settings), seed=1, until=600)
    found = sums(world)
    assert found["RecordsProcessed", (("Operation", "ProcessTask"), ("Stage", "test"))][1] == 600
    assert not [name for name, place in found if "ShardId" in dict(place) or name.startswith(("RenewLease", "Kinesis"))]
    assert {one.namespace for one in world.services.cloudwatch.sent} == {"Mine"}


def test_a_lost_lease_and_a_failing_handler_are_counted() -> None:
    """A lease that an operator deletes counts as lost; each failed attempt is a ProcessTask without success."""

    async def main(sim: Simulation) -> World:
        world = World(sim, shards=1)
        await world.create()
        attempts = 0

        async def failing(record: Record) -> None:
            nonlocal attempts
            attempts += 1
            if attempts <= 3:
                raise ValueError
            world.saw(record)

        world.start("w0", failing, metrics=MetricsSettings())
        await world.load(10)
        await world.drained()
        (key,) = world.rows()
        async with world.services.lease_store() as store:
            await store.write(world.deletion(key), timeout_s=1)
        await asyncio.sleep(15)
        await world.stop()
        return world

    world = run(main, seed=1, until=600)
    found = sums(world)
    assert found["LostLeases", (("Operation", "RenewAllLeases"), ("WorkerIdentifier", "w0"))] == (1, 1)
    count, good = found["Success", (("Operation", "ProcessTask"), ("ShardId", "shardId-000000000000"))]
    assert count - good == 3


@pytest.mark.parametrize("way", ["denied", "bug", "hangs"])
def test_a_broken_metrics_service_never_disturbs(way: str) -> None:
    """Whatever it does: everything is processed once, the leases are given back, and the loss is said."""
    sink = Broken(way)
    world = run(lambda sim: consumed(sim, metrics=MetricsSettings(sink=sink)), seed=1, until=600)
    assert world.lost == []
    assert world.duplicates == 0
    assert all(row.owner is None for row in world.rows().values())
    assert sink.calls > 1
    assert [event for _, event in world.events if event.name == "metrics.lost"]


def test_payloads_and_keys_are_in_no_datum_and_no_event() -> None:
    """A canary in data, key and error text shows up in no metric and in no event, failures included (I19)."""

    async def main(sim: Simulation) -> World:
        world = World(sim, shards=1)
        await world.create()
        seen: list[bytes] = []

        async def failing(record: Record) -> None:
            seen.append(bytes(record.data))
            if len(seen) < 3:
                raise ValueError(CANARY)

        world.start("w0", failing, metrics=MetricsSettings())
        entries = [PutEntry(f"{CANARY}-data".encode(), f"{CANARY}-key")]
        world.services.state.put_records(Stream("orders"), entries, now=world.wall())
        await asyncio.sleep(40)
        await world.stop()
        assert len(seen) == 3
        return world

    world = run(main, seed=1, until=600)
    assert world.services.cloudwatch.sent
    assert CANARY not in repr(world.services.cloudwatch.sent)
    assert CANARY not in repr([(event, event.as_fields()) for _, event in world.events])


def test_one_seed_is_one_set_of_metrics() -> None:
    """The publisher reaches clock and tasks through the runtime only, so a run repeats exactly (I22)."""
    first, second = (run(consumed, seed=4, until=600).services.cloudwatch.sent for _ in range(2))
    assert first == second


def test_settings_of_another_kind_are_refused() -> None:
    """What is no `MetricsSettings` is refused by name, before anything is sent."""
    with pytest.raises(InvalidInput, match="metrics"):
        WorkerConfig(metrics={"namespace": "x"})  # type: ignore[arg-type]  # the point of the test.
