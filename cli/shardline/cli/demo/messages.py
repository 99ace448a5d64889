"""What the demo's processes tell each other: JSON arrays, one per line, ``[kind, stamp, ...]``.

A child writes a line to its standard output, whole, before it goes on; the parent takes only lines that end in a
newline, so a child killed in the middle of one has not said it. Stamps are the machine's monotonic clock, which all
processes share. Batches are compact (parallel arrays), for thousands of records a second. Pure: no input or output.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from shardline.cli.demo.report import DeliveredRecord
from shardline.common.errors import DecodeFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Acknowledged",
    "Delivered",
    "Done",
    "Failed",
    "Message",
    "Note",
    "Ready",
    "Sent",
    "ShardEnded",
    "ShardStarted",
    "ShardStopped",
    "decode",
    "encode",
]


class Ready(NamedTuple):
    """The child stands: an endpoint serves (at the URL `detail`), a producer can send, a worker is in the fleet."""

    stamp: float
    detail: str = ""


class Done(NamedTuple):
    """The child has finished what it was asked to, and leaves; figures of its own by name."""

    stamp: float
    figures: Mapping[str, float]


class Note(NamedTuple):
    """Something for people to read."""

    stamp: float
    text: str


class Sent(NamedTuple):
    """Ids below `total` have been handed to the producer."""

    stamp: float
    total: int


class Acknowledged(NamedTuple):
    """One Kinesis record is in the stream, with these ids inside; bytes of data and partition keys."""

    stamp: float
    shard_id: str
    sequence_number: int
    bytes_sent: int
    bytes_alone: int
    ids: tuple[int, ...]


class Failed(NamedTuple):
    """The producer gave up these many records."""

    stamp: float
    records: int
    unknown: bool
    reason: str


class Delivered(NamedTuple):
    """A handler is done with one batch of a shard."""

    stamp: float
    shard_id: str
    misplaced: int
    records: tuple[DeliveredRecord, ...]
    views: Mapping[str, int]
    alarms: int


class ShardStarted(NamedTuple):
    """A worker begins with a shard, at a position."""

    stamp: float
    shard_id: str
    position: str


class ShardStopped(NamedTuple):
    """A worker is done with a shard that goes on: its lease was lost, handed over, or the worker stops."""

    stamp: float
    shard_id: str
    reason: str


class ShardEnded(NamedTuple):
    """A worker finished a shard: everything in it was processed."""

    stamp: float
    shard_id: str


Message: TypeAlias = (
    Ready | Done | Note | Sent | Acknowledged | Failed | Delivered | ShardStarted | ShardStopped | ShardEnded
)
_KINDS: dict[str, type[Message]] = {
    "ready": Ready,
    "done": Done,
    "note": Note,
    "sent": Sent,
    "acknowledged": Acknowledged,
    "failed": Failed,
    "delivered": Delivered,
    "started": ShardStarted,
    "stopped": ShardStopped,
    "ended": ShardEnded,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def encode(message: Message) -> bytes:
    """Return the message's line, newline included."""
    return json.dumps([_NAMES[type(message)], *message], separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Return the message of a line; raise `DecodeFailure` for anything that `encode` does not write."""
    try:
        name, *rest = json.loads(line)
        kind = _KINDS[name]
        message = kind(*rest)
        if isinstance(message, Acknowledged):
            return message._replace(ids=tuple(message.ids))
        if isinstance(message, Delivered):
            return message._replace(records=tuple(DeliveredRecord(*one) for one in message.records))
    except (ValueError, KeyError, TypeError) as exc:
        raise DecodeFailure(f"a line of {len(line)} bytes from a demo process is not a message") from exc
    return message
