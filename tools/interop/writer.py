"""The load: our producer, aggregating, at a steady rate until told to stop; each record's own outcome to the ledger."""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import TYPE_CHECKING, Final

from shardline.cli.demo.clickstream import Clickstream
from shardline.producer import Delivered, Producer, Unknown

if TYPE_CHECKING:
    from shardline.cli.demo.report import Ledger
    from shardline.common.connection import Connection
    from shardline.producer import AwaitableDelivery

__all__ = ["Writer"]

_TICK_S: Final = 0.05


class Writer:
    """Puts numbered events; `run` returns once all of them have an outcome."""

    def __init__(self, stream: str, connection: Connection, ledger: Ledger, *, rate: int, ids_max: int) -> None:
        self._stream = stream
        self._connection = connection
        self._ledger = ledger
        self._rate = rate
        self._ids_max = ids_max
        self._events = Clickstream(Random(1))
        self._open: dict[AwaitableDelivery, list[int]] = {}
        self._stop = asyncio.Event()

    @property
    def count(self) -> int:
        """How many events were put."""
        return self._events.next_id

    def stop(self) -> None:
        """Put no more."""
        self._stop.set()

    async def run(self) -> None:
        """Put until `stop`, or until the ids are used up."""
        started = time.monotonic()
        async with Producer(self._stream, connection=self._connection) as producer, asyncio.TaskGroup() as group:
            while not self._stop.is_set() and self.count < self._ids_max:
                due = min(int((time.monotonic() - started) * self._rate), self._ids_max)
                while self.count < due:
                    await self._put(producer, group)
                self._ledger.sent(self.count)
                await asyncio.sleep(_TICK_S)
            await producer.flush()

    async def _put(self, producer: Producer, group: asyncio.TaskGroup) -> None:
        number = self.count
        key, data = self._events.next_event(time.time())
        delivery = await producer.put(data, key)
        if delivery not in self._open:
            self._open[delivery] = []
            group.create_task(self._settle(delivery))
        self._open[delivery].append(number)

    async def _settle(self, delivery: AwaitableDelivery) -> None:
        await delivery.wait()
        for index, number in enumerate(self._open.pop(delivery)):
            outcome = delivery.result_at(index)
            if isinstance(outcome, Delivered):
                self._ledger.acknowledged(
                    (number,), outcome.shard_id, int(outcome.sequence_number), bytes_sent=0, bytes_alone=0
                )
            else:
                self._ledger.failed(1, unknown=outcome is None or isinstance(outcome, Unknown))
