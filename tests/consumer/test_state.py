"""The application's state: its table is made as the lease table is, and lost answers do no harm."""

from __future__ import annotations

import asyncio

import pytest

from shardline.common.errors import InvalidInput
from shardline.common.ports.lease_store import TableSpec, Update
from shardline.common.ports.state_store import StateItem, StateKey
from shardline.common.state import FencedState
from shardline.consumer import TableConfig, open_state
from shardline.local import LocalServices
from shardline.local.sim import Simulation
from shardline.local.sim.doors import SimServices
from shardline.local.sim.network import Fault, Network, Sender
from shardline.local.sim.runtime import SimRuntime
from shardline.local.state.core import KinesisState
from shardline.local.tables.core import LeaseTables

KEY = StateKey.of("window", "shard-1")


def test_the_table_is_made_as_the_lease_table_is() -> None:
    """Protection, recovery, capacities and tags are those of the settings; a second opening finds it."""
    services = LocalServices()
    settings = TableConfig(read_capacity=5, write_capacity=6, tags={"team": "billing"})

    async def story() -> None:
        for _ in range(2):
            async with open_state("billing", connection=services, table=settings) as state:
                assert await state.get(KEY, timeout_s=1) is None

    asyncio.run(story())
    table = services.tables.tables["billing-shardline"]
    assert table.spec == TableSpec(
        name="billing-shardline",
        key_attribute="stateKey",
        read_capacity=5,
        write_capacity=6,
        deletion_protection=True,
        tags={"team": "billing"},
    )
    assert table.point_in_time_recovery


def test_a_table_of_another_kind_is_refused() -> None:
    """A table of that name with another key is not written to."""
    services = LocalServices()
    services.tables.create_table(TableSpec(name="billing-shardline", key_attribute="id"), 0.0)

    async def story() -> None:
        async with open_state("billing", connection=services):
            pass

    with pytest.raises(InvalidInput, match="only key is stateKey; billing-shardline is another, got id"):
        asyncio.run(story())


@pytest.mark.parametrize(("kind", "name"), [("", "x"), ("Window", "x"), ("window", ""), ("window", "x" * 2048)])
def test_a_key_that_dynamodb_or_a_reader_would_refuse_is_refused(kind: str, name: str) -> None:
    """A kind is lower-case letters and hyphens, a name is neither empty nor too long."""
    with pytest.raises(InvalidInput, match="^(kind|name) must be"):
        StateKey.of(kind, name)


@pytest.mark.parametrize(
    "fault", [Fault.REPLY_LOST, Fault.LATE, Fault.TWICE, Fault.ERROR_AFTER, Fault.ERROR_BEFORE, Fault.REQUEST_LOST]
)
def test_a_lost_answer_is_found_out_before_the_next_write(fault: Fault) -> None:
    """Whatever becomes of the first write, calling again ends with the change made once."""
    simulation = Simulation("lost answers", until_s=600.0)
    network = Network(simulation)
    services = SimServices(network, KinesisState(), LeaseTables())
    writes = 0

    def first_write_only(sender: Sender) -> Fault | None:
        nonlocal writes
        if sender.operation != "UpdateItem":
            return None
        writes += 1
        return fault if writes == 2 else None  # The first is the claim.

    def counted(item: StateItem | None) -> Update | None:
        assert item is not None
        return None if item.fields.get("at") == 7 else Update(set={"at": 7}, add={"count": 1})

    async def story(_: Simulation) -> None:
        host = simulation.host("one")
        await host.spawn(told(SimRuntime(host)))

    async def told(runtime: SimRuntime) -> None:
        async with open_state("billing", connection=services, runtime=runtime) as state:
            network.scripted = first_write_only
            mine = FencedState(state, KEY, 3, timeout_s=1.0)
            await mine.claim()
            for _ in range(100):
                try:
                    await mine.change(counted)
                    break
                except Exception:  # noqa: BLE001 - a lost answer, whatever it is called: it is tried again.
                    await asyncio.sleep(0.5)
            await asyncio.sleep(60)
            found = await state.get(KEY, timeout_s=1.0)
            assert found == mine.item
            assert found is not None
            assert found.fields == {"at": 7, "count": 1}

    with simulation:
        simulation.run(story)
