"""Handlers in processes of their own: real processes, the service in process."""

from __future__ import annotations

import asyncio
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.errors import HandlerGaveUp, InvalidInput
from shardline.common.events import Event
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.common.ports.lease_store import Key
from shardline.consumer.config import DeliveryConfig, LeaseConfig, WorkerConfig
from shardline.consumer.events import BatchProcessed, HandlerFailed
from shardline.consumer.policy import Parked, park_record, per_key, stop_worker
from shardline.consumer.worker import Worker
from shardline.local.doors.services import LocalServices

from tests.consumer import remote_handlers
from tests.consumer.rows import aggregate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

NAME = "orders"
RECORDS = 7


class Outcome:
    """What a run of a worker over one aggregate of seven records left behind."""

    def __init__(self, file: Path, events: list[Event], services: LocalServices) -> None:
        lines = [line.split(maxsplit=2) for line in file.read_text(encoding="utf-8").splitlines()]
        self.seen = [line[1] for line in lines]
        self.words = [line[2] if len(line) > 2 else "" for line in lines]
        self.processes = {int(line[0]) for line in lines}
        self.failures = [event for event in events if isinstance(event, HandlerFailed)]
        item = services.tables.get(
            "billing", Key("leaseKey", "shardId-000000000000"), consistent=True, now=services.clock()
        )
        assert item is not None
        self.stored = item["checkpointSubSequenceNumber"]


def run(file: Path, handler: Any, *, payload: str = "%d", handler_timeout_s: float = 300.0, **how: Any) -> Outcome:
    """Run a worker over records 0 to 6 of one aggregate, whose key is the file's name, until all are done."""
    services, events = LocalServices(), list[Event]()
    file.touch()

    async def main() -> None:
        services.state.create_stream(NAME, 1, now=services.clock())
        async with services.kinesis() as kinesis:
            data = aggregate(*((str(file), (payload % number).encode()) for number in range(RECORDS)))
            await kinesis.put_records(Stream.of(NAME), [PutEntry(data, str(file), None)], timeout_s=5)
        done = asyncio.Event()

        def listen(event: Event) -> None:
            events.append(event)
            if isinstance(event, BatchProcessed):
                done.set()

        config = WorkerConfig(
            leases=LeaseConfig(failover_s=1.0), delivery=DeliveryConfig(handler_timeout_s=handler_timeout_s)
        )
        worker = Worker(
            "billing", streams=NAME, start="TRIM_HORIZON", connection=services, config=config, listeners=[listen]
        )
        worker.add_handler(handler, NAME, **how)
        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            serving = group.create_task(worker.serve())
            waiting = group.create_task(done.wait())
            await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            worker.stop()

    asyncio.run(main())
    return Outcome(file, events, services)


ALL = [str(number) for number in range(RECORDS)]


@pytest.mark.parametrize("handler", [remote_handlers.plain, remote_handlers.asynchronous])
def test_records_are_handled_in_order_in_another_process(handler: Any, tmp_path: Path) -> None:
    """Every record once and in order, by one other process; the checkpoint covers the last."""
    outcome = run(tmp_path / "notes", handler, processes=2)
    assert outcome.seen == ALL
    assert len(outcome.processes) == 1
    assert os.getpid() not in outcome.processes
    assert outcome.stored == RECORDS - 1
    assert outcome.failures == []


def test_batches_and_codecs_work_there_too(tmp_path: Path) -> None:
    """A batch arrives whole, and a model is decoded over there."""
    assert run(tmp_path / "batch", remote_handlers.whole, batch=True, processes=1).seen == ALL
    decoded = run(
        tmp_path / "model", remote_handlers.order, model=remote_handlers.Order, payload='{"id":%d}', processes=1
    )
    assert [word.removeprefix("order ") for word in decoded.words] == ALL


def test_a_failure_comes_back_by_name_and_the_policy_decides(tmp_path: Path) -> None:
    """The record that fails is retried and parked, those before and after it are handled once."""
    parked: list[Parked] = []
    outcome = run(
        tmp_path / "notes",
        remote_handlers.fails_at_three,
        processes=1,
        on_failure=park_record(parked.append, attempts=2),
    )
    assert outcome.seen == [one for one in ALL if one != "3"]
    assert [event.error for event in outcome.failures] == ["LookupError", "LookupError"]
    assert all(event.place.endswith("in fails_at_three") for event in outcome.failures)
    assert [(one.data, one.reason, one.attempts) for one in parked] == [(b"3", "LookupError", 2)]
    assert outcome.stored == RECORDS - 1


