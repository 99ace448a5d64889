"""One invocation as a plain generator: it yields what the handler shall be called with and is sent how that went.

Sync and async handlers are driven by the same steps, so there is one place where a record counts as processed. Rules
(`reliability.md` 4.2, I21):

* records run in the order of the event; what is returned are the Kinesis records not wholly processed;
* ``stop`` (default) starts nothing after a failure; ``continue`` goes on, so what succeeded later comes again; ``park``
  hands a failed record to the caller's function and goes on only if that returns;
* no record is started once less than the reserve of the invocation's time remains.
"""

from __future__ import annotations

from itertools import repeat

from shardline.common.deaggregation import NO_HEADERS, Validation, iterate
from shardline.common.errors import InvalidInput, MalformedAggregate
from shardline.common.finished import check_finished
from shardline.common.limits import AGGREGATE_SUB_RECORDS_MAX
from shardline.consumer.aws_lambda.records import BatchStopped, Record, Tally
from shardline.consumer.aws_lambda.resuming import key_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Any

    from shardline.common.deaggregation import MalformedPolicy, UserRecords
    from shardline.common.envelopes import Origin
    from shardline.consumer.aws_lambda.resuming import ResumeStore

    Steps = Generator[tuple[Any, Record], Exception | None, list[Origin]]

__all__ = ["Invocation", "Plan", "batch_steps", "lowest", "single_steps"]


class Plan:
    """A handler's settings as `stream_handler` checked them; see there for their meaning."""

    __slots__ = (
        "batch_max",
        "decode",
        "drop_misplaced",
        "failed",
        "hash_range",
        "malformed",
        "max_sub_records",
        "on_error",
        "park",
        "reserve_s",
        "resume",
    )

    def __init__(self) -> None:
        self.batch_max: int | None = None
        self.decode: Callable[[Record], Any] | None = None
        self.drop_misplaced = False
        self.failed: Callable[[Record, Exception], object] | None = None
        self.hash_range: Callable[[str], tuple[int, int] | None] | None = None
        self.malformed: MalformedPolicy = "deliver_raw"
        self.max_sub_records = AGGREGATE_SUB_RECORDS_MAX
        self.on_error = "stop"
        self.park: Callable[[Record, Exception], object] | None = None
        self.reserve_s = 1.0
        self.resume: ResumeStore | None = None


def lowest(origins: list[Origin]) -> str:
    """Return the lowest sequence number of some records, compared as numbers, as it was written."""
    return min((origin.sequence_number or "" for origin in origins), key=int)


class Invocation:
    """One event on its way through a handler: opens aggregates, counts, and applies the failure policy."""

    __slots__ = ("_done_before", "_remaining_ms", "failed", "origins", "plan", "tally")

    def __init__(self, plan: Plan, origins: list[Origin], remaining_ms: Callable[[], float] | None) -> None:
        self.plan = plan
        self.origins = origins
        self.tally = Tally()
        self.failed: list[Origin] = []
        self._remaining_ms = remaining_ms
        self._done_before = 0  # Sub-records of the open aggregate that an earlier invocation did.

    def out_of_time(self) -> bool:
        """Say whether too little of the invocation's time remains to start anything."""
        if self._remaining_ms is None or self._remaining_ms() >= self.plan.reserve_s * 1000.0:
            return False
        self.tally.out_of_time = True
        return True

    def open(self, origin: Origin) -> tuple[Iterator[Record], Exception | None]:
        """Return the user records of a Kinesis record, or its raw record and why it cannot be taken apart."""
        self._done_before = 0
        self.tally.kinesis_records += 1
        raw = Record(origin, origin.data or b"", origin.partition_key, None, 0, False, NO_HEADERS)
        if origin.data is None:
            return iter((raw,)), InvalidInput("data", "strict base64 text", origin.problem or "")
        check = Validation(origin.data, max_sub_records=self.plan.max_sub_records).run()
        if check.reason is not None:
            self.tally.malformed += 1
            if self.plan.malformed == "raise":
                return iter((raw,)), MalformedAggregate(check.reason, len(origin.data))
        if check.kind != "aggregate":
            self.tally.checksum += check.checksum_mismatch
            return iter((raw,)), None
        hash_range = None if self.plan.hash_range is None else self.plan.hash_range(origin.shard_id)
        return self._sub_records(origin, iterate(check, origin.partition_key, hash_range=hash_range))

    def _sub_records(self, origin: Origin, records: UserRecords) -> tuple[Iterator[Record], Exception | None]:
        """Return an aggregate's records, without those that an earlier invocation did, or that are elsewhere."""
        notes = records.notes()
        misplaced = notes.get("misplaced", 0)
        self.tally.key_length += notes.get("key-length", 0)
        self.tally.misplaced += misplaced
        if misplaced and self.plan.drop_misplaced:
            self.tally.dropped += len(records)
            return iter(()), None
        made = map(Record, repeat(origin), *records.columns())
        if self.plan.resume is None:
            return made, None
        try:
            self._done_before = min(self.plan.resume.load(key_of(origin)) or 0, len(records))
        except Exception as error:  # noqa: BLE001 - a store that cannot be asked fails the record: it comes again.
            return made, error
        self.tally.skipped += self._done_before
        for _ in range(self._done_before):
            next(made)
        return made, None

    def absorbed(self, record: Record, error: Exception) -> bool:
        """Apply the policy to a failed record: report it, park it if asked to; say whether it is thereby dealt with."""
        if self.plan.failed is not None:
            self.plan.failed(record, error)
        if self.plan.park is not None:
            try:
                check_finished("park", self.plan.park(record, error))
            except Exception as parking:  # noqa: BLE001 - what could not be parked is not dealt with.
                if self.plan.failed is not None:
                    self.plan.failed(record, parking)
            else:
                self.tally.parked += 1
                return True
        self.tally.failed += 1
        return False

    def left_at(self, origin: Origin, sub_sequence_number: int) -> None:
        """Remember that an aggregate is done up to a sub-record."""
        if self.plan.resume is not None and sub_sequence_number > self._done_before:
            try:
                self.plan.resume.save(key_of(origin), sub_sequence_number)
            except Exception as error:  # noqa: BLE001 - not remembering costs only repetition.
                self._report_store(origin, error)

    def finished(self, origin: Origin) -> None:
        """Forget the progress inside an aggregate that is done."""
        if self.plan.resume is not None and self._done_before:
            try:
                self.plan.resume.discard(key_of(origin))
            except Exception as error:  # noqa: BLE001 - a stale entry harms nothing.
                self._report_store(origin, error)

    def _report_store(self, origin: Origin, error: Exception) -> None:
        if self.plan.failed is not None:
            record = Record(origin, b"", None, None, 0, False, NO_HEADERS)
            self.plan.failed(record, error)


