"""The lease table as a worker makes it: protected, recoverable and tagged, whoever of several workers was first."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import InvalidInput
from shardline.common.ports.lease_store import TableSpec
from shardline.consumer.config import TableConfig, WorkerConfig
from shardline.consumer.worker import Worker
from shardline.local.sim.runtime import SimRuntime
from shardline.local.sim.simulation import run

from tests.consumer.world import QUICK, World

if TYPE_CHECKING:
    from shardline.local.sim.simulation import Simulation


def start(world: World, name: str, table: TableConfig) -> None:
    """Start a worker that makes its table so."""
    host = world.hosts[name] = world.sim.host(name)
    config = WorkerConfig(worker_id=name, leases=QUICK, table=table)
    runtime = SimRuntime(host)
    worker = Worker(
        "app",
        streams="orders",
        start="LATEST",
        connection=world.services,
        config=config,
        runtime=runtime,
        listeners=[lambda event: world.events.append((name, event))],
    )
    worker.add_handler(world.see)
    world.workers[name] = worker
    world.leaving[name] = host.spawn(worker.serve())


@pytest.mark.parametrize(
    ("table", "protected", "recoverable", "tags", "capacity"),
    [
        (TableConfig(), True, True, {}, None),
        (TableConfig(deletion_protection=False, point_in_time_recovery=False), False, False, {}, None),
        (
            TableConfig(tags={"team": "billing"}, read_capacity=5, write_capacity=7),
            True,
            True,
            {"team": "billing"},
            (5, 7),
        ),
    ],
)
def test_a_new_table_is_made_as_asked(
    table: TableConfig, protected: bool, recoverable: bool, tags: dict[str, str], capacity: tuple[int, int] | None
) -> None:
    """Deletion protection and point-in-time recovery unless turned off, tags, on demand unless capacities are given."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        start(world, "w0", table)
        await asyncio.sleep(10)
        made = world.services.tables.tables["app"]
        assert (made.spec.deletion_protection, made.point_in_time_recovery) == (protected, recoverable)
        assert dict(made.spec.tags) == tags
        assert (made.spec.read_capacity, made.spec.write_capacity) == (capacity or (None, None))
        await world.stop()

    run(main, until=600)


def test_recovery_is_turned_on_though_its_creator_died() -> None:
    """Who asked for the table is gone before it could be used; whoever waits for it does what was left to do."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        tables = world.services.tables
        tables.options = replace(tables.options, creating_s=5.0)
        start(world, "w0", TableConfig())
        await asyncio.sleep(1)
        assert tables.tables["app"].status(world.wall()) == "CREATING"
        world.crash("w0")
        start(world, "w1", TableConfig())
        await asyncio.sleep(20)
        assert tables.tables["app"].point_in_time_recovery
        await world.stop()

    run(main, until=600)


def test_a_table_that_stands_is_left_as_it_is() -> None:
    """Settings are for a new table: nobody's protection or recovery is changed behind his back."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        tables = world.services.tables
        tables.create_table(TableSpec(name="app", key_attribute="leaseKey"), world.wall())
        before = tables.tables["app"].spec
        start(world, "w0", TableConfig(tags={"team": "billing"}))
        await asyncio.sleep(10)
        assert (tables.tables["app"].spec, tables.tables["app"].point_in_time_recovery) == (before, False)
        await world.stop()

    run(main, until=600)


def test_a_table_with_another_key_is_refused() -> None:
    """The start ends with a typed error that names table and key, and nothing is written (F38)."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        tables = world.services.tables
        tables.create_table(TableSpec(name="app", key_attribute="id"), world.wall())
        with pytest.raises(InvalidInput, match="table must be one whose only key is leaseKey; app is another.*id"):
            await world.worker("w0").serve()
        assert list(tables.scan_page("app", world.wall()).items) == []

    run(main, until=600)
