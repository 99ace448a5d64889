"""Runs a `MetricsPublisher` beside a producer or a worker, so that nothing CloudWatch does is felt there.

CloudWatch is opened by the first upload, not before the work begins: a region without it, missing rights or a slow
credentials' source cost metrics, never records. Closing is bounded by `final_timeout_s` too.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from shardline.common.metrics.publisher import MetricsPublisher
from shardline.common.ports.metrics import MetricsApi

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from shardline.common.events import Events
    from shardline.common.metrics.settings import MetricsSettings
    from shardline.common.ports.metrics import Datum
    from shardline.common.ports.runtime import Runtime
    from shardline.common.ports.services import Services

__all__ = ["collecting", "publishing"]


class _Opening(MetricsApi):
    """Opens the service's metrics when first used, and again after it could not be opened."""

    def __init__(self, services: Services, stack: AsyncExitStack) -> None:
        self._services = services
        self._stack = stack
        self._api: MetricsApi | None = None

    async def put_metric_data(self, namespace: str, data: Sequence[Datum], *, timeout_s: float) -> None:
        """See `MetricsApi`."""
        if self._api is None:
            self._api = await self._stack.enter_async_context(self._services.metrics())
        await self._api.put_metric_data(namespace, data, timeout_s=timeout_s)


def collecting(settings: MetricsSettings, *, rollup: bool, events: Events, runtime: Runtime) -> MetricsPublisher:
    """Return a publisher that sums up what `events` measure from now on, to be sent by `publishing`.

    `settings` must have namespace and interval (`of_producer`, `of_worker`).
    """
    assert settings.namespace is not None
    assert settings.upload_s is not None
    publisher = MetricsPublisher(
        namespace=settings.namespace,
        runtime=runtime,
        settings=settings.kept(rollup=rollup),
        interval_s=settings.upload_s,
        request_timeout_s=settings.request_timeout_s,
        final_timeout_s=settings.final_timeout_s,
        events=events,
    )
    publisher.unsubscribe = events.subscribe(publisher)
    return publisher


@asynccontextmanager
async def publishing(
    publisher: MetricsPublisher, settings: MetricsSettings, services: Services, group: asyncio.TaskGroup
) -> AsyncGenerator[None]:
    """Send what `publisher` sums up while inside, from a task of `group`; leaving sends the rest and unsubscribes it.

    Only cancellation and misuse raise.
    """
    stack = AsyncExitStack()
    api = settings.sink if settings.sink is not None else _Opening(services, stack)
    try:
        async with publisher.running(api, group):
            yield
    finally:
        publisher.unsubscribe()
        await _close(stack, settings.final_timeout_s)


async def _close(stack: AsyncExitStack, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await stack.aclose()
    except Exception:  # noqa: BLE001, S110 - a metrics service that cannot be closed disturbs nobody (F40).
        pass
