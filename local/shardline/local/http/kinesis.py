"""Kinesis over HTTP: one request to one answer, in JSON or CBOR; the state does the deciding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shardline.local.http.eventstream import CONTENT_TYPE, events
from shardline.local.http.message import Answer, Stream
from shardline.local.http.operations import OPERATIONS
from shardline.local.http.params import Params
from shardline.local.http.shapes import child
from shardline.local.http.wire import CBOR, JSON, decode, encode, json_page, json_puts
from shardline.local.state.refusal import Refusal, validation

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.local.http.message import Request
    from shardline.local.state.core import KinesisState

__all__ = ["KinesisHttp", "content_type", "refused"]

_UNKNOWN = Refusal("UnknownOperationException", "The operation is not one of Kinesis Data Streams.")


def content_type(request: Request) -> str:
    """Return the wire format of a request: CBOR where it says so, else JSON."""
    return CBOR if request.headers.get("content-type", "").startswith("application/x-amz-cbor") else JSON


def refused(refusal: Refusal, kind: str) -> Answer:
    """Return the service's answer to a request that it refuses."""
    body = encode({"__type": refusal.code, "message": refusal.message}, kind)
    return Answer(refusal.status, body, kind, {"x-amzn-errortype": refusal.code})


class KinesisHttp:
    """Answers every operation; `clock` gives epoch seconds."""

    def __init__(self, state: KinesisState, clock: Callable[[], float]) -> None:
        self.state = state
        self._clock = clock

    def answer(self, operation: str, request: Request) -> Answer | Stream:
        """Carry out one request and return its answer; never raises for what a client sends."""
        kind = content_type(request)
        try:
            params = Params(decode(request.body, kind))
            if operation == "SubscribeToShard":
                return self._subscribe(params, kind)
            body = self._carry_out(operation, params, kind)
        except Refusal as refusal:
            return refused(refusal, kind)
        return Answer(200, body, kind)

    def _carry_out(self, operation: str, params: Params, kind: str) -> bytes:
        now = self._clock()
        if kind == JSON:  # The two hot calls skip the step through dictionaries.
            if operation == "PutRecords":
                stream, entries = params.stream(), params.entries()
                return json_puts(self.state.put_records(stream, entries, now=now, dry_run=params.flag("DryRun")))
            if operation == "GetRecords":
                return self._get_records(params, now)
        carry_out = OPERATIONS.get(operation)
        if carry_out is None:
            raise _UNKNOWN
        return encode(carry_out(self.state, params, now), kind)

    def _subscribe(self, params: Params, kind: str) -> Stream:
        position = params.nested("StartingPosition")
        if position is None:
            raise validation("Value null at 'startingPosition': Member must not be null")
        arn, shard_id, start = params.required("ConsumerARN"), params.required("ShardId"), position.start()
        if params.flag("DryRun"):
            raise Refusal("DryRunOperationException", "The request would have succeeded, but the DryRun flag is set.")
        subscription = self.state.subscribe(arn, shard_id, start, now=self._clock())
        return Stream(events(subscription, self._clock, kind), CONTENT_TYPE)

    def _get_records(self, params: Params, now: float) -> bytes:
        page = self.state.get_records(
            params.required("ShardIterator"),
            now=now,
            limit=params.integer("Limit"),
            stream=params.stream_or_none(),
            dry_run=params.flag("DryRun"),
        )
        rest: dict[str, Any] = {"MillisBehindLatest": page.millis_behind_latest}
        if page.next_iterator is not None:
            rest["NextShardIterator"] = page.next_iterator
        elif page.child_shards:
            rest["ChildShards"] = [child(c) for c in page.child_shards]
        return json_page(page.records, rest)
