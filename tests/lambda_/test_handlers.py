"""`stream_handler`: what it calls, what it answers, and what it refuses (reliability.md 4.2, row by row)."""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import TYPE_CHECKING, Any

import msgspec
import pydantic
import pytest

from shardline.common.errors import InvalidInput, MalformedAggregate
from shardline.common.hashing import hash_key
from shardline.consumer.aws_lambda import BatchFailed, BatchStopped, Record, Tally, stream_handler

from tests.lambda_.events import ALL_DONE, ARN, FIRST, SHARD, Context, aggregate, event, failing_at, malformed, record

if TYPE_CHECKING:
    from collections.abc import Callable

CONTEXT = Context(300_000)


def collector(
    seen: list[bytes], *, failing: tuple[bytes, ...] = (), **settings: Any
) -> Callable[[Any, Any], dict[str, Any]]:
    """Return a handler that keeps what it was given and raises for some payloads."""

    @stream_handler(**settings)
    def handler(one: Record) -> None:
        seen.append(one.data)
        if one.data in failing:
            raise ValueError("no")

    return handler


def test_every_user_record_is_handled_in_order() -> None:
    """Plain records and sub-records arrive one by one, and the answer says that nothing is left."""
    seen: list[bytes] = []
    answer = collector(seen)(event(b"one", aggregate(b"two", b"three"), b"four"), CONTEXT)
    assert (seen, answer) == ([b"one", b"two", b"three", b"four"], ALL_DONE)


def test_a_record_carries_everything_known_of_it() -> None:
    """Identity, keys, headers, arrival time and helpers; its repr shows no payload."""
    found: list[Record] = []

    @stream_handler
    def handler(one: Record) -> None:
        found.append(one)

    handler(event(record(aggregate(b'{"a": 1}', b"x", key="user", headers={"h": "v"}), FIRST, key="a")), CONTEXT)
    one = found[0]
    assert (one.partition_key, one.explicit_hash_key, one.sub_sequence_number) == ("user", None, 0)
    assert (one.sequence_number, one.shard_id, one.stream_arn) == (str(FIRST), SHARD, ARN)
    assert (one.arrival_time_s, one.headers, one.misplaced) == (1545084650.987, {"h": "v"}, False)
    assert (one.text(), one.json(), found[1].id) == ('{"a": 1}', {"a": 1}, f"{SHARD}:{FIRST}:1")
    assert repr(one) == f"Record({SHARD}:{FIRST}:0, 8 bytes)"


@pytest.mark.parametrize(("bad", "left"), [(b"0", 0), (b"2", 2), (b"4", 4)])
def test_stop_names_the_first_failure_and_starts_nothing_after_it(bad: bytes, left: int) -> None:
    """First, middle or last: the failing record is named, later ones were not started."""
    seen: list[bytes] = []
    answer = collector(seen, failing=(bad,))(event(b"0", b"1", b"2", b"3", b"4"), CONTEXT)
    assert answer == failing_at(FIRST + left)
    assert seen == [b"0", b"1", b"2", b"3", b"4"][: left + 1]


def test_one_failing_sub_record_names_its_aggregate() -> None:
    """Lambda can name only the Kinesis record, so all of the aggregate comes again."""
    seen: list[bytes] = []
    answer = collector(seen, failing=(b"b",))(event(b"0", aggregate(b"a", b"b", b"c"), b"1"), CONTEXT)
    assert (seen, answer) == ([b"0", b"a", b"b"], failing_at(FIRST + 1))


def test_continue_handles_the_rest_and_names_the_lowest() -> None:
    """With `continue` everything is tried; the lowest failure is named."""
    seen: list[bytes] = []
    answer = collector(seen, failing=(b"1", b"3"), on_error="continue")(event(b"0", b"1", b"2", b"3"), CONTEXT)
    assert (seen, answer) == ([b"0", b"1", b"2", b"3"], failing_at(FIRST + 1))


def test_park_goes_on_once_the_record_is_kept() -> None:
    """A parked record counts as dealt with, and the parking function gets the record and its error."""
    parked: list[tuple[bytes, str]] = []
    answer = collector(
        [], failing=(b"1",), on_error="park", park=lambda one, error: parked.append((one.data, str(error)))
    )(event(b"0", b"1", b"2"), CONTEXT)
    assert (parked, answer) == ([(b"1", "no")], ALL_DONE)


