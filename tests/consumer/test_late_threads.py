"""Blocking handlers in virtual time: none begins under a lease that ran out between the hand-over and the thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shardline.consumer.config import LeaseConfig, WorkerConfig
from shardline.consumer.policy import per_key
from shardline.consumer.worker import Worker
from shardline.local.sim import SimRuntime
from shardline.local.sim.lab import SimLab
from shardline.local.sim.threads import sleep_blocking

if TYPE_CHECKING:
    from shardline.common.ports.services import Services

FAILOVER_S = 5.0


@pytest.mark.parametrize("kind", ["record", "batch", "per key"])
def test_no_blocking_handler_begins_without_a_valid_lease(kind: str) -> None:
    """A process that was stopped before its threads began finds the lease expired; the records come again."""
    lab = SimLab(seed=3)
    orders = lab.stream("orders")
    seen: list[bytes] = []
    begun_without: list[float] = []
    workers: list[Worker] = []

    def handle(given: object) -> None:
        (lease,) = workers[0].health().leases
        if not lease.valid:
            begun_without.append(lab.now)
        sleep_blocking(0.1)
        seen.extend(one.data for one in ([given] if kind != "batch" else given))  # type: ignore[attr-defined]  # A record or a batch.

    def billing(services: Services, runtime: SimRuntime) -> Worker:
        slow = SimRuntime(runtime.host, blocking_s_max=20.0, threads=lab.simulation.threads)
        config = WorkerConfig(worker_id="me", leases=LeaseConfig(failover_s=FAILOVER_S))
        worker = Worker(
            "billing", streams="orders", start="TRIM_HORIZON", connection=services, runtime=slow, config=config
        )
        worker.add_handler(handle, batch=kind == "batch", concurrency=per_key(3) if kind == "per key" else None)
        workers.append(worker)
        return worker

    program = lab.start(billing)
    lab.run(30)
    for number in range(12):
        orders.put(b"%d" % number, f"key-{number}")
        lab.run(2)
        program.pause_for(4 * FAILOVER_S)  # Stopped with a call handed over, and no thread for it yet.
        lab.run(6 * FAILOVER_S)
    lab.run(300)
    lab.close()
    assert begun_without == []
    assert set(seen) == {b"%d" % number for number in range(12)}
