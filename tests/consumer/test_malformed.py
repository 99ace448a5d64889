"""Malformed aggregates (`reliability.md` 4.1) under each policy: delivered raw, parked, or a failure; never in part."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.errors import HandlerGaveUp, InvalidInput
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.consumer.config import DeliveryConfig, Malformed
from shardline.consumer.events import BatchProcessed, HandlerFailed, RecordParked
from shardline.consumer.policy import FailurePolicy, park_key, park_record, per_key, stop_worker
from shardline.local.sim.simulation import Simulation, run

from tests.common.aggregates import MAGIC, blob, key, record
from tests.common.aggregates import hash_key as hash_entry
from tests.consumer.rows import aggregate
from tests.consumer.world import World

if TYPE_CHECKING:
    from shardline.consumer.handler import Batch, Record
    from shardline.consumer.policy import Parked

GOOD = aggregate(("a", b"1"), ("b", b"2"), ("a", b"3"))
PLAIN: dict[str, bytes] = {
    "magic only": MAGIC,
    "magic and a digest": MAGIC + bytes(16),
    "wrong magic": b"\xf2" + GOOD[1:],
    "checksum": GOOD[:10] + bytes((GOOD[10] ^ 1,)) + GOOD[11:],
    "truncated": GOOD[:-1],
    "trailing": GOOD + b"\0",
}
MALFORMED: dict[str, bytes] = {
    "empty": blob(key("a")),
    "index": blob(key("a") + record(1)),
    "index of the second of three": blob(key("a") + record(0) + record(7) + record(0)),
    "index of 32 bits": blob(key("a") + record(2**32)),
    "index of an explicit hash key": blob(key("a") + record(0, hash_index=3)),
    "hash-key": blob(key("a") + hash_entry("x") + record(0, hash_index=0)),
    "hash-key out of range": blob(key("a") + hash_entry(str(2**128)) + record(0, hash_index=0)),
    "required": blob(key("a") + record(0, data=None)),
    "utf8": blob(key(b"\xff") + record(0)),
    "wire": blob(key("a") + record(0) + b"\x0b"),
    "too-many": aggregate(*(("a", b"x") for _ in range(9))),
}
BLOBS = [*PLAIN.values(), GOOD, *MALFORMED.values(), GOOD]
MODES: dict[str, dict[str, Any]] = {"record": {}, "per key": {"concurrency": per_key(3)}, "batch": {"batch": True}}


class Scene:
    """A world whose stream holds every kind of blob; what its handler gets and its lot takes."""

    def __init__(self, sim: Simulation) -> None:
        self.world = World(sim, shards=1)
        self.seen: list[bytes] = []
        self.lot: list[Parked] = []
        self.asked = 0

    async def begin(self) -> None:
        """Put the blobs."""
        await self.world.create()
        for data in BLOBS:
            out = self.world.services.state.put_records(Stream("orders"), [PutEntry(data, "k")], now=self.world.wall())
            assert out[0].sequence_number is not None

    def start(self, mode: str, malformed: Malformed, policy: FailurePolicy | None = None) -> None:
        """Start a worker with a policy."""

        async def one(given: Record) -> None:
            self.seen.append(given.data)

        async def many(given: Batch) -> None:
            self.seen += [each.data for each in given]

        handler = many if mode == "batch" else one
        delivery = DeliveryConfig(malformed=malformed, max_sub_records=8)
        self.world.start("w0", handler, delivery=delivery, on_failure=policy, **MODES[mode])

    async def take(self, parked: Parked) -> None:
        """Take a record into the lot, at the second time."""
        self.asked += 1
        if self.asked % 2:
            raise OSError("full")
        self.lot.append(parked)

    def counted(self) -> int:
        """Return how many malformed blobs were counted."""
        return sum(int(str(event.as_fields()["malformed"])) for event in self.world.named(BatchProcessed))


def expected(*, malformed: bool) -> list[bytes]:
    """Return what a handler gets."""
    raw = list(MALFORMED.values()) if malformed else []
    return [*PLAIN.values(), b"1", b"2", b"3", *raw, b"1", b"2", b"3"]


@pytest.mark.parametrize("mode", MODES)
def test_raw_is_the_default(mode: str) -> None:
    """Each malformed blob is delivered as the record that it came as, and counted; plain ones are not."""

    async def main(sim: Simulation) -> None:
        scene = Scene(sim)
        await scene.begin()
        assert DeliveryConfig().malformed is Malformed.DELIVER_RAW
        scene.start(mode, Malformed.DELIVER_RAW)
        await asyncio.sleep(20)
        await scene.world.stop()
        assert sorted(scene.seen) == sorted(expected(malformed=True))
        assert mode == "per key" or scene.seen == expected(malformed=True)
        assert scene.counted() == len(MALFORMED)

    run(main, until=300)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("keys", [False, True])
def test_parked_it_stands_in_the_lot_whole_with_its_reason(mode: str, *, keys: bool) -> None:
    """At once, without a call of the handler; the shard goes on behind it; no key is parked with it."""

    async def main(sim: Simulation) -> None:
        scene = Scene(sim)
        await scene.begin()
        policy = (park_key if keys else park_record)(scene.take, attempts=3)
        scene.start(mode, Malformed.PARK, policy)
        await asyncio.sleep(60)
        await scene.world.stop()
        assert sorted(scene.seen) == sorted(expected(malformed=False))
        assert [each.data for each in scene.lot] == list(MALFORMED.values())
        reasons = [f"MalformedAggregate: {name.partition(' ')[0]}" for name in MALFORMED]
        assert [each.reason for each in scene.lot] == reasons
        assert {(each.attempts, each.partition_key, each.sub_sequence_number) for each in scene.lot} == {(0, "k", 0)}
        assert len(scene.world.named(RecordParked)) == scene.counted() == len(MALFORMED)
        assert scene.world.named(HandlerFailed) == []
        (row,) = scene.world.rows().values()
        assert row.checkpoint.sub_sequence_number == 2

    run(main, until=300)


@pytest.mark.parametrize("mode", MODES)
def test_raised_it_holds_the_shard(mode: str) -> None:
    """Without a policy the shard waits at it, loudly, and is not called."""

    async def main(sim: Simulation) -> None:
        scene = Scene(sim)
        await scene.begin()
        scene.start(mode, Malformed.RAISE)
        await asyncio.sleep(30)
        await scene.world.stop()
        assert sorted(scene.seen) == sorted([*PLAIN.values(), b"1", b"2", b"3"])
        failures = scene.world.named(HandlerFailed)
        assert len(failures) > 3
        assert {event.as_fields()["error"] for event in failures} == {"MalformedAggregate: empty"}

    run(main, until=300)


@pytest.mark.parametrize("mode", MODES)
def test_raised_it_is_parked_after_its_attempts(mode: str) -> None:
    """As every record whose handler keeps failing."""

    async def main(sim: Simulation) -> None:
        scene = Scene(sim)
        await scene.begin()
        scene.start(mode, Malformed.RAISE, park_record(scene.take, attempts=2))
        await asyncio.sleep(120)
        await scene.world.stop()
        assert sorted(scene.seen) == sorted(expected(malformed=False))
        assert [(each.data, each.attempts) for each in scene.lot] == [(data, 2) for data in MALFORMED.values()]

    run(main, until=300)


def test_raised_it_may_stop_the_worker() -> None:
    """`stop_worker` gives the leases back, and the next worker finds the record."""

    async def main(sim: Simulation) -> None:
        scene = Scene(sim)
        await scene.begin()
        scene.start("record", Malformed.RAISE, stop_worker(attempts=2))
        with pytest.raises(HandlerGaveUp, match="MalformedAggregate: empty"):
            await scene.world.leaving["w0"]
        assert scene.seen == [*PLAIN.values(), b"1", b"2", b"3"]

    run(main, until=300)


def test_parking_needs_a_lot() -> None:
    """Where some handler has none, or batches are pulled, the worker does not start; other words are refused."""

    async def main(sim: Simulation) -> None:
        scene = Scene(sim)
        delivery = DeliveryConfig(malformed=Malformed.PARK)
        for settings in ({"on_failure": stop_worker(attempts=1)}, {"pull": True}):
            with pytest.raises(InvalidInput, match="malformed"):
                await scene.world.worker(str(settings), delivery=delivery, **settings).__aenter__()
        with pytest.raises(InvalidInput, match="deliver_raw, park, raise"):
            DeliveryConfig(malformed="drop")  # type: ignore[arg-type]  # what an untyped caller may give
        assert DeliveryConfig(malformed="raise").malformed == Malformed.RAISE  # type: ignore[arg-type]  # text will do

    run(main, until=60)
