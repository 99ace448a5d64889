"""What is done to the lease table (F38, F39, F41): a typed error or a loud event, other leases unaffected."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.errors import Denied, InvalidInput
from shardline.common.hashing import HashRange
from shardline.common.ports.lease_store import Put
from shardline.common.records import SHARD_END
from shardline.consumer.config import Fleet, LeaseConfig
from shardline.consumer.events import CallFailed, LeaseLost, LeasesCreated, RowQuarantined, TaskFailed
from shardline.consumer.stream_events import HashRangesFilled, RowsBegunAgain, RowsDisputed, StreamRecreated
from shardline.local.doors.kinesis import InProcessKinesis
from shardline.local.doors.lease_store import MemoryLeaseStore
from shardline.local.doors.services import LocalServices
from shardline.local.sim.simulation import run

from tests.consumer.rows import golden_items
from tests.consumer.tampering import FIRST, SECOND, settled, told
from tests.consumer.world import QUICK, World

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Item
    from shardline.local.sim.simulation import Simulation


# --- F38: rows deleted, edited; the table cleared, dropped ---


@pytest.mark.parametrize("start", ["TRIM_HORIZON", "LATEST"])
@pytest.mark.parametrize("mode", [Fleet.AUTO, Fleet.KCL2])
def test_a_cleared_table_is_filled_again_at_a_safe_position(start: str, mode: Fleet) -> None:
    """All rows gone while the worker lags: it says so, and nothing that it had not read is jumped over by LATEST."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        leases = replace(QUICK, fleet=mode)
        world.start("w0", world.stuck, start=start, leases=leases)
        await asyncio.sleep(10)
        await world.load(20)
        for key in list(world.rows()):
            world.services.tables.write(world.deletion(key), world.wall())
        world.unstick()
        await world.load(60)
        await world.drained(60)
        await world.stop()
        assert world.lost == []
        assert {FIRST, SECOND} <= set(world.rows())
        assert "repair" in told(world, LeasesCreated, "reason")
        assert "deleted" in told(world, LeaseLost, "reason")

    run(main, until=900)


def test_a_deleted_row_harms_no_other() -> None:
    """One lease is lost, created again and read again; the other is not touched."""

    async def main(sim: Simulation) -> None:
        world = await settled(sim)
        before = world.rows()[SECOND]
        world.services.tables.write(world.deletion(FIRST), world.wall())
        await world.load(60)
        await world.drained()
        await world.stop()
        assert world.lost == []
        assert world.rows()[SECOND].counter > before.counter
        lost = [event.as_fields()["lease"] for event in world.named(LeaseLost)]
        assert lost.count(SECOND) == 1  # Given back at the end.

    run(main, until=900)


def test_an_edited_checkpoint_is_set_back_alone() -> None:
    """A number below the shard's first: that row begins anew, loudly; its neighbour keeps its place."""

    async def main(sim: Simulation) -> None:
        world = await settled(sim)
        await world.stop()
        world.overwrite(FIRST, checkpoint="17")
        kept = world.rows()[SECOND].checkpoint
        world.start("w1")
        await asyncio.sleep(60)
        await world.load(10)
        await world.drained()
        await world.stop()
        assert world.lost == []
        assert told(world, RowsBegunAgain, "leases") == {(FIRST,)}
        assert not world.named(StreamRecreated)
        assert world.rows()[SECOND].checkpoint > kept

    run(main, until=900)


def test_an_edit_under_a_worker_that_runs_is_never_written_over() -> None:
    """Whoever edits with the counter moved on takes the lease away: the worker begins again where the edit says."""

    async def main(sim: Simulation) -> None:
        world = await settled(sim)
        first = dict(world.seen)
        counter = world.rows()[FIRST].counter
        world.overwrite(FIRST, checkpoint="TRIM_HORIZON", checkpointSubSequenceNumber=0, leaseCounter=counter + 7)
        await world.load(30)
        await world.drained()
        await world.stop()
        assert world.lost == []
        again = [number for number, count in world.seen.items() if count > 1]
        assert again
        assert max(again) < len(first) + 20 * QUICK.failover_s / 3  # And what was read before a renewal noticed.

    run(main, until=900)


