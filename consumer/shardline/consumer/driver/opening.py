"""Opening a worker: its clients, its streams' identities in multi-stream mode, its fan-out consumers and its metrics.

What is opened is closed by the exit stack that the caller gives.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from shardline.common.ports.kinesis import Stream
from shardline.consumer.driver.context import Context, StreamPlan, attempt
from shardline.consumer.driver.registration import choose_retrieval
from shardline.consumer.driver.stating import make_state_table
from shardline.consumer.leases.writes import LeaseWrites
from shardline.consumer.policy import Then

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager, AsyncExitStack

    from shardline.common.errors import HandlerGaveUp
    from shardline.common.events import Events
    from shardline.common.ports.runtime import Runtime
    from shardline.common.ports.services import Services
    from shardline.consumer.config import WorkerConfig
    from shardline.consumer.spec import HandlerSpec

__all__ = ["CONTROL_WITHIN_S", "collect_metrics", "open_context"]

_DESCRIBE_TIMEOUT_S = 10.0
CONTROL_WITHIN_S = 60.0


async def open_context(
    stack: AsyncExitStack,
    *,
    application: str,
    me: str,
    connection: Services,
    config: WorkerConfig,
    runtime: Runtime,
    events: Events,
    plans: tuple[StreamPlan, ...],
    give_up: Callable[[HandlerGaveUp], None],
) -> Context:
    """Return what every part of the worker needs; several streams are named as the KCL's multi-stream mode does."""
    table = config.table.name or application
    plans = await _with_pools(plans, runtime, stack)
    context = Context(
        application=application,
        me=me,
        table=table,
        runtime=runtime,
        kinesis=await stack.enter_async_context(connection.kinesis()),
        store=await stack.enter_async_context(connection.lease_store()),
        events=events,
        config=config,
        times=config.leases.times,
        writes=LeaseWrites(table),
        streams=plans,
        give_up=give_up,
    )
    if any(plan.handler.policy.then is Then.PARK_KEY for plan in plans):
        state = await make_state_table(context, context.store, application, config.table)
        context = replace(context, state=state)
    if len(plans) > 1:
        context = replace(context, streams=tuple([await _with_prefix(context, plan) for plan in plans]))
    return await _with_consumers(context, connection, stack)


async def _with_pools(plans: tuple[StreamPlan, ...], runtime: Runtime, stack: AsyncExitStack) -> tuple[StreamPlan, ...]:
    """Start the processes of each handler that runs in processes of its own."""
    opened: dict[int, HandlerSpec] = {}
    for spec in (plan.handler for plan in plans):
        if spec.processes and id(spec) not in opened:
            from shardline.consumer.processes import ProcessPool  # noqa: PLC0415 - only where asked for.

            opened[id(spec)] = replace(spec, pool=await stack.enter_async_context(ProcessPool(spec, runtime)))
    return tuple(replace(plan, handler=opened.get(id(plan.handler), plan.handler)) for plan in plans)


async def _with_prefix(context: Context, plan: StreamPlan) -> StreamPlan:
    """Name a stream as the KCL's multi-stream mode does: ``account:name:epoch``."""
    summary = await attempt(
        context,
        "stream.describe",
        lambda: context.kinesis.describe_stream_summary(plan.stream, timeout_s=_DESCRIBE_TIMEOUT_S),
        within_s=CONTROL_WITHIN_S,
    )
    identity = Stream.of(summary.arn)
    prefix = f"{identity.account_id}:{identity.name}:{int(summary.created_at_s)}"
    return replace(plan, stream=identity, lease_prefix=prefix)


async def _with_consumers(context: Context, connection: Services, stack: AsyncExitStack) -> Context:
    """Register for enhanced fan-out where it is wanted, and open a client whose pool fits all subscriptions."""
    chosen = [replace(plan, consumer_arn=await choose_retrieval(context, plan.stream)) for plan in context.streams]
    if not any(plan.consumer_arn for plan in chosen):
        return context
    pool = connection.kinesis(connections_max=context.config.subscriptions_max)
    return replace(context, streams=tuple(chosen), fan_out=await stack.enter_async_context(pool))


def collect_metrics(
    application: str, config: WorkerConfig, *, connection: Services, events: Events, runtime: Runtime
) -> Callable[[asyncio.TaskGroup], AbstractAsyncContextManager[None]]:
    """Sum up what happens from now on; the returned function sends it while inside."""
    metrics = config.metrics
    if metrics is None:
        return lambda _: contextlib.nullcontext()
    from shardline.common.metrics.publishing import collecting, publishing  # noqa: PLC0415 - only where asked for.

    settings = metrics.of_worker(application)
    publisher = collecting(settings, rollup=False, events=events, runtime=runtime)
    return lambda group: publishing(publisher, settings, connection, group)
