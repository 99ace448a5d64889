"""Replay and backfill: one call that reads a stretch of streams again, and returns when it is done.

    summary = await backfill(
        "reindex-2026-11", index, streams="orders", start=monday, until=tuesday, pace=Pace(records_per_s=500)
    )

A bounded run is a worker of an application of its own: its lease table holds how far it is, so that a run that was
interrupted goes on where it was, and several processes may share it. It never touches the live application's leases.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shardline.common.clock import AsyncioRuntime
from shardline.consumer.bounds import Bounds
from shardline.consumer.config import WorkerConfig
from shardline.consumer.events import BatchProcessed, RecordParked
from shardline.consumer.lineage import Start, StartPoint
from shardline.consumer.sought import RecordsSkipped, ShardLeft
from shardline.consumer.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shardline.common.codec import Codec
    from shardline.common.events import Event, Listener
    from shardline.common.ports.kinesis import Stream
    from shardline.common.ports.runtime import Runtime
    from shardline.common.ports.services import Services
    from shardline.common.records import Position
    from shardline.consumer.bounds import Pace, Until
    from shardline.consumer.handler import Handler
    from shardline.consumer.policy import FailurePolicy, PerKey

__all__ = ["BackfillSummary", "backfill"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillSummary:
    """What this process did of a run: user records, Kinesis records and data bytes handled, records parked.

    `positions` is how far it came in each shard (its lease key) where it handled something, `left` are the shards that
    it left at the run's bound (the others it read came to their end), `seconds` how long it took.
    """

    records: int
    kinesis_records: int
    bytes: int
    parked: int
    positions: Mapping[str, str]
    left: tuple[str, ...]
    seconds: float


class _Counter:
    """Counts what the worker tells."""

    def __init__(self) -> None:
        self.records = self.kinesis_records = self.bytes = self.parked = 0
        self.positions: dict[str, str] = {}
        self.left: set[str] = set()

    def __call__(self, event: Event) -> None:
        if isinstance(event, BatchProcessed):
            self.records += event.records
            self.kinesis_records += event.kinesis_records
            self.bytes += event.bytes
            self.positions[event.lease] = event.last
        elif isinstance(event, RecordParked):
            self.parked += 1
        elif isinstance(event, ShardLeft):
            self.left.add(event.lease)
        elif isinstance(event, RecordsSkipped):
            self.positions.pop(event.lease, None)


async def backfill(
    application: str,
    handler: Handler,
    *,
    streams: str | Stream | Iterable[str | Stream],
    start: float | str | Mapping[str, Position | str] = "TRIM_HORIZON",
    until: Until | None = None,
    pace: Pace | None = None,
    batch: bool = False,
    concurrency: PerKey | None = None,
    on_failure: FailurePolicy | None = None,
    model: object = None,
    codec: Codec | None = None,
    connection: Services | None = None,
    config: WorkerConfig | None = None,
    listeners: Iterable[Listener] = (),
    runtime: Runtime | None = None,
) -> BackfillSummary:
    """Hand the records from `start` up to `until` to `handler`, and return when every shard has come there.

    `start` is ``TRIM_HORIZON``, epoch seconds, or positions by shard id; `until` epoch seconds (None: now; name it if
    a run may be interrupted), or positions by shard id. Both are of Kinesis records; the record at `start` is handled,
    the one at `until` is not. Where positions are given only the shards named are read. A shard's children follow it,
    in order, while they begin before `until`; one that is still to come is waited for, by this host's clock.

    `application` is a name of the run's own: called again with it and the same bounds, after a crash or in another
    process at the same time, it goes on with what is left. `pace` caps the speed; the other arguments are those of
    `Worker` and its `handler`. Without a policy in `on_failure` a record that fails is tried for ever.

    Cancelled, it stops as a worker does, with what was done checkpointed. Raises what a worker raises at its start, and
    `HandlerGaveUp`.
    """
    runtime = runtime or AsyncioRuntime()
    since = start if not isinstance(start, str | int | float) else None
    counter, began = _Counter(), runtime.monotonic()
    config = config or WorkerConfig()
    if pace is not None and pace.records_per_s is not None:
        records = max(1, min(config.delivery.batch_records, int(pace.records_per_s)))
        config = replace(config, delivery=replace(config.delivery, batch_records=records))
    worker = Worker(
        application,
        streams=streams,
        start=Start(StartPoint.TRIM_HORIZON) if since is not None else Start.of(start),  # type: ignore[arg-type]  # a mapping is `since`.
        bounds=Bounds.of(until, since, wall_s=runtime.wall()),
        pace=pace,
        connection=connection,
        config=config,
        listeners=[counter, *listeners],
        runtime=runtime,
    )
    worker.add_handler(handler, batch=batch, concurrency=concurrency, on_failure=on_failure, model=model, codec=codec)
    await worker.serve()
    return BackfillSummary(
        records=counter.records,
        kinesis_records=counter.kinesis_records,
        bytes=counter.bytes,
        parked=counter.parked,
        positions=counter.positions,
        left=tuple(sorted(counter.left)),
        seconds=runtime.monotonic() - began,
    )
