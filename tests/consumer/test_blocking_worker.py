"""The worker without asyncio: pulled batches and processors with plain methods, on real threads."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.errors import CheckpointAhead, Closed, InvalidInput, NotFound
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.common.ports.lease_store import Key
from shardline.common.records import Position
from shardline.consumer import kclpy
from shardline.consumer.blocking import Checkpointer, ShardProcessor, Worker, on_threads
from shardline.consumer.config import LeaseConfig, WorkerConfig
from shardline.consumer.worker import Worker as AsyncWorker
from shardline.local.doors.services import LocalServices

from tests.consumer.rows import aggregate
from tests.pages import programs

if TYPE_CHECKING:
    from shardline.consumer.handler import Batch, Record
    from shardline.consumer.processor import ShardLease

pytestmark = pytest.mark.slow

NAME = "orders"
DATA = [str(number).encode() for number in range(7)]


def services(shards: int = 1) -> LocalServices:
    """Return services with a stream that holds one aggregate of seven records in its first shard."""
    made = LocalServices()
    made.state.create_stream(NAME, shards, now=made.clock())
    entry = PutEntry(aggregate(*(("k", data) for data in DATA)), "k", "0")
    made.state.put_records(Stream.of(NAME), [entry], now=made.clock())
    return made


def stored(made: LocalServices) -> Position:
    """Return the first shard's checkpoint."""
    item = made.tables.get("billing", Key("leaseKey", "shardId-000000000000"), consistent=True, now=made.clock())
    assert item is not None
    sequence, sub = item["checkpoint"], item["checkpointSubSequenceNumber"]
    assert isinstance(sequence, str)
    assert isinstance(sub, int)
    return Position(int(sequence), sub)


def worker(made: LocalServices, **more: Any) -> Worker:
    """Return a worker of the stream."""
    config = WorkerConfig(leases=LeaseConfig(failover_s=1.0))
    return Worker("billing", streams=NAME, start="TRIM_HORIZON", connection=made, config=config, **more)


def test_batches_are_pulled_and_acknowledged() -> None:
    """A clean exit acknowledges, an exception brings the same records again, leaving stores what is done."""
    made = services()
    seen: list[list[bytes]] = []
    with worker(made) as pulled:
        for batch in pulled.batches(max_records=5):
            with batch:
                seen.append([record.data for record in batch])
                assert (batch.stream, batch.shard_id, len(batch)) == (NAME, "shardId-000000000000", len(seen[-1]))
                assert batch.token >= 0
                assert not batch.is_over
                if len(seen) == 1:
                    raise LookupError
            assert batch.is_over
            if sum(map(len, seen[1:])) == len(DATA):
                break
    assert seen == [DATA[:5], DATA[:5], DATA[5:]]
    assert stored(made).sub_sequence_number == 6


