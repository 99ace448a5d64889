"""The producer: aggregates user records, sends them, tells what became of each.

Nothing is imported until it is used (`shardline.common._lazy`). To export a name: add it to `_EXPORTS`, to the
`TYPE_CHECKING` import and to `__all__`; a tidy test compares the three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common._lazy import exports

if TYPE_CHECKING:
    from shardline.producer.awaitable import AwaitableDelivery, RecordDelivery
    from shardline.producer.config import Consumers, OnGap, Ordering, ProducerSettings, StreamSettings
    from shardline.producer.outcome import Delivered, DeliveryError, NotWritten, Outcome, Reason, Unknown
    from shardline.producer.producer import Producer
    from shardline.producer.report import FlushReport, UndeliveredError
    from shardline.producer.stream import StreamProducer

# Exported name -> module of this package.
_EXPORTS: dict[str, str] = {
    "AwaitableDelivery": "awaitable",
    "Consumers": "config",
    "Delivered": "outcome",
    "DeliveryError": "outcome",
    "FlushReport": "report",
    "NotWritten": "outcome",
    "OnGap": "config",
    "Ordering": "config",
    "Outcome": "outcome",
    "Producer": "producer",
    "ProducerSettings": "config",
    "Reason": "outcome",
    "RecordDelivery": "awaitable",
    "StreamProducer": "stream",
    "StreamSettings": "config",
    "UndeliveredError": "report",
    "Unknown": "outcome",
}

__all__ = [
    "AwaitableDelivery",
    "Consumers",
    "Delivered",
    "DeliveryError",
    "FlushReport",
    "NotWritten",
    "OnGap",
    "Ordering",
    "Outcome",
    "Producer",
    "ProducerSettings",
    "Reason",
    "RecordDelivery",
    "StreamProducer",
    "StreamSettings",
    "UndeliveredError",
    "Unknown",
]

__getattr__, __dir__ = exports(__name__, _EXPORTS, extra="producer")
