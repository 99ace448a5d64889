"""Steering a running worker: the part of `Worker` that pauses, resumes and seeks, and shows where its shards stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common.errors import InvalidInput
from shardline.common.ports.kinesis import Stream
from shardline.consumer.handler import Record
from shardline.consumer.steering import Target

if TYPE_CHECKING:
    from shardline.common.records import Position
    from shardline.consumer.driver.consumer import ShardConsumer
    from shardline.consumer.driver.holding import Holding, Holdings
    from shardline.consumer.driver.tracked import Tracked
    from shardline.consumer.health import LeaseHealth
    from shardline.consumer.steering import Pauses

__all__ = ["Steered"]


class Steered:
    """What steers; a base of `Worker`. Every call returns at once, on the worker's loop, and is followed soon after."""

    _tracked: Tracked
    _holdings: Holdings | None
    _pauses: Pauses

    def pause(self, stream: str | None = None, shard: str | None = None) -> None:
        """Pause a shard, a stream, or everything: nothing is fetched or handled there until `resume`.

        The handler call that is running ends first; of a subscription nothing is kept. Leases stay, and are renewed. A
        pause is this worker's: it holds for shards that come to it later too (it may be given before the start), and
        another worker that takes the lease reads on.

        Raises `InvalidInput` for a stream that is not this worker's, or a shard without a stream where it has several.
        """
        self._order(stream, shard, paused=True)

    def resume(self, stream: str | None = None, shard: str | None = None) -> None:
        """Go on where a pause was ordered, behind the last record that was done; raises as `pause` does.

        The last order that covers a shard holds: ``pause()`` and then ``resume(shard=...)`` lets that one shard run.
        """
        self._order(stream, shard, paused=False)

    def seek(
        self,
        to: Record | Position | str | float,
        *,
        stream: str | None = None,
        shard: str | None = None,
        skip: bool = False,
    ) -> tuple[str, ...]:
        """Read on elsewhere, in the shards of a stream (or all, or one) that this worker holds; returns their leases.

        `to` is ``TRIM_HORIZON``, ``LATEST``, epoch seconds, or with a shard a record, position or sequence number that
        shall be the next one delivered. The stored checkpoint does not move: back, records come again, and it moves
        only past its old value, from which a crash, or the next owner, resumes. Forward is for those who say `skip`:
        what is left out is told with its range (event ``shard.skipped``); without it, a time that leads ahead is not
        followed (``shard.seek_refused``). ``shard.sought`` tells that a seek has arrived. A paused shard seeks when it
        is resumed.

        Raises `SeekAhead`, nothing being changed, for LATEST or a position above what was done without `skip`;
        `InvalidInput` as `pause` does, or for something that is no position.
        """
        if isinstance(to, Record):
            stream, shard, to = to.stream, to.shard_id, to.position
        target = Target.of(to)
        if target.first is not None and shard is None:
            raise InvalidInput("shard", "given with a position: each shard has its own")
        scope = self._scope(stream, shard)
        return tuple(
            holding.lease.key for holding, consumer in self._consumers(*scope) if consumer.order_seek(target, skip=skip)
        )

    def shards(self, stream: str | None = None) -> tuple[LeaseHealth, ...]:
        """Return the shards that this worker holds (of one stream, or of all) and where it stands in each."""
        stream, _ = self._scope(stream, None)
        return tuple(holding.health() for holding in self._held() if stream is None or holding.stream_name == stream)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _order(self, stream: str | None, shard: str | None, *, paused: bool) -> None:
        scope = self._scope(stream, shard)
        self._pauses.order(*scope, paused=paused)
        for _, consumer in self._consumers(*scope):
            consumer.order_pause(paused=paused)

    def _scope(self, stream: str | None, shard: str | None) -> tuple[str | None, str | None]:
        asked = self._tracked.asked
        names = [config.stream.name for config in asked.configs]
        if stream is None:
            if shard is not None and (len(names) != 1 or asked.grows):
                raise InvalidInput("stream", "given with a shard where a worker has several streams")
            return (names[0] if shard is not None else None), shard
        name = Stream.of(stream).name
        if name not in names and not asked.grows:
            raise InvalidInput("stream", f"one of the worker's: {', '.join(names)}")
        return name, shard

    def _held(self) -> list[Holding]:
        return [] if self._holdings is None else self._holdings.all()

    def _consumers(self, stream: str | None, shard: str | None) -> list[tuple[Holding, ShardConsumer]]:
        return [
            (holding, holding.consumer)
            for holding in self._held()
            if holding.consumer is not None
            and stream in (None, holding.stream_name)
            and shard in (None, holding.lease.row.shard_id)
        ]
