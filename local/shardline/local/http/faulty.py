"""Carries out scripted faults: an answer that is late, wrong, cut or missing, before or after the request applied.

Invariant: a request that was accepted for a late answer is carried out even when its client has gone (the late apply of
`reliability.md` F3), and exactly once.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from shardline.local.faults.plan import Action, FaultRule, When
from shardline.local.http.kinesis import content_type, refused
from shardline.local.http.message import Answer, Request
from shardline.local.http.wire import decode, encode
from shardline.local.state.refusal import Refusal
from shardline.local.state.tokens import decode_iterator

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.local.http.message import Reply

__all__ = ["Faulty", "resource_of", "writes_of"]

_JSON_1_0: Final = "application/x-amz-json-1.0"
_DATA_OF_KINESIS: Final = frozenset({"PutRecord", "PutRecords", "GetRecords", "GetShardIterator"})
_DATA_OF_DYNAMODB: Final = frozenset(
    {"GetItem", "PutItem", "UpdateItem", "DeleteItem", "Scan", "Query", "TransactWriteItems", "BatchGetItem"}
)


class Faulty:
    """Performs faults around `carry_out`, which answers a request as if nothing were wrong."""

    def __init__(self, carry_out: Callable[[Request], Reply]) -> None:
        self._carry_out = carry_out
        self._late: set[asyncio.Task[Reply]] = set()

    async def perform(self, rule: FaultRule, service: str, operation: str, request: Request) -> Reply:
        """Return what the client gets; None drops the connection."""
        match rule.action:
            case Action.ERROR:
                return self._error(rule, service, request, rule.code, rule.status)
            case Action.THROTTLE:
                return self._error(rule, service, request, _throttling(service, operation), 400)
            case Action.SLOW:
                return await self._slow(rule, request)
            case Action.HANG:
                self._apply_first(rule, request)
                await asyncio.Event().wait()
                return None
            case Action.DROP:
                self._apply_first(rule, request)
                return None
            case _:
                return self._spoil(rule, operation, request)

    def _apply_first(self, rule: FaultRule, request: Request) -> None:
        if rule.when is When.AFTER:
            self._carry_out(request)

    def _error(self, rule: FaultRule, service: str, request: Request, code: str, status: int) -> Answer:
        self._apply_first(rule, request)
        kind = content_type(request) if service == "kinesis" else _JSON_1_0
        return refused(Refusal(code, rule.message, status), kind)

    async def _slow(self, rule: FaultRule, request: Request) -> Reply:
        if rule.when is When.AFTER:
            reply = self._carry_out(request)
            await asyncio.sleep(rule.delay_s)
            return reply
        task = asyncio.get_running_loop().create_task(self._later(rule.delay_s, request))
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return await asyncio.shield(task)

    async def _later(self, delay_s: float, request: Request) -> Reply:
        await asyncio.sleep(delay_s)
        return self._carry_out(request)

    def _spoil(self, rule: FaultRule, operation: str, request: Request) -> Reply:
        if rule.action is Action.FAIL_ENTRIES and operation == "PutRecords":
            return self._fail_entries(rule, request)
        reply = self._carry_out(request)
        if not isinstance(reply, Answer) or reply.status >= 400:  # noqa: PLR2004 - HTTP's errors.
            return reply
        if rule.action is Action.TRUNCATE:
            reply.cut = min(len(reply.body), rule.bytes or (len(reply.body) + 1) // 2)
        elif rule.action is Action.GARBAGE:
            reply.body, reply.content_type = b"<html><body>It works!</body></html>", "text/html"
        elif rule.action is Action.SHORT_ANSWER and operation == "PutRecords":
            _edit(reply, lambda fields: fields.update(Records=fields["Records"][: -(rule.bytes or 1)]))
        elif rule.action is Action.EMPTY_PAGE and operation == "GetRecords":
            _edit(reply, lambda fields: _emptied(fields, request))
        return reply

    def _fail_entries(self, rule: FaultRule, request: Request) -> Reply:
        """Fail the chosen entries and carry out the others, as one request."""
        kind = content_type(request)
        content = decode(request.body, kind)
        records: list[Any] = content.get("Records", [])
        failing = {i for i in range(len(records)) if rule.fails(i)}
        content["Records"] = [r for i, r in enumerate(records) if i not in failing]
        outcomes: list[Any] = []
        if content["Records"]:
            reply = self._carry_out(request._replace(body=encode(content, kind)))
            if not isinstance(reply, Answer) or reply.status >= 400:  # noqa: PLR2004 - HTTP's errors.
                return reply
            outcomes = decode(reply.body, kind)["Records"]
        code = rule.code if rule.code != "InternalFailure" else "ProvisionedThroughputExceededException"
        failed = {"ErrorCode": code, "ErrorMessage": rule.message}
        rest = iter(outcomes)
        merged = [failed if i in failing else next(rest) for i in range(len(records))]
        count = sum("ErrorCode" in r for r in merged)
        return Answer(200, encode({"FailedRecordCount": count, "Records": merged}, kind), kind)


def _edit(answer: Answer, change: Callable[[dict[str, Any]], None]) -> None:
    fields = decode(answer.body, answer.content_type)
    change(fields)
    answer.body = encode(fields, answer.content_type)


def _emptied(fields: dict[str, Any], request: Request) -> None:
    """Leave the records out and stay where the request's iterator stands."""
    fields.pop("ChildShards", None)
    fields["Records"] = []
    fields["NextShardIterator"] = decode(request.body, content_type(request))["ShardIterator"]


def _throttling(service: str, operation: str) -> str:
    if service == "kinesis":
        data = operation in _DATA_OF_KINESIS
        return "ProvisionedThroughputExceededException" if data else "LimitExceededException"
    if service == "dynamodb" and operation in _DATA_OF_DYNAMODB:
        return "ProvisionedThroughputExceededException"
    return "ThrottlingException"


def resource_of(service: str, body: bytes | bytearray, kind: str) -> str:
    """Return the stream or table that a request names, or an empty text."""
    if service not in {"kinesis", "dynamodb"}:
        return ""
    try:
        content = decode(body, kind) if service == "kinesis" else json.loads(body or b"{}")
    except (Refusal, ValueError):
        return ""
    if service == "dynamodb":
        return str(content.get("TableName") or next(iter(_written(content)), ("", ""))[1])
    if "ShardIterator" in content:
        try:
            return decode_iterator(str(content["ShardIterator"])).stream
        except Refusal:
            return ""
    name = content.get("StreamName") or str(content.get("StreamARN") or content.get("ConsumerARN") or "")
    return str(name).partition(":stream/")[2].partition("/")[0] if str(name).startswith("arn:") else str(name)


def writes_of(service: str, body: bytes | bytearray) -> list[str]:
    """Return the kinds of the writes of a DynamoDB transaction (Put, Update ...), empty for any other request."""
    if service != "dynamodb" or b'"TransactItems"' not in body:
        return []
    try:
        return [kind for kind, _ in _written(json.loads(body))]
    except ValueError:
        return []


def _written(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Return kind and table of each write of a transaction."""
    items = content.get("TransactItems", [])
    return [(kind, str(write.get("TableName", ""))) for item in items for kind, write in item.items()]