def test_a_dropped_table_is_said_and_survived() -> None:
    """Without its table the worker delivers nothing under old leases; with the table back it goes on by itself."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("w0")
        await world.load(10)
        await world.drained()
        kept = [dict(world.item(key)) for key in world.rows()]
        description = world.services.tables.describe_table("app", world.wall())
        assert description is not None
        world.services.tables.tables.pop("app")
        await world.load(30)
        seen = len(world.seen)
        await world.load(30)
        assert len(world.seen) == seen
        assert told(world, LeaseLost, "reason") == {"expired"}
        assert "ResourceNotFoundException" in told(world, TaskFailed, "error") | told(world, CallFailed, "error")
        world.start("w1")  # Whoever starts next makes it; a restored backup would do as well.
        await asyncio.sleep(5)
        for item in kept:
            world.services.tables.write(Put("app", item), world.wall())
        await world.load(60)
        await world.drained(60)
        await world.stop()
        assert world.lost == []

    run(main, until=900)


# --- F39: items of other kinds ---


def test_unknown_kinds_of_items_are_skipped_and_kept() -> None:
    """Whatever else stands in the table, of known and unknown kinds: not read, not written, not in the way."""
    strange: list[Item] = [
        {"leaseKey": "orders", "entityType": "STREAM", "streamId": "orders"},
        {"leaseKey": "future", "entityType": "SOMETHING_NEW", "leaseCounter": "no number"},
        {"leaseKey": "odd", "entityType": 7},
    ]

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("w0")
        await world.load(5)
        for item in strange:
            world.services.tables.write(Put("app", item), world.wall())
        await world.load(30)
        await world.drained()
        await world.stop()
        assert (world.lost, world.named(RowQuarantined), world.named(TaskFailed)) == ([], [], [])
        assert [world.item(str(item["leaseKey"])) for item in strange] == strange

    run(main, until=600)


# --- another application's table ---


def test_the_table_of_another_application_is_refused() -> None:
    """Rows that say which stream they are of: a typed error at start that names it, before anything is written."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        await world.create("refunds")
        world.start("w0")
        await world.load(10)
        await world.drained()
        await world.stop()
        before = {key: dict(world.item(key)) for key in world.rows()}
        with pytest.raises(InvalidInput, match="is of stream orders"):
            await world.worker("w1", streams="refunds").serve()
        assert {key: dict(world.item(key)) for key in world.rows()} == before

    run(main, until=600)


def test_a_java_fleets_table_for_another_stream_is_not_overwritten() -> None:
    """Its rows say nothing, its workers live: the checkpoints lie in no shard of ours; said, and not one is changed."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create("refunds")  # Older than the stream that is read, so that its numbers are below.
        world.start("w0", streams="refunds")
        for _ in range(10):
            world.put(5, stream="refunds")
            await asyncio.sleep(1)
        await world.stop()
        await world.create()
        for key in world.rows():
            world.overwrite(key, "shardlineStream")
        (report,) = [one for one in golden_items("leases-fleet-before-split.json", "f35m") if one["leaseKey"] == "w2"]
        before = {key: row.checkpoint for key, row in world.rows().items()}

        async def report_for_ever() -> None:
            while True:
                item = {**report, "lut": int(world.wall()), "slu": int(world.wall())}
                world.services.tables.write(Put("app", item), world.wall())
                await asyncio.sleep(10)

        java = asyncio.ensure_future(report_for_ever())
        await asyncio.sleep(1)
        world.start("w1")
        await world.load(60)
        java.cancel()
        await world.stop()
        assert {key: row.checkpoint for key, row in world.rows().items()} == before
        assert told(world, RowsDisputed, "others") == {("w2",)}
        assert not world.named(RowsBegunAgain)

    run(main, until=900)


def test_a_worker_in_the_wrong_region_harms_no_fleet() -> None:
    """A younger stream of the same name elsewhere: its shards look like a re-creation, but others read on (F17)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=4)
        await world.create()
        for name in ("w0", "w1"):
            world.start(name)
        await world.load(20)
        marks = {row.stream_mark for row in world.rows().values()}
        elsewhere = World(sim, shards=4)
        elsewhere.services = LocalServices(tables=world.services.tables, clock=sim.runtime.wall)
        await elsewhere.create()
        elsewhere.start("wrong")
        await world.load(120)
        await elsewhere.stop()
        await world.load(10)
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])
        assert elsewhere.named(RowsDisputed)
        assert not elsewhere.named(RowsBegunAgain)
        assert {row.stream_mark for row in world.rows().values()} == marks

    run(main, until=900)


