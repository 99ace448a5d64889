"""Where the demo's output goes: a live picture on a terminal, plain lines elsewhere. The clock is the caller's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.live import Live as RichLive

from shardline.cli.demo.view import line, render
from shardline.common.printing import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.cli.demo.model import Snapshot

__all__ = ["PlainScreen", "Screen", "TerminalScreen", "open_screen"]

_FRAME_S = 0.25
_LINE_S = 2.0


class Screen(Protocol):
    """Shows snapshots and says sentences."""

    def say(self, text: str) -> None:
        """Print one line that stays."""
        ...

    def show(self, snapshot: Snapshot, new_events: Sequence[str]) -> None:
        """Show the state as often as makes sense; `new_events` are those since the last call."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was, the last picture standing."""
        ...


class _Pace:
    """Says when it is time to show something again; the clock it is given may be set back (when the load begins)."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._shown_s = -every_s

    def due(self, elapsed_s: float) -> bool:
        """Say whether to show now."""
        if 0 <= elapsed_s - self._shown_s < self._every_s:
            return False
        self._shown_s = elapsed_s
        return True


class PlainScreen:
    """One line per event, and the counts every two seconds."""

    def __init__(self) -> None:
        self._pace = _Pace(_LINE_S)

    def say(self, text: str) -> None:
        """Print one line."""
        print(escape(text), flush=True)

    def show(self, snapshot: Snapshot, new_events: Sequence[str]) -> None:
        """Print the events, and the counts when their time has come."""
        for event in new_events:
            self.say(event)
        if self._pace.due(snapshot.elapsed_s):
            self.say(line(snapshot))

    def close(self) -> None:
        """Nothing to leave."""


class TerminalScreen:
    """A picture that is redrawn four times a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: RichLive | None = None
        self._pace = _Pace(_FRAME_S)

    def say(self, text: str) -> None:
        """Print one line, above the picture where there is one."""
        self._console.print(escape(text), markup=False, highlight=False)

    def show(self, snapshot: Snapshot, new_events: Sequence[str]) -> None:
        """Redraw when the time has come; the picture holds the events."""
        del new_events
        if self._live is None:
            self._live = RichLive(console=self._console, auto_refresh=False)
            self._live.start()
        if self._pace.due(snapshot.elapsed_s) or snapshot.phase == "done":
            self._live.update(render(snapshot, self._console.height), refresh=True)

    def close(self) -> None:
        """Stop redrawing."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def open_screen() -> Screen:
    """Return a live screen where standard output is a terminal, plain lines elsewhere."""
    console = Console()
    return TerminalScreen(console) if sys.stdout.isatty() and not console.is_dumb_terminal else PlainScreen()
