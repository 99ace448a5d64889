"""What the demo's child processes share: words to the parent, and the leash that tells when it is gone.

`say` writes the whole line before it returns: what a handler says is said when it returns, whatever kills the process
then. The pipe blocks when the parent does not read; so the demo cannot run ahead of its own oracle.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from shardline.cli.demo.inbox import Lines
from shardline.cli.demo.messages import encode

if TYPE_CHECKING:
    from shardline.cli.demo.messages import Message

__all__ = ["Parent"]

_READ_BYTES = 65_536


class Parent:
    """The process that started this one; made inside a running loop. `settings` is what it said first."""

    def __init__(self) -> None:
        self._out = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # A stray print must not look like a message.
        self._in = sys.stdin.fileno()
        self._lines = Lines()
        self._words: asyncio.Queue[str] = asyncio.Queue()
        first: list[bytes] = []
        while not first:
            data = os.read(self._in, _READ_BYTES)
            first = self._lines.feed(data or b"{}\n")
        self.settings: dict[str, Any] = json.loads(first[0])
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._in, self._listen)

    @staticmethod
    def now() -> float:
        """Return the stamp for a message: the machine's monotonic clock."""
        return time.monotonic()

    def say(self, message: Message) -> None:
        """Write one message, whole; without a parent there is nobody to work for, and the process ends."""
        line = memoryview(encode(message))
        try:
            while line:
                line = line[os.write(self._out, line) :]
        except BrokenPipeError:
            os._exit(1)

    def _listen(self) -> None:
        """Take the parent's words; the end of input is the word ``stop``."""
        data = os.read(self._in, _READ_BYTES)
        if not data:
            self._loop.remove_reader(self._in)
        for word in self._lines.feed(data or b"stop\n"):
            self._words.put_nowait(word.decode())

    async def word(self) -> str:
        """Return the parent's next word: ``go`` or ``stop``."""
        return await self._words.get()

    async def stop(self) -> None:
        """Return when the parent says stop, or is gone."""
        while await self.word() != "stop":
            pass
