"""The faulty network: each kind of fault does to a call what it says, no more, and counts itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import Ambiguous, InvalidInput, NotFound, Throttled, Unreachable
from shardline.common.ports.kinesis import PutEntry, StartAt, StartKind, Stream
from shardline.common.ports.lease_store import Absent, Key, Put, TableSpec, Update, UpdateItem
from shardline.local.sim import Simulation
from shardline.local.sim.doors import SimServices
from shardline.local.sim.network import Cut, Fault, Faults, Network, Service
from shardline.local.state.core import KinesisState
from shardline.local.tables.core import LeaseTables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shardline.common.ports.kinesis import KinesisApi
    from shardline.common.ports.lease_store import LeaseStore

STREAM = Stream("orders")
WRITE = Put("leases", {"leaseKey": "s", "leaseCounter": 0}, (Absent("leaseKey"),))


class World:
    """One host's view of a stream of two shards and a table, through a network."""

    def __init__(self, seed: int = 1) -> None:
        self.sim = Simulation(seed, until_s=10_000)
        self.network = Network(self.sim)
        self.state = KinesisState()
        self.tables = LeaseTables()
        self.services = SimServices(self.network, self.state, self.tables)
        self.state.create_stream("orders", 2, now=self.sim.wall_s)
        self.tables.create_table(TableSpec(name="leases", key_attribute="leaseKey"), self.sim.wall_s)

    def always(self, fault: Fault) -> None:
        """Let every call meet one fault."""
        self.network.scripted = lambda _: fault

    def run(self, main: Callable[[KinesisApi, LeaseStore], Awaitable[None]]) -> None:
        """Run `main` with both ports on the simulation's own host."""

        async def with_ports(_: Simulation) -> None:
            async with self.services.kinesis() as kinesis, self.services.lease_store() as store:
                await main(kinesis, store)

        with self.sim:
            self.sim.run(with_ports)

    @property
    def counter(self) -> object:
        """The counter of the one row, as it truly stands."""
        item = self.tables.get("leases", Key("leaseKey", "s"), self.sim.wall_s, consistent=True)
        return None if item is None else item["leaseCounter"]


@pytest.mark.parametrize(
    ("fault", "error", "applied"),
    [
        (Fault.REQUEST_LOST, Ambiguous, False),
        (Fault.REPLY_LOST, Ambiguous, True),
        (Fault.ERROR_BEFORE, Ambiguous, False),
        (Fault.ERROR_AFTER, Ambiguous, True),
        (Fault.THROTTLED, Throttled, False),
        (Fault.UNREACHABLE, Unreachable, False),
    ],
)
def test_a_fault_does_what_it_says(fault: Fault, error: type[Exception], applied: bool) -> None:
    """The caller learns what a real one would, and the write is in the table or not, as the fault's name says."""
    world = World()
    world.always(fault)

    async def main(_: KinesisApi, store: LeaseStore) -> None:
        begin = world.sim.now
        with pytest.raises(error):
            await store.write(WRITE, timeout_s=3)
        assert world.sim.now - begin <= 3.001
        await asyncio.sleep(100)

    world.run(main)
    assert (world.counter == 0) is applied
    assert world.network.count[fault] == 1


def test_a_late_request_applies_after_its_caller_gave_up() -> None:
    """A late apply lands up to `late_s` later, when the caller has its time-out."""
    world = World()
    world.network.set_faults(Service.DYNAMODB, Faults(late=1.0, late_s=30))

    async def main(_: KinesisApi, store: LeaseStore) -> None:
        with pytest.raises(Ambiguous):
            await store.write(WRITE, timeout_s=0.5)
        gave_up = world.counter
        await asyncio.sleep(31)
        assert (gave_up, world.counter) == (None, 0)

    world.run(main)


def test_a_doubled_request_answers_the_second_time() -> None:
    """Applied twice (a hidden retry): the caller of a conditional write is told that its condition failed."""
    world = World()
    world.always(Fault.TWICE)

    async def main(_: KinesisApi, store: LeaseStore) -> None:
        result = await store.write(WRITE, timeout_s=3)
        assert (result.applied, world.counter) == (False, 0)

    world.run(main)


def test_partitions_cut_one_host_from_one_service() -> None:
    """A partition concerns its host, its service and its direction; mending ends it."""
    world = World()

    async def main(kinesis: KinesisApi, store: LeaseStore) -> None:
        network, host = world.network, world.sim.main_host
        network.cut(host, Service.DYNAMODB, Cut.REPLIES)
        with pytest.raises(Ambiguous):
            await store.write(WRITE, timeout_s=1)
        assert world.counter == 0
        assert await kinesis.list_shards(STREAM, timeout_s=1)
        network.mend(host, Service.DYNAMODB)
        assert not (await store.write(WRITE, timeout_s=1)).applied

    world.run(main)


@pytest.mark.parametrize(("way", "applied"), [(Cut.WRITES, None), (Cut.LATE_REQUESTS, 0)])
def test_a_partition_may_lose_writes_alone_or_hold_requests_up(way: Cut, applied: int | None) -> None:
    """Lost writes leave reads alone; a request that was held up applies when its sender has long given up."""
    world = World()

    async def main(_kinesis: KinesisApi, store: LeaseStore) -> None:
        world.network.cut(world.sim.main_host, Service.DYNAMODB, way)
        with pytest.raises(Ambiguous):
            await store.write(WRITE, timeout_s=0.001)
        assert world.counter is None
        await asyncio.sleep(31)
        assert world.counter == applied
        if way is Cut.WRITES:
            assert await store.get("leases", Key("leaseKey", "s"), consistent=True, timeout_s=1) is None

    world.run(main)