def single_steps(invocation: Invocation) -> Steps:
    """Deliver record by record; return the Kinesis records not wholly processed."""
    plan, tally = invocation.plan, invocation.tally
    for position, origin in enumerate(invocation.origins):
        rest = invocation.origins[position:]
        first_failed: int | None = None
        records, broken = invocation.open(origin)
        for record in records:
            number = record.sub_sequence_number
            if invocation.out_of_time():
                invocation.left_at(origin, number if first_failed is None else first_failed)
                return invocation.failed + rest
            outcome = broken
            if outcome is None:
                try:
                    payload = record if plan.decode is None else plan.decode(record)
                except Exception as error:  # noqa: BLE001 - whatever a model raises is a failure of its record.
                    outcome = error
                else:
                    outcome = yield payload, record
            if outcome is None:
                tally.processed += 1
            elif not invocation.absorbed(record, outcome):
                first_failed = number if first_failed is None else first_failed
                if plan.on_error != "continue":
                    invocation.left_at(origin, first_failed)
                    return invocation.failed + rest
        if first_failed is None:
            invocation.finished(origin)
        else:
            invocation.failed.append(origin)
            invocation.left_at(origin, first_failed)
    return invocation.failed


def batch_steps(invocation: Invocation) -> Steps:
    """Deliver lists of up to `batch_max` records; return the Kinesis records not wholly processed."""
    plan, tally = invocation.plan, invocation.tally
    for batch, first in _batches(invocation):
        if invocation.out_of_time():
            return invocation.failed + invocation.origins[first:]
        records = [record for _, record, _ in batch]
        outcome = batch[0][2]  # What is broken stands alone.
        if outcome is None:
            try:
                payloads = records if plan.decode is None else [plan.decode(record) for record in records]
            except Exception as error:  # noqa: BLE001 - whatever a model raises is a failure of its batch.
                outcome = error
            else:
                outcome = yield payloads, records[0]
        if outcome is None:
            tally.processed += len(records)
            continue
        stopped = _stopped_at(outcome, records)
        tally.processed += stopped
        invocation.absorbed(records[stopped], outcome)
        if plan.on_error != "continue":
            return invocation.failed + invocation.origins[batch[stopped][0] :]
        invocation.failed += [invocation.origins[position] for position, _, _ in batch[stopped:]]
    return invocation.failed


def _stopped_at(outcome: Exception, records: list[Record]) -> int:
    """Return how many records of a failed batch are done: those before the one that `BatchStopped` names."""
    if isinstance(outcome, BatchStopped):
        return next((i for i, record in enumerate(records) if record is outcome.record), 0)
    return 0


def _batches(invocation: Invocation) -> Iterator[tuple[list[tuple[int, Record, Exception | None]], int]]:
    """Yield lists of (position of the Kinesis record, user record, why it is broken), and each list's first position.

    A record that cannot be taken apart stands alone in its batch, so that it fails no neighbour.
    """
    batch: list[tuple[int, Record, Exception | None]] = []
    for position, origin in enumerate(invocation.origins):
        records, broken = invocation.open(origin)
        if broken is not None and batch:
            yield batch, batch[0][0]
            batch = []
        for record in records:
            batch.append((position, record, broken))
            if broken is not None or len(batch) == invocation.plan.batch_max:
                yield batch, batch[0][0]
                batch = []
    if batch:
        yield batch, batch[0][0]
