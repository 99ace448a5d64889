"""`KinesisApi` over a socket: each call's request and answer, the choice of the wire, subscriptions frame by frame."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import cbor2
import pytest

from shardline.common.aws.kinesis import WireChosen
from shardline.common.aws.kinesis_wire import CONTENT_TYPES
from shardline.common.errors import (
    Ambiguous,
    InUse,
    InvalidInput,
    IteratorExpired,
    NotFound,
    ProtocolViolation,
    Rejected,
    ServiceError,
    Throttled,
)
from shardline.common.events import Event, Events
from shardline.common.hashing import HashRange, Shard
from shardline.common.ports.kinesis import (
    ChildShard,
    Distribution,
    PutEntry,
    PutOutcome,
    ShardFilter,
    ShardFilterKind,
    StartAt,
    StartKind,
    Stream,
)
from shardline.common.records import KinesisRecord

from tests.common.aws_server import CALL_S, Received, connection_to, open_kinesis, recording, reply, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from shardline.common.ports.kinesis import KinesisApi, SubscribeEvent

STREAM = Stream("orders")
ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
CONSUMER = f"{ARN}/consumer/c:1"
RANGE = {"StartingHashKey": "0", "EndingHashKey": "340282366920938463463374607431768211455"}
FULL = HashRange(0, 2**128 - 1)
LATEST = StartAt(StartKind.LATEST)
JSON, CBOR = CONTENT_TYPES["json"], CONTENT_TYPES["cbor"]


def exchange(answer: Any, call: Callable[[KinesisApi], Awaitable[Any]], **settings: Any) -> tuple[Any, Received]:
    """Return what `call` gives (or raises) and the request it sent, against a server that answers `answer`."""
    seen: list[Received] = []
    content = answer if isinstance(answer, bytes) else reply(200, answer)

    async def main() -> Any:
        async with serving(recording(seen, content)) as url, open_kinesis(url, **settings) as kinesis:
            try:
                return await call(kinesis)
            except (ServiceError, ProtocolViolation) as error:
                return error

    return asyncio.run(main()), seen[-1]


async def put(stream: Stream, entries: list[PutEntry], kinesis: KinesisApi) -> Sequence[PutOutcome]:
    """Put `entries`."""
    return await kinesis.put_records(stream, entries, timeout_s=CALL_S)


def test_put_records() -> None:
    """Outcomes come in order, failed ones with their code; the request names the stream by name or ARN."""
    answer = {
        "FailedRecordCount": 1,
        "Records": [
            {"ShardId": "shardId-000000000001", "SequenceNumber": "49"},
            {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"},
        ],
    }
    entries = [PutEntry(b"\x00\xff", "k", "5"), PutEntry(b"", None)]
    for stream, named in ((STREAM, {"StreamName": "orders"}), (Stream.of(ARN), {"StreamARN": ARN})):
        outcomes, request = exchange(answer, partial(put, stream, entries))
        assert outcomes == [
            PutOutcome("shardId-000000000001", "49"),
            PutOutcome(None, None, "ProvisionedThroughputExceededException", "Rate exceeded"),
        ]
        records = [{"Data": "AP8=", "PartitionKey": "k", "ExplicitHashKey": "5"}, {"Data": ""}]
        assert request.json == {**named, "Records": records}
        assert request.headers["content-type"] == JSON
        assert request.headers["x-amz-target"] == "Kinesis_20131202.PutRecords"


def test_a_count_that_does_not_match_is_a_violation() -> None:
    """F11: one outcome for two entries says nothing of either."""
    entries = [PutEntry(b"", "a"), PutEntry(b"", "b")]
    error, _ = exchange(
        {"Records": [{"ShardId": "s", "SequenceNumber": "1"}]},
        lambda k: k.put_records(STREAM, entries, timeout_s=CALL_S),
    )
    assert isinstance(error, ProtocolViolation)


def test_a_large_body_arrives_whole() -> None:
    """A request above aiohttp's threshold for bytes is sent all the same, and every byte arrives."""
    data = bytes(range(256)) * 4096
    answer = {"Records": [{"ShardId": "s", "SequenceNumber": "1"}] * 3}
    entries = [PutEntry(data, "k")] * 3
    outcomes, request = exchange(answer, lambda k: k.put_records(STREAM, entries, timeout_s=CALL_S))
    assert len(outcomes) == 3
    assert [base64.b64decode(r["Data"]) for r in request.json["Records"]] == [data] * 3


