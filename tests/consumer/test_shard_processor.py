"""Processors: the order of their calls, checkpoints that only they store, and what wrong checkpoints meet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import CheckpointAhead, CheckpointBackwards, InvalidInput, LeaseGone
from shardline.common.records import LATEST, SHARD_END, TRIM_HORIZON, Position
from shardline.consumer.events import HandlerFailed, LeaseLost
from shardline.consumer.policy import park_record
from shardline.consumer.processor import Checkpointer, ShardLease, ShardProcessor
from shardline.consumer.worker import Worker
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.world import World

if TYPE_CHECKING:
    from shardline.consumer.handler import Batch
    from shardline.consumer.policy import Parked

FIRST = "shardId-000000000000"


class Porter(ShardProcessor):
    """Counts what it gets in its world, checkpoints each batch, and writes its calls down."""

    def __init__(self, world: World, calls: list[str], *, checkpoints: bool = True) -> None:
        self.world = world
        self.calls = calls
        self.checkpoints = checkpoints

    async def initialize(self, lease: ShardLease) -> None:
        """Note where it begins."""
        self.calls.append(f"initialize {lease.shard_id[-1]}")

    async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
        """Count the records."""
        for record in batch:
            self.world.saw(record)
        if self.checkpoints:
            await checkpointer.checkpoint()

    async def lease_lost(self) -> None:
        """Note it."""
        self.calls.append("lost")

    async def shard_ended(self, checkpointer: Checkpointer) -> None:
        """Note it, and checkpoint."""
        self.calls.append("ended")
        await checkpointer.checkpoint()

    async def shutdown_requested(self, checkpointer: Checkpointer) -> None:
        """Note it."""
        self.calls.append(f"requested {'behind' if checkpointer.stored < checkpointer.largest else 'done'}")


def test_the_calls_come_in_order() -> None:
    """From `initialize` to `shard_ended` or to `shutdown_requested` and `lease_lost`; nothing lost, nothing twice."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        calls: list[str] = []
        world.start("w0", processor=lambda: Porter(world, calls))
        await world.load(5, per_aggregate=3)
        world.split()
        await world.load(10, per_aggregate=3)
        await world.drained()
        await world.stop()
        assert calls[:2] == ["initialize 0", "ended"]
        assert sorted(calls[2:4]) == ["initialize 1", "initialize 2"]
        assert sorted(calls[4:]) == ["lost", "lost", "requested done", "requested done"]
        assert world.rows()[FIRST].checkpoint == SHARD_END
        world.start("w1", processor=lambda: Porter(world, calls))
        await world.load(5)
        await world.drained()
        await world.stop()
        assert (world.lost, world.duplicates, world.disorder) == ([], 0, [])

    run(main, until=600)


def test_nobody_checkpoints_for_a_processor() -> None:
    """One that never does gets everything again, however often it is stopped in peace."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        calls: list[str] = []
        for turn in range(2):
            world.start(f"w{turn}", processor=lambda: Porter(world, calls, checkpoints=False))
            await world.load(5, per_second=2)
            await asyncio.sleep(10)
            await world.stop()
            assert world.rows()[FIRST].checkpoint == TRIM_HORIZON
        assert calls == ["initialize 0", "requested behind", "lost"] * 2
        assert world.duplicates == 10

    run(main, until=600)


def test_a_start_at_latest_that_never_checkpoints_begins_there_again() -> None:
    """KCL #580, #734: a crash and a restart neither jump over what came since the first start, nor go before it."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(10)
        world.acknowledged.clear()
        await asyncio.sleep(60)
        calls: list[str] = []
        for turn in range(3):
            world.start(f"w{turn}", start="LATEST", processor=lambda: Porter(world, calls, checkpoints=False))
            await world.load(5, per_second=2)
            await asyncio.sleep(10)
            world.crash(f"w{turn}")
            await world.load(5, per_second=2)
            assert world.rows()[FIRST].checkpoint == LATEST
        world.start("last", start="LATEST", processor=lambda: Porter(world, calls, checkpoints=False))
        await world.drained()
        await world.stop()
        assert calls.count("initialize 0") == 4
        assert world.lost == []
        assert min(world.seen) == 10
        assert world.seen[10] == 4

    run(main, until=900)


