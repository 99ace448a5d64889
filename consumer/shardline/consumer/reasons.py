"""What a failure is called in events, metrics and parked records, and where it was raised.

Never its message, which may quote a payload: a class name and lines of code are enough to find it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common.errors import HandlerProcessFailed, MalformedAggregate, ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["place_of", "reason_of"]


def reason_of(error: BaseException) -> str:
    """Return the service's error code, what a handler's process said, or else the class name.

    A malformed aggregate is named with its code: ``MalformedAggregate: index``.
    """
    if isinstance(error, MalformedAggregate):
        return f"MalformedAggregate: {error.reason}"
    if isinstance(error, ServiceError):
        return error.code
    return error.reason if isinstance(error, HandlerProcessFailed) else type(error).__name__


def place_of(error: BaseException) -> str:
    """Return where an error was raised: the handler's own line, and the innermost one if that is another.

    As ``billing.py:42 in bill > decoder.py:355 in raw_decode``; empty where nothing is known.
    """
    if isinstance(error, HandlerProcessFailed):
        return error.place
    frames = list(_frames(error.__traceback__))
    if not frames:
        return ""
    first = next((frame for frame in frames if not _ours(frame)), frames[-1])
    ends = [first] if first is frames[-1] else [first, frames[-1]]
    return " > ".join(_named(frame) for frame in ends)


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _ours(trace: TracebackType) -> bool:
    return str(trace.tb_frame.f_globals.get("__name__", "")).startswith("shardline.")


def _named(trace: TracebackType) -> str:
    code = trace.tb_frame.f_code
    file = code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{file}:{trace.tb_lineno} in {code.co_name}"