@pytest.mark.parametrize("count", [0, 501])
def test_counts_out_of_range_are_refused_before_sending(count: int) -> None:
    """PutRecords takes 1 to 500 entries."""

    async def main() -> None:
        async with connection_to("http://localhost:1").kinesis() as kinesis:
            with pytest.raises(InvalidInput, match="entries"):
                await kinesis.put_records(STREAM, [PutEntry(b"", "k")] * count, timeout_s=CALL_S)

    asyncio.run(main())


def test_a_stream_of_another_region_is_refused_before_sending() -> None:
    """F17: an ARN's region must be the connection's."""
    other = Stream.of(ARN.replace("us-east-1", "eu-west-1"))

    async def main() -> None:
        async with connection_to("http://localhost:1").kinesis() as kinesis:
            with pytest.raises(InvalidInput, match="us-east-1"):
                await kinesis.describe_stream_summary(other, timeout_s=CALL_S)

    asyncio.run(main())


def test_list_shards() -> None:
    """Shards with parents, ranges and sequence numbers; a token alone asks for the next page."""
    answer = {
        "NextToken": "more",
        "Shards": [
            {
                "ShardId": "shardId-000000000002",
                "ParentShardId": "shardId-000000000000",
                "AdjacentParentShardId": "shardId-000000000001",
                "HashKeyRange": RANGE,
                "SequenceNumberRange": {"StartingSequenceNumber": "1", "EndingSequenceNumber": "9"},
            }
        ],
    }
    wanted = ShardFilter(ShardFilterKind.AT_TIMESTAMP, timestamp_s=1.5e9)
    page, request = exchange(answer, lambda k: k.list_shards(STREAM, shard_filter=wanted, timeout_s=CALL_S))
    parents = ("shardId-000000000000", "shardId-000000000001")
    assert page == ([Shard("shardId-000000000002", FULL, *parents, "1", "9")], "more")
    assert request.json == {"StreamName": "orders", "ShardFilter": {"Type": "AT_TIMESTAMP", "Timestamp": 1.5e9}}
    _, request = exchange(answer, lambda k: k.list_shards(STREAM, next_token="more", timeout_s=CALL_S))
    assert request.json == {"NextToken": "more"}


def test_describe_stream_summary() -> None:
    """Size limit, mode and distribution come out, with the service's defaults where it leaves them out."""
    fields = {
        "StreamName": "orders",
        "StreamARN": ARN,
        "StreamStatus": "ACTIVE",
        "StreamCreationTimestamp": 1.7e9,
        "RetentionPeriodHours": 48,
        "OpenShardCount": 4,
    }

    async def call(kinesis: KinesisApi) -> Any:
        return await kinesis.describe_stream_summary(STREAM, timeout_s=CALL_S)

    summary, _ = exchange({"StreamDescriptionSummary": fields}, call)
    assert summary == ("orders", ARN, "ACTIVE", 1.7e9, 48, 4, False, 1024 * 1024, Distribution.USER_PARTITION_KEY)
    more = {
        "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
        "MaxRecordSizeInKiB": 10240,
        "RecordDistributionStrategy": "AUTO",
    }
    summary, _ = exchange({"StreamDescriptionSummary": {**fields, **more}}, call)
    assert summary[6:] == (True, 10 * 1024 * 1024, Distribution.AUTO)


def test_iterators_and_records() -> None:
    """An iterator by sequence number or time; a page with records, lag and children; None ends a shard."""
    start = StartAt(StartKind.AFTER_SEQUENCE_NUMBER, sequence_number="7")
    iterator, request = exchange(
        {"ShardIterator": "it"}, lambda k: k.get_shard_iterator(STREAM, "shardId-1", start, timeout_s=CALL_S)
    )
    assert iterator == "it"
    assert request.json["StartingSequenceNumber"] == "7"
    assert "Timestamp" not in request.json
    answer = {
        "Records": [
            {"SequenceNumber": "8", "Data": "AAE=", "PartitionKey": "k", "ApproximateArrivalTimestamp": 1.7e9},
            {"SequenceNumber": "9", "Data": "", "ApproximateArrivalTimestamp": 1.7e9},
        ],
        "MillisBehindLatest": 3,
        "ChildShards": [{"ShardId": "shardId-2", "ParentShards": ["shardId-1"], "HashKeyRange": RANGE}],
    }
    page, request = exchange(answer, lambda k: k.get_records(STREAM, "it", limit=10, timeout_s=CALL_S))
    assert page.records == [KinesisRecord("8", b"\x00\x01", "k", 1.7e9), KinesisRecord("9", b"", None, 1.7e9)]
    assert page[1:] == (None, 3, (ChildShard("shardId-2", ("shardId-1",), FULL),))
    assert request.json == {"ShardIterator": "it", "Limit": 10}


