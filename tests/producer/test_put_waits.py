"""A full buffer makes `put` wait without spinning; a record that fails at once still tells its callback."""

from __future__ import annotations

import asyncio

from shardline.common.hashing import hash_key
from shardline.common.limits import MIB
from shardline.local.sim.network import Service
from shardline.producer.config import Ordering, ProducerSettings, StreamSettings
from shardline.producer.outcome import NotWritten, Outcome, Reason

from tests.producer.producer_world import World


def test_put_waits_while_the_buffer_is_full_and_the_loop_goes_on() -> None:
    """Putting more than the memory holds during an outage waits for room; the loop is never spun on."""
    world = World(until_s=600)

    async def main(_: object) -> int:
        settings = StreamSettings(ttl_s=20.0, linger_s=0.1)
        async with world.producer(settings, ProducerSettings(memory_bytes_max=8 * MIB)) as producer:
            world.network.outage(Service.KINESIS, 60.0)
            told: list[Outcome] = []
            for number in range(400):
                await producer.put(bytes(50_000), f"key-{number}", callback=told.append)
            await producer.flush()
            return len(told)

    with world.sim:
        assert world.sim.run(main) == 400
    assert world.sim.loop.steps < 50_000


def test_nobody_overtakes_a_put_that_waits() -> None:
    """While a put waits for room, a small record whose aggregate is open and has room waits behind it."""
    world = World(shards=2, until_s=600)
    low, high = (next(f"k{n}" for n in range(99) if hash_key(f"k{n}") >> 127 == half) for half in (0, 1))

    async def main(_: object) -> None:
        settings = StreamSettings(ttl_s=100.0, linger_s=50.0)
        async with world.producer(settings, ProducerSettings(memory_bytes_max=8 * MIB)) as producer:
            world.network.outage(Service.KINESIS, 30.0)
            await producer.put(b"opens", low)
            large = [asyncio.create_task(producer.put(bytes(900_000), high)) for _ in range(9)]
            await asyncio.sleep(0.01)
            assert not large[-1].done()
            behind = asyncio.create_task(producer.put(b"small", low))
            await asyncio.sleep(0.01)
            assert not behind.done()
            await producer.flush()
            await asyncio.gather(*large, behind)
            await producer.put(b"small", low)

    with world.sim:
        world.sim.run(main)


def test_a_list_without_an_open_shard_does_not_close_the_buffer() -> None:
    """ListShards that lacks the one open shard leaves the buffer's bound as it was: puts go on."""
    world = World(shards=1, until_s=600)

    async def main(_: object) -> None:
        async with world.producer(StreamSettings(linger_s=0.1)) as producer:
            pipeline = producer.engine.lanes[0].core
            pipeline.on_map([], world.sim.runtime.monotonic())
            await (await producer.put(b"x", "key"))

    with world.sim:
        world.sim.run(main)
    assert world.sim.now < 60


def test_a_record_that_fails_at_once_tells_its_callback() -> None:
    """A successor of an unknown record of its key fails in `put` itself; its callback is called all the same."""
    world = World(until_s=600)
    told: list[Outcome] = []

    async def main(_: object) -> None:
        settings = StreamSettings(ordering=Ordering.BY_KEY, ttl_s=5.0, linger_s=0.1)
        await put_two(settings)  # What callbacks were told is not raised again.

    async def put_two(settings: StreamSettings) -> None:
        async with world.producer(settings) as producer:
            world.network.outage(Service.KINESIS, 30.0)
            await producer.put(b"1", "key", callback=told.append)
            await asyncio.sleep(20)
            await producer.put(b"2", "key", callback=told.append)

    with world.sim:
        world.sim.run(main)
    assert len(told) == 2
    assert isinstance(told[1], NotWritten)
    assert told[1].reason is Reason.PREDECESSOR
