"""powertools with one import changed: against the installed package, its own behaviour beside ours (peers.md 2.4)."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
from aws_lambda_powertools.utilities.batch import BatchProcessor as Theirs
from aws_lambda_powertools.utilities.batch import process_partial_response as their_process
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from aws_lambda_powertools.utilities.parser import parse
from aws_lambda_powertools.utilities.parser.models import KinesisDataStreamRecord
from pydantic import BaseModel, ConfigDict

from shardline.common.errors import DecodeFailure, InvalidInput
from shardline.consumer.aws_lambda.powertools import (
    AsyncBatchProcessor,
    BatchProcessor,
    EventType,
    KinesisDataStreamEnvelope,
    async_process_partial_response,
    process_partial_response,
)

from tests.lambda_.events import ALL_DONE, FIRST, SHARD, Context, aggregate, event, failing_at, malformed, record

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.kinesis_stream_event import KinesisStreamRecord


class Handler:
    """A powertools record handler that keeps what it saw and fails for some payloads."""

    def __init__(self, *failing: bytes) -> None:
        self.failing = failing
        self.seen: list[bytes] = []
        self.ids: list[str] = []

    def __call__(self, record: KinesisStreamRecord, lambda_context: Any = None) -> None:
        """Take a record."""
        data = record.kinesis.data_as_bytes()
        assert lambda_context is not None
        self.seen.append(data)
        self.ids.append(record.event_id or "")
        if data in self.failing:
            raise ValueError("no")


def answer(handler: Any, given: dict[str, Any], **settings: Any) -> Any:
    """Run an event through our processor with powertools' own function."""
    processor = BatchProcessor(event_type=EventType.KinesisDataStreams, **settings)
    return process_partial_response(given, handler, processor, Context(9000))  # type: ignore[arg-type]  # A context of ours.


def test_aggregates_are_taken_apart_with_unique_ids() -> None:
    """The handler sees user records, each with an eventID of its own, so that idempotency tells them apart."""
    handler = Handler()
    assert answer(handler, event(b"0", aggregate(b"1", b"2"))) == ALL_DONE
    assert handler.seen == [b"0", b"1", b"2"]
    assert handler.ids == [f"{SHARD}:{FIRST}", f"{SHARD}:{FIRST + 1}:0", f"{SHARD}:{FIRST + 1}:1"]


def test_nothing_runs_after_a_failure_where_theirs_runs_everything() -> None:
    """In a batch 0..5 with 2 and 4 failing theirs runs 3 and 5 too, and again later; ours names 2 and stops."""
    given = event(*(b"%d" % number for number in range(6)))
    theirs, ours = Handler(b"2", b"4"), Handler(b"2", b"4")
    their_process(given, theirs, Theirs(event_type=EventType.KinesisDataStreams), Context(9000))  # type: ignore[arg-type]  # As above: a context of ours.
    assert len(theirs.seen) == 6
    assert answer(ours, given) == failing_at(FIRST + 2)
    assert ours.seen == [b"0", b"1", b"2"]


def test_a_failing_sub_record_names_its_kinesis_record() -> None:
    """One failing sub-record makes its aggregate come again."""
    assert answer(Handler(b"b"), event(b"0", aggregate(b"a", b"b", b"c"), b"1")) == failing_at(FIRST + 1)


def test_unsorted_numbers_name_the_lowest_left() -> None:
    """The lowest number of everything not run is named."""
    given = event(record(b"0", FIRST + 5), record(b"bad", FIRST + 3), record(b"1", FIRST + 2))
    assert answer(Handler(b"bad"), given) == failing_at(FIRST + 2)


def test_a_whole_batch_that_fails_raises_as_theirs_does() -> None:
    """Unless told otherwise, a batch of which nothing succeeded raises."""
    with pytest.raises(BatchProcessingError):
        answer(Handler(b"0"), event(b"0", b"1"))
    assert answer(Handler(b"0"), event(b"0", b"1"), raise_on_entire_batch_failure=False) == failing_at(FIRST)


def test_a_malformed_aggregate_arrives_whole() -> None:
    """The handler gets the raw bytes once."""
    handler = Handler()
    assert answer(handler, event(malformed())) == ALL_DONE
    assert handler.seen == [malformed()]