def test_several_threads_pull_from_one_iterator() -> None:
    """Each batch goes to one thread; stopping ends the iteration of all."""
    made = services(shards=4)
    for shard in range(4):
        entry = PutEntry(b"plain", "k", str(shard * 2**126))
        made.state.put_records(Stream.of(NAME), [entry], now=made.clock())
    seen: list[bytes] = []

    def pull() -> None:
        for batch in batches:
            with batch:
                seen.extend(record.data for record in batch)
            if len(seen) == len(DATA) + 4:
                pulled.stop()

    with worker(made) as pulled:
        batches = pulled.batches()
        threads = [threading.Thread(target=pull, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert pulled.wait(60)
        for thread in threads:
            thread.join(60)
    assert sorted(seen) == sorted([*DATA, *[b"plain"] * 4])
    assert not any(thread.is_alive() for thread in threads)


class Porter(ShardProcessor):
    """Notes what it is called with, and checkpoints in two phases within the aggregate."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.threads: set[int] = set()

    def initialize(self, lease: ShardLease) -> None:
        """Note the shard."""
        self._note("initialize", lease.shard_id)

    def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
        """Note the records, and checkpoint at the fourth."""
        records = list(batch)
        self._note("process", [record.data for record in records])
        prepared = checkpointer.prepare(records[3], state=b"half")
        assert prepared.position == records[3].position
        prepared.checkpoint()
        with pytest.raises(CheckpointAhead):
            checkpointer.checkpoint(Position(records[-1].position.sequence_number + 1, 0))
        assert checkpointer.stored == records[3].position
        assert checkpointer.largest == records[-1].position

    def shutdown_requested(self, checkpointer: Checkpointer) -> None:
        """Take the chance."""
        self._note("shutdown_requested", None)
        checkpointer.checkpoint()

    def lease_lost(self) -> None:
        """Note it."""
        self._note("lease_lost", None)

    def _note(self, name: str, what: object) -> None:
        self.calls.append((name, what))
        self.threads.add(threading.get_ident())
        if name == "process":
            PROCESSED.set()


PROCESSED = threading.Event()


def test_a_processor_with_plain_methods_checkpoints_itself() -> None:
    """Its calls come on other threads, its checkpointer blocks and refuses as the asyncio one does."""
    PROCESSED.clear()
    made, porter = services(), Porter()
    running, asked = worker(made), list[tuple[str, str]]()
    running.add_processor(lambda: porter, positions=lambda stream, shard: asked.append((stream, shard)))
    with running:
        assert PROCESSED.wait(60)
    assert asked == [(NAME, "shardId-000000000000")]
    assert [name for name, _ in porter.calls] == ["initialize", "process", "shutdown_requested", "lease_lost"]
    assert porter.calls[1][1] == DATA
    assert threading.get_ident() not in porter.threads
    assert stored(made).sub_sequence_number == 6


def test_it_runs_under_an_asyncio_worker_too() -> None:
    """`on_threads` makes of the class what the asyncio worker takes: the same calls, and its last checkpoint stands."""
    PROCESSED.clear()
    made, porter = services(), Porter()

    async def main() -> None:
        running = AsyncWorker("billing", streams=NAME, start="TRIM_HORIZON", connection=made)
        running.add_processor(on_threads(lambda: porter))
        async with running:
            assert await asyncio.to_thread(PROCESSED.wait, 60)

    asyncio.run(main())
    assert [name for name, _ in porter.calls] == ["initialize", "process", "shutdown_requested", "lease_lost"]
    assert stored(made).sub_sequence_number == 6


def test_handlers_and_health() -> None:
    """Handlers are the asyncio worker's own; health tells of the leases while it runs, and after."""
    made, handled = services(), threading.Event()
    running = worker(made)

    @running.handler(NAME, batch=True)
    def note(batch: Batch) -> None:
        assert len(batch) == len(DATA)
        handled.set()

    with running:
        assert handled.wait(60)
        assert [lease.lease for lease in running.health().leases] == ["shardId-000000000000"]
        assert not running.wait(0.01)
        assert running.worker_id in repr(running)
        assert running.events is not None
    assert not running.health().running


def test_it_is_steered_from_any_thread() -> None:
    """Paused before its start it reads nothing; resumed it does; a seek back brings the records again."""
    made, handled = services(), threading.Semaphore(0)
    running = worker(made)
    seen: list[bytes] = []

    @running.handler(NAME)
    def note(record: Record) -> None:
        seen.append(record.data)
        handled.release()

    running.pause()
    with running:
        running.resume(NAME)
        for _ in DATA:
            assert handled.acquire(timeout=60)
        (lease,) = running.seek("TRIM_HORIZON")
        assert [shard.lease for shard in running.shards()] == [lease]
        for _ in DATA:
            assert handled.acquire(timeout=60)
        with pytest.raises(InvalidInput):
            running.add_stream("returns", start="LATEST")
        with pytest.raises(InvalidInput):
            running.remove_stream(NAME)
    assert seen == [*DATA, *DATA]


def test_leaving_ends_the_iteration_of_other_threads() -> None:
    """A thread that waits for a batch while another leaves the worker is let go."""
    ended = threading.Event()

    def pull() -> None:
        for batch in batches:
            with batch:
                pulled.stop()
        ended.set()

    with worker(services()) as pulled:
        batches = pulled.batches()
        threading.Thread(target=pull, daemon=True).start()
        assert pulled.wait(60)
    assert ended.wait(60)
    assert list(batches) == []


def test_what_the_start_raises_reaches_the_caller() -> None:
    """A stream that does not exist is said at ``with``, and the thread is gone."""
    running = Worker("billing", streams="missing", start="LATEST", connection=LocalServices())
    before = threading.active_count()
    with pytest.raises(NotFound), running:
        pass
    assert threading.active_count() <= before


def test_misuse_is_refused() -> None:
    """Once only, inside `with` only, and no batches beside handlers."""
    running = worker(services())
    for outside in (running.batches, running.wait):
        with pytest.raises(Closed):
            outside()
    running.add_handler(lambda record: record)
    with running, pytest.raises(InvalidInput):
        running.batches()
    with pytest.raises(Closed), running:
        pass


def _examples(page: str) -> list[dict[str, Any]]:
    """Execute the examples of a page of the documentation; return their names."""
    found: list[dict[str, Any]] = []
    for text in programs(f"docs/{page}"):
        names: dict[str, Any] = {"__name__": "example"}
        exec(compile(text, page, "exec", dont_inherit=True), names)
        found.append(names)
    return found


def test_the_documentation_s_batches(capsys: pytest.CaptureFixture[str]) -> None:
    """The example of docs/worker.md prints what is in the stream, until somebody stops the worker."""
    (names,) = (one for one in _examples("worker.md") if "export_blocking" in one)
    made = services()
    running = worker(made)
    exporting = threading.Thread(target=names["export_blocking"], args=(running,), daemon=True)
    exporting.start()
    printed = ""
    while not printed and exporting.is_alive():
        printed = capsys.readouterr().out
    running.stop()
    exporting.join(60)
    assert "shardId-000000000000" in printed
    assert str(DATA) in printed
    assert stored(made).sub_sequence_number == 6


@pytest.mark.parametrize("name", ["RecordProcessor", "Porter"])
def test_the_processors_of_the_guide(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The processors of docs/kcl.md print the records and checkpoint them."""
    (processor,) = (one[name] for one in _examples("kcl.md") if name in one)
    made = services()
    running = worker(made)
    running.add_processor(processor if name == "Porter" else kclpy.adapt(processor))
    printed = ""
    with running:
        while printed.count("\n") < len(DATA) and running.health().running:
            printed += capsys.readouterr().out
    assert printed.splitlines() == [str(data) for data in DATA]
    assert stored(made).sub_sequence_number == 6
