"""Deliveries to await: a whole aggregate's, and one record's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from shardline.producer.delivery import Delivery, OwnDelivery

if TYPE_CHECKING:
    from collections.abc import Generator

    from shardline.producer.outcome import Delivered

__all__ = ["AwaitableDelivery", "RecordDelivery", "settle"]


class AwaitableDelivery(Delivery):
    """A shared delivery to await: gives `Delivered` of its first record, or raises `DeliveryError`.

    Cancelling the wait changes nothing about the records.
    """

    __slots__ = ("_futures",)

    def __init__(self, number: int, opened_at: float) -> None:
        super().__init__(number, opened_at)
        self._futures: list[asyncio.Future[None]] | None = None

    async def wait(self) -> None:
        """Wait until every record's fate is known."""
        self.observed = True
        if self.done:
            return
        if self._futures is None:
            self._futures = []
        future = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        await future

    def __await__(self) -> Generator[Any, None, Delivered]:
        return self._result().__await__()

    async def _result(self) -> Delivered:
        await self.wait()
        return self.checked()

    def wake(self) -> int:
        """Wake everybody who waits; return how many callbacks raised."""
        futures, self._futures = self._futures, None
        for future in futures or ():
            loop = future.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, future)
        return super().wake()


def settle(future: asyncio.Future[None]) -> None:
    """Wake who waits for `future`, once."""
    if not future.done():
        future.set_result(None)


class RecordDelivery(OwnDelivery[AwaitableDelivery]):
    """One record's own delivery: awaiting gives its `Delivered`, with its sub-sequence number, or raises its error."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Delivered]:
        delivery = self.delivery
        if delivery.done:
            delivery.observed = True
        else:
            yield from delivery.wait().__await__()
        return delivery.checked_at(self.index)
