"""Reading one shard: what polling and enhanced fan-out share. Pages are queued for delivery, the end last.

The end of a shard is only queued when its children are known: from the last page, or from ListShards where the page
does not name them. A shard that Kinesis does not know is only given up when ListShards agrees (F16, F17).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from shardline.common.errors import ProtocolViolation, ServiceError
from shardline.common.ports.kinesis import ChildShard
from shardline.consumer.lineage import are_all_children, covers_everything
from shardline.consumer.retrieval.lag import Lag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.common.hashing import Shard
    from shardline.common.ports.kinesis import GetRecordsPage, StartAt
    from shardline.consumer.driver.context import Context, StreamPlan
    from shardline.consumer.driver.sync import ShardSync
    from shardline.consumer.leases.row import LeaseRow
    from shardline.consumer.retrieval.fanout import ShardSubscription
    from shardline.consumer.retrieval.polling import ShardPolling

__all__ = ["ROOM_POLL_S", "Fetched", "Got", "Reached", "Reader", "ShardOver", "Switched", "Unreadable", "children_of"]

ROOM_POLL_S = 1.0
"""How long a reader without room sleeps at most before it looks again."""


class Fetched(NamedTuple):
    """A page with its data's size in bytes."""

    page: GetRecordsPage
    size: int


class ShardOver(NamedTuple):
    """The shard's end: its children; `gone` if Kinesis no longer knows the shard, and then there are none."""

    children: tuple[ChildShard, ...]
    gone: bool = False


class Unreadable(NamedTuple):
    """The service refuses to read at the position that a seek led to."""


class Switched(NamedTuple):
    """The shard is to be read in another way from here: enhanced fan-out is over for its stream."""


class Reached(NamedTuple):
    """The bound of a bounded run."""


class Reader(ABC):
    """Reads one shard; `next` gives what was read, in order, and `consumed` makes room again."""

    def __init__(
        self,
        context: Context,
        plan: StreamPlan,
        row: LeaseRow,
        core: ShardPolling | ShardSubscription,
        sync: ShardSync,
    ) -> None:
        self._context = context
        self._plan = plan
        self._row = row
        self._core = core
        self._sync = sync
        self._queue: asyncio.Queue[Got | None] = asyncio.Queue()
        """Bounded by the core's limits; None wakes who waits without there being anything."""
        self._room = asyncio.Event()
        self._sought = False
        self._handed: str | None = None
        """The sequence number of the last record that was queued."""
        self._waiting = (0, 0)
        self._lag = Lag()
        self.last_progress = context.runtime.monotonic()

    @property
    def millis_behind_latest(self) -> int | None:
        """How far the last page was behind the head of the stream; None before the first."""
        return self._core.millis_behind_latest

    @property
    def lag_ms(self) -> int | None:
        """How far the handler is behind the head of the stream, what waits for it counted; None before a page."""
        return self._lag.ms(self._context.runtime.monotonic())

    @property
    def doing(self) -> str:
        """What the reader is doing, in a word or two (see `LeaseHealth.reading`)."""
        return self._core.doing

    @property
    def pause_s(self) -> float:
        """The pause that polling makes at the head."""
        return self._core.pause_s

    @property
    def waiting(self) -> tuple[int, int]:
        """Kinesis records that wait for the handler, and the bytes of their data."""
        return self._core.waiting

    def _take(self, page: GetRecordsPage, size: int) -> None:
        """Queue a page for delivery, if there is anything in it."""
        if page.records:
            self._queue.put_nowait(Fetched(page, size))
            self._handed = page.records[-1].sequence_number
            self._waiting = (self._waiting[0] + len(page.records), self._waiting[1] + size)
        self._lag.on_page(page.millis_behind_latest, self._context.runtime.monotonic(), waits=bool(page.records))

    async def next(self) -> Got | None:
        """Return the next page, the shard's end, that a seek led nowhere, or that another reader must go on.

        None after `interrupt`.
        """
        return await self._queue.get()

    def interrupt(self) -> None:
        """Wake who waits in `next`."""
        self._queue.put_nowait(None)

    def consumed(self, fetched: Fetched) -> None:
        """Make room: the page was delivered."""
        records, size = len(fetched.page.records), fetched.size
        self._core.on_consumed(records, size)
        self._waiting = (self._waiting[0] - records, self._waiting[1] - size)
        self._lag.on_consumed()
        self._room.set()

    def seek(self, start: StartAt, *, sought: bool) -> None:
        """Read on from `start`, and forget what waits to be delivered; only while `run` does not run.

        Where a seek led there (`sought`), a position that the service refuses is told, not tried for ever.
        """
        self._queue = asyncio.Queue()
        self._handed, self._waiting = None, (0, 0)
        self._lag.forget_waiting()
        self._core.seek(start, self._context.runtime.monotonic())
        self._sought = sought

    def _refused(self) -> Unreadable | None:
        """Return that a seek led nowhere, if one led here and nothing has been read since."""
        return Unreadable() if self._sought else None

    def _quiet(self, page: GetRecordsPage, asked_s: float) -> Reached | None:
        """Return the bound of a bounded run if this empty page says that nothing is left before it."""
        bounds = self._context.bounds
        if bounds is None or page.records or not bounds.is_quiet(page.millis_behind_latest, asked_s):
            return None
        return Reached()

    async def work(self) -> None:
        """Do `run`; when that fails unexpectedly, the next one begins behind what was queued (story 10)."""
        try:
            await self.run()
        except Exception:
            self._core.back_to(self._handed, self._waiting, self._context.runtime.monotonic())
            raise

    @abstractmethod
    async def run(self) -> None:
        """Read until the shard's end, or that another reader must go on, is queued."""

    async def _end(self, page: GetRecordsPage) -> ShardOver | None:
        shard_id, hash_range = self._row.shard_id, self._row.hash_range
        children = tuple(page.child_shards)
        if not are_all_children(shard_id, hash_range, children):
            children = children_of(shard_id, await self._list())
        if are_all_children(shard_id, hash_range, children):
            return ShardOver(children)
        self._core.on_end_refused(self._context.runtime.monotonic())
        return None

    async def _missing(self) -> ShardOver | None:
        """Believe that the shard is gone only if its stream is there, lists every hash key, and does not list it.

        A shard that is too young to be listed leaves a gap, or its parent is still shown as open.
        """
        self._context.streams.doubt(self._plan)
        shards = await self._list()
        listed = {shard.shard_id for shard in shards}
        open_shards = [shard for shard in shards if shard.is_open]
        parent_open = any(shard.shard_id in self._row.parents for shard in open_shards)
        if self._row.shard_id in listed or parent_open or not covers_everything(open_shards):
            self._core.on_failed(self._context.runtime.monotonic())
            return None
        return ShardOver(children_of(self._row.shard_id, shards), gone=True)

    async def _list(self) -> Sequence[Shard]:
        try:
            return await self._sync.list_shards(self._plan.stream)
        except (ServiceError, ProtocolViolation) as error:
            self._context.report("stream.list_shards", error, self._row.key)
            return ()


Got: TypeAlias = Fetched | ShardOver | Switched | Unreadable | Reached
"""What a reader has next."""


def children_of(shard_id: str, shards: Sequence[Shard]) -> tuple[ChildShard, ...]:
    """Return the children of a shard among those listed."""
    return tuple(
        ChildShard(shard.shard_id, shard.parent_shard_ids, shard.hash_range)
        for shard in sorted(shards, key=lambda shard: shard.shard_id)
        if shard_id in shard.parent_shard_ids
    )