def test_a_process_that_dies_costs_the_record_it_had_in_hand(tmp_path: Path) -> None:
    """Killed twice at the same record, the worker lives: only that record comes again, to a new process."""
    outcome = run(tmp_path / "notes", remote_handlers.dies_at_three, processes=1)
    assert outcome.seen == ["0", "1", "2", "3", "3", "3", "4", "5", "6"]
    assert len(outcome.processes) == 3
    assert [event.error for event in outcome.failures] == ["process ended with status -9"] * 2


def test_a_process_that_hangs_is_killed_and_its_lease_comes_back(tmp_path: Path) -> None:
    """A call beyond the limit costs the lease and the process, no thread stays behind, and the record comes again."""
    outcome = run(tmp_path / "notes", remote_handlers.hangs_at_three, handler_timeout_s=0.5, processes=1)
    assert outcome.seen == ["0", "1", "2", "3", "3", "4", "5", "6"]
    (hung, other) = outcome.processes
    alive = [process for process in (hung, other) if _alive(process)]
    assert alive == []


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_keys_are_handled_in_parallel_by_processes(tmp_path: Path) -> None:
    """`per_key` and processes go together: all records of a key in order."""
    outcome = run(tmp_path / "notes", remote_handlers.plain, concurrency=per_key(4), processes=2)
    assert outcome.seen == ALL
    assert outcome.stored == RECORDS - 1


def test_stopping_for_good_names_the_failure(tmp_path: Path) -> None:
    """`stop_worker` ends the worker with what the process said."""
    with pytest.raises(ExceptionGroup) as caught:
        run(tmp_path / "notes", remote_handlers.fails_at_three, processes=1, on_failure=stop_worker(attempts=1))
    assert caught.group_contains(HandlerGaveUp, match="LookupError")


@pytest.mark.parametrize("handler", [lambda record: record, os.getpid])
def test_a_function_that_no_process_can_import_is_refused_at_the_start(handler: Any, tmp_path: Path) -> None:
    """A lambda is refused before anything is sent, as is a function that takes no record."""
    with pytest.raises((InvalidInput, ExceptionGroup)) as caught:
        run(tmp_path / "notes", handler, processes=1)
    error = caught.value
    assert isinstance(error, InvalidInput) or caught.group_contains(InvalidInput, match="module level")


def test_a_module_that_cannot_be_imported_over_there_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    """The first process says before any lease is taken that it cannot import the handler."""
    monkeypatch.setattr(remote_handlers.dies_at_import, "__qualname__", "gone")
    monkeypatch.setattr(remote_handlers, "gone", remote_handlers.dies_at_import, raising=False)
    with pytest.raises(ExceptionGroup) as caught:
        run(tmp_path / "notes", remote_handlers.dies_at_import, processes=1)
    assert caught.group_contains(InvalidInput, match="fresh process")


@pytest.mark.parametrize("processes", [-1, 257, True])
def test_a_number_of_processes_out_of_range_is_refused(processes: int) -> None:
    """Zero means none; the limit is named."""
    worker = Worker("billing", streams=NAME, start="LATEST", connection=LocalServices())
    with pytest.raises(InvalidInput, match="from 0 to 256"):
        worker.add_handler(remote_handlers.plain, processes=processes)


def test_batches_and_records_survive_pickling() -> None:
    """What goes through the pipe is what was read, headers and marks included."""
    from shardline.common.deaggregation import deaggregate
    from shardline.consumer.handler import Batch, Origin, Piece

    origin = Origin(NAME, "shardId-000000000000", "17", 17, 1.5, 3)
    data = aggregate(("a", b"1"), ("b", b"2"))
    batch = Batch([Piece(origin, deaggregate(data, "a"), 0, len(data), 2)], stream=NAME, shard_id="s", token=3)
    for one, other in zip(batch, pickle.loads(pickle.dumps(batch)), strict=True):  # our own bytes
        assert (one.id, one.data, one.partition_key, one.headers) == (
            other.id,
            other.data,
            other.partition_key,
            other.headers,
        )
        again = pickle.loads(pickle.dumps(one))
        assert (again.id, again.data, again.token) == (one.id, one.data, 3)
