"""The asyncio producer end to end, in virtual time, against the in-memory stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.producer.config import StreamSettings
from shardline.producer.outcome import Delivered

from tests.producer.producer_world import World

if TYPE_CHECKING:
    from shardline.producer.producer import Producer


def test_record_is_delivered_with_its_place() -> None:
    """A put record is in the stream where its delivery says."""
    world = World()

    async def main(producer: Producer) -> None:
        outcome = await producer.send_and_wait(b"one", "k")
        assert isinstance(outcome, Delivered)
        assert world.lies({b"one": outcome}) == []

    world.run_with(main)
    assert world.data() == [b"one"]


def test_records_share_aggregates_by_shard() -> None:
    """Many records travel in one aggregate per shard, and each is where its own delivery says."""
    world = World()

    async def main(producer: Producer) -> None:
        sent = {b"%d" % n: await producer.send(b"%d" % n, f"key-{n % 50}") for n in range(1000)}
        report = await producer.flush()
        assert report.ok
        assert world.lies({data: one.outcome for data, one in sent.items()}) == []

    world.run_with(main)
    assert sorted(world.data()) == sorted(b"%d" % n for n in range(1000))
    assert len({one.sequence_number for one in world.stored}) == 2
    assert all(one.kept for one in world.stored)


def test_hot_path_and_shared_delivery() -> None:
    """Records of one key and one aggregate share a delivery, which is done when they are delivered."""
    world = World()

    async def main(producer: Producer) -> None:
        first = await producer.put(b"a", "k")
        second = await producer.put(b"b", "k")
        assert first is second
        outcome = await first
        assert outcome.sub_sequence_number == 0
        assert first.result_for("k") == outcome

    world.run_with(main, StreamSettings(linger_s=0.01))
    assert world.data() == [b"a", b"b"]
