"""What a failure is called in events, metrics and parked records: never its message, which may quote a payload."""

from __future__ import annotations

from shardline.common.errors import HandlerProcessFailed, MalformedAggregate, ServiceError

__all__ = ["reason_of"]


def reason_of(error: BaseException) -> str:
    """Return the service's error code, what a handler's process said, or else the class name.

    A malformed aggregate is named with its code: ``MalformedAggregate: index``.
    """
    if isinstance(error, MalformedAggregate):
        return f"MalformedAggregate: {error.reason}"
    if isinstance(error, ServiceError):
        return error.code
    return error.reason if isinstance(error, HandlerProcessFailed) else type(error).__name__
