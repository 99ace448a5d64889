"""Follows the program's list of streams while the worker runs: describes, adds and removes them.

One change at a time. A stream is added once it has leases in the table, and removed by giving its leases back; adding
one that cannot be described, or whose leases cannot be made, harms no other.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from shardline.common.errors import InvalidInput, NotFound, ShardlineError
from shardline.common.ports.kinesis import Stream
from shardline.consumer.driver.context import StreamPlan, attempt
from shardline.consumer.driver.registration import choose_retrieval
from shardline.consumer.driver.sync import of_stream
from shardline.consumer.lineage import Start, StartPoint
from shardline.consumer.spec import is_asynchronous
from shardline.consumer.stream_events import StreamAdded, StreamGone, StreamRecreated, StreamRemoved, StreamsNotListed
from shardline.consumer.streams import Identity, configs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shardline.common.ports.kinesis import StreamSummary
    from shardline.consumer.driver.context import Context
    from shardline.consumer.driver.holding import Holdings
    from shardline.consumer.driver.sync import ShardSync
    from shardline.consumer.driver.tracked import Tracked
    from shardline.consumer.leases.row import LeaseRow
    from shardline.consumer.streams import StreamConfig, StreamLister

__all__ = ["FROM_THE_BEGINNING", "Tracking", "describe", "list_streams"]

FROM_THE_BEGINNING: Final = Start(StartPoint.TRIM_HORIZON)
_CALL_S: Final = 10.0
_WITHIN_S: Final = 60.0


async def describe(context: Context, stream: Stream) -> StreamSummary:
    """Return a stream's description, asking again what may be asked again; raises `NotFound` where there is none."""
    return await attempt(
        context,
        "stream.describe",
        lambda: context.kinesis.describe_stream_summary(stream, timeout_s=_CALL_S),
        within_s=_WITHIN_S,
    )


async def list_streams(context: Context, lister: StreamLister) -> tuple[StreamConfig, ...]:
    """Return what the program's function lists now; raises what it raises, `InvalidInput` for none or one twice."""
    ask: Callable[[], Any] = lister
    answer = ask() if is_asynchronous(ask) else await context.runtime.run_blocking(ask)
    listed = await answer if inspect.isawaitable(answer) else answer
    configs = configs_of(listed)
    if not configs:
        raise InvalidInput("streams", "at least one stream")
    return configs


class _Followed(NamedTuple):
    config: StreamConfig
    plan: StreamPlan


