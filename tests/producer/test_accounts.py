"""The producer's account of its memory over a life: what was taken comes back, and waiting for memory costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shardline.common.ports.kinesis import Distribution
from shardline.local.sim.network import Faults, Service
from shardline.producer.config import Ordering, ProducerSettings, StreamSettings
from shardline.producer.report import UndeliveredError

from tests.producer.producer_world import ORDERS, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.producer.producer import Producer

KIB = 1024


@pytest.mark.parametrize("ordering", [Ordering.NONE, Ordering.BY_KEY, Ordering.BY_SHARD])
@pytest.mark.parametrize("entries", [0.0, 0.4])
def test_a_producer_that_has_delivered_everything_accounts_for_nothing(ordering: Ordering, entries: float) -> None:
    """However records waited in line, were cut and sent again: nothing of the memory is held when all are resolved."""
    world = World(seed=5)
    used: list[int] = []

    async def main(producer: Producer) -> None:
        world.network.set_faults(Service.KINESIS, Faults(entries=entries, latency_s=0.5))
        for number in range(300):
            await producer.put(b"x" * 2000, f"key-{number % 7}")
            if number == 150:
                world.split()
        world.network.heal()
        assert not (await producer.flush()).pending
        used.append(producer.engine.budget.used)

    settings = StreamSettings(ordering=ordering, linger_s=0.01, aggregate_bytes_max=8 * KIB, ttl_s=300)
    world.run_with(main, settings)
    assert used == [0]


@pytest.mark.parametrize("ordering", [Ordering.NONE, Ordering.BY_KEY])
def test_records_that_fail_give_their_memory_back(ordering: Ordering) -> None:
    """A stream that answers nothing until every record has expired leaves an empty account as well."""
    world = World(seed=6)
    engines: list[Producer] = []

    async def main(producer: Producer) -> None:
        engines.append(producer)
        world.network.outage(Service.KINESIS, 3000)
        for number in range(200):
            await producer.put(b"x" * 500, f"key-{number % 7}")

    with pytest.raises(UndeliveredError):
        world.run_with(main, StreamSettings(ordering=ordering, ttl_s=20))
    assert engines[0].engine.budget.used == 0


def test_a_request_that_waits_for_memory_does_not_spin() -> None:
    """While one request fills the memory and hangs, the next one waits for its end, not for the clock."""
    world = World(seed=7)
    steps: list[int] = []

    async def main(producer: Producer) -> None:
        world.network.set_faults(Service.KINESIS, Faults(slow=1.0, slow_s=5.0))
        before = world.sim.loop.steps
        for number in range(600):
            await producer.put(b"x" * 15_000, f"key-{number % 50}")
        assert not (await producer.flush()).pending
        steps.append(world.sim.loop.steps - before)

    small = StreamSettings(
        request_bytes_max=32 * KIB, record_bytes_max=16 * KIB, aggregate_bytes_max=16 * KIB - 1, ttl_s=600
    )
    world.run_with(main, small, ProducerSettings(memory_bytes_max=1024 * KIB))
    assert steps[0] < 20_000


def test_an_aggregate_under_way_when_a_stream_turns_auto_is_sent_again_as_plain_records() -> None:
    """What is acknowledged is not what a KCL drops: an aggregate that landed anywhere goes again, record by record."""
    world = World(on_demand=True)
    seen: list[Sequence[bytes]] = []

    async def main(producer: Producer) -> None:
        world.network.set_faults(Service.KINESIS, Faults(latency_s=2.0))
        for burst in range(40):
            for number in range(10):
                await producer.put(b"%d-%d" % (burst, number), f"key-{number}")
            if burst == 5:
                world.state.set_distribution(ORDERS, Distribution.AUTO, now=world.sim.wall_s)
        assert (await producer.flush()).ok
        seen.append(world.data())

    world.run_with(main, StreamSettings(linger_s=0.01, ttl_s=300))
    wanted = {b"%d-%d" % (burst, number) for burst in range(40) for number in range(10)}
    assert set(seen[0]) == wanted
    readable = {one.data for one in world.stored if one.kept or not one.aggregated}
    assert readable == wanted
