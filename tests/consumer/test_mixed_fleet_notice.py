"""A fleet shared with Java workers: who they are, and which of our features they will not honour, said at start."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.ports.lease_store import Put
from shardline.common.records import SHARD_END
from shardline.consumer.config import DeliveryConfig, Fleet, LeaseConfig, WorkerConfig
from shardline.consumer.fleet.worker_metrics import MetricsRow
from shardline.consumer.lineage import Start
from shardline.consumer.mixed import other_members, unheeded
from shardline.consumer.policy import park_key, park_record, per_key, stop_worker
from shardline.consumer.spec import HandlerSpec
from shardline.consumer.stream_events import MixedFleet
from shardline.local.sim.simulation import run

from tests.consumer.rows import golden_items, lease
from tests.consumer.world import World

if TYPE_CHECKING:
    from shardline.consumer.handler import Record
    from shardline.local.sim.simulation import Simulation

LEGACY = LeaseConfig(failover_s=3.0, call_timeout_s=1.0, fleet=Fleet.KCL2)


def handle(record: object) -> None:
    """Take a record."""
    del record


def test_others_are_those_without_our_mark() -> None:
    """Owners of unfinished leases (parked ones of a hand-off too) and fresh reports; not ours, not me, not the dead."""
    rows = [
        lease(0, "java-1"),
        lease(1, "ours-1"),
        lease(2, "gone", checkpoint=SHARD_END),
        lease(3, "ours-1", checkpoint_owner="java-2"),
        lease(4, "me"),
        lease(5),
    ]
    metrics = [
        MetricsRow(worker_id="ours-1", last_update_s=0, ours=True),
        MetricsRow(worker_id="java-3", last_update_s=950),
        MetricsRow(worker_id="java-4", last_update_s=900),
        MetricsRow(worker_id="me", last_update_s=990),
    ]
    found = other_members(rows, metrics, "me", 1000.0, report_s=30.0, reports=True)
    assert found == ("java-1", "java-2", "java-3")
    assert other_members(rows, [], "me", 1000.0, report_s=30.0, reports=False) == ("java-1", "java-2", "ours-1")


def names(*handlers: HandlerSpec, starts: tuple[Start | None, ...] = (), drop: bool = True) -> set[str]:
    """Return the names of the features that are told of."""
    config = WorkerConfig(delivery=DeliveryConfig(drop_misplaced=drop))
    return {text.partition(":")[0] for text in unheeded(handlers, starts, config)}


ALWAYS = {"retry", "pause and seek", "handler_timeout_s"}


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        ({}, set[str]()),
        ({"on_failure": park_record(handle, attempts=1)}, {"park_record"}),
        ({"on_failure": park_key(handle, attempts=1)}, {"park_key"}),
        ({"on_failure": stop_worker(attempts=1)}, {"stop_worker"}),
        ({"concurrency": per_key(4)}, {"per_key"}),
        ({"positions": lambda _stream, _shard: None}, {"positions"}),
    ],
)
def test_what_is_in_use_is_told(handler: dict[str, Any], told: set[str]) -> None:
    """A feature that no handler uses is not mentioned."""
    spec = HandlerSpec.of(handle, batch=False, **handler)
    assert names(spec) == ALWAYS | told


def test_starts_and_the_rule_for_misplaced_records_are_told() -> None:
    """What the table does not hold, and where a KCL drops what we deliver."""
    starts = (Start.of(17.0), Start.of("LATEST"), None, Start.of("TRIM_HORIZON"))
    assert names(starts=starts) == ALWAYS | {"start at a time", "start at LATEST"}
    assert names(drop=False) == ALWAYS | {"misplaced records"}


def test_a_worker_says_at_start_who_else_is_there() -> None:
    """Java's metrics rows in the lease table give them away; a fleet of ours says nothing."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("w0")
        await asyncio.sleep(10)
        world.start("w1")
        await asyncio.sleep(10)
        assert not world.named(MixedFleet)
        (report,) = [one for one in golden_items("leases-fleet-before-split.json", "f35m") if one["leaseKey"] == "w2"]
        item = {**report, "lut": int(world.wall()), "slu": int(world.wall())}
        world.services.tables.write(Put("app", item), world.wall())

        async def handler(record: Record) -> None:
            await world.see(record)

        world.start("w3", handler, concurrency=per_key(4))
        await asyncio.sleep(5)
        await world.stop()
        (told,) = [event for name, event in world.events if isinstance(event, MixedFleet) and name == "w3"]
        assert told.others == ("w2",)
        assert any(text.startswith("per_key") for text in told.unheeded)

    run(main, until=600)


def test_beside_a_2x_fleet_every_other_owner_is_told() -> None:
    """Nobody reports there, so nobody carries a mark."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("w0", leases=LEGACY)
        await asyncio.sleep(10)
        world.start("w1", leases=LEGACY)
        await asyncio.sleep(10)
        await world.stop()
        (told,) = world.named(MixedFleet)
        assert told.as_fields()["others"] == ("w0",)

    run(main, until=600)
