"""The whole endpoint behind one port: which request is for which service, and what it gets back.

A request is told by its ``X-Amz-Target``, its path, or the service in its signature's credential scope; signatures are
not checked. ``/_shardline/`` is the endpoint's own.
"""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

from shardline.local.http.kinesis import KinesisHttp, content_type, refused
from shardline.local.http.message import Answer, Stream
from shardline.local.moto.dispatch import SERVICES, Moto
from shardline.local.state.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.local.http.message import Reply, Request
    from shardline.local.state.core import KinesisState

__all__ = ["App", "service_of"]

_KINESIS = "Kinesis_20131202."
_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/[^/]+/([a-z0-9-]+)/aws4_request")
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
    return scope[1] if scope else ""


def operation_of(request: Request) -> str:
    """Return the operation's name where the request tells it, or an empty text."""
    target = request.headers.get("x-amz-target", "")
    return target.partition(".")[2] if target else request.path.rpartition("/")[2]


class App:
    """Answers requests; `state` is the Kinesis, `clock` gives epoch seconds."""

    def __init__(self, state: KinesisState, clock: Callable[[], float]) -> None:
        self.state = state
        self.clock = clock
        self._kinesis = KinesisHttp(state, clock)
        self._moto = Moto()
        self._serial = count(1)

    def handle(self, request: Request) -> Reply:
        """Return the answer to one request; what a client sends wrong is answered, never raised."""
        reply = self._reply(request)
        reply.headers["x-amzn-requestid"] = f"{next(self._serial):08x}-0000-4000-8000-000000000000"
        return reply

    def _reply(self, request: Request) -> Answer | Stream:
        service = service_of(request)
        if service == "kinesis":
            return self._kinesis.answer(operation_of(request), request)
        if service in SERVICES:
            return self._ask_moto(service, request)
        problem = Refusal("UnknownOperationException", "No service of this endpoint is named by the request.")
        return refused(problem, content_type(request))

    def _ask_moto(self, service: str, request: Request) -> Answer:
        got = self._moto.call(service, request.method, request.target, request.headers, request.body)
        headers = {k: v for k, v in got.headers.items() if k not in {"content-type", "content-length", "status"}}
        if request.method == "HEAD" and "content-length" in got.headers:
            headers["content-length"] = got.headers["content-length"]
        return Answer(got.status, got.body, got.headers.get("content-type", "application/octet-stream"), headers)
