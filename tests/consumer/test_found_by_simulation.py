"""Faults that simulation found, each as the smallest story that shows it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from shardline.common.hashing import HashRange
from shardline.common.ports.kinesis import ChildShard
from shardline.consumer.leases.held import HeldState
from shardline.consumer.leases.row import LeaseRow
from shardline.consumer.lineage import are_all_children
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.rows import WRITES, Book, at
from tests.consumer.world import QUICK, World

if TYPE_CHECKING:
    from collections.abc import Callable

PARENT = LeaseRow(key="p", counter=1, checkpoint=at(1), shard_id="p", hash_range=HashRange(10, 19))


def test_a_restart_credits_no_renewal_that_it_did_not_send_itself() -> None:
    """A late renewal of the earlier process moved the counter: the adoption needs a write of its own."""
    book = Book()
    book.create()
    book.write(WRITES.assign(book.row(), "me"))
    lease = book.holder("me", WRITES.renew(book.row()))
    book.write(WRITES.renew(book.row()))
    book.now = 3.0
    book.step(lease)
    assert lease.state is HeldState.ACQUIRING
    book.now = 4.0
    book.step(lease)
    assert (lease.state, lease.valid_since, lease.token) == (HeldState.HELD, 4.0, 3)


@pytest.mark.parametrize(
    ("children", "believed"),
    [
        ([("a", ("p",), 10, 14), ("b", ("p",), 15, 19)], True),
        ([("a", ("p",), 10, 14)], False),
        ([("b", ("p",), 15, 19)], False),
        ([("m", ("p", "q"), 10, 29)], True),
        ([("m", ("p",), 10, 29)], False),
        ([("a", ("q",), 10, 19)], False),
        ([], False),
    ],
)
def test_a_shards_end_is_believed_with_all_its_children_only(
    children: list[tuple[str, tuple[str, ...], int, int]], believed: bool
) -> None:
    """A child that is missing, or a merged child without its second parent, means that the list is not whole yet."""
    named = [ChildShard(name, parents, HashRange(low, high)) for name, parents, low, high in children]
    assert are_all_children(PARENT.shard_id, PARENT.hash_range, named) is believed


def _split_thrice(world: World) -> None:
    world.split()
    world.split()
    world.split(2)


def _split_and_merged(world: World) -> None:
    world.split()
    world.merge()


def _one_half_split_again(world: World) -> None:
    world.split()
    world.split()


@pytest.mark.parametrize("reshard", [_split_thrice, _split_and_merged, _one_half_split_again])
@pytest.mark.parametrize("start", ["TRIM_HORIZON", "LATEST"])
def test_what_follows_shards_that_retention_took_is_read_at_once(reshard: Callable[[World], None], start: str) -> None:
    """A shard is over, and so are children of its, which never had a lease: no audit is needed to read what is open.

    Seed 154 of the swarm: SHARD_END was stored for the shard, and nothing stood for its grandchildren any more.
    """

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        leases = replace(QUICK, audit_s=86_400.0)
        world.start("w0", start=start, leases=leases)
        await asyncio.sleep(10)
        await world.load(3)
        await world.drained()
        await world.stop()
        reshard(world)
        await asyncio.sleep(25 * 3600)
        world.start("w1", start=start, leases=leases)
        await asyncio.sleep(10)
        await world.load(3)
        await world.drained(30)
        await world.stop()
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])

    run(main, until=30 * 3600)


def test_a_worker_that_leaves_gives_back_what_it_was_assigned_a_moment_before() -> None:
    """A lease that it had not begun would stand still for the fail-over time, in each step of a rolling deploy."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        for name in ("w0", "w1"):
            world.start(name)
        await world.load(20)
        await world.drained()
        (moved,) = (key for key, row in world.rows().items() if row.owner == "w0")
        counter = world.rows()[moved].counter
        world.workers["w1"].stop()
        world.overwrite(moved, leaseOwner="w1", leaseCounter=counter + 1)  # As a leader does who has not seen it go.
        await world.stop("w1")
        assert world.rows()[moved].owner != "w1"
        await world.load(5)
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder) == ([], [])

    run(main, until=600)
