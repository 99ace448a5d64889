# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""`KinesisApi` over HTTP: requests by `kinesis_wire`, sent by `transport`, refusals translated by `faults`.

Which encoding the large bodies take (`wire`) is settled once per opened service, by the first control-plane call:
asked in CBOR, an answer in CBOR decides for CBOR, anything else for JSON, and `WireChosen` says which. SubscribeToShard
is JSON always, as in the AWS SDK for Java, and so are requests that hold a timestamp (services differ on its unit).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from shardline.common.aws.faults import error_code, refusal
from shardline.common.aws.kinesis_answers import children, consumer, outcomes, shard, summary, text, text_or_none
from shardline.common.aws.kinesis_wire import (
    CBOR_AVAILABLE,
    CONTENT_TYPES,
    Encoding,
    broken,
    decode,
    decode_records,
    encode,
    encode_put_records,
    fault,
)
from shardline.common.aws.subscription import Subscription
from shardline.common.aws.transport import Answer, Request, open_transport
from shardline.common.errors import InvalidInput, MissingExtra, ProtocolViolation
from shardline.common.events import Event
from shardline.common.limits import GET_RECORDS_LIMIT_MAX, PUT_RECORDS_ENTRIES_MAX
from shardline.common.ports.kinesis import GetRecordsPage, KinesisApi, ShardPage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from shardline.common.aws.transport import Transport
    from shardline.common.connection import Connection, Wire
    from shardline.common.events import Events
    from shardline.common.ports.kinesis import (
        ConsumerDescription,
        PutEntry,
        PutOutcome,
        ShardFilter,
        StartAt,
        Stream,
        StreamSummary,
        SubscribeEvent,
    )

__all__ = ["KinesisAdapter", "WireChosen", "open_kinesis"]

