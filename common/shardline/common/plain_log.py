"""Events for whoever has asked for none: warnings and errors by the standard library's logging, as "shardline".

A worker whose handler fails for ever, or a producer that finds no service, must not be silent because nobody gave it a
listener. Without any configuration of logging that is a line on standard error. A listener of the program's own takes
this one's place; `LogListener` is the structured form with everything.

Invariants: what is said again and again is thinned out without a clock (the 1st, 2nd, 4th ... 64th time, then each
64th), in bounded memory; no field can forge a line or drive a terminal.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from shardline.common.checks import check_callable
from shardline.common.errors import InvalidInput
from shardline.common.events import Events
from shardline.common.printing import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.common.events import Event, Listener

__all__ = ["PlainLog", "events_for"]

_EVERY: Final = 64
_KINDS_MAX: Final = 1000
_LOUD: Final = {"warning": logging.WARNING, "error": logging.ERROR, "critical": logging.CRITICAL}


class PlainLog:
    """Logs warnings and errors as ``name field=value ...``; two events are alike if name and texts are the same."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("shardline")
        self._seen: dict[tuple[str, ...], int] = {}

    def hears(self, kind: type[Event]) -> bool:
        """Say whether events of a kind are logged at all."""
        return kind.level in _LOUD

    def __call__(self, event: Event, /) -> None:
        """Log one event, unless it is of a lower level or was told often enough."""
        level = _LOUD.get(event.level)
        if level is None:
            return
        fields = event.as_fields()
        kind = (event.name, *(value for value in fields.values() if isinstance(value, str)))
        if len(self._seen) >= _KINDS_MAX and kind not in self._seen:
            self._seen.clear()
        times = self._seen[kind] = self._seen.get(kind, 0) + 1
        if times % _EVERY and times & (times - 1):
            return
        said = " ".join(f"{name}={_short(value)}" for name, value in fields.items() if value not in (None, ""))
        self._logger.log(level, "%s %s%s", event.name, said, f" ({times} times)" if times > 1 else "")


def _short(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else printable(value)


def events_for(listeners: Iterable[Listener]) -> Events:
    """Return a hub with these listeners, with the plain log where there is none; `InvalidInput` for no list of them."""
    if callable(listeners):
        raise InvalidInput("listeners", "a list of functions of an event", type(listeners).__name__)
    heard = tuple(listeners)
    for one in heard:
        check_callable("listeners", one, "a list of functions of an event")
    return Events(*(heard or (PlainLog(),)))
