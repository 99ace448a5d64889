"""What is asked about a stream, and what its answers change: the map of its shards, and its summary.

Invariant: an answer that failed changes no place; the old map stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.producer.config import BODY_FACTOR, cannot_drain, drained_bytes
from shardline.producer.events import AutoPlacement, BufferTooLarge, InquiryFailed, MapChanged
from shardline.producer.outcome import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.common.hashing import Shard
    from shardline.common.ports.kinesis import StreamSummary
    from shardline.producer.pipeline import Pipeline

__all__ = ["Inquiries"]


class Inquiries:
    """Takes answers about the stream for a `Pipeline`, which owns what they move."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._warned = False
        self.need_body()

    def on_map(self, shards: Iterable[Shard], now: float) -> None:
        """Take the open shards; what is still open or queued for shards that are gone is cut anew."""
        pipeline = self._pipeline
        first = pipeline.router.keeper.current is None
        changed = pipeline.router.keeper.on_map(shards, now)
        if first:
            pipeline.aggregator.hold_until = float("-inf")
        if changed:
            pipeline.on_new_places(now)
            current = pipeline.router.keeper.current
            assert current is not None
            pipeline.events.append(
                MapChanged(stream=pipeline.stream, open_shards=len(current), version=pipeline.router.keeper.version)
            )
        self._check_drain()
        pipeline.settler.judge_again(now)

    def on_map_failure(self, error: BaseException, now: float) -> None:
        """Note that the shards could not be listed: the old map stays; without one, records of one key go together."""
        pipeline = self._pipeline
        inquiry = pipeline.router.keeper.inquiry
        inquiry.on_failure(now, error)
        pipeline.aggregator.hold_until = float("-inf")
        self._inquiry_failed("ListShards", error, inquiry.failures, "aggregates hold one key only until a map is known")

    def on_summary(self, summary: StreamSummary, now: float) -> None:
        """Take the stream's summary: AUTO placement, record limit, whether it is another stream of that name."""
        pipeline = self._pipeline
        changed, anew = pipeline.router.summary.on_summary(summary, now)
        if anew:
            pipeline.router.keeper.inquiry.want(now)
        if summary.status == "DELETING":
            pipeline.settler.fail_queued(Reason.STREAM_MISSING, "StreamDeleting", now)
        if changed:
            self.on_auto(now)
        self._check_drain()
        pipeline.aggregator.bytes_max = min(pipeline.settings.aggregate_bytes_max, pipeline.record_bytes_max - 1)
        self.need_body()

    def on_summary_failure(self, error: BaseException, now: float) -> None:
        """Note that the summary could not be had; where we may not ask, answers tell about AUTO placement."""
        pipeline = self._pipeline
        pipeline.router.summary.on_failure(error, now)
        failures = pipeline.router.summary.inquiry.failures
        self._inquiry_failed("DescribeStreamSummary", error, failures, "AUTO placement is judged by answers")

    def on_auto(self, now: float) -> None:
        """Act on a change of AUTO placement."""
        pipeline = self._pipeline
        auto = pipeline.router.summary.auto
        pipeline.events.append(AutoPlacement(stream=pipeline.stream, auto=auto, aggregating=pipeline.aggregating))
        pipeline.on_new_places(now)
        if auto:
            pipeline.settler.judge_again(now)

    def _inquiry_failed(self, call: str, error: BaseException, failures: int, consequence: str) -> None:
        pipeline = self._pipeline
        if failures == 1:
            code = getattr(error, "code", "") or type(error).__name__
            pipeline.events.append(InquiryFailed(stream=pipeline.stream, call=call, code=code, consequence=consequence))

    def _check_drain(self) -> None:
        """Bound the buffer by what the stream takes within the TTL.

        A setting that cannot drain is refused: here where a provisioned stream's shards are known, by an event where
        the stream may grow or we may not ask.
        """
        pipeline = self._pipeline
        shards = pipeline.router.keeper.current
        if shards is None or not shards.complete:
            return
        drained = drained_bytes(pipeline.settings, len(shards))
        wanted = pipeline.settings.buffer_bytes_max
        pipeline.room = True
        pipeline.share.bytes_max = drained if wanted is None else wanted
        if wanted is None or wanted <= drained or pipeline.refusal is not None:
            return
        if pipeline.router.summary.on_demand is False and pipeline.router.keeper.version == 1:
            pipeline.refusal = cannot_drain(pipeline.settings, len(shards))
        elif not self._warned:
            self._warned = True
            pipeline.events.append(
                BufferTooLarge(stream=pipeline.stream, buffer_bytes_max=wanted, drained_bytes=drained)
            )

    def need_body(self) -> None:
        """Keep memory free for the largest request there may be."""
        pipeline = self._pipeline
        largest = max(pipeline.request_bytes_max, pipeline.record_bytes_max)
        pipeline.share.budget.need_body(int(largest * BODY_FACTOR))