def test_refusals_are_of_the_tree() -> None:
    """Codes in body or header become the tree's kinds; nothing of the SDK is seen."""

    def refused(answer: bytes) -> Any:
        return exchange(answer, lambda k: k.get_records(STREAM, "it", limit=1, timeout_s=CALL_S))[0]

    assert type(refused(reply(400, {"__type": "ExpiredIteratorException", "message": "old"}))) is IteratorExpired
    assert type(refused(reply(400, {}, x_amzn_ErrorType="ResourceNotFoundException:x"))) is NotFound
    assert type(refused(reply(400, {"__type": "ProvisionedThroughputExceededException"}))) is Throttled
    assert type(refused(reply(404, b"nope", "text/plain"))) is Rejected
    cbor = reply(400, cbor2.dumps({"__type": "com.amazonaws.kinesis.v20131202#KMSDisabledException"}), CBOR)
    assert type(refused(cbor)) is InUse


def test_consumers() -> None:
    """Registering, describing and removing a consumer."""
    fields = {
        "ConsumerName": "c",
        "ConsumerARN": CONSUMER,
        "ConsumerStatus": "CREATING",
        "ConsumerCreationTimestamp": 1.7e9,
    }
    wanted = ("c", CONSUMER, "CREATING", 1.7e9)
    made, _ = exchange({"Consumer": fields}, lambda k: k.register_stream_consumer(ARN, "c", timeout_s=CALL_S))
    seen, request = exchange(
        {"ConsumerDescription": fields}, lambda k: k.describe_stream_consumer(ARN, "c", timeout_s=CALL_S)
    )
    assert made == seen == wanted
    assert request.json == {"StreamARN": ARN, "ConsumerName": "c"}
    gone, request = exchange(reply(200, b""), lambda k: k.deregister_stream_consumer(ARN, "c", timeout_s=CALL_S))
    assert gone is None
    assert request.operation == "DeregisterStreamConsumer"


SHARD = {"ShardId": "s", "HashKeyRange": RANGE, "SequenceNumberRange": {"StartingSequenceNumber": "1"}}
FINE_CONSUMER = {"ConsumerName": "c", "ConsumerARN": "a", "ConsumerStatus": "ACTIVE", "ConsumerCreationTimestamp": 1}
GARBLED: list[tuple[str, Any]] = [
    ("list_shards", {}),
    ("list_shards", {"Shards": ["x"]}),
    ("list_shards", {"Shards": [{**SHARD, "HashKeyRange": {"StartingHashKey": "x"}}]}),
    ("list_shards", {"Shards": [{**SHARD, "HashKeyRange": None}]}),
    ("list_shards", {"Shards": [{**SHARD, "SequenceNumberRange": None}]}),
    ("list_shards", {"Shards": [{**SHARD, "ShardId": 5}]}),
    ("list_shards", {"Shards": [{**SHARD, "ParentShardId": 5}]}),
    ("list_shards", {"Shards": [], "NextToken": 5}),
    ("describe_stream_summary", {}),
    ("describe_stream_summary", {"StreamDescriptionSummary": {"StreamName": "s"}}),
    ("put_records", {}),
    ("put_records", {"Records": ["x"]}),
    ("get_records", {"Records": [], "ChildShards": "x"}),
    ("get_records", {"Records": [], "ChildShards": [{"ShardId": "s"}]}),
    ("get_records", {"Records": [], "ChildShards": ["s"]}),
    ("get_shard_iterator", {}),
    ("describe_stream_consumer", {}),
    ("describe_stream_consumer", {"ConsumerDescription": {**FINE_CONSUMER, "ConsumerCreationTimestamp": True}}),
    ("describe_stream_consumer", {"ConsumerDescription": {**FINE_CONSUMER, "ConsumerStatus": None}}),
]


