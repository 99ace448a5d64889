"""The first leases of an application: a worker that dies while it creates them leaves no hole to the next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from shardline.common.ports.lease_store import Delete, Key
from shardline.consumer.events import LeasesCreated
from shardline.local.sim.simulation import run

from tests.consumer.world import QUICK, World

if TYPE_CHECKING:
    from shardline.local.sim.simulation import Simulation


@pytest.mark.parametrize("kept", [1, 3])
def test_the_next_worker_creates_what_the_first_left_out(kept: int) -> None:
    """Without any audit: whoever starts and finds some of the first leases creates the others; nothing is lost."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=4)
        await world.create()
        world.start("w0", leases=replace(QUICK, audit_s=86_400.0))
        await world.load(5)
        await world.drained()
        await world.stop()
        for key in sorted(world.rows())[kept:]:
            world.services.tables.write(Delete("app", Key("leaseKey", key)), world.wall())
        world.start("w1", leases=replace(QUICK, audit_s=86_400.0))
        await world.load(20)
        await world.drained()
        await world.stop()
        assert len(world.rows()) == 4
        assert world.lost == []
        made = [event.as_fields() for event in world.named(LeasesCreated)]
        assert [(one["reason"], len(one["leases"])) for one in made] == [("initial", 4), ("repair", 4 - kept)]

    run(main, until=600)
