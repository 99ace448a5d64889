"""Events as structured logs, through structlog: the event's name, its level, its fields.

Invariant: no field can forge a line or drive a terminal; control characters are escaped, whatever renders the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shardline.common.errors import InvalidInput, MissingExtra
from shardline.common.printing import printable

try:
    import structlog
except ModuleNotFoundError as error:
    raise MissingExtra("Logging of events", "producer") from error

if TYPE_CHECKING:
    from shardline.common.events import Event

__all__ = ["LogListener"]


_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


class LogListener:
    """Logs each event of `level` and above to `logger` (a structlog logger; default: one named shardline).

    Of the lower ones there are several for each page and request. Raises `InvalidInput` for a level that is none.
    """

    def __init__(self, logger: Any = None, *, level: str = "debug") -> None:  # noqa: ANN401 - structlog's loggers are untyped by design.
        if level not in _LEVELS:
            raise InvalidInput("level", f"one of {', '.join(_LEVELS)}", level)
        self._logger: Any = logger if logger is not None else structlog.get_logger("shardline")
        self._levels = frozenset(_LEVELS[_LEVELS.index(level) :])

    def __call__(self, event: Event, /) -> None:
        """Log one event."""
        if event.level not in self._levels:
            return
        fields = {name: printable(value) for name, value in event.as_fields().items()}
        getattr(self._logger, event.level)(event.name, **fields)
