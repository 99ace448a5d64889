"""A stream's way in: a record is checked, finds its place, and joins an aggregate there, a line, or goes alone.

Invariant: what is not accepted changes nothing, but that a full aggregate may have been sealed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common._encoding import TWO_BYTES
from shardline.common.errors import Closed, InvalidInput
from shardline.common.hashing import hash_key_bytes
from shardline.producer.accept import Accepted, accept
from shardline.producer.aggregator import Group, record_cost
from shardline.producer.budget import PACKAGE_OVERHEAD_BYTES
from shardline.producer.config import Ordering
from shardline.producer.outcome import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardline.producer.delivery import Delivery
    from shardline.producer.ordering import KeyGate
    from shardline.producer.pipeline import Pipeline

__all__ = ["Intake"]


class Intake:
    """Takes records in for a `Pipeline`, which owns the aggregates and queues."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        settings = pipeline.settings
        self._plain = (
            settings.aggregation and settings.ordering is Ordering.NONE and settings.buffer_records_max is None
        )

    def put(
        self,
        data: object,
        partition_key: object,
        explicit_hash_key: int | str | None,
        headers: Mapping[str, str] | None,
        now: float,
    ) -> tuple[Delivery, int] | None:
        """Accept a record; return its delivery and its index there, or None where there is no room now.

        Raises `InvalidInput` for what cannot be put, `Closed` after `close`; nothing has changed then.
        """
        pipeline = self._pipeline
        if pipeline.closed:
            raise Closed("the producer is closed")
        if pipeline.refusal is not None:
            raise pipeline.refusal
        self._check_order()
        if explicit_hash_key is None and not headers and self._plain:
            joined = self._join(partition_key, data, now)
            if joined is not None:
                return joined
        record = accept(
            data,
            partition_key,
            explicit_hash_key,
            headers,
            record_bytes_max=pipeline.record_bytes_max,
            keyless=pipeline.router.summary.auto,
        )
        if record.hash_bytes is not None and self._stopped(record.hash_bytes):
            return self._fail_at_once(record, now)
        if pipeline.keys is not None and record.hash_bytes is not None and pipeline.keys.busy(record.hash_bytes):
            return self._wait(pipeline.keys, record, now)
        return self._place(record, now)

    def _join(self, key: object, data: object, now: float) -> tuple[Delivery, int] | None:
        """Add a record of a usual key to its aggregate, or to the next; None, nothing changed: all checks.

        The key is new, or its aggregate is full: where every record has a key of its own, this is what each costs.
        """
        if type(data) is not bytes or type(key) is not str or not key.isascii() or not 0 < len(key) < TWO_BYTES:
            return None
        aggregator = self._pipeline.aggregator
        buffer = aggregator.routes.get(key)
        if buffer is not None:
            record = Accepted(data, key, None, None, None, len(key))  # Its place is known: no hash is needed.
            added = aggregator.add(record, buffer.place, now) if aggregator.fits_aggregate(record) else None
            return None if added is None or buffer.delivery is None else (buffer.delivery, added[1])
        place = self._pipeline.router.usual_place(hash_key_bytes(key))
        buffer = None if place is None else aggregator.buffers.get(place.buffer_id)
        if buffer is None or not buffer.append(key, data):  # False where none is open, too.
            return None
        aggregator.remember_route(key, buffer)
        assert buffer.delivery is not None
        return buffer.delivery, len(buffer) - 1

    def _place(self, record: Accepted, now: float) -> tuple[Delivery, int] | None:
        pipeline = self._pipeline
        place = pipeline.router.place(record)
        records_max = pipeline.settings.buffer_records_max
        if self._is_full():
            return None
        single = not pipeline.aggregating or not pipeline.aggregator.fits_aggregate(record)
        if (single or pipeline.keys is not None) and pipeline.aggregator.seal_before(record, place, now, single=single):
            # By key, the record must not overtake what it would have shared an aggregate with.
            pipeline.queue_sealed(now)
            if pipeline.keys is not None and record.hash_bytes is not None and pipeline.keys.busy(record.hash_bytes):
                return self._wait(pipeline.keys, record, now)
        if single:
            alone = pipeline.aggregator.alone(record, place, now)
            if alone is None:
                return None
            pipeline.enqueue(alone[1], now)
            return alone[0], 0
        added = pipeline.aggregator.add(record, place, now)
        if added is None:
            return None
        buffer, index = added
        simple = record.explicit_hash_key is None and record.headers is None and place.shard_id is not None
        if simple and pipeline.settings.ordering is Ordering.NONE and records_max is None:
            assert record.partition_key is not None
            pipeline.aggregator.remember_route(record.partition_key, buffer)
        assert buffer.delivery is not None
        return buffer.delivery, index

    def _wait(self, keys: KeyGate, record: Accepted, now: float) -> tuple[Delivery, int] | None:
        assert record.hash_bytes is not None
        if self._is_full():
            return None
        cost = record_cost(record) + (PACKAGE_OVERHEAD_BYTES if keys.opens_line(record.hash_bytes) else 0)
        return keys.wait(record.hash_bytes, record, now) if self._pipeline.share.try_take(cost, 1) else None

    def _is_full(self) -> bool:
        """Say whether as many records as may be are held, those in open aggregates (not in the share yet) counted."""
        records_max = self._pipeline.settings.buffer_records_max
        return records_max is not None and self._pipeline.pending_records >= records_max

    def _stopped(self, hash_bytes: bytes) -> bool:
        pipeline = self._pipeline
        if pipeline.settings.ordering is Ordering.BY_SHARD:
            return pipeline.stops.holds(int.from_bytes(hash_bytes, "big"))
        return pipeline.keys is not None and hash_bytes in pipeline.keys.stopped

    def _fail_at_once(self, record: Accepted, now: float) -> tuple[Delivery, int]:
        pipeline = self._pipeline
        delivery = pipeline.new_delivery(now)
        part = delivery.new_part(range(1))
        pipeline.settler.fail_group(Group(part, [record]), Reason.PREDECESSOR, "Stopped")
        return delivery, 0

    def release(self, partition_key: str | None = None, explicit_hash_key: int | str | None = None) -> None:
        """Let records of a stopped key (by shard: of the shard that owns it) be sent again."""
        pipeline = self._pipeline
        record = accept(b"", partition_key, explicit_hash_key, None, record_bytes_max=2**40, keyless=False)
        assert record.hash_bytes is not None
        pipeline.stops.release(int.from_bytes(record.hash_bytes, "big"))
        if pipeline.keys is not None:
            pipeline.keys.stopped.discard(record.hash_bytes)

    def _check_order(self) -> None:
        pipeline = self._pipeline
        if pipeline.router.summary.auto and pipeline.settings.ordering is not Ordering.NONE:
            raise InvalidInput(
                "ordering", "none on a stream that places records itself (AUTO)", pipeline.settings.ordering
            )
