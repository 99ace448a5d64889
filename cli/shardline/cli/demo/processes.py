"""The demo's child processes: real ones, started, listened to, stopped and killed by their id.

Each gets its settings as one JSON line on standard input and speaks in lines on standard output (`messages`). Standard
input doubles as the leash: its end means that the parent is gone, and the child leaves too. Children live in a session
of their own, so that Ctrl-C reaches the parent only, which then stops them in order. All reading is non-blocking.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from typing import IO, TYPE_CHECKING, Any

from shardline.cli.demo.inbox import Lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Child"]

_READ_BYTES = 1 << 18
_STDERR_LINES_MAX = 40


class Child:
    """One child process, running a module of ours, or a whole command that speaks as those do."""

    def __init__(
        self,
        name: str,
        module: str | Sequence[str],
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self.killed = False
        self.ready = False
        self.figures: Mapping[str, float] | None = None
        self._lines = Lines()
        self._errors = Lines()
        self._error_tail: deque[str] = deque(maxlen=_STDERR_LINES_MAX)
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module, no shell.
            [sys.executable, "-m", module] if isinstance(module, str) else list(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        self.send(json.dumps(dict(settings)))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status (negative: the signal that ended it), or None while it runs."""
        return self._process.poll()

    @property
    def error_lines(self) -> list[str]:
        """The last lines of its standard error."""
        return list(self._error_tail)

    @property
    def unfinished_bytes(self) -> int:
        """How many bytes of a line it had written, and not the rest, when it was last read."""
        return self._lines.unfinished

    def send(self, text: str) -> None:
        """Write one line to its standard input; a child that is gone misses it."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()

    def read(self) -> list[bytes]:
        """Return the lines it has written since the last time; keeps the end of its standard error."""
        for line in _read(self._process.stderr, self._errors):
            self._error_tail.append(line.decode(errors="replace"))
        return _read(self._process.stdout, self._lines)

    def kill(self) -> None:
        """Send SIGKILL: no `finally` runs, nothing is flushed."""
        self.killed = True
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """Send SIGSTOP: the process stands still, its sockets open, its clock running on."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT."""
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)

    def end(self) -> None:
        """End the process if it still runs; what it wrote can still be read."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process if it still runs, and give its pipes back."""
        self.end()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _read(pipe: IO[bytes] | None, lines: Lines) -> list[bytes]:
    """Read a non-blocking pipe empty and return the lines completed."""
    assert pipe is not None
    found: list[bytes] = []
    while True:
        try:
            data = os.read(pipe.fileno(), _READ_BYTES)
        except BlockingIOError:
            return found
        if not data:
            return found
        found += lines.feed(data)
