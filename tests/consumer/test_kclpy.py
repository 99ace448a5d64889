"""KCLPy's processors of every generation, unchanged, on real threads; the service is in process."""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.common.records import SHARD_END
from shardline.consumer.kclpy import CheckpointError, adapt
from shardline.consumer.leases.row import LeaseRow, read_row
from shardline.consumer.worker import Worker
from shardline.local.doors.services import LocalServices

from tests.consumer.rows import aggregate

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.records import Position

Log = list[tuple[Any, ...]]
FIRST = "shardId-000000000000"


class V3:
    """The interface of KCLPy 2 and 3: one input object for each call."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def initialize(self, initialize_input: Any) -> None:
        """Note the shard."""
        self.log.append(("initialize", initialize_input.shard_id, initialize_input.sequence_number))

    def process_records(self, process_records_input: Any) -> None:
        """Note each record, and checkpoint in the midst of an aggregate."""
        for record in process_records_input.records:
            self.log.append((record.binary_data, record.partition_key, record.sub_sequence_number))
        last = process_records_input.records[-1]
        with pytest.raises(CheckpointError) as refused:
            process_records_input.checkpointer.checkpoint(last.sequence_number, 7)
        assert refused.value.value == "IllegalArgumentException"
        process_records_input.checkpointer.checkpoint(str(last.sequence_number), 1)

    def lease_lost(self, lease_lost_input: object) -> None:
        """Note it."""
        self.log.append(("lost", lease_lost_input))

    def shard_ended(self, shard_ended_input: Any) -> None:
        """Checkpoint, as it must."""
        shard_ended_input.checkpointer.checkpoint()

    def shutdown_requested(self, shutdown_requested_input: Any) -> None:
        """Checkpoint everything."""
        shutdown_requested_input.checkpointer.checkpoint()
        self.log.append(("requested",))


class V1:
    """The first interface: values instead of inputs."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def initialize(self, shard_id: str) -> None:
        """Note the shard."""
        self.log.append(("initialize", str(shard_id)))

    def process_records(self, records: Any, checkpointer: Any) -> None:
        """Note each record, and checkpoint."""
        self.log.extend((base64.b64decode(record.get("data")), record.get("partitionKey")) for record in records)
        checkpointer.checkpoint()

    def shutdown(self, checkpointer: Any, reason: str) -> None:
        """Note the reason; checkpoint the shard's end; a zombie cannot."""
        if reason == "TERMINATE":
            checkpointer.checkpoint()
        else:
            with pytest.raises(CheckpointError, match="ShutdownException"):
                checkpointer.checkpoint()
        self.log.append((reason,))


class Sample:
    """What KCLPy's sample does with records: it checkpoints by number, and tries again by that package's own error."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def process_records(self, process_records_input: Any) -> None:
        """Note each record, and checkpoint behind the last one; then where it is."""
        kcl: Any = sys.modules["amazon_kclpy.kcl"]
        self.log.extend((record.binary_data,) for record in process_records_input.records)
        last = process_records_input.records[-1]
        try:
            process_records_input.checkpointer.checkpoint(str(last.sequence_number), last.sub_sequence_number + 1)
        except kcl.CheckpointError as error:
            self.log.append((error.value,))
            process_records_input.checkpointer.checkpoint(str(last.sequence_number), last.sub_sequence_number)


class V2(Sample):
    """The interface of KCLPy 2, where both ends are one call with one input."""

    def shutdown(self, shutdown_input: Any) -> None:
        """Checkpoint the shard's end; a zombie cannot."""
        if shutdown_input.reason == "TERMINATE":
            shutdown_input.checkpointer.checkpoint()
        self.log.append((shutdown_input.reason,))


class Ends(Sample):
    """The interface of KCLPy 3, where a shard's end is a call of its own."""

    def shard_ended(self, shard_ended_input: Any) -> None:
        """Checkpoint, as it must."""
        shard_ended_input.checkpointer.checkpoint()
        self.log.append(("ended",))


