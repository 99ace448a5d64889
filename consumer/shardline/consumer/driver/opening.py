"""Opening a worker: its clients, the processes of its handlers and their parking lots, and its metrics.

What is opened is closed by the exit stack that the caller gives.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from shardline.consumer.bounds import PaceKeeper
from shardline.consumer.driver.context import Context
from shardline.consumer.driver.registration import may_fan_out
from shardline.consumer.driver.stating import make_state_table
from shardline.consumer.driver.streams import Streams
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
    from shardline.consumer.bounds import Bounds, Pace
    from shardline.consumer.config import WorkerConfig
    from shardline.consumer.driver.tracked import Tracked
    from shardline.consumer.steering import Pauses

__all__ = ["collect_metrics", "open_context"]


async def open_context(
    stack: AsyncExitStack,
    *,
    application: str,
    me: str,
    connection: Services,
    config: WorkerConfig,
    runtime: Runtime,
    events: Events,
    tracked: Tracked,
    give_up: Callable[[HandlerGaveUp], None],
    pauses: Pauses,
    bounds: Bounds | None,
    pace: Pace | None,
) -> Context:
    """Return what every part of the worker needs; no stream is read yet, `Tracking` opens them."""
    table = config.table.name or application
    await tracked.open_handlers(runtime, stack)
    fan_out = None
    if may_fan_out(config, tracked.asked):  # A client whose pool fits all subscriptions.
        pool = connection.kinesis(connections_max=config.subscriptions_max)
        fan_out = await stack.enter_async_context(pool)
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
        streams=Streams((), events, multi=tracked.asked.multi),
        give_up=give_up,
        fan_out=fan_out,
        pauses=pauses,
        bounds=bounds,
        pace=None if pace is None else PaceKeeper(pace, runtime.monotonic()),
    )
    if bounds is not None or any(handler.policy.then is Then.PARK_KEY for handler in tracked.handlers):
        state = await make_state_table(context, context.store, application, config.table)
        context = replace(context, state=state)
    return context


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
