"""Failure policies and concurrency: nothing skipped unless parked, keys in order, checkpoints behind the first gap."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.errors import HandlerGaveUp, InvalidInput
from shardline.common.ports.kinesis import StartAt, StartKind, Stream
from shardline.consumer.checkpoint import GapTracker
from shardline.consumer.events import HandlerFailed, RecordParked
from shardline.consumer.parking import FileLot, StreamLot
from shardline.consumer.policy import FailurePolicy, Parked, Then, park_record, per_key, stop_worker
from shardline.consumer.worker import Worker
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.rows import at
from tests.consumer.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shardline.consumer.handler import Batch, Record


@given(st.permutations(range(12)), st.integers(0, 12))
def test_the_checkpoint_stands_below_the_first_gap(order: list[int], finished: int) -> None:
    """For any order of finishing: done is the highest position with nothing open below, and never moves back."""
    tracker = GapTracker()
    for number in range(12):
        tracker.open(at(number))
    done = -1
    for number in order[:finished]:
        tracker.finish(at(number))
        gap = min(set(range(13)) - set(order[: order.index(number) + 1]))
        assert tracker.done == (at(gap - 1) if gap else None)
        assert gap - 1 >= done
        done = gap - 1
        assert len(tracker) == 12 - gap


def test_a_final_failure_is_told_by_attempts_or_age() -> None:
    """Whichever limit is reached first; without a policy never."""
    assert not FailurePolicy().gives_up(1_000_000, 1e9)
    both = stop_worker(attempts=3, age_s=60)
    assert [both.gives_up(*how) for how in ((1, 0.0), (2, 59.9), (3, 0.0), (2, 60.0))] == [False, False, True, True]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: park_record(print),
        lambda: park_record(print, attempts=0),
        lambda: park_record(print, attempts=True),
        lambda: stop_worker(age_s=float("nan")),
        stop_worker,
        lambda: FailurePolicy(then=Then.PARK, attempts=1),
        lambda: FailurePolicy(lot=print),
        lambda: per_key(0),
        lambda: per_key(True),
        lambda: per_key(10_001),
        lambda: Worker("app", streams="s").add_handler(print, batch=True, concurrency=per_key(2)),
    ],
)
def test_policies_out_of_range_are_refused(wrong: Callable[[], object]) -> None:
    """Limits, lots and lanes are checked where they are written."""
    with pytest.raises(InvalidInput):
        wrong()


@pytest.mark.parametrize(
    "mode", ["record", "batch", "blocking record", "blocking batch", "per key", "blocking per key"]
)
def test_a_poison_record_is_parked_and_its_shard_goes_on(mode: str) -> None:
    """After the last attempt the record stands in the lot, whole; everything else is delivered, in order (P1, P2)."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        lot: list[Parked] = []

        def handle(record: Record) -> None:
            if int(record.data) % 50 == 25:
                raise ValueError("poison")
            if int(record.data) not in world.seen:
                world.saw(record)

        async def one(record: Record) -> None:
            await asyncio.sleep(0)
            handle(record)

        async def many(batch: Batch) -> None:
            for record in batch:
                handle(record)

        def blocking(batch: Batch) -> None:
            for record in batch:
                handle(record)

        handlers = {"record": one, "batch": many, "blocking record": handle, "blocking batch": blocking}
        function = handlers.get(mode, one if mode == "per key" else handle)
        world.start(
            "w0",
            function,  # type: ignore[arg-type]  # One of the kinds.
            batch="batch" in mode,
            concurrency=per_key(4) if "per key" in mode else None,
            on_failure=park_record(lot.append, attempts=3),
        )
        await world.load(10, per_aggregate=4)
        await asyncio.sleep(60)
        await world.stop()
        assert sorted(int(parked.data) for parked in lot) == [25, 75, 125, 175] == world.lost
        assert {parked.attempts for parked in lot} == {3}
        assert {parked.reason for parked in lot} == {"ValueError"}
        assert len(world.named(RecordParked)) == 4
        assert world.disorder == []
        assert all(row.checkpoint.sequence_number > 0 for row in world.rows().values())
        assert "ValueError" in repr(lot[0])
        assert str(lot[0].data) not in repr(lot[0])

    run(main, until=600)