@pytest.mark.parametrize("given", [{"Records": [{"messageId": "1", "body": "x"}]}, event(record(b"x", number=-1))])
def test_a_foreign_or_nameless_event_fails_whole(given: dict[str, Any]) -> None:
    """Never an empty success."""
    with pytest.raises(InvalidInput):
        answer(Handler(), given)


class Payload(BaseModel):
    """What the data hold."""

    model_config = ConfigDict(title="A title of its own")
    id: int


class Titled(KinesisDataStreamRecord):
    """A record model with a custom title, the case in which theirs fails the whole invocation."""

    model_config = ConfigDict(title="Another title")
    kinesis: Any


def test_a_poison_pill_under_a_titled_model_is_one_failure() -> None:
    """Theirs raises AttributeError while it collects failures; ours names the record."""

    class Checked(Titled):
        """A record whose data must be there."""

        eventName: int = 0  # type: ignore[assignment]  # noqa: N815 - a model that no record fits.

    seen: list[Any] = []

    def handler(record: Any) -> None:
        seen.append(record)

    processor = BatchProcessor(
        event_type=EventType.KinesisDataStreams, model=Checked, raise_on_entire_batch_failure=False
    )
    assert process_partial_response(event(b"0", b"1"), handler, processor) == failing_at(FIRST)
    failed: Any = processor.fail_messages[0]
    assert failed.event_id == f"{SHARD}:{FIRST}"
    assert seen == []


def test_other_event_types_are_theirs() -> None:
    """An SQS processor works as before."""
    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    bodies: list[str] = []

    def handler(record: Any) -> None:
        bodies.append(record.body)
        if record.body == "bad":
            raise ValueError("no")

    given = {"Records": [{"messageId": "1", "body": "bad"}, {"messageId": "2", "body": "good"}]}
    assert process_partial_response(given, handler, processor) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert bodies == ["bad", "good"]


def test_async_records_run_in_order_one_at_a_time() -> None:
    """Theirs gathers the whole batch at once; ours awaits one record before the next and stops."""
    import asyncio

    running = 0
    seen: list[bytes] = []

    async def handler(record: Any) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        running -= 1
        seen.append(record.kinesis.data_as_bytes())
        if seen[-1] == b"b":
            raise ValueError("no")

    processor = AsyncBatchProcessor(event_type=EventType.KinesisDataStreams)
    given = event(b"0", aggregate(b"a", b"b", b"c"), b"1")
    assert async_process_partial_response(given, handler, processor) == failing_at(FIRST + 1)
    assert seen == [b"0", b"a", b"b"]
    assert async_process_partial_response(event(b"2"), handler, processor) == ALL_DONE
    processor.close()
    processor.close()


def test_async_processors_of_other_types_are_theirs() -> None:
    """An SQS processor works as before."""

    async def handler(record: Any) -> str:
        return str(record.body)

    processor = AsyncBatchProcessor(event_type=EventType.SQS)
    assert (
        async_process_partial_response({"Records": [{"messageId": "1", "body": "x"}]}, handler, processor) == ALL_DONE
    )


def test_the_envelope_parses_user_records() -> None:
    """Plain, aggregated and compressed records become models, with or without partition keys."""
    records = event(
        b'{"id": 1}',
        record(aggregate(b'{"id": 2}', b'{"id": 3}', key=None), FIRST + 1, key=None),
        record(gzip.compress(b'{"id": 4}'), FIRST + 2),
    )
    found: Any = parse(event=records, model=Payload, envelope=KinesisDataStreamEnvelope)
    assert [one.id for one in found] == [1, 2, 3, 4]


def test_the_envelope_refuses_what_it_cannot_read() -> None:
    """Neither text nor compressed, or no Kinesis event: a typed error."""
    with pytest.raises(DecodeFailure):
        KinesisDataStreamEnvelope().parse(event(b"\xff\xfe\xfd"), Payload)
    with pytest.raises(InvalidInput):
        KinesisDataStreamEnvelope().parse({"Records": None}, Payload)
