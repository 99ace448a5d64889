"""Payloads as models: what handlers get, and what becomes of payloads that cannot be decoded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.aggregation import AggregateBuilder
from shardline.common.codec import Compression, JsonCodec, encode
from shardline.common.errors import InvalidInput
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.consumer.events import HandlerFailed
from shardline.consumer.spec import HandlerSpec
from shardline.consumer.worker import Worker
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.world import World

if TYPE_CHECKING:
    from shardline.consumer.handler import Batch, Record


@dataclass
class Order:
    """What the payloads hold."""

    number: int


async def one_shard(sim: Simulation, *payloads: bytes) -> World:
    """Return a world of one shard that holds these payloads, one after another."""
    world = World(sim, shards=1)
    await world.create()
    for payload in payloads:
        world.services.state.put_records(Stream("orders"), [PutEntry(payload, "k")], now=world.wall())
    return world


@pytest.mark.parametrize("blocking", [False, True])
def test_a_handler_gets_the_model_and_the_record(blocking: bool) -> None:
    """The value comes decoded, beside everything that is known of its record."""

    async def main(sim: Simulation) -> None:
        world = await one_shard(sim, b'{"number":1}', b'{"number":2}')
        seen: list[tuple[Order, Record]] = []

        async def handle(order: Order, record: Record) -> None:
            seen.append((order, record))

        def blocks(order: Order, record: Record) -> None:
            seen.append((order, record))

        world.start("w0", blocks if blocking else handle, model=Order)
        await sim_until(lambda: len(seen) == 2)
        assert [order for order, _ in seen] == [Order(1), Order(2)]
        record = seen[0][1]
        assert (record.stream, record.shard_id, record.partition_key) == ("orders", "shardId-000000000000", "k")
        assert record.id == f"orders/shardId-000000000000/{record.sequence_number}/0"
        assert (record.explicit_hash_key, record.sub_sequence_number, dict(record.headers)) == (None, 0, {})
        assert record.token > 0
        assert record.arrival_time_s > 0
        await world.stop()

    run(main, until=600)


async def sim_until(test: Any) -> None:
    """Wait in virtual time until `test` holds, two minutes at most."""
    for _ in range(240):
        if test():
            return
        await asyncio.sleep(0.5)
    raise AssertionError("it never came")


def test_a_compressed_aggregate_is_read_by_its_headers() -> None:
    """Headers of aggregates say how to decode; a handler of one argument gets the value alone."""

    async def main(sim: Simulation) -> None:
        codec = JsonCodec(Order, schema_id="order-1", compression=Compression(bytes_min=1))
        builder = AggregateBuilder(10_000)
        for number in range(3):
            data, headers = encode(Order(number), codec)
            assert builder.try_append("k", data, headers=headers)
        world = await one_shard(sim, builder.seal().data)
        seen: list[Order] = []

        async def handle(order: Order) -> None:
            seen.append(order)

        world.start("w0", handle, codec=codec)
        await sim_until(lambda: len(seen) == 3)
        assert seen == [Order(0), Order(1), Order(2)]
        await world.stop()

    run(main, until=600)


def test_what_cannot_be_decoded_holds_its_shard() -> None:
    """A decode failure is the handler's failure: retried in place, reported by name, never skipped (P2)."""

    async def main(sim: Simulation) -> None:
        world = await one_shard(sim, b'{"number":1}', b"not json", b'{"number":2}')
        seen: list[Order] = []

        async def handle(order: Order) -> None:
            seen.append(order)

        world.start("w0", handle, model=Order)
        await sim_until(lambda: len(world.named(HandlerFailed)) >= 5)
        assert seen == [Order(1)]
        fields = [event.as_fields() for event in world.named(HandlerFailed)]
        assert {(one["error"], one["position"]) for one in fields} == {("DecodeFailure", fields[0]["position"])}
        assert [one["attempt"] for one in fields[:5]] == [1, 2, 3, 4, 5]
        assert "not json" not in repr(fields)
        await world.stop()
        assert str(world.rows()["shardId-000000000000"].checkpoint) < fields[0]["position"]

    run(main, until=600)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_batch_ends_before_what_cannot_be_decoded(blocking: bool) -> None:
    """The good records before the bad one are handled and checkpointed; the bad one alone fails."""

    async def main(sim: Simulation) -> None:
        world = await one_shard(sim, b'{"number":1}', b'{"number":2}', b"{}x", b'{"number":3}')
        seen: list[list[Order]] = []

        async def handle(orders: list[Order], batch: Batch) -> None:
            assert len(batch) == len(orders)
            seen.append(orders)

        def blocks(orders: list[Order]) -> None:
            seen.append(orders)

        world.start("w0", blocks if blocking else handle, batch=True, model=Order)
        await sim_until(lambda: len(world.named(HandlerFailed)) >= 3)
        assert [order for orders in seen for order in orders] == [Order(1), Order(2)]
        await world.stop()

    run(main, until=600)


def test_models_and_codecs_are_checked_at_once() -> None:
    """Both, neither kind, or a handler that cannot take them: refused where they are written."""
    worker = Worker("app", streams="orders")
    for how in ({"model": Order, "codec": JsonCodec(Order)}, {"model": 7}):
        with pytest.raises(InvalidInput):
            worker.add_handler(print, **how)
    with pytest.raises(InvalidInput, match="decoded value"):
        HandlerSpec.of(lambda: None, batch=False, codec=JsonCodec(Order))

    @worker.handler("orders", model=Order)
    async def handle(order: Order) -> None:
        del order

    assert callable(handle)