def test_what_cannot_be_parked_stops() -> None:
    """If parking fails the record counts as failed and nothing after it is started."""

    def park(_one: Record, _error: Exception) -> None:
        raise OSError("full")

    seen: list[bytes] = []
    answer = collector(seen, failing=(b"1",), on_error="park", park=park)(event(b"0", b"1", b"2"), CONTEXT)
    assert (seen, answer) == ([b"0", b"1"], failing_at(FIRST + 1))


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 1, 0], [0, 0, 0]])
def test_unsorted_and_repeated_numbers_name_the_lowest_unprocessed(order: list[int]) -> None:
    """Numbers are compared as numbers over everything not processed, whatever the order of the event."""
    given = event(*(record(b"%d" % index, FIRST + number) for index, number in enumerate(order)))
    assert collector([], failing=(b"0",))(given, CONTEXT) == failing_at(FIRST + min(order))


def test_numbers_of_different_length_compare_as_numbers() -> None:
    """9 lies below 10."""
    given = event(record(b"a", 10), record(b"b", 9))
    assert collector([], failing=(b"a",))(given, CONTEXT) == failing_at(9)


@pytest.mark.parametrize("data", [None, "", "no base64", "aGVsbG8", "YWJj\n", "-_-_", " YWJj"])
def test_undecodable_data_fail_at_their_record(data: str | None) -> None:
    """Missing, broken, url-safe or padded-with-space base64: everything before is done, the record is named."""
    seen: list[bytes] = []
    answer = collector(seen)(event(record(b"ok", FIRST), record(data, FIRST + 1)), CONTEXT)
    expected = ALL_DONE if data == "" else failing_at(FIRST + 1)
    assert (seen[:1], answer) == ([b"ok"], expected)


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        "event",
        {},
        {"Records": None},
        {"Records": "x"},
        {"Records": [None]},
        {"Records": [{"body": "an SQS record", "eventSource": "aws:sqs"}]},
        event(record(b"x", eventSource="aws:dynamodb")),
        event(b"good", record(b"x", eventSource="aws:sqs")),
    ],
)
def test_an_event_that_is_not_kinesis_fails_whole(given: Any) -> None:
    """No Records, null, the wrong type or a foreign source is a typed error, never an empty success."""
    seen: list[bytes] = []
    with pytest.raises(InvalidInput):
        collector(seen)(given, CONTEXT)
    assert seen == []


@pytest.mark.parametrize("number", [None, "", 7, "x1", "1" * 130])
def test_a_record_that_cannot_be_named_fails_the_batch_before_anything_runs(number: Any) -> None:
    """Without a sequence number an answer could not name the record."""
    bad = record(b"x")
    bad["kinesis"]["sequenceNumber"] = number
    seen: list[bytes] = []
    with pytest.raises(InvalidInput, match="sequenceNumber"):
        collector(seen)(event(b"fine", bad), CONTEXT)
    assert seen == []


def test_an_empty_batch_is_done() -> None:
    """No records, nothing left."""
    assert collector([])(event(), CONTEXT) == ALL_DONE


def test_nothing_is_started_near_the_deadline() -> None:
    """Once less than the reserve remains the first record not started is named."""
    seen: list[bytes] = []
    tallies: list[Tally] = []
    handler = collector(seen, reserve_s=2.0, observe=tallies.append)
    assert handler(event(b"0", b"1", b"2"), Context(9000, 2000, 1999)) == failing_at(FIRST + 2)
    assert seen == [b"0", b"1"]
    assert tallies[0].out_of_time


def test_a_malformed_aggregate_is_delivered_whole_by_default() -> None:
    """The handler gets the raw blob as one record, and it is counted."""
    seen: list[bytes] = []
    tallies: list[Tally] = []
    assert collector(seen, observe=tallies.append)(event(malformed()), CONTEXT) == ALL_DONE
    assert (seen, tallies[0].malformed) == ([malformed()], 1)


def test_a_malformed_aggregate_can_be_a_failure() -> None:
    """With malformed="raise" it goes through the failure policy with its typed error."""
    parked: list[Exception] = []
    handler = collector([], malformed="raise", on_error="park", park=lambda _one, error: parked.append(error))
    assert handler(event(malformed()), CONTEXT) == ALL_DONE
    assert isinstance(parked[0], MalformedAggregate)


