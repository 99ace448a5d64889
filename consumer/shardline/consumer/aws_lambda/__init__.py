"""Kinesis in AWS Lambda, standard library only: deaggregation, handlers with partial failures, tumbling windows.

    from shardline.consumer.aws_lambda import stream_handler

    @stream_handler(model=Order)
    def handler(order: Order, record) -> None: ...

Nothing is imported until it is used; neither dataclasses nor asyncio ever is, unless a handler is async (a cold start
pays for every module). Invariants (promise P12, I14, I19, I21): success is never reported for a record that was not
processed; an answer names the lowest unprocessed sequence number or nothing is left; what cannot be named fails the
whole batch; payloads and keys never reach a log or a message.
"""

from __future__ import annotations

from shardline.common._lazy import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shardline.consumer.aws_lambda.handlers import BatchFailed, StreamHandler, stream_handler
    from shardline.consumer.aws_lambda.records import BatchStopped, Record, Tally
    from shardline.consumer.aws_lambda.resuming import ResumeStore
    from shardline.consumer.aws_lambda.taking_apart import Dictionaries, deaggregate
    from shardline.consumer.aws_lambda.windows import Window

# Exported name -> module of this package.
_EXPORTS = {
    "BatchFailed": "handlers",
    "BatchStopped": "records",
    "Dictionaries": "taking_apart",
    "Record": "records",
    "ResumeStore": "resuming",
    "StreamHandler": "handlers",
    "Tally": "records",
    "Window": "windows",
    "deaggregate": "taking_apart",
    "stream_handler": "handlers",
}

__all__ = [
    "BatchFailed",
    "BatchStopped",
    "Dictionaries",
    "Record",
    "ResumeStore",
    "StreamHandler",
    "Tally",
    "Window",
    "deaggregate",
    "stream_handler",
]

__getattr__, __dir__ = exports(__name__, _EXPORTS)
