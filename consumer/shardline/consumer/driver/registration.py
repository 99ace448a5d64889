"""Registers the worker as a consumer for enhanced fan-out; never deregisters it (others may read by it)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from shardline.common.errors import Denied, InUse, LimitExceeded, NotFound, ProtocolViolation, ServiceError
from shardline.consumer.config import Retrieval
from shardline.consumer.driver.context import attempt
from shardline.consumer.events import RetrievalChosen
from shardline.consumer.stream_events import ConsumerLost

if TYPE_CHECKING:
    from shardline.common.ports.kinesis import ConsumerDescription, Stream
    from shardline.consumer.config import WorkerConfig
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.streams import StreamsAsked

__all__ = ["choose_retrieval", "may_fan_out", "may_not_subscribe", "renew_consumer"]

_CALL_S: Final = 10.0
_WITHIN_S: Final = 60.0
_POLL_S: Final = 1.0
_UNKNOWN: Final = "UnknownOperationException"


async def choose_retrieval(
    context: Context, stream: Stream, given: str | None = None, *, by_name: str | None = None
) -> str | None:
    """Return the ARN of the consumer to subscribe as (`given`, if it is), or None to poll; says which it is.

    With ``auto`` fan-out is used where a consumer name was given, and polling where the service, its limits or the
    permissions say no. With ``fanout`` that raises.
    """
    config = context.config
    name = by_name or config.consumer_name or (context.application if config.retrieval is Retrieval.FANOUT else None)
    if config.retrieval is Retrieval.POLLING or name is given is None:
        return None
    try:
        arn = given or await _register(context, stream, name or context.application)
    except (ServiceError, ProtocolViolation) as error:
        if config.retrieval is Retrieval.FANOUT:
            raise
        reason = error.code if isinstance(error, ServiceError) else type(error).__name__
        context.events.emit(RetrievalChosen(stream=stream.name, retrieval="polling", reason=reason))
        return None
    context.events.emit(RetrievalChosen(stream=stream.name, retrieval="fanout", reason=""))
    return arn


async def renew_consumer(context: Context, plan: StreamPlan, lost: str) -> str | None:
    """Return whom to subscribe as after `lost` was not found: itself if it is there after all, another one, or None.

    Registers again where it was deregistered, once for all shards. With ``auto`` the answer is None, polling, where
    that cannot be done; with ``fanout`` this raises. A stream that is not there is left to the inspector.
    """
    streams = context.streams
    async with streams.registering:
        now = streams.consumer_arn(plan)
        if now != lost or await _is_active(context, lost):
            return now
        try:
            await context.kinesis.describe_stream_summary(plan.stream, timeout_s=_CALL_S)
        except NotFound:
            streams.doubt(plan)
            return lost
        arn = await choose_retrieval(context, plan.stream, by_name=_names(lost)[1])
        times = streams.set_consumer(plan, arn)
        then = Retrieval.POLLING if arn is None else Retrieval.FANOUT
        context.events.emit(ConsumerLost(stream=plan.stream.name, then=then.value, times=times))
        return arn


async def may_not_subscribe(context: Context, plan: StreamPlan, arn: str, error: ServiceError) -> bool:
    """Say whether a refusal is for good; with ``auto`` the stream is polled from now on then, and that is said.

    Because the permission is missing, which registering may not have needed, or the endpoint does not know the call.
    """
    if not (isinstance(error, Denied) or error.code == _UNKNOWN):
        return False
    streams = context.streams
    async with streams.registering:
        if context.config.retrieval is Retrieval.AUTO and streams.consumer_arn(plan) == arn:
            streams.poll(plan)
            event = RetrievalChosen(stream=plan.stream.name, retrieval="polling", reason=error.code)
            context.events.emit(event)
    return streams.consumer_arn(plan) != arn


async def _is_active(context: Context, arn: str) -> bool:
    stream_arn, name = _names(arn)
    try:
        found = await context.kinesis.describe_stream_consumer(stream_arn, name, timeout_s=_CALL_S)
    except NotFound:
        return False
    return found.arn == arn and found.status == "ACTIVE"


def _names(consumer_arn: str) -> tuple[str, str]:
    """Return the stream's ARN and the consumer's name."""
    stream_arn, _, consumer = consumer_arn.partition("/consumer/")
    return stream_arn, consumer.rpartition(":")[0]


def may_fan_out(config: WorkerConfig, asked: StreamsAsked) -> bool:
    """Say whether some stream, now or later, may be read by enhanced fan-out."""
    given = asked.grows or any(one.consumer_arn for one in asked.configs)
    named = config.consumer_name is not None or config.retrieval is Retrieval.FANOUT
    return config.retrieval is not Retrieval.POLLING and (named or given)


async def _register(context: Context, stream: Stream, name: str) -> str:
    summary = await attempt(
        context,
        "stream.describe",
        lambda: context.kinesis.describe_stream_summary(stream, timeout_s=_CALL_S),
        within_s=_WITHIN_S,
    )
    deadline = context.runtime.monotonic() + _WITHIN_S
    while True:
        found = await _find(context, summary.arn, name)
        if found is not None and found.status == "ACTIVE":
            return found.arn
        if context.runtime.monotonic() >= deadline:
            raise ProtocolViolation(f"consumer {name} of stream {stream} did not become ACTIVE in time")
        await asyncio.sleep(_POLL_S)


async def _find(context: Context, stream_arn: str, name: str) -> ConsumerDescription | None:
    """Return the consumer, asking for it where there is none; None where it must be looked for again."""
    try:
        return await attempt(
            context,
            "consumer.describe",
            lambda: context.kinesis.describe_stream_consumer(stream_arn, name, timeout_s=_CALL_S),
            within_s=_WITHIN_S,
        )
    except NotFound:
        pass
    try:
        return await context.kinesis.register_stream_consumer(stream_arn, name, timeout_s=_CALL_S)
    except InUse:
        return None  # Another worker registers it now.
    except LimitExceeded:
        raise  # Retryable one day, when somebody else's consumer is gone; not now.
    except ServiceError as error:
        if not error.retryable:
            raise
        context.report("consumer.register", error)
        return None
