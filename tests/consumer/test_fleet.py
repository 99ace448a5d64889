"""Fleets in the KCL 3 way, in virtual time: joining, assignment, hand-off, rescue, versions, layouts, golden rows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import Denied, InvalidInput
from shardline.common.ports.lease_store import Key, Put, TableSpec, Update, UpdateItem
from shardline.common.records import TRIM_HORIZON
from shardline.consumer.driver.joining import OWNER_INDEX
from shardline.consumer.events import (
    FleetVersionChanged,
    LeadershipChanged,
    LeaseAcquired,
    LeasesRescued,
    TaskFailed,
    WorkerStarted,
)
from shardline.consumer.fleet.assignment import Strategy
from shardline.consumer.fleet.startup import Fleet
from shardline.consumer.leases.row import NewLease, new_item
from shardline.local.doors.lease_store import MemoryLeaseStore
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.rows import golden_items
from tests.consumer.world import QUICK, World

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Item, Value


def items(world: World, table: str = "app") -> dict[str, Item]:
    """Return a table's items by key."""
    page = world.services.tables.scan_page(table, world.wall(), consistent=True)
    key = "leaseKey" if table == "app" else "key"
    return {str(item.get(key, item.get("wid"))): item for item in page.items}


def shape(item: Item) -> dict[str, type]:
    """Return an item's attributes with their types."""
    return {name: type(value) for name, value in item.items()}


def owners(world: World) -> set[str | None]:
    """Return who owns leases."""
    return {row.owner for row in world.rows().values()}


@pytest.mark.parametrize("seed", range(3))
def test_a_new_application_starts_whole_however_many_start_it(seed: int) -> None:
    """Five workers at once: one table, one index, one version item, one leader, everybody a full member."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=10)
        await world.create()
        for turn in range(5):
            world.start(f"w{turn}")
        await world.load(60)
        described = world.services.tables.describe_table("app", world.wall())
        assert described is not None
        assert [index.name for index in described.indexes] == [OWNER_INDEX.name]
        found = items(world)
        assert {name for name in found if not name.startswith("shardId")} == {
            "Leader",
            "Migration3.0",
            *(f"w{turn}" for turn in range(5)),
        }
        assert owners(world) == {f"w{turn}" for turn in range(5)}
        assert world.named(TaskFailed) == []
        assert len(world.named(WorkerStarted)) == 5
        await world.drained()
        await world.stop()
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])

    run(main, seed=seed, until=600)


def test_every_item_has_the_attributes_and_types_of_the_kcls() -> None:
    """Lease, metrics, lock and version items differ from KCL 3.5's in values and our private marks only (I20)."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("w2")
        await world.load(20)
        ours = items(world)
        golden = {str(item["leaseKey"]): item for item in golden_items("leases-fleet-before-split.json", "f35m")}
        private = {"shardline", "shardlineLatestPinMillis", "shardlineStream"}
        for key in ("Leader", "Migration3.0", "w2", "shardId-000000000000"):
            mine = {name: kind for name, kind in shape(ours[key]).items() if name not in private}
            assert mine == shape(golden[key]), key
        await world.stop()

    run(main, until=600)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_work_is_balanced_by_hand_offs_without_duplicates(strategy: Strategy) -> None:
    """A worker that joins gets its share gracefully: nothing is delivered twice, nothing lost (P6, I12)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=6)
        await world.create()
        leases = replace(QUICK, strategy=strategy)
        world.start("w0", leases=leases)
        await world.load(20)
        assert owners(world) == {"w0"}
        world.start("w1", leases=leases)
        world.start("w2", leases=leases)
        await world.load(100)
        spread = [row.owner for row in world.rows().values()]
        counts = sorted(spread.count(name) for name in ("w0", "w1", "w2"))
        assert counts == [2, 2, 2] if strategy is Strategy.LEASE_COUNT_BASED else counts[0] >= 1
        await world.drained()
        acquired = len(world.named(LeaseAcquired))
        await world.load(60)
        if strategy is Strategy.LEASE_COUNT_BASED:  # Uneven shards never weigh the same to within 10 %, as in the KCL.
            assert len(world.named(LeaseAcquired)) == acquired, "leases move although the fleet is balanced"
        await world.drained()
        await world.stop()
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])

    run(main, until=600)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("victim", ["leader", "other"])
def test_leases_of_a_dead_worker_move_within_the_bound(victim: str, seed: int) -> None:
    """After SIGKILL of anybody, the leader too, every lease is held again within 2 x fail-over + 2 x watch + 2 s."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=6)
        await world.create()
        for turn in range(4):
            world.start(f"w{turn}")
        await world.load(60)
        leader = next(name for name, event in world.events if isinstance(event, LeadershipChanged))
        dead = leader if victim == "leader" else next(name for name in sorted(world.leaving) if name != leader)
        held = {key for key, row in world.rows().items() if row.owner == dead}
        assert held
        world.crash(dead)
        died = sim.now
        bound = 2 * QUICK.failover_s + 2 * QUICK.failover_s / 5 + 2
        while owners(world) & {dead} and sim.now < died + 60:
            await world.load(1)
        assert sim.now - died <= bound + 1
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])
        if victim == "leader":
            assert world.named(LeasesRescued)

    run(main, seed=seed, until=600)


