"""What steering tells: where a seek arrived, what it left out, why it was not followed; where a bounded run ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from shardline.common.events import Event

__all__ = ["RecordsSkipped", "SeekRefused", "ShardLeft", "ShardSought"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSought(Event):
    """A seek has arrived: the shard is read from `first` on; everything up to `mark` had been done, or skipped."""

    name: ClassVar[str] = "shard.sought"
    lease: str
    token: int
    mark: str
    first: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsSkipped(Event):
    """What lies above `after` and below `before` is left out, as a seek, or a handler's own position, asked.

    Emitted before anything behind it is delivered. `after` is empty where nothing was done yet.
    """

    name: ClassVar[str] = "shard.skipped"
    level: ClassVar[str] = "warning"
    lease: str
    token: int
    after: str
    before: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeekRefused(Event):
    """A seek was not followed, and reading goes on where it was: it would have skipped, or nobody can read there.

    `found` is the first position found where it led; empty where the service does not know the position.
    """

    name: ClassVar[str] = "shard.seek_refused"
    level: ClassVar[str] = "warning"
    lease: str
    mark: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLeft(Event):
    """A bounded run has come to its end in a shard; `until` names the bound."""

    name: ClassVar[str] = "shard.left"
    lease: str
    until: str
