"""The same call for many things, some at a time: what a large fleet's table asks for must not queue up one by one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from shardline.common.ports.runtime import Runtime

__all__ = ["AT_ONCE", "several"]

AT_ONCE: Final = 16
"""Half of the store's connections: renewals go on beside."""

T = TypeVar("T")
R = TypeVar("R")


async def several(runtime: Runtime, name: str, things: Sequence[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """Return what `work` gives for each of the things, in their order; at most `AT_ONCE` run at a time.

    Raises the first error of `work`, once what runs beside has ended; nothing further is begun then. Cancelling cancels
    what runs.
    """
    if len(things) == 1:
        return [await work(things[0])]
    found: dict[int, R] = {}
    errors: list[Exception] = []
    left = iter(enumerate(things))

    async def run() -> None:
        for place, thing in left:
            if errors:
                return
            try:
                found[place] = await work(thing)
            except Exception as error:  # noqa: BLE001 - raised below, as it is: a group of errors would hide its kind.
                errors.append(error)

    async with asyncio.TaskGroup() as group:
        for number in range(min(AT_ONCE, len(things))):
            runtime.spawn(group, run(), name=f"{name} {number}")
    if errors:
        raise errors[0]
    return [found[place] for place in range(len(things))]