class Tracking:
    """The book-keeper of `context.streams`; `region` gives the clients' own, where it is asked for."""

    def __init__(self, context: Context, tracked: Tracked, region: Callable[[], str]) -> None:
        self._context = context
        self._region = region
        self._tracked = tracked
        self._asked = tracked.asked
        self._followed: dict[str, _Followed] = {}
        self._absent: dict[str, StreamConfig] = {}
        self._again: dict[str, str] = {}
        self._lock = asyncio.Lock()
        self._holdings: Holdings | None = None
        self._sync: ShardSync | None = None

    # --- at start ----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Describe the streams and put them into the book, where nothing reads them yet.

        One that does not exist is remembered; `admit` decides about it. Raises `InvalidInput` where one has no handler.
        """
        lister = self._asked.lister
        configs = self._asked.configs if lister is None else await list_streams(self._context, lister)
        for config in configs:
            self._tracked.handler_of(config.stream)
        for config in configs:
            try:
                plan = await self._plan(config)
            except NotFound:
                if not self._asked.multi:
                    raise
                self._await(config)
            else:
                self._followed[config.key] = _Followed(config, plan)
        if len({one.plan.lease_prefix for one in self._followed.values()}) != len(self._followed):
            raise InvalidInput("streams", "each stream once")

    def admit(self, rows: Sequence[LeaseRow], sync: ShardSync) -> None:
        """Judge the streams by the table's rows; nothing is written.

        A stream that has leases and is gone must not keep the others from being read: it is waited for, and so is one
        that a function lists before it exists. One that was created again since is read from its beginning. Raises
        `NotFound` for any other stream that is not there, and `InvalidInput` for one without lease or start position.
        """
        context = self._context
        self._check_table(rows)
        for config in self._absent.values():
            identity = self._former(config.stream, rows)
            missing = NotFound("ResourceNotFoundException", f"Stream {config.stream} not found.")
            if identity is None and self._asked.lister is None:
                raise missing
            if identity is None:
                context.report("stream.add", missing)
                continue
            context.events.emit(StreamGone(stream=config.stream.name, identity=identity, worker_id=context.me))
        for key, (config, plan) in list(self._followed.items()):
            fresh = self._fresh(key, plan, rows)
            sync.check_start(fresh, rows)
            self._followed[key] = _Followed(config, fresh)

    def _check_table(self, rows: Sequence[LeaseRow]) -> None:
        """Refuse a table whose rows say that they are of a stream of another name: it is another application's."""
        if self._asked.multi:
            return
        (stream,) = (config.stream for config in self._asked.configs)
        for row in rows:
            mark = None if row.stream_mark is None else Identity.parse(row.stream_mark)
            if mark is not None and (mark.name != stream.name or stream.account_id not in (None, mark.account_id)):
                table = self._context.table
                raise InvalidInput("table", f"of this application: lease {row.key} of {table} is of stream {mark.name}")

    async def initialize(self, rows: Sequence[LeaseRow], sync: ShardSync) -> None:
        """Create the leases of the streams that have none among `rows`, and read the streams from now on."""
        for _, plan in self._followed.values():
            await sync.initialize(plan, rows)
            self._context.streams.put(plan)
            now = sync.mark(plan)
            if now is not None and any(row.stream_mark not in (None, now) for row in of_stream(plan, rows)):
                self._context.streams.doubt(plan, position_refused=True)  # They may have outlived their stream.

    def begin(self, holdings: Holdings, sync: ShardSync) -> None:
        """Follow changes from now on."""
        self._holdings, self._sync = holdings, sync

    # --- while running -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask the program's function again and again; and look for streams that were absent."""
        while True:
            await asyncio.sleep(self._context.config.tracking.poll_s)
            if self._asked.lister is not None:
                await self._poll(self._asked.lister)
            for config in list(self._absent.values()):
                await self._try(config)

    async def _poll(self, lister: StreamLister) -> None:
        try:
            listed = {config.key: config for config in await list_streams(self._context, lister)}
            for config in listed.values():
                self._tracked.handler_of(config.stream)
        except Exception as error:  # noqa: BLE001 - the program's function may raise anything; its last answer stands.
            reason = str(error) if isinstance(error, InvalidInput) else type(error).__name__
            self._context.events.emit(StreamsNotListed(reason=reason))
            return
        for key in [key for key in (*self._followed, *self._absent) if key not in listed]:
            await self.remove(key)
        for key, config in listed.items():
            if key not in self._followed:
                await self._try(config)

    async def _try(self, config: StreamConfig) -> None:
        """Add a stream if it can be added now; say why not."""
        try:
            await self.add(config)
        except ShardlineError as error:
            self._await(config)
            self._context.report("stream.add", error)

    async def add(self, config: StreamConfig) -> None:
        """Read a stream: describe it, make its leases where it has none, and let them be taken.

        Raises `InvalidInput` without a handler or a start, else what the services say; then nothing has changed.
        """
        context, sync = self._context, self._sync
        assert sync is not None, "streams are added to a worker that runs"
        async with self._lock:
            if config.key in self._followed:
                return
            self._tracked.handler_of(config.stream)
            plan = await self._plan(config)
            rows = await sync.rows()
            if any(one.plan.lease_prefix == plan.lease_prefix for one in self._followed.values()):
                raise InvalidInput("streams", "each stream once")
            again = self._again.get(config.key)
            plan = self._fresh(config.key, plan, rows)
            sync.check_start(plan, rows)
            try:
                await sync.initialize(plan, rows)
            except BaseException:
                if again is not None:
                    self._again[config.key] = again
                raise
            self._await_no_more(config.key)
            self._followed[config.key] = _Followed(config, plan)
            context.streams.put(plan)
            context.events.emit(StreamAdded(stream=config.stream.name, identity=plan.lease_prefix or ""))

    async def remove(self, key: str) -> bool:
        """Give a stream's leases back and read it no more; False if it is not read. Its leases stay in the table."""
        context, holdings = self._context, self._holdings
        assert holdings is not None, "streams are removed from a worker that runs"
        async with self._lock:
            absent = self._await_no_more(key)
            followed = self._followed.pop(key, None)
            if followed is None:
                return absent
            plan = followed.plan
            context.streams.drop(plan.lease_prefix)
            leases, unclean = await holdings.stop_stream(plan.lease_prefix, context.config.delivery.stop_timeout_s)
            identity = plan.lease_prefix or ""
            context.events.emit(
                StreamRemoved(stream=plan.stream.name, identity=identity, leases=leases, unclean=unclean)
            )
            return True

    async def remove_named(self, stream: Stream) -> bool:
        """Remove a stream by the name or ARN it was added by, or by its name alone; False if it is not read."""
        known = {**{key: one.config for key, one in self._followed.items()}, **self._absent}
        found = [key for key, config in known.items() if stream in (config.stream, Stream(config.stream.name))]
        return await self.remove(found[0]) if len(found) == 1 else False

    async def replace_stream(self, plan: StreamPlan) -> None:
        """Read the stream that bears a plan's name now, instead of the one that was deleted: from its beginning.

        In multi-stream mode; the old stream's leases are let go without a checkpoint and stay in the table.
        """
        context, holdings = self._context, self._holdings
        assert holdings is not None, "it was read"
        async with self._lock:
            key = next((key for key, one in self._followed.items() if one.plan.lease_prefix == plan.lease_prefix), None)
            if key is None:
                return  # Removed meanwhile.
            config = replace(self._followed.pop(key).config, consumer_arn=None)
            context.streams.drop(plan.lease_prefix)
            await holdings.abandon_stream(plan.lease_prefix)
            self._await(config)
            self._again[key] = plan.lease_prefix or ""
        await self._try(config)

    def _await(self, config: StreamConfig) -> None:
        self._absent[config.key] = config
        self._context.streams.awaited = tuple(one.stream for one in self._absent.values())

    def _await_no_more(self, key: str) -> bool:
        found = self._absent.pop(key, None) is not None
        self._context.streams.awaited = tuple(one.stream for one in self._absent.values())
        return found

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _plan(self, config: StreamConfig) -> StreamPlan:
        """Return how a stream is read; in multi-stream mode it is named as the KCL names it: account:name:epoch."""
        context, stream, prefix = self._context, config.stream, None
        if stream.region is not None and stream.region != self._region():
            raise InvalidInput("stream", f"an ARN in the clients' region, {self._region()}", stream.name)
        if self._asked.multi:
            summary = await describe(context, stream)
            stream, prefix = Stream.of(summary.arn), str(Identity.of(summary))
        return StreamPlan(
            stream=stream,
            handler=self._tracked.handler_of(stream),
            start=self._asked.start_of(config),
            lease_prefix=prefix,
            consumer_arn=await choose_retrieval(context, stream, config.consumer_arn),
        )

    def _fresh(self, key: str, plan: StreamPlan, rows: Sequence[LeaseRow]) -> StreamPlan:
        """Return the plan, from the stream's beginning where an earlier stream of its name was read."""
        if plan.lease_prefix is None or any(row.stream_name == plan.lease_prefix for row in rows):
            self._again.pop(key, None)
            return plan
        before = self._again.pop(key, None) or self._former(plan.stream, rows)
        if before is None:
            return plan
        context = self._context
        context.events.emit(
            StreamRecreated(stream=plan.stream.name, before=before, after=plan.lease_prefix, worker_id=context.me)
        )
        return replace(plan, start=FROM_THE_BEGINNING)

    def _former(self, stream: Stream, rows: Sequence[LeaseRow]) -> str | None:
        """Return what rows call the last stream of that name (and account, where it is known); None without any."""
        found = [Identity.parse(row.stream_name) for row in rows if row.stream_name is not None]
        same = [
            one
            for one in found
            if one is not None and one.name == stream.name and stream.account_id in (None, one.account_id)
        ]
        return str(max(same, key=lambda one: one.epoch)) if same else None