def test_misplaced_records_are_marked_or_their_aggregate_dropped() -> None:
    """With the shard's range known a misplaced record is delivered and counted, or dropped by the KCL's rule."""
    inside = hash_key("k")
    ranges = {SHARD: (inside + 1, 2**128 - 1)}
    tallies: list[Tally] = []
    seen: list[bytes] = []
    collector(seen, hash_range=ranges, observe=tallies.append)(event(aggregate(b"a", b"b"), b"c"), CONTEXT)
    assert (seen, tallies[0].misplaced, tallies[0].dropped) == ([b"a", b"b", b"c"], 2, 0)
    seen.clear()
    dropping = collector(seen, hash_range=ranges.get, misplaced="drop", observe=tallies.append)
    assert dropping(event(aggregate(b"a", b"b"), b"c"), CONTEXT) == ALL_DONE
    assert (seen, tallies[1].dropped) == ([b"c"], 2)


# --- models ---


class OrderModel(pydantic.BaseModel):
    """A pydantic model."""

    id: int


class OrderStruct(msgspec.Struct):
    """A msgspec struct."""

    id: int


@dataclasses.dataclass
class OrderData:
    """A dataclass."""

    id: int


@pytest.mark.parametrize("model", [OrderModel, OrderStruct, OrderData])
def test_payloads_become_models(model: Any) -> None:
    """pydantic, msgspec and dataclass models are recognised; the record comes by name."""
    found: list[tuple[Any, str]] = []

    @stream_handler(model=model)
    def handler(order: Any, record: Record) -> None:
        found.append((order, record.sequence_number))

    assert handler(event(b'{"id": 7}'), CONTEXT) == ALL_DONE
    assert found == [(model(id=7), str(FIRST))]


@pytest.mark.parametrize("model", [OrderModel, OrderStruct, OrderData])
@pytest.mark.parametrize("data", [b"{", b"[]", b'{"id": {}}x', b'{"other": 1}'])
def test_what_does_not_decode_is_a_failure_of_its_record(model: Any, data: bytes) -> None:
    """A payload that is no such model fails at its record."""

    @stream_handler(model=model)
    def handler(_order: Any) -> None:
        return None

    assert handler(event(b'{"id": 1}', data), CONTEXT) == failing_at(FIRST + 1)


def test_any_callable_is_a_model() -> None:
    """A function of bytes will do."""
    found: list[str] = []

    @stream_handler(model=bytes.decode)
    def handler(text: str) -> None:
        found.append(text)

    assert handler(event(b"x"), CONTEXT) == ALL_DONE
    assert found == ["x"]


def test_a_codec_reads_headers_too() -> None:
    """The codec of producer and worker serves here: compression and content type are told by the record's headers."""
    from shardline.common.codec import Compression, JsonCodec, encode

    codec = JsonCodec(OrderData, compression=Compression(bytes_min=0))
    encoded = encode(OrderData(id=7), codec)
    assert encoded.headers is not None
    found: list[OrderData] = []
    handler = stream_handler(model=codec)(found.append)
    assert handler(event(record(aggregate(encoded.data, headers=encoded.headers))), CONTEXT) == ALL_DONE
    assert found == [OrderData(id=7)]


# --- signatures ---


