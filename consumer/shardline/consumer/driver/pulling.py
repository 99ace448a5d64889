"""The second level: batches that the program pulls (`Worker.batches`) instead of handlers that are called.

A shard's delivery offers its batch and waits; the program takes it and settles it by leaving ``async with batch``. One
offer per shard at a time, so order in a shard is kept, while batches of several shards may be open at once.

Invariants: a batch counts as done only by a clean exit of its block; an offer that nobody has entered when its shard
stops is withdrawn; settling a batch whose lease is gone changes nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

from shardline.common.errors import Closed, InvalidInput
from shardline.consumer.driver.threads import Withdrawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from shardline.consumer.handler import Batch, Record

__all__ = ["Feed", "PulledBatch"]


class PulledBatch:
    """Consecutive user records of one shard, in order; leaving ``async with`` cleanly acknowledges them all.

    An `Exception` that leaves the block counts as a handler's failure: it is reported (event ``handler.failed``), does
    not leave the ``async with``, and the same records come again after a back-off. A cancellation does leave it; the
    records are offered again at once, here or by the shard's next owner. A batch that is never entered holds its shard.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settled: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._entered = False

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self.batch.stream

    @property
    def shard_id(self) -> str:
        """The shard's id."""
        return self.batch.shard_id

    @property
    def token(self) -> int:
        """The fencing token of the lease that the batch was read under."""
        return self.batch.token

    @property
    def millis_behind_latest(self) -> int | None:
        """How far the batch was behind the head of the stream when it was read; None where the service did not say."""
        return self.batch.millis_behind_latest

    @property
    def is_over(self) -> bool:
        """Say whether acknowledging changes nothing any more: it was settled, or its lease is gone."""
        return self._settled.done()

    def __iter__(self) -> Iterator[Record]:
        return iter(self.batch)

    def __len__(self) -> int:
        return len(self.batch)

    async def __aenter__(self) -> Self:
        """Begin to work on the batch; raises `Closed` if it was entered before, or was taken back meanwhile."""
        if self._entered or self.is_over:
            raise Closed("a batch is entered once, while its lease is held")
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Acknowledge, or note the failure; what is no `Exception` (a cancellation) passes."""
        if not self._settled.done():
            if error is None or isinstance(error, Exception):
                self._settled.set_result(error)
            else:
                self._settled.set_exception(Withdrawn())
        return isinstance(error, Exception)

    async def settled(self) -> Exception | None:
        """Wait for the block's end: None, or what left it; raises `Withdrawn`. Cancelled, the batch is over."""
        return await self._settled

    def withdraw(self) -> None:
        """Take the batch back unless somebody works on it."""
        for future in (self.taken, self._settled):
            if not self._entered and not future.done():
                future.set_exception(Withdrawn())
                future.exception()  # Seen: nobody may be waiting for it.

    def abandon(self) -> None:
        """Note that the delivery is over, whatever becomes of the block."""
        self.taken.cancel()
        self._settled.cancel()

    def __repr__(self) -> str:
        return f"PulledBatch({self.shard_id}, {len(self)} records{', over' if self.is_over else ''})"


class Feed:
    """Where deliveries offer batches and the program pulls them."""

    def __init__(self) -> None:
        self.records_max: int | None = None
        self.wait_s = 0.0
        self._offers: deque[PulledBatch] = deque()
        self._news = asyncio.Event()
        self._ended: Callable[[], Exception | None] | None = None
        self._iterating = False

    def begin(self, records_max: int | None, wait_s: float) -> None:
        """Set the sizes; raises `InvalidInput` out of range, `Closed` the second time."""
        if records_max is not None and (isinstance(records_max, bool) or records_max < 1):
            raise InvalidInput("max_records", "1 or more", str(records_max))
        if not 0 <= wait_s <= _WAIT_S_MAX:
            raise InvalidInput("max_wait_s", f"from 0 to {_WAIT_S_MAX:g} seconds", str(wait_s))
        if self._iterating:
            raise Closed("batches() is called once; several tasks may iterate over what it returns")
        self._iterating = True
        self.records_max, self.wait_s = records_max, wait_s

    def end(self, reason: Callable[[], Exception | None]) -> None:
        """End the iteration, with what `reason` returns where that is an error."""
        self._ended = reason
        self._news.set()

    def offer(self, batch: Batch) -> PulledBatch:
        """Offer a batch to whoever pulls next."""
        pulled = PulledBatch(batch)
        self._offers.append(pulled)
        self._news.set()
        return pulled

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PulledBatch:
        """Wait for the next batch; ends when the worker stops, by raising what stopped it where a policy did."""
        while True:
            if self._ended is not None:
                error = self._ended()
                raise StopAsyncIteration if error is None else error
            while self._offers:
                pulled = self._offers.popleft()
                if not pulled.taken.done():
                    pulled.batch = pulled.batch if self.records_max is None else pulled.batch.head(self.records_max)
                    pulled.taken.set_result(None)
                    return pulled
            self._news.clear()
            await self._news.wait()


_WAIT_S_MAX = 3600.0