@pytest.mark.parametrize(("name", "answer"), GARBLED)
def test_an_answer_of_the_wrong_shape_is_ambiguous(name: str, answer: Any) -> None:
    """A field that is missing or of another type makes the answer unusable, whichever call it answers."""
    arguments: dict[str, tuple[Any, ...]] = {
        "put_records": (STREAM, [PutEntry(b"", "k")]),
        "get_records": (STREAM, "it"),
        "get_shard_iterator": (STREAM, "shardId-1", LATEST),
        "describe_stream_consumer": (ARN, "c"),
    }
    more: dict[str, Any] = {"limit": 1} if name == "get_records" else {}

    async def call(kinesis: KinesisApi) -> Any:
        return await getattr(kinesis, name)(*arguments.get(name, (STREAM,)), timeout_s=CALL_S, **more)

    error, _ = exchange(answer, call)
    assert isinstance(error, Ambiguous)
    assert error.code == "BrokenAnswer"


@pytest.mark.parametrize("limit", [0, 10_001])
def test_limits_out_of_range_are_refused_before_sending(limit: int) -> None:
    """GetRecords takes 1 to 10,000."""

    async def main() -> None:
        async with open_kinesis("http://localhost:1") as kinesis:
            with pytest.raises(InvalidInput, match="limit"):
                await kinesis.get_records(STREAM, "it", limit=limit, timeout_s=CALL_S)

    asyncio.run(main())


# --- wire = auto ---

SUMMARY = {
    "StreamDescriptionSummary": {
        "StreamName": "orders",
        "StreamARN": ARN,
        "StreamStatus": "ACTIVE",
        "StreamCreationTimestamp": 1.7e9,
    }
}
PUT_ANSWER = {"Records": [{"ShardId": "s", "SequenceNumber": "1"}]}


def wired(speaks_cbor: bool, *, wire: str = "auto") -> tuple[list[tuple[str, str]], list[Event]]:
    """Put, describe, put; return (operation, content type) of each request, and the events."""
    seen: list[tuple[str, str]] = []
    events: list[Event] = []

    def handler(received: Received) -> bytes:
        content_type = received.headers["content-type"]
        seen.append((received.operation, content_type))
        answer = SUMMARY if received.operation == "DescribeStreamSummary" else PUT_ANSWER
        if content_type == JSON:
            assert json.loads(received.body)
            return reply(200, answer)
        if not speaks_cbor:
            return reply(400, {"__type": "SerializationException"})
        assert cbor2.loads(received.body)
        return reply(200, cbor2.dumps(answer), CBOR)

    async def main() -> None:
        hub = Events(events.append)
        async with serving(handler) as url, open_kinesis(url, wire=wire, events=hub) as kinesis:
            await kinesis.put_records(STREAM, [PutEntry(b"x", "k")], timeout_s=CALL_S)
            summary = await kinesis.describe_stream_summary(STREAM, timeout_s=CALL_S)
            assert summary.created_at_s == 1.7e9
            await kinesis.put_records(STREAM, [PutEntry(b"x", "k")], timeout_s=CALL_S)

    asyncio.run(main())
    return seen, events


def test_auto_takes_cbor_where_the_service_answers_it() -> None:
    """JSON until the first control-plane call; its CBOR answer decides, and an event says so, once."""
    seen, events = wired(speaks_cbor=True)
    assert seen == [("PutRecords", JSON), ("DescribeStreamSummary", CBOR), ("PutRecords", CBOR)]
    assert events == [WireChosen(wire="cbor", reason="the service answers CBOR")]


def test_auto_falls_back_to_json() -> None:
    """An answer in anything but CBOR decides for JSON; the asking call is made again and succeeds."""
    seen, events = wired(speaks_cbor=False)
    control = [("DescribeStreamSummary", CBOR), ("DescribeStreamSummary", JSON)]
    assert seen == [("PutRecords", JSON), *control, ("PutRecords", JSON)]
    assert [event.as_fields()["wire"] for event in events] == ["json"]