class Service:
    """An object with a handler method, and callable itself."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def handle(self, one: Record, context: Any) -> None:
        """Take a record."""
        self.seen.append((one.data, context))

    def __call__(self, one: Record, *, record: Record, extra: int = 3) -> None:
        """Take a record, as an object that is called."""
        self.seen.append((one.data, record.data, extra))


def test_methods_objects_and_wrapped_functions_are_called_as_they_ask() -> None:
    """The payload comes first; record and context by name, where they are asked for."""
    service = Service()
    stream_handler(service.handle)(event(b"m"), CONTEXT)
    stream_handler(service)(event(b"o"), CONTEXT)

    @functools.wraps(service.handle)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        service.handle(*args, **kwargs)

    stream_handler(wrapper)(event(b"w"), CONTEXT)
    stream_handler(functools.partial(print, end="", file=None))(event(), CONTEXT)
    assert service.seen == [(b"m", CONTEXT), (b"o", b"o", 3), (b"w", CONTEXT)]


def test_all_three_may_be_asked_for() -> None:
    """A handler may take payload, record and context."""
    found: list[tuple[Any, ...]] = []

    @stream_handler(model=int)
    def handler(number: int, context: Any, record: Record) -> None:
        found.append((number, context, record.data))

    handler(event(b"5"), CONTEXT)
    assert found == [(5, CONTEXT, b"5")]


def test_a_signature_that_cannot_be_served_is_refused_at_decoration() -> None:
    """Unknown required parameters, or none at all, are an error when the module loads."""
    with pytest.raises(InvalidInput, match="handler"):
        stream_handler(lambda one, event: (one, event))
    with pytest.raises(InvalidInput, match="handler"):
        stream_handler(lambda: None)


def test_the_handler_keeps_its_functions_name() -> None:
    """Name, docstring and the function itself stay visible."""

    @stream_handler
    def on_order(one: Record) -> None:
        """Take an order."""

    assert (on_order.__name__, on_order.__doc__) == ("on_order", "Take an order.")
    assert on_order.__wrapped__.__module__ == __name__


# --- async ---


def test_async_handlers_run_in_order_on_one_loop() -> None:
    """Each record is awaited before the next is started; the loop is the same for the next invocation."""
    import asyncio

    seen: list[tuple[bytes, int]] = []

    @stream_handler
    async def handler(one: Record) -> None:
        await asyncio.sleep(0)
        seen.append((one.data, id(asyncio.get_running_loop())))
        if one.data == b"1":
            raise ValueError("no")

    assert handler(event(b"0", b"1", b"2"), CONTEXT) == failing_at(FIRST + 1)
    assert handler(event(b"3"), CONTEXT) == ALL_DONE
    assert [data for data, _ in seen] == [b"0", b"1", b"3"]
    assert len({loop for _, loop in seen}) == 1
    handler.close()


def test_a_plain_function_that_returns_a_coroutine_is_an_error() -> None:
    """What would never be awaited must not count as processed."""

    async def inner(_one: Record) -> None:
        return None

    def plain(one: Record) -> Any:
        return inner(one)

    def generating(one: Record) -> Any:
        yield one

    for wrong, message in ((plain, "awaitable"), (generating, "generator")):
        handler = stream_handler(wrong)
        with pytest.raises(InvalidInput, match=message):
            handler(event(b"x"), CONTEXT)
    with pytest.raises(InvalidInput, match="a function"):
        stream_handler("handler")  # type: ignore[call-overload]  # Wrong on purpose.


def test_a_park_that_was_never_run_keeps_nothing() -> None:
    """An asynchronous `park` is not awaited: the record is not parked, so it comes again."""

    async def park(_one: Record, _error: Exception) -> None:
        return None

    failures: list[str] = []

    @stream_handler(on_error="park", park=park, failed=lambda _, error: failures.append(type(error).__name__))
    def handler(_: Record) -> None:
        raise ValueError("no")

    assert handler(event(b"x"), CONTEXT) == failing_at(FIRST)
    assert failures == ["ValueError", "InvalidInput"]


# --- batches ---


def test_a_batch_handler_gets_lists() -> None:
    """Batches hold user records across aggregates, up to the size asked for."""
    found: list[list[bytes]] = []

    @stream_handler(batch=2)
    def handler(records: list[Record]) -> None:
        found.append([one.data for one in records])

    assert handler(event(b"0", aggregate(b"1", b"2"), b"3", b"4"), CONTEXT) == ALL_DONE
    assert found == [[b"0", b"1"], [b"2", b"3"], [b"4"]]


def test_a_failed_batch_is_named_from_its_first_record() -> None:
    """The batch's first Kinesis record is the lowest not processed, though part of it was in an earlier batch."""

    @stream_handler(batch=2)
    def handler(records: list[Record]) -> None:
        if records[0].data == b"2":
            raise ValueError("no")

    assert handler(event(b"0", aggregate(b"1", b"2"), b"3", b"4"), CONTEXT) == failing_at(FIRST + 1)


def test_a_batch_can_say_how_far_it_came() -> None:
    """BatchStopped names the first record that is not done."""

    @stream_handler(batch=True)
    def handler(records: list[Record]) -> None:
        raise BatchStopped(records[2])

    tallies: list[Tally] = []
    assert handler(event(b"0", b"1", b"2", b"3"), CONTEXT) == failing_at(FIRST + 2)
    stream_handler(batch=True, observe=tallies.append)(handler.__wrapped__)(event(b"0", b"1", b"2"), CONTEXT)
    assert tallies[0].processed == 2


