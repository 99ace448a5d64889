"""Tumbling windows: what Lambda says of the present window, and the answer that carries its state.

An invocation of a window is all or nothing: Lambda keeps the state that an invocation returns, so a state that counted
half a batch would count the other half twice when it comes again. A failure therefore raises, and the batch comes again
with the state as it was. (API: tumbling windows of the event source mapping; the state may have 1 MB.)
"""

from __future__ import annotations

from shardline.common.envelopes import as_dictionary
from shardline.common.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["Window"]


class Window:
    """The window of an invocation: `start` and `end` are ISO 8601 text, `final` its last call, `early` if cut short."""

    __slots__ = ("early", "end", "final", "shard_id", "start", "stream_arn")

    def __init__(self, event: Mapping[str, Any]) -> None:
        bounds = as_dictionary(event.get("window"))
        if bounds is None:
            raise InvalidInput("event.window", "an object: the event source mapping needs a tumbling window")
        self.start: str = bounds.get("start", "")
        self.end: str = bounds.get("end", "")
        self.final: bool = event.get("isFinalInvokeForWindow") is True
        self.early: bool = event.get("isWindowTerminatedEarly") is True
        self.shard_id: str = event.get("shardId") or ""
        self.stream_arn: str = event.get("eventSourceARN") or ""

    def __repr__(self) -> str:
        return f"Window({self.shard_id}, {self.start} to {self.end}, final={self.final}, early={self.early})"
