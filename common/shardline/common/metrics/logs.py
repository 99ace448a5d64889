"""Events as structured logs, through structlog: the event's name, its level, its fields.

Invariant: no field can forge a line or drive a terminal; control characters are escaped, whatever renders the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, cast

from shardline.common.errors import MissingExtra

try:
    import structlog
except ModuleNotFoundError as error:
    raise MissingExtra("Logging of events", "producer") from error

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def printable(value: object) -> object:
    """Return numbers and None as they are, anything else as text without control characters."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Sequence | AbstractSet) and not isinstance(value, str | bytes):
        return [printable(one) for one in cast("Iterable[object]", value)]
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