# --- F41: permissions, times ---


@pytest.mark.parametrize(
    ("door", "method", "action"),
    [
        (MemoryLeaseStore, "describe_table", "dynamodb:DescribeTable"),
        (MemoryLeaseStore, "create_table", "dynamodb:CreateTable"),
        (MemoryLeaseStore, "scan_page", "dynamodb:Scan"),
        (MemoryLeaseStore, "write", "dynamodb:PutItem"),
        (MemoryLeaseStore, "get", "dynamodb:GetItem"),
        (InProcessKinesis, "list_shards", "kinesis:ListShards"),
    ],
)
def test_a_missing_permission_stops_the_start_by_name(
    door: Any, method: str, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What starting needs and may not do comes out as itself, with action and resource."""

    async def refuse(*_: object, **__: object) -> None:
        raise Denied("AccessDeniedException", "no", action, "table/app")

    monkeypatch.setattr(door, method, refuse)

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        with pytest.raises(Denied) as denied:
            await world.worker("w0").serve()
        assert (denied.value.action, denied.value.resource) == (action, "table/app")

    run(main, until=600)


@pytest.mark.parametrize(
    ("door", "method"),
    [(InProcessKinesis, "get_records"), (InProcessKinesis, "get_shard_iterator"), (MemoryLeaseStore, "query_index")],
)
def test_a_permission_lost_while_running_is_loud_and_harmless(door: Any, method: str) -> None:
    """Taken away for a minute: reported with the service's code, tried on, and nothing is lost when it is back."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        world.start("w0")
        await world.load(10)

        async def refuse(*_: object, **__: object) -> None:
            raise Denied("AccessDeniedException", "no", "action", "resource")

        given = getattr(door, method)
        setattr(door, method, refuse)
        try:
            await world.load(60)
        finally:
            setattr(door, method, given)
        await world.load(20)
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])
        if method != "get_shard_iterator":  # It is not called while readers are at it.
            assert "AccessDeniedException" in told(world, CallFailed, "error") | told(world, TaskFailed, "error")
            assert "action on resource" in told(world, CallFailed, "missing") | told(world, TaskFailed, "missing")

    run(main, until=900)


@pytest.mark.parametrize("failover_s", [3.0, 10.0, 30.0])
def test_a_lease_shorter_than_three_calls_is_refused(failover_s: float) -> None:
    """One hung call must not cost a lease: the time-out is a third of the lease at most, and says so."""
    assert LeaseConfig(failover_s=failover_s, call_timeout_s=failover_s / 3).times.timeout_s == failover_s / 3
    with pytest.raises(InvalidInput, match="call_timeout_s.*at most a third of failover_s"):
        LeaseConfig(failover_s=failover_s, call_timeout_s=failover_s / 3 + 0.01)


# --- rows without hash range ---


@pytest.mark.parametrize("mode", [Fleet.AUTO, Fleet.KCL2])
def test_missing_hash_ranges_are_filled_in_by_the_leader(mode: Fleet) -> None:
    """Old rows have none; the owner does not notice: its counter, owner and checkpoint are its own."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        leases = replace(QUICK, fleet=mode)
        world.start("w0", leases=leases)
        await world.load(10)
        world.split()
        await world.load(5)
        await world.drained()
        await world.stop()
        finished = {key for key, row in world.rows().items() if row.checkpoint == SHARD_END}
        ranges = {key: row.hash_range for key, row in world.rows().items()}
        for key in world.rows():
            world.overwrite(key, "startingHashKey", "endingHashKey")
        world.start("w1", leases=leases)
        await world.load(40)
        await world.drained()
        after = {key: row.hash_range for key, row in world.rows().items() if key not in finished}
        await world.stop()
        assert after == {key: found for key, found in ranges.items() if key in after}
        assert all(isinstance(found, HashRange) for found in after.values())
        assert (world.lost, world.duplicates) == ([], 0)
        filled = {key for leases in told(world, HashRangesFilled, "leases") for key in leases}
        assert filled == set(after)

    run(main, until=900)
