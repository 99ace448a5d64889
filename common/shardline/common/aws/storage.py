# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""`ObjectStore` over S3 and `MessageQueue` over SQS: aiobotocore's own clients, for calls that are few.

Invariants: no hidden retry (an attempt's outcome is told as it is); nothing from the SDK escapes as itself: a refusal
is translated by its code, a break before anything was sent is `Unreachable`, any other one `Ambiguous`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ProxyConnectionError,
)

from shardline.common.aws.faults import refusal
from shardline.common.aws.session import open_client
from shardline.common.errors import Ambiguous, CredentialsRefused, ServiceError, Unreachable
from shardline.common.ports.storage import MessageQueue, ObjectStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from shardline.common.connection import Connection

__all__ = ["ObjectAdapter", "QueueAdapter", "open_objects", "open_queue"]

_NOT_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)


class ObjectAdapter(ObjectStore):
    """S3; made by `open_objects`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def put(self, bucket: str, key: str, body: bytes, *, timeout_s: float) -> None:
        """See `ObjectStore`."""
        call = partial(self._client.put_object, Bucket=bucket, Key=key, Body=body)
        await _call("s3", "PutObject", call, timeout_s)

    async def get(self, bucket: str, key: str, *, timeout_s: float) -> bytes:
        """See `ObjectStore`."""

        async def whole() -> bytes:
            answer = await self._client.get_object(Bucket=bucket, Key=key)
            async with answer["Body"] as body:
                return bytes(await body.read())

        return bytes(await _call("s3", "GetObject", whole, timeout_s))

    async def keys(self, bucket: str, prefix: str, *, timeout_s: float) -> AsyncIterator[str]:
        """See `ObjectStore`."""
        given = {"Bucket": bucket, "Prefix": prefix}
        while True:
            page = await _call("s3", "ListObjectsV2", partial(self._client.list_objects_v2, **given), timeout_s)
            for item in page.get("Contents", ()):
                yield item["Key"]
            if not page.get("IsTruncated"):
                return
            given["ContinuationToken"] = page["NextContinuationToken"]


class QueueAdapter(MessageQueue):
    """SQS; made by `open_queue`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def send(
        self,
        queue_url: str,
        body: str,
        *,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        timeout_s: float,
    ) -> None:
        """See `MessageQueue`."""
        given = {"MessageGroupId": group_id, "MessageDeduplicationId": deduplication_id}
        more = {name: value for name, value in given.items() if value is not None}
        call = partial(self._client.send_message, QueueUrl=queue_url, MessageBody=body, **more)
        await _call("sqs", "SendMessage", call, timeout_s)


@asynccontextmanager
async def open_objects(connection: Connection) -> AsyncGenerator[ObjectStore]:
    """Open S3; see `Connection.objects`."""
    async with open_client("s3", connection) as client:
        yield ObjectAdapter(client)


@asynccontextmanager
async def open_queue(connection: Connection) -> AsyncGenerator[MessageQueue]:
    """Open SQS; see `Connection.queue`."""
    async with open_client("sqs", connection) as client:
        yield QueueAdapter(client)


async def _call(service: str, operation: str, call: Callable[[], Awaitable[Any]], timeout_s: float) -> Any:
    try:
        async with asyncio.timeout(timeout_s):
            return await call()
    except TimeoutError as error:
        raise Ambiguous("CallTimeout", f"no whole answer within {timeout_s:g} s") from error
    except ClientError as error:
        raise _refused(service, operation, error) from error
    except NoCredentialsError as error:
        raise CredentialsRefused("NoCredentials", "no usable AWS credentials") from error
    except _NOT_SENT as error:
        raise Unreachable(type(error).__name__, f"no connection to {service}") from error
    except (BotoCoreError, OSError) as error:
        raise Ambiguous(type(error).__name__, f"the call to {service} broke") from error


def _refused(service: str, operation: str, error: ClientError) -> ServiceError:
    fault = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
    code = str(fault.get("Code") or f"HTTP{status}").rpartition(".")[2]
    return refusal(service, operation, status, code, str(fault.get("Message", "")))