def test_a_dead_worker_is_given_nothing() -> None:
    """A worker whose leases stand still gets no others, though its last report is young for a minute."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=6)
        await world.create()
        world.start("w0")
        await world.load(10)
        world.start("w1")
        await world.load(20)
        assert owners(world) == {"w0", "w1"}
        world.crash("w1")
        await world.load(12)
        assert owners(world) == {"w0"}
        await world.load(40)
        assert owners(world) == {"w0"}
        await world.drained()
        await world.stop()
        assert world.lost == []

    run(main, until=600)


def test_a_worker_that_joins_gets_its_share_at_once() -> None:
    """The leader sees a new report within a watch period, and balances then."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=6)
        await world.create()
        world.start("w0")
        await world.load(21)
        joined = sim.now
        world.start("w1")
        while "w1" not in {row.owner for row in world.rows().values() if row.checkpoint_owner is None}:
            await world.load(1)
        assert sim.now - joined <= 4
        await world.stop()

    run(main, until=600)


def test_a_restart_with_the_same_id_picks_its_leases_up() -> None:
    """A worker that comes back under its own name renews what the table still gives it (F24, story 8)."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("w0")
        await world.load(10)
        world.crash("w0")
        await asyncio.sleep(0.5)
        restarted = sim.now
        world.start("w0")
        while len(world.named(LeaseAcquired)) < 4:  # noqa: ASYNC110 - virtual time costs nothing.
            await asyncio.sleep(0.1)
        assert sim.now - restarted < 2.0
        await world.drained()
        await world.stop()
        assert world.lost == []

    run(main, until=600)


def test_rows_without_entity_type_need_the_operators_word() -> None:
    """A table that may belong to a live 2.x fleet is left alone unless the operator says which fleet it is."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        tables = world.services.tables
        tables.create_table(TableSpec(name="app", key_attribute="leaseKey"), world.wall())
        new = NewLease(shard_id="shardId-000000000000", checkpoint=TRIM_HORIZON, parents=(), hash_range=None)
        bare = {name: value for name, value in new_item(new).items() if name != "entityType"}
        tables.write(Put("app", bare), world.wall())
        with pytest.raises(InvalidInput, match="kcl2 .* or kcl3"):
            await world.worker("w0").serve()
        assert set(items(world)) == {"shardId-000000000000"}
        world.start("w1", leases=replace(QUICK, fleet=Fleet.KCL2))
        await world.load(10)
        assert set(items(world)) == {"shardId-000000000000"}
        assert "entityType" not in items(world)["shardId-000000000000"]
        await world.stop()
        assert world.lost == []

    run(main, until=600)


