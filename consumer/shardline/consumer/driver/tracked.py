"""What a worker reads, and who handles it: its streams as they were asked for, and the handler registered for each.

Everything a user can get wrong here is refused before anything is sent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shardline.common.errors import InvalidInput
from shardline.common.ports.kinesis import Stream
from shardline.consumer.policy import OpenableLot
from shardline.consumer.streams import StreamsAsked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AsyncExitStack

    from shardline.common.ports.runtime import Runtime
    from shardline.consumer.lineage import Start
    from shardline.consumer.policy import ParkingLot
    from shardline.consumer.spec import HandlerSpec
    from shardline.consumer.streams import StreamConfig, StreamLister

__all__ = ["Tracked"]


class Tracked:
    """The streams of a worker with their start positions and handlers.

    Raises `InvalidInput` for no stream, one given twice, a start of a stream that is not among them, or a mode that
    does not fit.
    """

    def __init__(
        self,
        streams: StreamConfig | Stream | str | Iterable[StreamConfig | Stream | str] | StreamLister,
        start: Start | str | float | Mapping[str, Start | str | float] | None,
        multi_stream: bool | None = None,  # noqa: FBT001 - it stands behind the worker's keyword.
    ) -> None:
        self.asked = StreamsAsked.of(streams, start, multi_stream)
        self._handlers: dict[str, HandlerSpec] = {}
        self._pulled: HandlerSpec | None = None
        self._parks = False

    @property
    def has_handlers(self) -> bool:
        """Say whether any handler is registered; without one, batches are pulled."""
        return bool(self._handlers)

    @property
    def handlers(self) -> tuple[HandlerSpec, ...]:
        """The handlers that are registered."""
        return tuple(self._handlers.values())

    def register(self, spec: HandlerSpec, stream: str | None) -> None:
        """Let `spec` handle `stream`, or all that have no handler of their own; `InvalidInput` for a second one."""
        names = [config.stream.name for config in self.asked.configs]
        if stream is not None:
            stream = Stream.of(stream).name
            if stream not in names and not self.asked.grows:
                raise InvalidInput("handler's stream", f"one of the worker's: {', '.join(names)}")
        key = stream or ""
        if key in self._handlers:
            raise InvalidInput("handler", "given once per stream")
        self._handlers[key] = spec

    def settle(self, pulled: HandlerSpec | None, *, parks: bool = False) -> None:
        """Let batches be `pulled`, or else the handlers be called; `InvalidInput` for a stream that has none.

        Where the worker itself `parks` (malformed aggregates), for a handler without a lot, too.
        """
        self._pulled, self._parks = pulled, parks
        if self.asked.grows and self._handlers.get(""):
            self._checked(self._handlers[""])  # What streams that are added later get.
        for config in self.asked.configs:
            self.handler_of(config.stream)

    def handler_of(self, stream: Stream) -> HandlerSpec:
        """Return what handles a stream; raises `InvalidInput` where nothing does, or has no lot and needs one."""
        handler = self._pulled or self._handlers.get(stream.name) or self._handlers.get("")
        if handler is None:
            raise InvalidInput("handler", f"given for every stream; {stream.name} has none")
        return self._checked(handler)

    def _checked(self, handler: HandlerSpec) -> HandlerSpec:
        if self._parks and handler.policy.lot is None:
            raise InvalidInput("malformed", "park only where every handler has a lot: on_failure=park_record(...)")
        return handler

    async def open_handlers(self, runtime: Runtime, stack: AsyncExitStack) -> None:
        """Open what handlers need for the worker's life; `stack` ends it.

        Start the processes of each that runs in processes of its own, and open the clients of their parking lots, one
        for each lot, however many handlers park into it.
        """
        lots: dict[int, ParkingLot] = {}
        for key, given in self._handlers.items():
            spec = given
            if spec.processes:
                from shardline.consumer.processes import ProcessPool  # noqa: PLC0415 - only where asked for.

                spec = replace(spec, pool=await stack.enter_async_context(ProcessPool(spec, runtime)))
            lot = spec.policy.lot
            if isinstance(lot, OpenableLot):
                if id(lot) not in lots:
                    lots[id(lot)] = await stack.enter_async_context(lot.opened())
                spec = replace(spec, policy=replace(spec.policy, lot=lots[id(lot)]))
            self._handlers[key] = spec