def test_a_configured_wire_is_not_asked_for() -> None:
    """Json and cbor are what they say from the first call."""
    assert {content_type for _, content_type in wired(speaks_cbor=True, wire="cbor")[0]} == {CBOR}
    assert {content_type for _, content_type in wired(speaks_cbor=True, wire="json")[0]} == {JSON}


def test_an_unreachable_service_decides_nothing() -> None:
    """A call without an answer leaves the wire open."""

    async def main() -> None:
        events: list[Event] = []
        async with connection_to("http://localhost:1", wire="auto", events=Events(events.append)).kinesis() as kinesis:
            with pytest.raises(ServiceError):
                await kinesis.describe_stream_summary(STREAM, timeout_s=CALL_S)
            assert "undecided" in repr(kinesis)
        assert events == []

    asyncio.run(main())


def test_times_are_sent_as_json_always() -> None:
    """Services differ on the unit of a CBOR timestamp, so a request that holds one is JSON."""
    start = StartAt(StartKind.AT_TIMESTAMP, timestamp_s=1.7e9)
    _, request = exchange(
        {"ShardIterator": "it"},
        lambda k: k.get_shard_iterator(STREAM, "shardId-1", start, timeout_s=CALL_S),
        wire="cbor",
    )
    assert request.json["Timestamp"] == 1.7e9


# --- subscriptions ---


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """Return one event-stream frame."""
    names = b"".join(
        bytes([len(k)]) + k.encode() + b"\x07" + struct.pack("!H", len(v)) + v.encode() for k, v in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(names) + len(payload), len(names))
    prelude += struct.pack("!I", binascii.crc32(prelude))
    return prelude + names + payload + struct.pack("!I", binascii.crc32(prelude + names + payload))


def event_frame(**fields: Any) -> bytes:
    """Return a SubscribeToShardEvent."""
    values: dict[str, Any] = {"Records": [], "ContinuationSequenceNumber": "1", "MillisBehindLatest": 0, **fields}
    payload = json.dumps({name: value for name, value in values.items() if value is not None}).encode()
    headers = {":message-type": "event", ":event-type": "SubscribeToShardEvent", ":content-type": "application/json"}
    return frame(headers, payload)


OPENING = frame({":message-type": "event", ":event-type": "initial-response"}, b"{}")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return one HTTP chunk."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def subscribed(body: bytes, end: str = "close", timeout_s: float = CALL_S) -> tuple[list[SubscribeEvent], object]:
    """Return the events of one subscription and the error that ended it, if any."""
    events: list[SubscribeEvent] = []

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + body)
        await writer.drain()
        if end == "end":
            writer.write(b"0\r\n\r\n")
        elif end == "close":
            writer.close()
        else:
            await asyncio.Event().wait()

    async def main() -> object:
        async with serving(lambda _: write) as url, connection_to(url).kinesis(connections_max=2) as kinesis:
            try:
                async with kinesis.subscribe_to_shard(CONSUMER, "shardId-1", LATEST, timeout_s=timeout_s) as sub:
                    async for event in sub:
                        events.append(event)  # noqa: PERF401 - the events before an error count.
            except ServiceError as error:
                return error
            return None

    return events, asyncio.run(main())


def test_a_subscription_gives_events_until_the_service_ends_it() -> None:
    """Frames cut anywhere become events in order; the end of the answer ends the iteration."""
    record = {"SequenceNumber": "5", "Data": "AAE=", "PartitionKey": "k", "ApproximateArrivalTimestamp": 1.7e9}
    child = {"ShardId": "shardId-2", "ParentShards": ["shardId-1"], "HashKeyRange": RANGE}
    stream = OPENING + event_frame(Records=[record], ContinuationSequenceNumber="5", MillisBehindLatest=9)
    stream += event_frame(ContinuationSequenceNumber=None, ChildShards=[child])
    for size in (7, 64, len(stream)):
        pieces = b"".join(chunk(stream[at : at + size]) for at in range(0, len(stream), size))
        events, error = subscribed(pieces, "end")
        assert error is None
        assert events == [
            ([KinesisRecord("5", b"\x00\x01", "k", 1.7e9)], "5", 9, ()),
            ([], None, 0, (ChildShard("shardId-2", ("shardId-1",), FULL),)),
        ]


