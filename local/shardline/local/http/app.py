"""The whole endpoint behind one port: which request is for which service, what it meets, and what it gets back.

A request is told by its ``X-Amz-Target``, its path, or the service in its signature's credential scope; signatures are
not checked. ``/_shardline/`` is the endpoint's own (`admin`).
"""

from __future__ import annotations

import re
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from shardline.local.access import AccessPolicy, actions_of
from shardline.local.faults.plan import Action, FaultPlan
from shardline.local.http.admin import PREFIX, administer
from shardline.local.http.faulty import Faulty, resource_of, writes_of
from shardline.local.http.kinesis import KinesisHttp, content_type, refused
from shardline.local.http.message import Answer, Stream
from shardline.local.moto.dispatch import SERVICES, Moto, MotoAnswer, reset
from shardline.local.moto.front import DynamoFront, DynamoOptions
from shardline.local.state.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from shardline.local.faults.plan import FaultRule
    from shardline.local.http.message import Reply, Request
    from shardline.local.state.core import KinesisState

__all__ = ["App", "service_of"]

_SCOPE = re.compile(r"Credential=([^/]+)/\d{8}/[^/]+/([a-z0-9-]+)/aws4_request")
_TARGETS = {
    "Kinesis_20131202": "kinesis",
    "DynamoDB_20120810": "dynamodb",
    "GraniteServiceVersion20100801": "monitoring",
    "AmazonSQS": "sqs",
    "Firehose_20150804": "firehose",
}


def service_of(request: Request) -> str:
    """Return the service a request is for, or an empty text."""
    target = request.headers.get("x-amz-target", "").partition(".")[0]
    if target in _TARGETS:
        return _TARGETS[target]
    if request.path.startswith("/service/GraniteServiceVersion20100801/"):
        return "monitoring"
    scope = _SCOPE.search(request.headers.get("authorization", ""))
    return scope[2] if scope else ""


def operation_of(request: Request) -> str:
    """Return the operation's name where the request tells it, or an empty text."""
    target = request.headers.get("x-amz-target", "")
    return target.partition(".")[2] if target else request.path.rpartition("/")[2]


class App:
    """Answers requests; `state` is the Kinesis, `clock` gives epoch seconds, `faults` what goes wrong on purpose."""

    def __init__(
        self, state: KinesisState, clock: Callable[[], float], dynamodb: DynamoOptions | None = None, seed: int = 0
    ) -> None:
        self.state = state
        self.clock = clock
        self.faults = FaultPlan(Random(seed))
        self._kinesis = KinesisHttp(state, clock)
        self._moto = Moto()
        self.dynamodb = DynamoFront(self._moto, clock, dynamodb)
        self._faulty = Faulty(self._carry_out)
        self._serial = count(1)
        self.access: AccessPolicy | None = None

    # --- faults ---

    def set_faults(self, rules: Iterable[FaultRule]) -> None:
        """Replace the scripted faults."""
        self.faults.set(rules, self.clock())
        self.dynamodb.keep_past = self.faults.looks_back()

    def add_faults(self, rules: Iterable[FaultRule]) -> None:
        """Add scripted faults behind those in force."""
        for rule in rules:
            self.faults.add(rule, self.clock())
        self.dynamodb.keep_past = self.faults.looks_back()

    def reset(self) -> None:
        """Forget all streams, consumers and faults, and everything that moto holds in this process."""
        self.set_faults([])
        self.state.streams.clear()
        self.state.consumers.clear()
        reset()

    # --- requests ---

    def handle(self, request: Request) -> Reply | Awaitable[Reply]:
        """Return the answer to one request, now or later; what a client sends wrong is answered, never raised."""
        if self.faults and not request.target.startswith(PREFIX):
            service, operation = service_of(request), operation_of(request)
            resource = resource_of(service, request.body, content_type(request))
            rule = self.faults.take(service, operation, resource, self.clock())
            if rule is not None and rule.action is Action.STALE:
                return self._ask_dynamodb(request, rule.age_s)
            if rule is not None:
                return self._faulty.perform(rule, service, operation, request)
        return self._carry_out(request)

    def _carry_out(self, request: Request) -> Answer | Stream:
        reply = self._reply(request)
        reply.headers["x-amzn-requestid"] = f"{next(self._serial):08x}-0000-4000-8000-000000000000"
        return reply

    def _reply(self, request: Request) -> Answer | Stream:
        service = service_of(request)
        if self.access is not None and service:
            denial = self._denial(self.access, service, request)
            if denial is not None:
                return denial
        if service == "kinesis":
            return self._kinesis.answer(operation_of(request), request)
        if service == "dynamodb":
            return self._ask_dynamodb(request)
        if service in SERVICES:
            return _answer(
                request, self._moto.call(service, request.method, request.target, request.headers, request.body)
            )
        if request.target.startswith(PREFIX):
            return administer(self, request)
        problem = Refusal("UnknownOperationException", "No service of this endpoint is named by the request.")
        return refused(problem, content_type(request))

    def _denial(self, access: AccessPolicy, service: str, request: Request) -> Answer | None:
        """Return the refusal of a request that its key has no grant for, or None."""
        kind = content_type(request)
        scope = _SCOPE.search(request.headers.get("authorization", ""))
        key = scope[1] if scope else ""
        resource = resource_of(service, request.body, kind)
        actions = actions_of(service, operation_of(request), writes_of(service, request.body))
        missing = access.denied(key, actions, resource)
        if missing is None:
            return None
        account = self.state.options.account_id
        message = (
            f"User: arn:aws:iam::{account}:user/{key} is not authorized to perform: {missing} on resource: "
            f"{resource or '*'} because no identity-based policy allows the {missing} action"
        )
        return refused(
            Refusal("AccessDeniedException", message), kind if service == "kinesis" else "application/x-amz-json-1.0"
        )

    def _ask_dynamodb(self, request: Request, age_s: float | None = None) -> Answer:
        operation = operation_of(request)
        return _answer(request, self.dynamodb.call(operation, request.target, request.headers, request.body, age_s))


def _answer(request: Request, got: MotoAnswer) -> Answer:
    headers = {k: v for k, v in got.headers.items() if k not in {"content-type", "content-length", "status"}}
    if request.method == "HEAD" and "content-length" in got.headers:
        headers["content-length"] = got.headers["content-length"]
    return Answer(got.status, got.body, got.headers.get("content-type", "application/octet-stream"), headers)
