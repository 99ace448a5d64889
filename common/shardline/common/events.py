"""Diagnostic events: the one seam for logs, metrics and users; one per batch or aggregate, never per record.

Cores return events, drivers `emit` them, listeners (logs, Prometheus, CloudWatch, OpenTelemetry, the user's own) stand
in files of their own. Invariants: an event holds counts, names, positions and durations, never payloads, keys or
credentials; a listener that raises is counted and never stops the work (F40).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Event", "Events", "Listener"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events; `name` is stable and dotted (``producer.put_records``), `level` a logging level's name."""

    name: ClassVar[str] = "event"
    level: ClassVar[str] = "info"

    def as_fields(self) -> dict[str, Any]:
        """Return the event's fields by name, for logs and tests."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


class Listener(Protocol):
    """Anything that wants events: called on the emitting thread, must be quick and must not block."""

    def __call__(self, event: Event, /) -> None:
        """Take one event."""
        ...


def _everything(_: type[Event]) -> bool:
    return True


class Events:
    """A hub: listeners subscribe, drivers emit.

    `listener_failures` counts exceptions that listeners raised; they reach nobody else.
    """

    __slots__ = ("_listeners", "listener_failures")

    def __init__(self, *listeners: Listener) -> None:
        self._listeners: tuple[Listener, ...] = listeners
        self.listener_failures = 0

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Add a listener; the returned function removes it again."""
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(one for one in self._listeners if one is not listener)

        return unsubscribe

    def hears(self, kind: type[Event]) -> bool:
        """Say whether anybody listens to events of a kind; asked before what is dear, or comes for each write.

        A listener that takes some kinds only may say so by a method of this name; one without it hears everything.
        """
        return any(getattr(listener, "hears", _everything)(kind) for listener in self._listeners)

    def emit(self, event: Event) -> None:
        """Hand `event` to every listener; never raises because of one."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a watcher must never stop the work (F40).
                self.listener_failures += 1