def test_an_exception_event_is_of_the_tree() -> None:
    """Exception frames carry no HTTP status, and become the tree's kinds all the same."""
    headers = {
        ":message-type": "exception",
        ":exception-type": "ResourceInUseException",
        ":content-type": "application/json",
    }
    events, error = subscribed(chunk(OPENING + event_frame() + frame(headers, b'{"message":"taken over"}')), "end")
    assert len(events) == 1
    assert isinstance(error, InUse)
    headers[":exception-type"] = "InternalFailureException"
    assert isinstance(subscribed(chunk(OPENING + frame(headers, b"{}")), "end")[1], Ambiguous)
    headers = {":message-type": "error", ":error-code": "Broken", ":error-message": "x"}
    assert isinstance(subscribed(chunk(frame(headers, b"")), "end")[1], Ambiguous)


def test_a_break_or_garbage_in_a_subscription_is_ambiguous() -> None:
    """A connection that breaks, a frame whose checksum is wrong, and silence end the iteration as unknown."""
    events, error = subscribed(chunk(OPENING + event_frame()), "close")
    assert len(events) == 1
    assert isinstance(error, Ambiguous)
    damaged = bytearray(event_frame())
    damaged[-1] ^= 1
    assert isinstance(subscribed(chunk(bytes(damaged)), "end")[1], Ambiguous)
    events, error = subscribed(chunk(OPENING + event_frame()), "hang", timeout_s=0.4)
    assert len(events) == 1
    assert isinstance(error, Ambiguous)


def test_a_refused_subscription_raises_on_entering() -> None:
    """A refusal comes as on any other call, before a first event."""
    error, request = exchange(
        reply(400, {"__type": "ResourceInUseException", "message": "x"}),
        lambda k: k.subscribe_to_shard(CONSUMER, "shardId-1", LATEST, timeout_s=CALL_S).__aenter__(),
    )
    assert isinstance(error, InUse)
    assert request.json["StartingPosition"] == {"Type": "LATEST"}


def test_answers_larger_than_any_buffer_are_read_whole() -> None:
    """Three MiB: a page, and a subscription's refusal, whose buffer is that of a stream; neither waits for ever."""
    padding = "x" * 3 * 2**20
    page, _ = exchange(
        reply(200, {"Records": [], "NextShardIterator": "next", "Padding": padding}),
        lambda k: k.get_records(STREAM, "i", limit=1, timeout_s=CALL_S),
    )
    assert page.next_iterator == "next"
    error, _ = exchange(
        reply(400, {"__type": "ResourceInUseException", "message": padding}),
        lambda k: asyncio.wait_for(
            k.subscribe_to_shard(CONSUMER, "shardId-1", LATEST, timeout_s=CALL_S).__aenter__(), CALL_S
        ),
    )
    assert isinstance(error, InUse)


def test_leaving_a_subscription_closes_its_connection() -> None:
    """64 subscriptions at once, on one client; leaving each closes its connection, and the next call works."""
    open_now: set[int] = set()
    ever: set[int] = set()
    all_gone = asyncio.Event()

    async def stream(writer: asyncio.StreamWriter) -> None:
        open_now.add(id(writer))
        ever.add(id(writer))
        writer.write(HEAD + chunk(OPENING))
        try:
            for _ in range(1000):  # Until the other side is gone; a writer hears of it on writing.
                writer.write(chunk(event_frame()))
                await writer.drain()
                await asyncio.sleep(0.02)
        finally:
            open_now.discard(id(writer))
            if not open_now:
                all_gone.set()

    async def main() -> None:
        async with serving(lambda _: stream) as url, connection_to(url).kinesis(connections_max=64) as kinesis:

            async def one(gate: asyncio.Barrier) -> None:
                async with kinesis.subscribe_to_shard(CONSUMER, "s", LATEST, timeout_s=CALL_S) as sub:
                    async for event in sub:
                        assert event.continuation_sequence_number == "1"
                        break
                    await gate.wait()
                    assert len(open_now) == 64

            gate = asyncio.Barrier(64)
            async with asyncio.TaskGroup() as group:
                for _ in range(64):
                    group.create_task(one(gate))
            await asyncio.wait_for(all_gone.wait(), CALL_S)

    asyncio.run(main())
    assert len(ever) == 64
