"""The processes of the mixed fleet, and what they say carried to the ledger in the order in which they said it."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from shardline.cli.demo.inbox import Inbox
from shardline.cli.demo.messages import Acknowledged, Delivered, Done, Note, Ready, decode
from shardline.cli.demo.processes import Child

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shardline.cli.demo.messages import Message
    from shardline.cli.demo.report import Ledger

__all__ = ["Company"]


class Company:
    """Starts, reads and ends processes; `processed` counts user records per process and shard.

    Ids from `kpl_first` on are the KPL's; `kpl_processed` counts how many of its records each process was given.
    """

    def __init__(self, ledger: Ledger, environment: Mapping[str, str], *, kpl_first: int) -> None:
        self._ledger = ledger
        self._environment = environment
        self._inbox = Inbox()
        self.members: dict[str, Child] = {}
        self._kpl_first = kpl_first
        self.kpl_processed: Counter[str] = Counter()
        self.processed: Counter[tuple[str, str]] = Counter()
        self.notes: list[tuple[str, str]] = []
        self.done: set[str] = set()

    def start(self, name: str, command: str | Sequence[str], settings: Mapping[str, object]) -> Child:
        """Start one process."""
        child = self.members[name] = Child(name, command, settings, self._environment)
        return child

    def tick(self) -> None:
        """Take what all processes have said up to now, in the order in which they said it."""
        until = time.monotonic()
        self._read()
        self._take(until)

    def finish(self) -> None:
        """Take everything that was said, by processes that have ended."""
        self._read()
        self._take(float("inf"))

    def _read(self) -> None:
        for child in self.members.values():
            self._inbox.add(child.name, [decode(line) for line in child.read()])

    def _take(self, until: float) -> None:
        for name, message in self._inbox.take(until):
            self._on_message(name, message)

    def _on_message(self, name: str, message: Message) -> None:
        if isinstance(message, Delivered):
            self._ledger.delivered(message.shard_id, message.records, misplaced=message.misplaced)
            self.processed[name, message.shard_id] += sum(len(record.ids) for record in message.records)
            self.kpl_processed[name] += sum(one >= self._kpl_first for record in message.records for one in record.ids)
        elif isinstance(message, Acknowledged):
            self._ledger.acknowledged(
                message.ids, message.shard_id, message.sequence_number, bytes_sent=0, bytes_alone=0
            )
        elif isinstance(message, Note):
            self.notes.append((name, message.text))
        elif isinstance(message, Ready):
            self.members[name].ready = True
        elif isinstance(message, Done):
            self.done.add(name)

    @property
    def broken(self) -> list[str]:
        """Processes that ended by themselves, with their last words."""
        return [
            f"{child.name} ended with status {child.exit_status}: {' / '.join(child.error_lines[-3:])}"
            for child in self.members.values()
            if child.exit_status not in (None, 0) and not child.killed
        ]

    def close(self) -> None:
        """End every process that still runs."""
        for child in self.members.values():
            child.close()
