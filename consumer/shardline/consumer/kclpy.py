"""Runs processor classes written for KCLPy (`amazon_kclpy`) under a `Worker`, on threads, without Java.

    worker.add_processor(kclpy.adapt(RecordProcessor))      # under a worker of your own
    kclpy.run(RecordProcessor, "sample.properties")         # or in place of KCLPy's own command

The methods are called with what each generation of KCLPy gives them, told apart by how many arguments they take: one
input object (v2, v3), or the values themselves (v1, and tutorials: ``process_records(self, records)``, which cannot
checkpoint, so a checkpoint follows each of its calls). Inputs are usable both ways: the shard id is a str with
attributes, the records are a list with attributes.

Unlike under KCLPy an exception skips nothing and ends no process: the call is made again, or as `on_failure` says.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from shardline.common.connection import Connection
from shardline.common.errors import CheckpointRefused, InvalidInput, LeaseGone
from shardline.common.records import Position, parse_sequence_number
from shardline.consumer.driver.threads import ThreadedProcessor
from shardline.consumer.events import SettingsIgnored
from shardline.consumer.kcl_properties import load_kcl
from shardline.consumer.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shardline.common.events import Listener
    from shardline.common.ports.services import Services
    from shardline.consumer.handler import Batch
    from shardline.consumer.handler import Record as UserRecord
    from shardline.consumer.processor import Checkpointer, ShardLease

__all__ = ["CheckpointError", "KclPyCheckpointer", "KclPyProcessor", "adapt", "run", "worker_of"]


class CheckpointError(Exception):
    """A checkpoint was refused; `value` is the KCL's name for it: ShutdownException or IllegalArgumentException.

    In a program that imports `amazon_kclpy.kcl` it is that module's `CheckpointError`, too.
    """

    def __init__(self, value: str) -> None:
        Exception.__init__(self, value)
        self.value = value


def _refusal(value: str) -> CheckpointError:
    """Return the error to raise; where the program has loaded KCLPy itself, one that its handlers catch, too."""
    theirs = getattr(sys.modules.get("amazon_kclpy.kcl"), "CheckpointError", None)
    if not (isinstance(theirs, type) and issubclass(theirs, Exception)):
        return CheckpointError(value)
    both: type[CheckpointError] = type("CheckpointError", (CheckpointError, theirs), {})
    return both(value)


class InitializeInput(str):  # noqa: SLOT000 - it has attributes, like KCLPy's.
    """The shard's id, with the attributes of KCLPy's `InitializeInput`."""

    shard_id: str
    sequence_number: str
    sub_sequence_number: int

    def __new__(cls, lease: ShardLease) -> Self:
        """Return what `initialize` gets."""
        made = super().__new__(cls, lease.shard_id)
        made.shard_id = lease.shard_id
        made.sequence_number = lease.checkpoint.text
        made.sub_sequence_number = lease.checkpoint.sub_sequence_number
        return made


class Record:
    """A user record with the names of KCLPy's; `get` gives the message's own fields (``data`` in base64)."""

    def __init__(self, record: UserRecord) -> None:
        self.binary_data = record.data
        self.partition_key = record.partition_key
        self.sequence_number = int(record.sequence_number)
        self.sub_sequence_number = record.sub_sequence_number
        self.approximate_arrival_timestamp = datetime.fromtimestamp(record.arrival_time_s, UTC)

    @property
    def data(self) -> str:
        """The data in base64."""
        return base64.b64encode(self.binary_data).decode("ascii")

    def get(self, field: str) -> str | int | None:
        """Return a field by its name in the KCL's messages, None for one that it has not."""
        names = {
            "data": self.data,
            "partitionKey": self.partition_key,
            "sequenceNumber": str(self.sequence_number),
            "subSequenceNumber": self.sub_sequence_number,
            "approximateArrivalTimestamp": int(self.approximate_arrival_timestamp.timestamp() * 1000),
        }
        return names.get(field)


class KclPyCheckpointer:
    """KCLPy's checkpointer, for threads; it is also the input of the calls that get nothing else (`checkpointer`)."""

    def __init__(self, checkpointer: Checkpointer, loop: asyncio.AbstractEventLoop, reason: str | None = None) -> None:
        self.reason = reason
        self._checkpointer = checkpointer
        self._loop = loop

    @property
    def checkpointer(self) -> KclPyCheckpointer:
        """Itself."""
        return self

    def checkpoint(self, sequence_number: int | str | None = None, sub_sequence_number: int | None = None) -> None:
        """Checkpoint at a record, or at all that was handed over; without a sub-sequence number at its first one.

        Blocks until it is stored. Raises `CheckpointError` where it was refused. Never call it on the event loop.
        """
        at = None
        if sequence_number is not None:
            at = Position(parse_sequence_number(str(sequence_number)), sub_sequence_number or 0)
        try:
            asyncio.run_coroutine_threadsafe(self._checkpointer.checkpoint(at), self._loop).result()
        except LeaseGone as error:
            raise _refusal("ShutdownException") from error
        except CheckpointRefused as error:
            raise _refusal("IllegalArgumentException") from error


class ProcessRecordsInput(list[Record]):
    """The records, with the attributes of KCLPy's `ProcessRecordsInput`."""

    def __init__(self, batch: Batch, checkpointer: KclPyCheckpointer) -> None:
        super().__init__(map(Record, batch))
        self.checkpointer = checkpointer
        self.millis_behind_latest = batch.millis_behind_latest

    @property
    def records(self) -> ProcessRecordsInput:
        """The records."""
        return self