def test_storms_and_outages_end() -> None:
    """A throttle storm and an outage refuse calls for as long as they last."""
    world = World()

    async def main(kinesis: KinesisApi, _store: LeaseStore) -> None:
        world.network.outage(Service.KINESIS, 10)
        with pytest.raises(Ambiguous):
            await kinesis.list_shards(STREAM, timeout_s=1)
        await asyncio.sleep(10)
        world.network.storm(Service.KINESIS, 10)
        throttled = 0
        for _ in range(50):
            try:
                await kinesis.list_shards(STREAM, timeout_s=1)
            except Throttled:
                throttled += 1
        assert 25 < throttled < 50
        await asyncio.sleep(10)
        assert len((await kinesis.list_shards(STREAM, timeout_s=1)).shards) == 2

    world.run(main)


def test_put_records_entries_fail_singly() -> None:
    """Failing entries say an error code and are not stored; the others are, each at its own place in the answer."""
    world = World()
    world.network.set_faults(Service.KINESIS, Faults(entries=1.0))

    async def main(kinesis: KinesisApi, _: LeaseStore) -> None:
        entries = [PutEntry(b"%d" % number, "key") for number in range(40)]
        outcomes = await kinesis.put_records(STREAM, entries, timeout_s=1)
        good = [o for o in outcomes if o.error_code is None]
        assert len(outcomes) == 40
        assert 0 < len(good) < 40
        world.network.heal()
        (shard_id,) = {o.shard_id for o in good if o.shard_id}
        iterator = await kinesis.get_shard_iterator(STREAM, shard_id, StartAt(StartKind.TRIM_HORIZON), timeout_s=1)
        page = await kinesis.get_records(STREAM, iterator, limit=100, timeout_s=1)
        assert [r.sequence_number for r in page.records] == [o.sequence_number for o in good]
        assert [r.data for r in page.records] == [b"%d" % i for i, o in enumerate(outcomes) if o.error_code is None]

    world.run(main)


def test_answers_are_distorted() -> None:
    """Empty pages keep their iterator, shards hide or repeat, existing shards are not found: each when asked for."""
    world = World()

    async def main(kinesis: KinesisApi, _: LeaseStore) -> None:
        network = world.network
        world.state.split_shard(STREAM, "shardId-000000000000", str(2**100), now=world.sim.wall_s)
        network.set_faults(Service.KINESIS, Faults(shards_hidden=1.0, shards_doubled=1.0))
        listed = [s.shard_id for s in (await kinesis.list_shards(STREAM, timeout_s=1)).shards]
        assert len(set(listed)) == 3
        assert len(listed) == 4
        network.set_faults(Service.KINESIS, Faults(empty_pages=1.0))
        start = StartAt(StartKind.TRIM_HORIZON)
        iterator = await kinesis.get_shard_iterator(STREAM, "shardId-000000000000", start, timeout_s=1)
        page = await kinesis.get_records(STREAM, iterator, limit=10, timeout_s=1)
        assert (page.records, page.next_iterator) == ((), iterator)
        network.set_faults(Service.KINESIS, Faults(children_hidden=1.0))
        page = await kinesis.get_records(STREAM, iterator, limit=10, timeout_s=1)
        assert (page.next_iterator, len(page.child_shards)) == (None, 0)
        network.set_faults(Service.KINESIS, Faults(not_found=1.0))
        with pytest.raises(NotFound):
            await kinesis.get_records(STREAM, iterator, limit=10, timeout_s=1)

    world.run(main)


def test_reads_may_show_the_past() -> None:
    """Stale scans and gets show an older row in some cases; consistent ones never do."""
    world = World()
    world.network.set_faults(Service.DYNAMODB, Faults(stale_s=10))
    key = Key("leaseKey", "s")

    async def main(_: KinesisApi, store: LeaseStore) -> None:
        await store.write(WRITE, timeout_s=1)
        old = 0
        for number in range(1, 40):
            await asyncio.sleep(1)
            await store.write(UpdateItem("leases", key, Update(add={"leaseCounter": 1})), timeout_s=1)
            consistent = await store.get("leases", key, consistent=True, timeout_s=1)
            assert consistent is not None
            assert consistent["leaseCounter"] == number
            page = await store.scan_page("leases", timeout_s=1)
            old += not page.items or page.items[0]["leaseCounter"] != number
        assert 5 < old < 35

    world.run(main)
    assert world.network.count["stale scan"] > 5


def test_one_seed_is_one_trace_through_the_network() -> None:
    """Faults are drawn from the seed: equal seeds count the same faults and end at the same trace."""

    def trace(seed: int) -> tuple[str, dict[str, int]]:
        world = World(seed)
        world.network.set_faults(Service.DYNAMODB, Faults(request_lost=0.1, reply_lost=0.1, slow=0.2, hung=0.1))

        async def main(_: KinesisApi, store: LeaseStore) -> None:
            async def client() -> None:
                for _ in range(30):
                    try:
                        await store.write(WRITE, timeout_s=2)
                    except Ambiguous:
                        await asyncio.sleep(world.sim.random.random())

            await asyncio.gather(*(client() for _ in range(3)))

        world.run(main)
        return world.sim.trace, dict(world.network.count)

    assert trace(3) == trace(3)
    assert trace(3)[0] != trace(4)[0]


def test_shares_are_checked() -> None:
    """Shares outside 0 to 1, and exclusive ones that add up to more than 1, are refused by name."""
    with pytest.raises(InvalidInput, match="entries"):
        Faults(entries=1.5)
    with pytest.raises(InvalidInput, match="faults"):
        Faults(late=0.6, slow=0.6)