def test_a_lot_that_fails_holds_the_shard() -> None:
    """A record is not let go before the lot has taken it; the checkpoint stays below it."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        lot: list[Parked] = []
        full = True

        async def park(parked: Parked) -> None:
            if full:
                raise OSError("no space")
            lot.append(parked)

        async def handle(record: Record) -> None:
            if record.data == b"7":
                raise ValueError("poison")
            world.saw(record)

        world.start("w0", handle, on_failure=park_record(park, age_s=2.0))
        await world.load(30)
        row = next(iter(world.rows().values()))
        assert len(world.seen) == 7
        full = False
        await asyncio.sleep(40)
        assert row.checkpoint < next(iter(world.rows().values())).checkpoint
        assert [parked.data for parked in lot] == [b"7"]
        await world.stop()
        assert world.lost == [7]

    run(main, until=600)


def test_a_policy_can_stop_the_worker() -> None:
    """The leases are given back, then serving raises where and why; nothing is skipped."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()

        async def handle(record: Record) -> None:
            if record.data == b"30":
                raise ValueError("poison")
            world.saw(record)

        world.start("w0", handle, on_failure=stop_worker(attempts=2))
        await world.load(20)
        with pytest.raises(HandlerGaveUp, match=r"failed 2 times at \d+/0 of shardId-.*ValueError"):
            await world.leaving.pop("w0")
        assert all(row.owner is None for row in world.rows().values())
        assert len(world.named(HandlerFailed)) == 2
        world.start("w1")
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder, world.duplicates) == ([], [], 0)

    run(main, until=600)


@pytest.mark.parametrize("seed", range(4))
def test_keys_run_side_by_side_and_each_in_order(seed: int) -> None:
    """Several records of a shard at a time, one of a key at a time; a graceful restart redelivers nothing."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        running: dict[str | None, int] = defaultdict(int)
        most = 0

        async def handle(record: Record) -> None:
            nonlocal most
            running[record.partition_key] += 1
            assert running[record.partition_key] == 1, "two records of one key at a time"
            most = max(most, sum(running.values()))
            await asyncio.sleep(sim.random.random() * 0.2)
            running[record.partition_key] -= 1
            world.saw(record)

        for turn in range(3):
            world.start(f"w{turn}", handle, concurrency=per_key(8))
            await world.load(6, per_second=30)
            await world.stop()
        world.start("last", handle, concurrency=per_key(8))
        await world.drained()
        await world.stop()
        assert (world.lost, world.disorder, world.duplicates) == ([], [], 0)
        assert 4 <= most <= 8

    run(main, seed=seed, until=600)


def test_a_crash_between_lanes_loses_nothing() -> None:
    """The checkpoint stands below the first record that is not done, whatever was finished above it (I3)."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()

        async def handle(record: Record) -> None:
            await asyncio.sleep(20 if record.data == b"10" else 0.1)
            world.saw(record)

        world.start("w0", handle, concurrency=per_key(16))
        world.put(100)
        await asyncio.sleep(12)
        assert len(world.seen) > 50
        stored = next(iter(world.rows().values())).checkpoint
        world.crash("w0")
        assert 10 not in world.seen
        world.start("w1")
        await world.drained()
        await world.stop()
        assert world.lost == []
        assert world.duplicates >= len(world.seen) - 60
        assert stored < next(iter(world.rows().values())).checkpoint

    run(main, until=600)


def test_the_file_lot_keeps_a_record_whole(tmp_path: Path) -> None:
    """One JSON object per line, bytes and all."""
    lot = FileLot(tmp_path / "parked.jsonl")
    parked = Parked(
        stream="orders",
        shard_id="shardId-000000000000",
        sequence_number="5",
        sub_sequence_number=2,
        partition_key=None,
        explicit_hash_key="7",
        data=b"\x00\xff",
        headers={"a": "b"},
        arrival_time_s=1.5,
        reason="ValueError",
        attempts=3,
        parked_at_s=2.5,
    )
    lot(parked)
    lot(parked)
    first, second = (json.loads(line) for line in lot.path.read_text().splitlines())
    assert first == second
    assert base64.b64decode(first["data"]) == b"\x00\xff"
    assert {name: first[name] for name in ("partition_key", "sub_sequence_number", "headers", "attempts")} == {
        "partition_key": None,
        "sub_sequence_number": 2,
        "headers": {"a": "b"},
        "attempts": 3,
    }
    with pytest.raises(OSError, match="directory"):
        FileLot(tmp_path)(parked)


def test_a_stream_as_parking_lot() -> None:
    """A parked record stands, whole, in the other stream before its shard goes on; while that is away, it waits."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        seen: list[bytes] = []

        async def handle(record: Record) -> None:
            if record.data == b"1":
                raise ValueError("no")
            seen.append(record.data)

        world.put(3)
        lot = StreamLot("parked", connection=world.services)
        world.start("w0", handle, on_failure=park_record(lot, attempts=2))
        await asyncio.sleep(20)
        assert seen == [b"0"]
        await world.create("parked")
        await asyncio.sleep(60)
        assert seen == [b"0", b"2"]
        await world.stop()
        async with world.services.kinesis() as kinesis:
            begin, shard = StartAt(StartKind.TRIM_HORIZON), "shardId-000000000000"
            iterator = await kinesis.get_shard_iterator(Stream("parked"), shard, begin, timeout_s=1)
            (record,) = (await kinesis.get_records(Stream("parked"), iterator, limit=10, timeout_s=1)).records
        item = json.loads(record.data)
        assert record.partition_key == item["partition_key"] == "k1"
        assert (base64.b64decode(item["data"]), item["reason"], item["attempts"]) == (b"1", "ValueError", 2)

    run(main, until=600)
