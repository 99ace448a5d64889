"""Planted bugs of streams that come and go: what only worlds with several streams find."""

from __future__ import annotations

from typing import Any

from shardline.consumer.driver.tracking import Tracking
from shardline.consumer.streams import FormerLeases

from tests.sim.planting import Bug

__all__ = ["STREAM_BUGS"]

_LEFT: set[str] = set()


def _remembered(original: Any) -> Any:
    async def remove(self: Tracking, key: str) -> bool:
        _LEFT.add(key)
        return await original(self, key)  # type: ignore[no-any-return]  # What it replaces returns a bool.

    return remove


def _never_again(original: Any) -> Any:
    async def add(self: Tracking, config: Any) -> None:
        if config.key not in _LEFT:
            await original(self, config)

    return add


def _at_once(_original: Any) -> Any:
    def on_scan(_: FormerLeases, stored: Any, tracked: Any, _named: Any, _now: float) -> list[str]:
        return sorted(set(stored) - set(tracked))

    return on_scan


STREAM_BUGS: dict[str, Bug] = {
    "stream listed again is not read": Bug(
        ((Tracking, "remove", _remembered), (Tracking, "add", _never_again)), ("several streams",)
    ),
    "leases of a former stream deleted at once": Bug(((FormerLeases, "on_scan", _at_once),), ("several streams",)),
}