class KclPyProcessor(ThreadedProcessor):
    """One KCLPy processor for one tenure of a shard's lease; make them with `adapt`."""

    def __init__(self, processor: object) -> None:
        self._processor = processor

    async def initialize(self, lease: ShardLease) -> None:
        """Call `initialize` with the shard, where there is one."""
        if hasattr(self._processor, "initialize"):
            await self._call("initialize", InitializeInput(lease))

    async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
        """Call `process_records`, and checkpoint where it gets nothing to do it with."""
        ours = KclPyCheckpointer(checkpointer, asyncio.get_running_loop())
        records = ProcessRecordsInput(batch, ours)
        await self._call("process_records", records, ours)
        if self._names("process_records") == ["records"]:
            await checkpointer.checkpoint()

    async def lease_lost(self) -> None:
        """Call `lease_lost`, or `shutdown` with the reason ZOMBIE; neither can checkpoint."""
        if hasattr(self._processor, "lease_lost"):
            await self._call("lease_lost", None, at_last=True)
        elif hasattr(self._processor, "shutdown"):
            await self._call("shutdown", _Zombie("ZOMBIE"), "ZOMBIE", at_last=True)

    async def shard_ended(self, checkpointer: Checkpointer) -> None:
        """Call `shard_ended`, or `shutdown` with the reason TERMINATE; a processor that has neither is checkpointed."""
        if hasattr(self._processor, "shard_ended"):
            await self._call("shard_ended", KclPyCheckpointer(checkpointer, asyncio.get_running_loop()))
        elif hasattr(self._processor, "shutdown"):
            ours = KclPyCheckpointer(checkpointer, asyncio.get_running_loop(), "TERMINATE")
            await self._call("shutdown", ours, "TERMINATE")
        if self._names("process_records") == ["records"]:
            await checkpointer.checkpoint()

    async def shutdown_requested(self, checkpointer: Checkpointer) -> None:
        """Call `shutdown_requested` if there is one."""
        if hasattr(self._processor, "shutdown_requested"):
            await self._call("shutdown_requested", KclPyCheckpointer(checkpointer, asyncio.get_running_loop()))

    async def _call(self, method: str, *arguments: object, at_last: bool = False) -> None:
        function = getattr(self._processor, method)
        given = arguments[: max(1, len(self._names(method)))]
        await (self.on_thread_at_last if at_last else self.on_thread)(function, *given)

    def _names(self, method: str) -> list[str]:
        """Return the names of the positional arguments that a method takes."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        found = inspect.signature(getattr(self._processor, method)).parameters.values()
        return [one.name for one in found if one.kind in kinds]


class _Zombie(KclPyCheckpointer):
    """What `shutdown` gets after the loss of the lease: every checkpoint is refused."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def checkpoint(self, sequence_number: int | str | None = None, sub_sequence_number: int | None = None) -> None:
        """Refuse."""
        del sequence_number, sub_sequence_number
        raise _refusal("ShutdownException")


def adapt(processor: Callable[[], object]) -> Callable[[], KclPyProcessor]:
    """Return a KCLPy processor class (or a function that makes its objects) as `Worker.add_processor` takes it.

    One object is made for each tenure of a shard's lease, as KCLPy makes one process; its calls never overlap. Raises
    `InvalidInput` for a class without `process_records`, the one method that must be there.
    """
    if isinstance(processor, type) and not callable(getattr(processor, "process_records", None)):
        raise InvalidInput("processor", "a class with a method process_records", processor.__name__)
    return lambda: KclPyProcessor(processor())


def worker_of(
    processor: Callable[[], object],
    properties: str,
    *,
    connection: Services | None = None,
    listeners: Iterable[Listener] = (),
) -> Worker:
    """Return the worker that a KCL's `.properties` text describes, with the processor registered.

    `connection` overrides what the text says of region and endpoints. Keys without meaning here are named in an event
    (``settings.ignored``). Raises `UnknownSetting` for a key that no KCL has, and `InvalidInput` naming the key for a
    value out of range; nothing is sent.
    """
    loaded = load_kcl(properties)
    settings = loaded.settings
    worker = Worker(
        settings.application.name,
        streams=settings.stream,
        start=settings.start,
        connection=connection or Connection(**settings.connection.arguments()),
        config=settings.config,
        listeners=listeners,
    )
    worker.add_processor(adapt(processor))
    if loaded.ignored:
        worker.events.emit(SettingsIgnored(names=loaded.ignored))
    return worker


def run(
    processor: Callable[[], object],
    properties_file: str | Path,
    *,
    connection: Services | None = None,
    listeners: Iterable[Listener] | None = None,
) -> None:
    """Run a KCLPy processor class as the MultiLangDaemon would with this `.properties` file, until SIGTERM or SIGINT.

    `listeners` None logs through structlog what is no mere debugging. Raises `OSError` for a file that cannot be read,
    what `worker_of` raises, and what starting a worker raises.
    """
    if listeners is None:
        from shardline.common.metrics.logs import LogListener  # noqa: PLC0415 - structlog only where it logs.

        listeners = [LogListener(level="info")]
    text = Path(properties_file).read_text(encoding="latin-1")  # As Java reads such files.
    worker_of(processor, text, connection=connection, listeners=listeners).run()
