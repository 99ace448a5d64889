"""Events as structured logs, through structlog: the event's name, its level, its fields.

Invariant: no field can forge a line or drive a terminal; control characters are escaped, whatever renders the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shardline.common.errors import MissingExtra
from shardline.common.printing import printable

try:
    import structlog
except ModuleNotFoundError as error:
    raise MissingExtra("Logging of events", "producer") from error

if TYPE_CHECKING:
    from shardline.common.events import Event

__all__ = ["LogListener"]


class LogListener:
    """Logs each event to `logger` (a structlog logger; default: one named shardline)."""

    def __init__(self, logger: Any = None) -> None:  # noqa: ANN401 - structlog's loggers are untyped by design.
        self._logger: Any = logger if logger is not None else structlog.get_logger("shardline")

    def __call__(self, event: Event, /) -> None:
        """Log one event."""
        fields = {name: printable(value) for name, value in event.as_fields().items()}
        getattr(self._logger, event.level)(event.name, **fields)
