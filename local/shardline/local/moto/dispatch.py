"""Hands HTTP requests to moto's own handlers without a web framework, one at a time.

Invariant: no two requests are inside moto at once, in the whole process (moto lost acknowledged updates otherwise).
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# (moto has no types)

from __future__ import annotations

import io
import json
import re
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["SERVICES", "Moto", "MotoAnswer", "reset"]

_LOCK: Final = threading.Lock()
SERVICES: Final = frozenset({"dynamodb", "monitoring", "sqs", "s3", "firehose"})
"""The services, by their name in a request's credential scope."""


class MotoAnswer(NamedTuple):
    """What moto answered."""

    status: int
    headers: dict[str, str]
    body: bytes


def reset() -> None:
    """Forget everything that moto's services hold, in the whole process."""
    from moto.moto_api._internal.models import moto_api_backend

    with _LOCK:
        moto_api_backend.reset()


def _failure(error: Exception) -> MotoAnswer:
    """Return the answer to a request that moto failed on: HTTP 500, or what a `ClientError` of its own says."""
    response = getattr(error, "response", None)
    status, problem = 500, {"__type": "InternalServerError", "message": f"moto failed: {type(error).__name__}"}
    if isinstance(response, dict):
        status, problem = 400, {"__type": response["Error"]["Code"], "message": response["Error"]["Message"]}
    return MotoAnswer(status, {"content-type": "application/x-amz-json-1.0"}, json.dumps(problem).encode())


class Moto:
    """moto's services; handlers are imported when first used (half a second)."""

    def __init__(self) -> None:
        self._handlers: dict[str, Callable[[Any, str, Any], Any]] = {}

    def call(
        self, service: str, method: str, target: str, headers: Mapping[str, str], body: bytes | bytearray
    ) -> MotoAnswer:
        """Carry out one request of a service named in `SERVICES`; moto's own failures are answered with status 500."""
        from moto.core.request import Request

        host = headers.get("host", "localhost")
        path, _, query = target.partition("?")
        environment = _environment(method, host, path, query, headers, body)
        try:
            with _LOCK:
                handler = self._handler(service, path)
                request = Request(environment)
                result = handler(request, f"http://{host}{target}", request.headers)
        except Exception as error:  # noqa: BLE001 - whatever moto stumbles over is its failure, not the endpoint's.
            return _failure(error)
        status, answered, content = result if len(result) == 3 else (200, {}, result)  # noqa: PLR2004 - moto's triple.
        return MotoAnswer(
            int(status),
            {str(k).lower(): str(v) for k, v in answered.items()},
            content.encode() if isinstance(content, str) else bytes(content or b""),
        )

    def _handler(self, service: str, path: str) -> Callable[[Any, str, Any], Any]:
        key = service if service != "s3" else f"s3:{_s3_shape(path)}"
        if key not in self._handlers:
            self._handlers[key] = _import(service, key.partition(":")[2])
        return self._handlers[key]


def _s3_shape(path: str) -> str:
    bucket, _, key = path.lstrip("/").partition("/")
    if key:
        return "key"
    return "bucket" if bucket else "service"


def _import(service: str, shape: str) -> Callable[[Any, str, Any], Any]:
    if service == "dynamodb":
        from shardline.local.moto.dynamodb import handler

        return handler()
    if service == "monitoring":
        from moto.cloudwatch.responses import CloudWatchResponse

        return CloudWatchResponse.dispatch
    if service == "sqs":
        from moto.sqs.responses import SQSResponse

        return SQSResponse.dispatch
    if service == "firehose":
        from moto.firehose.responses import FirehoseResponse

        return FirehoseResponse.dispatch
    from moto.s3.responses import S3Response

    by_shape = {
        "service": S3Response.bucket_dispatch,
        "bucket": S3Response.ambiguous_dispatch,
        "key": S3Response.key_dispatch,
    }
    return by_shape[shape]


_UNSAFE = re.compile(r"[\r\n]")


def _environment(
    method: str, host: str, path: str, query: str, headers: Mapping[str, str], body: bytes | bytearray
) -> dict[str, Any]:
    """Return the WSGI environ of a request."""
    environment: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(path).encode().decode("latin-1"),
        "RAW_URI": path + ("?" + query if query else ""),
        "QUERY_STRING": query,
        "SERVER_NAME": host,
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
    }
    for name, value in headers.items():
        if name not in {"transfer-encoding", "expect"}:
            environment["HTTP_" + name.upper().replace("-", "_")] = _UNSAFE.sub(" ", value)
    environment["HTTP_HOST"] = host
    environment["CONTENT_LENGTH"] = str(len(body))
    environment["CONTENT_TYPE"] = headers.get("content-type", "")
    return environment
