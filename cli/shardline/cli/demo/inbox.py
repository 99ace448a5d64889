"""Puts what several processes said into the order in which they said it. Pure.

A worker writes what its handler did before it checkpoints; another worker that takes the shard over begins after that
checkpoint. So if A's word comes before B's because of a hand-over, A's stamp and A's *write* lie before B's stamp. The
pipes are read one after the other, though, and could give B's word first. Rule: read the clock (`until`), then read all
pipes empty, then take what is stamped up to `until`, by stamp. Whatever had to come before a word that is taken was
written before `until` and thus is read: the order is exact, not a matter of luck.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.cli.demo.messages import Message

__all__ = ["Inbox", "Lines"]

_LINE_BYTES_MAX = 16 * 1024 * 1024


class Lines:
    """Cuts a stream of bytes into lines; what follows the last newline waits, and is not said if nothing follows."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes; raise `ValueError` for one longer than any process writes."""
        *lines, self._tail = (self._tail + data).split(b"\n")
        if len(self._tail) > _LINE_BYTES_MAX:
            raise ValueError(f"a line of more than {_LINE_BYTES_MAX} bytes")
        return lines

    @property
    def unfinished(self) -> int:
        """How many bytes wait for their newline."""
        return len(self._tail)


class Inbox:
    """Holds messages until they can be taken in order; see the module for the rule that makes the order exact."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str, Message]] = []
        self._count = 0

    def add(self, name: str, messages: Iterable[Message]) -> None:
        """Take what process `name` said, in its order."""
        for message in messages:
            heapq.heappush(self._heap, (message.stamp, self._count, name, message))
            self._count += 1

    def take(self, until: float) -> list[tuple[str, Message]]:
        """Return (process, message) of everything stamped up to `until`, by stamp."""
        taken: list[tuple[str, Message]] = []
        while self._heap and self._heap[0][0] <= until:
            _, _, name, message = heapq.heappop(self._heap)
            taken.append((name, message))
        return taken