def test_continue_with_batches() -> None:
    """A failed batch does not keep the next from running; the lowest is named; a broken record stands alone."""
    found: list[int] = []

    @stream_handler(batch=2, on_error="continue", model=int)
    def handler(numbers: list[int]) -> None:
        found.append(sum(numbers))
        if sum(numbers) == 5:
            raise ValueError("no")

    given = event(record(b"1", FIRST), record(None, FIRST + 1), *(record(b"%d" % n, FIRST + n) for n in (2, 3, 4)))
    assert handler(given, CONTEXT) == failing_at(FIRST + 1)
    assert found == [1, 5, 4]
    assert handler(event(b"1", b"x"), CONTEXT) == failing_at(FIRST)


def test_no_batch_is_started_near_the_deadline() -> None:
    """A batch that would start too late is named."""
    found: list[int] = []

    @stream_handler(batch=1)
    def handler(records: list[Record]) -> None:
        found.append(len(records))

    assert handler(event(b"0", b"1"), Context(5000, 10)) == failing_at(FIRST + 1)
    assert found == [1]


# --- reporting ---


def test_without_partial_answers_the_invocation_fails() -> None:
    """report="raise" fails the whole batch for event source mappings without ReportBatchItemFailures."""
    with pytest.raises(BatchFailed, match=str(FIRST + 1)):
        collector([], failing=(b"1",), report="raise")(event(b"0", b"1"), CONTEXT)
    assert collector([], report="raise")(event(b"0"), CONTEXT) == ALL_DONE


def test_failures_are_logged_without_payload_or_message(caplog: pytest.LogCaptureFixture) -> None:
    """The log tells position, size, type and line; not the data, the key or the exception's text."""

    @stream_handler
    def handler(one: Record) -> None:
        raise ValueError("secret " + one.text())

    with caplog.at_level(logging.ERROR):
        handler(event(record(b"canary-data", FIRST, key="canary-key")), CONTEXT)
    assert f"{SHARD}:{FIRST}:0 of 11 bytes failed: ValueError at handler:" in caplog.text
    assert "canary" not in caplog.text
    assert "secret" not in caplog.text


def test_a_failed_hook_takes_the_place_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Who asks for failures gets record and exception, and nothing is logged."""
    told: list[tuple[bytes, str]] = []
    collector([], failing=(b"x",), failed=lambda one, error: told.append((one.data, str(error))))(event(b"x"), CONTEXT)
    assert told == [(b"x", "no")]
    assert caplog.text == ""


def test_the_tally_counts() -> None:
    """Kinesis records, processed, failed: one line for a metric."""
    tallies: list[Tally] = []
    collector([], failing=(b"c",), on_error="continue", observe=tallies.append)(
        event(aggregate(b"a", b"b"), b"c"), CONTEXT
    )
    one = tallies[0]
    assert (one.kinesis_records, one.processed, one.failed) == (2, 2, 1)
    assert "processed=2" in repr(one)


def test_base_exceptions_pass_through() -> None:
    """SystemExit and KeyboardInterrupt are not a record's failure."""

    @stream_handler
    def handler(_one: Record) -> None:
        raise SystemExit(1)

    with pytest.raises(SystemExit):
        handler(event(b"x"), CONTEXT)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"on_error": "skip"}, "on_error"),
        ({"on_error": "park"}, "park"),
        ({"park": print}, "park"),
        ({"batch": 0}, "batch"),
        ({"batch": -1}, "batch"),
        ({"batch": "2"}, "batch"),
        ({"batch": 2, "on_error": "park", "park": print}, "batch"),
        ({"window": dict, "batch": 2}, "window"),
        ({"window": dict, "on_error": "continue"}, "window"),
        ({"reserve_s": -1}, "reserve_s"),
        ({"reserve_s": 901}, "reserve_s"),
        ({"reserve_s": True}, "reserve_s"),
        ({"reserve_s": float("nan")}, "reserve_s"),
        ({"misplaced": "keep"}, "misplaced"),
        ({"malformed": "park"}, "malformed"),
        ({"report": "maybe"}, "report"),
        ({"model": 7}, "model"),
    ],
)
def test_settings_out_of_range_are_refused_at_decoration(settings: dict[str, Any], field: str) -> None:
    """Every wrong setting is named when the module loads, not at the first record."""
    with pytest.raises(InvalidInput) as refused:
        stream_handler(**settings)
    assert refused.value.field == field