class Tutorial:
    """The form of the tutorials: a bare list, and nothing to checkpoint with."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def initialize(self, shard_id: str) -> None:
        """Do nothing."""

    def process_records(self, records: Any) -> None:
        """Note each record."""
        self.log.extend((record.binary_data,) for record in records)


def ran(processor: Callable[[Log], object], *, split: bool = False) -> tuple[Log, dict[str, Position]]:
    """Run a worker with the processor until it has seen three records; return what it noted and the checkpoints.

    With `split` the shard ends behind them, and a fourth stands in each child.
    """
    log: Log = []

    async def main() -> dict[str, Position]:
        services = LocalServices()
        services.state.create_stream("orders", 1, now=time.time() - 60)
        data = aggregate(("k", b"a"), ("k", b"b"), ("k", b"c"))
        services.state.put_records(Stream("orders"), [PutEntry(data, "k")], now=time.time())
        if split:
            services.state.split_shard(Stream("orders"), FIRST, str(2**127), now=time.time() - 30)
            for hash_key in ("0", str(2**127)):
                services.state.put_records(Stream("orders"), [PutEntry(b"d", "k", hash_key)], now=time.time())
        worker = Worker("app", streams="orders", start="TRIM_HORIZON", connection=services)
        worker.add_processor(adapt(lambda: processor(log)))
        async with worker, asyncio.timeout(60):
            while [one[0] for one in log].count(*((b"d",) if split else (b"c",))) < 1 + split:  # noqa: ASYNC110 - a thread sets no Event.
                await asyncio.sleep(0.05)
        rows = map(read_row, services.tables.scan_page("app", time.time(), consistent=True).items)
        return {row.key: row.checkpoint for row in rows if isinstance(row, LeaseRow)}

    return log, asyncio.run(main())


def test_a_version_3_processor_runs_unchanged() -> None:
    """Inputs, records and checkpointer have KCLPy's names; wrong checkpoints are its errors."""
    log, checkpoints = ran(V3)
    assert log == [
        ("initialize", "shardId-000000000000", "TRIM_HORIZON"),
        (b"a", "k", 0),
        (b"b", "k", 1),
        (b"c", "k", 2),
        ("requested",),
        ("lost", None),
    ]
    assert checkpoints[FIRST].sub_sequence_number == 2


def test_a_version_1_processor_runs_unchanged() -> None:
    """Values instead of inputs, base64 instead of bytes, `shutdown` with a reason."""
    log, checkpoints = ran(V1)
    assert log == [("initialize", "shardId-000000000000"), (b"a", "k"), (b"b", "k"), (b"c", "k"), ("ZOMBIE",)]
    assert checkpoints[FIRST].sub_sequence_number == 2


def test_a_tutorial_processor_runs_unchanged() -> None:
    """A bare list is processed, and checkpointed after each call that returned."""
    log, checkpoints = ran(Tutorial)
    assert log == [(b"a",), (b"b",), (b"c",)]
    assert checkpoints[FIRST].sub_sequence_number == 2


class KclPysError(Exception):
    """`amazon_kclpy.kcl.CheckpointError`, as that package has it."""

    def __init__(self, value: str) -> None:
        self.value = value


@pytest.fixture
def amazon_kclpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for KCLPy's module, which a program that comes from there has imported."""
    kcl = ModuleType("amazon_kclpy.kcl")
    kcl.CheckpointError = KclPysError  # type: ignore[attr-defined]  # As in that package.
    monkeypatch.setitem(sys.modules, "amazon_kclpy.kcl", kcl)


@pytest.mark.usefixtures("amazon_kclpy")
def test_a_version_2_processor_runs_unchanged() -> None:
    """Its one `shutdown` gets an input with reason and checkpointer; `except kcl.CheckpointError` catches refusals."""
    log, checkpoints = ran(V2)
    assert log == [(b"a",), (b"b",), (b"c",), ("IllegalArgumentException",), ("ZOMBIE",)]
    assert checkpoints[FIRST].sub_sequence_number == 2


@pytest.mark.slow
@pytest.mark.usefixtures("amazon_kclpy")
@pytest.mark.parametrize("processor", [V1, V2, Ends, Tutorial])
def test_every_generation_is_told_of_a_shard_s_end(processor: Callable[[Log], object]) -> None:
    """`shard_ended`, or `shutdown` with TERMINATE, checkpoints it, or else the adapter does; the children follow."""
    log, checkpoints = ran(processor, split=True)
    ends = [one for one in log if one[0] in ("TERMINATE", "ended")]
    assert len(ends) == (processor is not Tutorial)
    assert checkpoints[FIRST] == SHARD_END
    assert len(checkpoints) == 3
