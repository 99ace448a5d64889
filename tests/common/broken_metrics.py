"""A metrics service that is of no use, for producers and workers that must not be disturbed by one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shardline.common.errors import Denied
from shardline.common.ports.metrics import MetricsApi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.common.ports.metrics import Datum

__all__ = ["Broken"]


class Broken(MetricsApi):
    """A metrics service that fails in one way (denied, bug, hangs), however it is asked."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.calls = 0

    async def put_metric_data(self, namespace: str, data: Sequence[Datum], *, timeout_s: float) -> None:
        """Fail."""
        self.calls += 1
        if self.way == "hangs":
            await asyncio.sleep(timeout_s * 1000)
        raise {"denied": Denied("AccessDenied"), "bug": ZeroDivisionError(namespace, data)}[self.way]
