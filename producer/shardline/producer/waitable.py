"""Deliveries to wait for without asyncio: a whole aggregate's, and one record's own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from shardline.producer.delivery import Delivery, OwnDelivery

if TYPE_CHECKING:
    from shardline.producer.outcome import Delivered

__all__ = ["BlockingDelivery", "BlockingRecordDelivery"]


class BlockingDelivery(Delivery):
    """A shared delivery to wait for."""

    __slots__ = ("_event",)

    def __init__(self, number: int, opened_at: float) -> None:
        super().__init__(number, opened_at)
        self._event: threading.Event | None = None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until every record's fate is known, at most `timeout_s` seconds; say whether it is."""
        self.observed = True
        event = self._event
        if event is None:
            event = self._event = threading.Event()
        # Looked at after the event is in place: `wake` comes after `done`.
        return self.done or event.wait(timeout_s) or self.done

    def result(self, timeout_s: float | None = None) -> Delivered:
        """Return the first record's place; raise `DeliveryError` unless all were delivered, `TimeoutError` in time."""
        if not self.wait(timeout_s):
            raise TimeoutError("the delivery is still open")
        return self.checked()

    def wake(self) -> int:
        """Wake everybody who waits; return how many callbacks raised."""
        if self._event is not None:
            self._event.set()
        return super().wake()


class BlockingRecordDelivery(OwnDelivery[BlockingDelivery]):
    """One record's own delivery."""

    __slots__ = ()

    def result(self, timeout_s: float | None = None) -> Delivered:
        """Return the record's place; raise `DeliveryError` unless it was delivered, `TimeoutError` in time."""
        if not self.delivery.wait(timeout_s):
            raise TimeoutError("the delivery is still open")
        return self.delivery.checked_at(self.index)
