"""Planted bugs between a shard and its handler: reading, handing over, and what counts as done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from shardline.common.ports.kinesis import StartAt, StartKind
from shardline.consumer.driver.decoding import Decoder
from shardline.consumer.driver.delivery import Delivery
from shardline.consumer.driver.lanes import Lanes
from shardline.consumer.driver.polling import PollingReader
from shardline.consumer.driver.reader import ShardOver
from shardline.consumer.retrieval.polling import ShardPolling

from tests.sim.planting import Bug

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DELIVERY_BUGS"]


def _expired_to(kind: StartKind) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        def on_iterator_lost(self: ShardPolling, now: float) -> None:
            self._last = None
            self._start = StartAt(kind)
            original(self, now)

        return on_iterator_lost

    return make


def _empty_is_end(original: Any) -> Any:
    async def fetch(self: PollingReader, call: Any) -> Any:
        over = await original(self, call)
        return ShardOver(()) if over is None and self._queue.empty() else over

    return fetch


def _last_batch_lost(original: Any) -> Any:
    async def fetch(self: PollingReader, call: Any) -> Any:
        over = await original(self, call)
        while over is not None and not self._queue.empty():
            self._queue.get_nowait()
        return over

    return fetch


def _done_at_hand_over(original: Any) -> Any:
    async def deliver(self: Delivery, batch: Any) -> bool:
        self._keeper.lease.want_checkpoint(batch.last, urgent=True)
        self._keeper.wake()
        return bool(await original(self, batch))

    return deliver


def _failure_skips(original: Any) -> Any:
    async def call(self: Delivery, rest: Any) -> None:
        await original(self, rest)
        self._through = rest.last

    return call


def _failure_is_done(original: Any) -> Any:
    async def call(self: Delivery, rest: Any) -> None:
        if await original(self, rest) is not None:
            self._through = rest.last

    return call


def _lane_failure_is_done(original: Any) -> Any:
    async def call(self: Lanes, lane: int, record: Any) -> None:
        await original(self, lane, record)

    return call


def _late_results_count(original: Any) -> Any:
    """Keep progress by worker and shard, instead of by tenure."""
    farthest: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()

    def progress(self: Delivery) -> Any:
        mine, known = original.fget(self), farthest.setdefault(self._context.runtime, {})
        positions = [one for one in (mine, known.get(self._lease_key)) if one is not None]
        if positions:
            known[self._lease_key] = max(positions)
        return known.get(self._lease_key)

    return property(progress)


def _looks_at_late_results(original: Any) -> Any:
    async def call(self: Delivery, rest: Any) -> Any:
        error = await original(self, rest)
        _ = self.progress
        return error

    return call


def _whole_aggregate_done(original: Any) -> Any:
    def skip(self: Decoder, number: int, records: Any) -> int:
        return len(records) if original(self, number, records) else 0

    return skip


DELIVERY_BUGS: dict[str, Bug] = {
    "expired iterator resumed at LATEST": Bug(
        ((ShardPolling, "on_iterator_lost", _expired_to(StartKind.LATEST)),), ("clocks and pauses", "swarm")
    ),
    "expired iterator resumed at the start position": Bug(
        ((ShardPolling, "on_iterator_lost", _expired_to(StartKind.TRIM_HORIZON)),), ("clocks and pauses", "swarm")
    ),
    "empty page taken for shard end": Bug(((PollingReader, "_fetch_records", _empty_is_end),), ("healthy", "swarm")),
    "SHARD_END before the last batch is done": Bug(
        ((PollingReader, "_fetch_records", _last_batch_lost),), ("reshard storm", "auditor off")
    ),
    "checkpoint at hand-over": Bug(((Delivery, "_one", _done_at_hand_over),), ("healthy", "swarm")),
    "failure taken for done": Bug(
        ((Delivery, "_call", _failure_is_done), (Lanes, "_call", _lane_failure_is_done)), ("processes", "swarm")
    ),
    "batch skipped when the handler raises": Bug(((Delivery, "_call", _failure_skips),), ("swarm",)),
    "late result of a superseded handler accepted": Bug(
        ((Delivery, "progress", _late_results_count), (Delivery, "_call", _looks_at_late_results)), ("superseded",)
    ),
    "sub-sequence number ignored": Bug(((Decoder, "_skip", _whole_aggregate_done),), ("late applies", "swarm")),
}