_TARGET = "Kinesis_20131202."
_NAMED_OR_ARN_MAX = 512
"""Streams whose checked identity is kept; beyond it they are checked anew, call by call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireChosen(Event):
    """The encoding of PutRecords and GetRecords is settled; `reason` says how."""

    name: ClassVar[str] = "aws.wire_chosen"
    level: ClassVar[str] = "info"
    wire: str
    reason: str


class KinesisAdapter(KinesisApi):
    """The calls to Kinesis over one transport; made by `open_kinesis`."""

    def __init__(self, transport: Transport, wire: Wire, events: Events | None) -> None:
        self._transport = transport
        self._events = events
        self._wire: Encoding | None = None
        self._streams: dict[Stream, dict[str, str]] = {}
        if wire == "cbor" and not CBOR_AVAILABLE:
            raise MissingExtra("wire='cbor'", "producer")
        if wire != "auto":
            self._settle(wire, "configured")
        elif not CBOR_AVAILABLE:
            self._settle("json", "cbor2 is not installed")

    def __repr__(self) -> str:
        return f"KinesisAdapter({self._transport.route!r}, wire={self.wire!r})"

    @property
    def wire(self) -> str:
        """The encoding in use: json, cbor, or undecided."""
        return self._wire or "undecided"

    def _settle(self, wire: Encoding, reason: str) -> None:
        self._wire = wire
        if self._events is not None:
            self._events.emit(WireChosen(wire=wire, reason=reason))

    async def put_records(
        self, stream: Stream, entries: Sequence[PutEntry], *, timeout_s: float
    ) -> Sequence[PutOutcome]:
        """See `KinesisApi`."""
        if not 1 <= len(entries) <= PUT_RECORDS_ENTRIES_MAX:
            raise InvalidInput("entries", f"from 1 to {PUT_RECORDS_ENTRIES_MAX} entries", str(len(entries)))
        encoding = self._wire or "json"
        body = encode_put_records(encoding, self._identity(stream), entries)
        answer = await self._send("PutRecords", encoding, body, timeout_s)
        found = outcomes(decode(answer.content_type, answer.body).get("Records"))
        if len(found) != len(entries):
            raise ProtocolViolation(f"PutRecords answered {len(found)} outcomes for {len(entries)} entries")
        return found

    async def list_shards(
        self,
        stream: Stream,
        *,
        shard_filter: ShardFilter | None = None,
        next_token: str | None = None,
        timeout_s: float,
    ) -> ShardPage:
        """See `KinesisApi`."""
        timed = False
        if next_token is not None:
            fields: dict[str, Any] = {"NextToken": next_token}
        else:
            fields = dict(self._identity(stream))
            if shard_filter is not None:
                timed = shard_filter.timestamp_s is not None
                fields["ShardFilter"] = _filter(shard_filter)
        answer = await self._control("ListShards", fields, timeout_s, timed=timed)
        raw = answer.get("Shards")
        if not isinstance(raw, list):
            raise broken("no list of shards")
        return ShardPage([shard(one) for one in raw], text_or_none(answer, "NextToken"))

    async def describe_stream_summary(self, stream: Stream, *, timeout_s: float) -> StreamSummary:
        """See `KinesisApi`."""
        answer = await self._control("DescribeStreamSummary", self._identity(stream), timeout_s)
        return summary(answer.get("StreamDescriptionSummary"))

    async def get_shard_iterator(self, stream: Stream, shard_id: str, start: StartAt, *, timeout_s: float) -> str:
        """See `KinesisApi`."""
        fields = {
            **self._identity(stream),
            "ShardId": shard_id,
            "ShardIteratorType": start.kind.value,
            "StartingSequenceNumber": start.sequence_number,
            "Timestamp": start.timestamp_s,
        }
        answer = await self._control("GetShardIterator", fields, timeout_s, timed=start.timestamp_s is not None)
        return text(answer, "ShardIterator")

    async def get_records(self, stream: Stream, iterator: str, *, limit: int, timeout_s: float) -> GetRecordsPage:
        """See `KinesisApi`."""
        if not 1 <= limit <= GET_RECORDS_LIMIT_MAX:
            raise InvalidInput("limit", f"from 1 to {GET_RECORDS_LIMIT_MAX}", str(limit))
        encoding = self._wire or "json"
        fields: dict[str, Any] = {"ShardIterator": iterator, "Limit": limit}
        if stream.arn is not None:
            fields |= self._identity(stream)
        answer = await self._send("GetRecords", encoding, (encode(encoding, fields),), timeout_s)
        rest, records = decode_records(answer.content_type, answer.body)
        behind = rest.get("MillisBehindLatest")
        return GetRecordsPage(
            records,
            text_or_none(rest, "NextShardIterator"),
            behind if isinstance(behind, int) else None,
            children(rest.get("ChildShards")),
        )

    async def register_stream_consumer(self, stream_arn: str, name: str, *, timeout_s: float) -> ConsumerDescription:
        """See `KinesisApi`."""
        fields = {"StreamARN": stream_arn, "ConsumerName": name}
        answer = await self._control("RegisterStreamConsumer", fields, timeout_s)
        return consumer(answer.get("Consumer"))

    async def describe_stream_consumer(self, stream_arn: str, name: str, *, timeout_s: float) -> ConsumerDescription:
        """See `KinesisApi`."""
        fields = {"StreamARN": stream_arn, "ConsumerName": name}
        answer = await self._control("DescribeStreamConsumer", fields, timeout_s)
        return consumer(answer.get("ConsumerDescription"))

    async def deregister_stream_consumer(self, stream_arn: str, name: str, *, timeout_s: float) -> None:
        """See `KinesisApi`."""
        await self._control("DeregisterStreamConsumer", {"StreamARN": stream_arn, "ConsumerName": name}, timeout_s)

    def subscribe_to_shard(
        self, consumer_arn: str, shard_id: str, start: StartAt, *, timeout_s: float
    ) -> AbstractAsyncContextManager[AsyncIterator[SubscribeEvent]]:
        """See `KinesisApi`."""
        position = {
            "Type": start.kind.value,
            "SequenceNumber": start.sequence_number,
            "Timestamp": start.timestamp_s,
        }
        fields = {
            "ConsumerARN": consumer_arn,
            "ShardId": shard_id,
            "StartingPosition": {key: value for key, value in position.items() if value is not None},
        }
        request = self._request("SubscribeToShard", "json", (encode("json", fields),))
        return Subscription(self._transport, request, timeout_s)

    # --- one call ---

    def _identity(self, stream: Stream) -> dict[str, str]:
        """Return the stream's name or ARN as a request field; raises `InvalidInput` for an ARN of another region."""
        known = self._streams.get(stream)
        if known is not None:
            return known
        region = self._transport.route.region
        if stream.region is not None and stream.region != region:
            raise InvalidInput("stream", f"in region {region}, where the connection goes", stream.region)
        fields = {"StreamARN": stream.arn} if stream.arn is not None else {"StreamName": stream.name}
        if len(self._streams) < _NAMED_OR_ARN_MAX:
            self._streams[stream] = fields
        return fields

    async def _control(
        self, operation: str, fields: Mapping[str, Any], timeout_s: float, *, timed: bool = False
    ) -> dict[str, Any]:
        """Make a control-plane call, which settles the wire where that is open; return the answer's fields."""
        if self._wire is None and not timed:
            answer = await self._probe(operation, fields, timeout_s)
            if answer is not None:
                return decode(answer.content_type, answer.body)
        encoding: Encoding = "json" if timed else self._wire or "json"
        answer = await self._send(operation, encoding, (encode(encoding, fields),), timeout_s)
        return decode(answer.content_type, answer.body)

    async def _probe(self, operation: str, fields: Mapping[str, Any], timeout_s: float) -> Answer | None:
        """Make the call in CBOR; return its answer, or None where it was refused in words other than CBOR."""
        request = self._request(operation, "cbor", (encode("cbor", fields),))
        answer = await self._transport.call(request, timeout_s=timeout_s, check=_fault_of)
        if answer.content_type == CONTENT_TYPES["cbor"]:
            self._settle("cbor", "the service answers CBOR")
        else:
            self._settle("json", f"the service answered {answer.content_type or 'without a content type'}")
            if answer.status >= 300:
                return None
        _raise_refusal(operation, answer)
        return answer

    async def _send(self, operation: str, encoding: Encoding, body: Sequence[bytes], timeout_s: float) -> Answer:
        answer = await self._transport.call(
            self._request(operation, encoding, body), timeout_s=timeout_s, check=_fault_of
        )
        _raise_refusal(operation, answer)
        return answer

    @staticmethod
    def _request(operation: str, encoding: Encoding, body: Sequence[bytes]) -> Request:
        return Request(operation, _TARGET + operation, CONTENT_TYPES[encoding], body)


@asynccontextmanager
async def open_kinesis(connection: Connection, *, connections_max: int) -> AsyncGenerator[KinesisApi]:
    """Open Kinesis; see `Connection.kinesis`."""
    async with open_transport(connection, "kinesis", connections_max=connections_max) as transport:
        yield KinesisAdapter(transport, connection.wire, connection.events)


def _fault_of(answer: Answer) -> tuple[str, str]:
    typed, message = fault(answer.content_type, answer.body)
    return error_code(answer.headers.get("x-amzn-errortype"), typed, answer.status), message


def _raise_refusal(operation: str, answer: Answer) -> None:
    if answer.status != 200:
        code, message = _fault_of(answer)
        raise refusal("kinesis", operation, answer.status, code, message)


def _filter(one: ShardFilter) -> dict[str, Any]:
    fields = {"Type": one.kind.value, "Timestamp": one.timestamp_s, "ShardId": one.shard_id}
    return {name: value for name, value in fields.items() if value is not None}