def test_the_legacy_layout_is_kept_where_it_stands() -> None:
    """Beside KCL 3.0-3.4 everything but leases goes to their two tables, under their key names."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        tables = world.services.tables
        for name, key in (("app-CoordinatorState", "key"), ("app-WorkerMetricStats", "wid")):
            tables.create_table(TableSpec(name=name, key_attribute=key), world.wall())
        (version,) = golden_items("leases-kcl34.json", "s34-CoordinatorState")
        tables.write(Put("app-CoordinatorState", version), world.wall())
        world.start("w0")
        world.start("w1")
        await world.load(30)
        assert {key[:7] for key in items(world)} == {"shardId"}
        assert set(items(world, "app-CoordinatorState")) == {"Leader", "Migration3.0"}
        assert set(items(world, "app-WorkerMetricStats")) == {"w0", "w1"}
        await world.drained()
        await world.stop()
        assert world.lost == []
        assert set(items(world, "app-WorkerMetricStats")) == set()

    run(main, until=600)


def test_a_rollback_and_a_roll_forward_are_followed() -> None:
    """The operator's tool moves the fleet to the 2.x taker and back while it works."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=4)
        await world.create()
        leases = replace(QUICK, version_poll_s=5.0)

        def store(version: str) -> None:
            update = Update(set={"cv": version})
            world.services.tables.write(UpdateItem("app", Key("leaseKey", "Migration3.0"), update), world.wall())

        world.start("w0", leases=leases)
        await world.load(3)
        store("CLIENT_VERSION_3X_WITH_ROLLBACK")
        world.start("w1", leases=leases)
        await world.load(10)
        await world.stop("w0")
        world.start("w2", leases=leases)
        await world.load(10)
        store("CLIENT_VERSION_2X")
        await world.load(20)
        assert "Leader" not in items(world)
        store("CLIENT_VERSION_UPGRADE_FROM_2X")
        await world.load(10)
        store("CLIENT_VERSION_3X_WITH_ROLLBACK")
        await world.load(20)
        assert "Leader" in items(world)
        assert len(world.named(FleetVersionChanged)) == 6
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])
        assert items(world)["Migration3.0"]["cv"] == "CLIENT_VERSION_3X_WITH_ROLLBACK"

    run(main, until=600)


def test_a_worker_that_leaves_takes_its_row_along() -> None:
    """Leaving takes the worker's own row away, so that nobody assigns leases to it."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("w0")
        world.start("w1")
        await world.load(10)
        await world.stop("w1")
        assert "w1" not in items(world)
        await world.stop()
        assert {name for name in items(world) if not name.startswith("shardId")} == {"Migration3.0"}

    run(main, until=600)


def test_a_completed_table_migration_is_followed() -> None:
    """When a Java leader completes the move to one table, the lock, the reports and the version move with it."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        tables = world.services.tables
        for name, key in (("app-CoordinatorState", "key"), ("app-WorkerMetricStats", "wid")):
            tables.create_table(TableSpec(name=name, key_attribute=key), world.wall())
        (version,) = golden_items("leases-kcl34.json", "s34-CoordinatorState")
        tables.write(Put("app-CoordinatorState", version), world.wall())
        leases = replace(QUICK, version_poll_s=5.0)
        world.start("w0", leases=leases)
        world.start("w1", leases=leases)
        await world.load(20)
        moved = {name: value for name, value in version.items() if name != "key"}
        tables.write(
            Put("app", {**moved, "leaseKey": "Migration3.0", "entityType": "CLIENT_VERSION_MIGRATION"}), world.wall()
        )
        complete: dict[str, Value] = {
            "tm": "TABLE_MIGRATION_STATUS_COMPLETE",
            "mb": "java",
            "mts": 1,
            "entityType": "TABLE_MIGRATION",
        }
        tables.write(Put("app-CoordinatorState", {**complete, "key": "TableMigration3.5"}), world.wall())
        await world.load(40)
        assert {"Leader", "w0", "w1", "Migration3.0"} <= set(items(world))
        assert "Leader" not in items(world, "app-CoordinatorState")
        assert len(world.named(FleetVersionChanged)) == 2
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])

    run(main, until=600)


def test_a_start_that_is_not_permitted_says_so_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing permission for the index comes out as itself, naming action and resource, not in a group (F41)."""

    async def refuse(*_: object, **__: object) -> None:
        raise Denied("AccessDeniedException", "no", "dynamodb:UpdateTable", "table/app")

    monkeypatch.setattr(MemoryLeaseStore, "create_index", refuse)

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        with pytest.raises(Denied) as denied:
            await world.worker("w0").serve()
        assert (denied.value.action, denied.value.resource) == ("dynamodb:UpdateTable", "table/app")

    run(main, until=600)
