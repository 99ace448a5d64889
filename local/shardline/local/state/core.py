"""`KinesisState`: the whole in-memory Kinesis, put together from its layers.

registry (streams, statuses) < control (make, reshard, set) < listing (pages) < data (put, get) < consumer (fan-out)
"""

from __future__ import annotations

from shardline.local.state.consumer import Consumers

__all__ = ["KinesisState"]


class KinesisState(Consumers):
    """An in-memory Kinesis as a pure value of time: see the package's docstring for its invariants.

    Every method takes `now` (epoch seconds, not going back) and either returns or raises
    `shardline.local.state.refusal.Refusal` with the service's error code, having changed nothing. `sink` is told of
    every event as it applies. Not for use by several threads at once; the doors see to that.
    """

    def __repr__(self) -> str:
        return f"KinesisState({len(self.streams)} streams, {len(self.consumers)} consumers)"