def test_wrong_checkpoints_are_refused() -> None:
    """Ahead, backwards, negative, or after the loss of the lease: a typed error, and the table is unchanged (F37)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        kept: list[Checkpointer] = []
        checked: list[str] = []

        class Wrong(ShardProcessor):
            async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
                kept.append(checkpointer)
                records = list(batch)
                await checkpointer.checkpoint(records[2])
                stored = world.rows()[FIRST].checkpoint
                assert stored == records[2].position == checkpointer.stored
                last = records[-1].position
                with pytest.raises(CheckpointAhead):
                    await checkpointer.checkpoint(Position(last.sequence_number, last.sub_sequence_number + 1))
                with pytest.raises(CheckpointAhead):
                    await checkpointer.checkpoint(SHARD_END)
                with pytest.raises(CheckpointBackwards):
                    await checkpointer.checkpoint(records[1])
                with pytest.raises(CheckpointBackwards):
                    await checkpointer.prepare(TRIM_HORIZON)
                with pytest.raises(InvalidInput, match="sub_sequence_number"):
                    await checkpointer.checkpoint(Position(last.sequence_number, -1))
                await checkpointer.checkpoint(records[2])
                assert world.rows()[FIRST].checkpoint == stored
                checked.append(repr(checkpointer))

        world.put(6, per_aggregate=6)
        world.start("w0", processor=Wrong)
        await asyncio.sleep(10)
        await world.stop()
        assert world.named(HandlerFailed) == []
        assert len(checked) == 1
        before = world.rows()[FIRST]
        with pytest.raises(LeaseGone):
            await kept[0].checkpoint()
        assert world.rows()[FIRST] == before

    run(main, until=600)


def test_a_prepared_checkpoint_outlives_a_crash() -> None:
    """The next owner finds position and state at `initialize`, and the commit removes them (two-phase)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(5)
        found: list[ShardLease] = []

        class TwoPhase(ShardProcessor):
            async def initialize(self, lease: ShardLease) -> None:
                found.append(lease)

            async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
                prepared = await checkpointer.prepare(state=b"42")
                if len(found) == 1:
                    await asyncio.sleep(1000)
                await prepared.checkpoint()
                assert prepared.position == batch.last

        world.start("w0", processor=TwoPhase)
        await asyncio.sleep(10)
        pending = world.rows()[FIRST].pending
        assert pending is not None
        world.crash("w0")
        world.start("w1", processor=TwoPhase)
        await asyncio.sleep(30)
        assert [lease.pending for lease in found] == [None, pending]
        assert (pending.state, found[1].checkpoint) == (b"42", TRIM_HORIZON)
        assert found[1].token > found[0].token
        row = world.rows()[FIRST]
        assert (row.checkpoint, row.pending) == (pending.position, None)
        await world.stop()

    run(main, until=2000)


def test_a_shard_end_must_be_checkpointed() -> None:
    """`shard_ended` is called again, and said to be missing its checkpoint, until it stores one; children wait."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        calls: list[str] = []

        class Forgetful(Porter):
            async def shard_ended(self, checkpointer: Checkpointer) -> None:
                self.calls.append("ended")
                if self.calls.count("ended") > 3:
                    last = checkpointer.stored
                    await checkpointer.checkpoint(last)  # The last record's position means the end, even a second time.

        world.start("w0", processor=lambda: Forgetful(world, calls))
        await world.load(5)
        world.split()
        await world.load(10)
        await world.drained()
        await world.stop()
        assert calls[:5] == ["initialize 0", "ended", "ended", "ended", "ended"]
        errors = [event.as_fields()["error"] for event in world.named(HandlerFailed)]
        assert errors == ["ShardEndNotCheckpointed"] * 3
        assert world.rows()[FIRST].checkpoint == SHARD_END
        assert (world.lost, world.disorder) == ([], [])

    run(main, until=600)


def test_failures_are_retried_behind_the_checkpoint() -> None:
    """`initialize` comes until it succeeds; a batch comes again from behind what was checkpointed in it (story 15)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(6, per_aggregate=6)
        begun = 0

        class Shaky(ShardProcessor):
            async def initialize(self, lease: ShardLease) -> None:
                nonlocal begun
                begun += 1
                if begun < 3:
                    raise ConnectionError(lease.shard_id)

            async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
                for record in batch:
                    world.saw(record)
                    await checkpointer.checkpoint(record)
                    if record.sub_sequence_number in {1, 3}:
                        raise RuntimeError("half-way")

        world.start("w0", processor=Shaky)
        await world.drained()
        await world.stop()
        assert begun == 3
        assert (world.lost, world.duplicates) == ([], 0)
        errors = [event.as_fields()["error"] for event in world.named(HandlerFailed)]
        assert errors == ["ConnectionError"] * 2 + ["RuntimeError"] * 2

    run(main, until=600)


def test_a_lost_lease_ends_with_lease_lost() -> None:
    """The call that runs is cancelled, `lease_lost` comes last, and the next tenure has a processor of its own."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        calls: list[str] = []
        world.start("w0", processor=lambda: Porter(world, calls))
        await world.load(3)
        world.services.tables.write(world.deletion(FIRST), world.wall())
        await world.load(30)
        await world.drained()
        assert len(world.named(LeaseLost)) == 1
        assert calls == ["initialize 0", "lost", "initialize 0"]
        await world.stop()
        assert world.lost == []

    run(main, until=600)


def test_a_processor_may_park() -> None:
    """A failure policy finds the record that makes a processor fail, parks it, and goes on behind it."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        parked: list[bytes] = []

        async def lot(record: Parked) -> None:
            parked.append(record.data)

        class Picky(Porter):
            async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
                if any(record.data == b"7" for record in batch):
                    raise ValueError("seven")
                await super().process(batch, checkpointer)

        world.put(20)
        calls: list[str] = []
        world.start("w0", processor=lambda: Picky(world, calls), on_failure=park_record(lot, attempts=1))
        await asyncio.sleep(60)
        await world.stop()
        assert parked == [b"7"]
        assert world.lost == [7]
        assert (world.duplicates, world.disorder) == (0, [])

    run(main, until=600)


class Silent(ShardProcessor):
    """Takes records and does nothing with them."""

    async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
        """Do nothing."""


def test_registration_is_checked() -> None:
    """What cannot be called, and a second registration for a stream, are refused at once."""
    worker = Worker("app", streams="orders")
    with pytest.raises(InvalidInput, match="processor"):
        worker.add_processor(7)  # type: ignore[arg-type]  # The point of the test.
    worker.add_processor(Silent)
    with pytest.raises(InvalidInput, match="once"):
        worker.add_processor(Silent)
