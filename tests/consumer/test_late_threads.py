"""Handlers and lots in virtual time: none begins under a lease that ran out on the way to its thread, or before it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from shardline.consumer.blocking import Checkpointer, ShardProcessor, on_threads
from shardline.consumer.config import DeliveryConfig, LeaseConfig, WorkerConfig
from shardline.consumer.kclpy import adapt
from shardline.consumer.policy import park_key, park_record, per_key
from shardline.consumer.worker import Worker
from shardline.local.sim import SimRuntime
from shardline.local.sim.lab import SimLab
from shardline.local.sim.threads import sleep_blocking

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.ports.services import Services
    from shardline.consumer.handler import Batch
    from shardline.consumer.policy import Parked

FAILOVER_S = 5.0
DATA = [b"%d" % number for number in range(12)]


class Porter(ShardProcessor):
    """A blocking processor that hands its batches to a function, and never checkpoints."""

    def __init__(self, handle: Callable[[object], None]) -> None:
        self.handle = handle

    def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
        """Hand the batch over."""
        del checkpointer  # It would wait for the loop, which waits for this thread.
        self.handle(batch)


class OldPorter:
    """The same as a KCLPy processor."""

    def __init__(self, handle: Callable[[object], None]) -> None:
        self.handle = handle

    def process_records(self, process_records_input: Any) -> None:
        """Hand the records over."""
        self.handle([SimpleNamespace(data=one.binary_data) for one in process_records_input.records])


def register(worker: Worker, kind: str, handle: Callable[[object], None]) -> None:
    """Register a function as each kind of what blocks."""
    if kind == "processor":
        worker.add_processor(on_threads(lambda: Porter(handle)))
    elif kind == "kclpy":
        worker.add_processor(adapt(lambda: OldPorter(handle)))
    else:
        worker.add_handler(handle, batch=kind == "batch", concurrency=per_key(3) if kind == "per key" else None)


def worker_of(services: Services, runtime: SimRuntime, delivery: DeliveryConfig | None = None) -> Worker:
    """Return the worker of the stream, without a handler."""
    config = WorkerConfig(
        worker_id="me", leases=LeaseConfig(failover_s=FAILOVER_S), delivery=delivery or DeliveryConfig()
    )
    return Worker(
        "billing", streams="orders", start="TRIM_HORIZON", connection=services, runtime=runtime, config=config
    )


def stopped_again_and_again(lab: SimLab, billing: Callable[[Services, SimRuntime], Worker]) -> None:
    """Run a worker that is stopped for each record, with a call handed over and perhaps no thread for it yet."""
    orders = lab.stream("orders")
    program = lab.start(billing)
    lab.run(30)
    for number, data in enumerate(DATA):
        orders.put(data, f"key-{number}")
        lab.run(2)
        program.pause_for(4 * FAILOVER_S)
        lab.run(6 * FAILOVER_S)
    lab.run(300)
    lab.close()


@pytest.mark.parametrize("kind", ["record", "batch", "per key", "processor", "kclpy"])
def test_no_blocking_handler_begins_without_a_valid_lease(kind: str) -> None:
    """A process that was stopped before its threads began finds the lease expired; the records come again."""
    lab = SimLab(seed=3)
    seen: list[bytes] = []
    begun_without: list[float] = []
    workers: list[Worker] = []

    def handle(given: object) -> None:
        (lease,) = workers[0].health().leases
        if not lease.valid:
            begun_without.append(lab.now)
        sleep_blocking(0.1)
        seen.extend(one.data for one in ([given] if kind in ("record", "per key") else given))  # type: ignore[attr-defined]  # A record or a batch.

    def billing(services: Services, runtime: SimRuntime) -> Worker:
        slow = SimRuntime(runtime.host, blocking_s_max=20.0, threads=lab.simulation.threads)
        worker = worker_of(services, slow)
        register(worker, kind, handle)
        workers.append(worker)
        return worker

    stopped_again_and_again(lab, billing)
    assert begun_without == []
    assert set(seen) == set(DATA)


def test_a_lost_lease_is_told_after_the_call_that_was_abandoned_with_it() -> None:
    """A processor's calls never overlap: `lease_lost` waits for a thread that runs on, and so does the next tenure."""
    lab = SimLab(seed=4)
    orders = lab.stream("orders")
    calls: list[str] = []

    class Slow(ShardProcessor):
        """Hangs in its first call for longer than the fail-over time."""

        def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
            """Hang, the first time."""
            del batch, checkpointer
            first = not calls
            calls.append("begins")
            sleep_blocking(20 * FAILOVER_S if first else 0.1)
            calls.append("ends")

        def lease_lost(self) -> None:
            """Note it."""
            calls.append("lost")

    def billing(services: Services, runtime: SimRuntime) -> Worker:
        worker = worker_of(services, runtime, DeliveryConfig(handler_timeout_s=2 * FAILOVER_S))
        worker.add_processor(on_threads(Slow))
        return worker

    lab.start(billing)
    lab.run(30)
    orders.put(b"1", "key")
    lab.run(40 * FAILOVER_S)
    lab.close()
    assert calls[:5] == ["begins", "ends", "lost", "begins", "ends"]


@pytest.mark.parametrize("kind", ["record", "batch", "per key"])
@pytest.mark.parametrize("park", [park_record, park_key])
@pytest.mark.parametrize("blocking", [False, True])
def test_a_former_owner_parks_nothing(kind: str, park: Callable[..., object], *, blocking: bool) -> None:
    """A process that was stopped in the call that failed for good, or before its lot began, parks nothing late."""
    lab = SimLab(seed=3)
    parked: list[bytes] = []
    late: list[float] = []
    workers: list[Worker] = []

    def note(one: Parked) -> None:
        if not all(lease.valid for lease in workers[0].health().leases):
            late.append(lab.now)
        parked.append(one.data)

    async def lot(one: Parked) -> None:
        note(one)

    async def fails(_: object) -> None:
        await asyncio.sleep(3.0)
        raise ValueError

    def billing(services: Services, runtime: SimRuntime) -> Worker:
        slow = SimRuntime(runtime.host, blocking_s_max=20.0, threads=lab.simulation.threads)
        worker = worker_of(services, slow)
        worker.add_handler(
            fails,
            batch=kind == "batch",
            concurrency=per_key(3) if kind == "per key" else None,
            on_failure=park(note if blocking else lot, attempts=1),  # type: ignore[arg-type]  # Either makes a policy.
        )
        workers.append(worker)
        return worker

    stopped_again_and_again(lab, billing)
    assert late == []
    assert set(parked) == set(DATA)
