"""What a worker reads, and who handles it: its streams, where each starts, and the handler registered for each.

Everything a user can get wrong here is refused before anything is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common.errors import InvalidInput
from shardline.common.ports.kinesis import Stream
from shardline.consumer.driver.context import StreamPlan
from shardline.consumer.lineage import Start

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shardline.consumer.spec import HandlerSpec

__all__ = ["Tracked"]


class Tracked:
    """The streams of a worker with their start positions and handlers.

    Raises `InvalidInput` for no stream, one given twice, or a start of a stream that is not among them.
    """

    def __init__(
        self,
        streams: str | Stream | Iterable[str | Stream],
        start: Start | str | float | Mapping[str, Start | str | float] | None,
    ) -> None:
        self.streams = _streams(streams)
        self._starts = _starts(self.streams, start)
        self._handlers: dict[str, HandlerSpec] = {}

    @property
    def has_handlers(self) -> bool:
        """Say whether any handler is registered; without one, batches are pulled."""
        return bool(self._handlers)

    def register(self, spec: HandlerSpec, stream: str | None) -> None:
        """Let `spec` handle `stream`, or all that have no handler of their own; `InvalidInput` for a second one."""
        names = [one.name for one in self.streams]
        if stream is not None:
            stream = Stream.of(stream).name
            if stream not in names:
                raise InvalidInput("handler's stream", f"one of the worker's: {', '.join(names)}")
        key = stream or ""
        if key in self._handlers:
            raise InvalidInput("handler", "given once per stream")
        self._handlers[key] = spec

    def plans(self, pulled: HandlerSpec | None) -> tuple[StreamPlan, ...]:
        """Return what to do with each stream; `InvalidInput` where one has no handler and nothing is `pulled`."""
        return tuple(self._plan(stream, pulled) for stream in self.streams)

    def _plan(self, stream: Stream, pulled: HandlerSpec | None) -> StreamPlan:
        handler = pulled or self._handlers.get(stream.name) or self._handlers.get("")
        if handler is None:
            raise InvalidInput("handler", f"given for every stream; {stream.name} has none")
        return StreamPlan(stream=stream, handler=handler, start=self._starts.get(stream.name))


def _streams(streams: str | Stream | Iterable[str | Stream]) -> tuple[Stream, ...]:
    given = [streams] if isinstance(streams, str | Stream) else list(streams)
    found = tuple(Stream.of(stream) for stream in given)
    if not found:
        raise InvalidInput("streams", "at least one stream")
    if len({stream.name for stream in found}) != len(found):
        raise InvalidInput("streams", "each stream once")
    return found


def _starts(
    streams: tuple[Stream, ...], start: Start | str | float | Mapping[str, Start | str | float] | None
) -> dict[str, Start]:
    if start is None:
        return {}
    if isinstance(start, Start | str | int | float):
        return dict.fromkeys((stream.name for stream in streams), Start.of(start))
    names = {stream.name for stream in streams}
    if unknown := sorted(set(start) - names):
        raise InvalidInput("start", f"given for the worker's streams; {', '.join(unknown)} is not one")
    return {name: Start.of(one) for name, one in start.items()}
