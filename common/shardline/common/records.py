"""Records as the service gives them, and positions in a shard: sequence number, sub-sequence number, sentinels.

Invariant: positions order numerically, exactly as the KCL orders its checkpoints (`kcl.md` 1.3): SHARD_END above every
sequence number; below them LATEST, TRIM_HORIZON, AT_TIMESTAMP; equal sequence numbers order by sub-sequence number.
Sequence numbers stay decimal text at the service's edge and are numbers inside; they are never compared as text.
"""

from __future__ import annotations

from typing import NamedTuple

from shardline.common.errors import InvalidInput

__all__ = [
    "AT_TIMESTAMP",
    "LATEST",
    "SENTINELS",
    "SHARD_END",
    "TRIM_HORIZON",
    "KinesisRecord",
    "Position",
    "parse_sequence_number",
]

_SEQUENCE_DIGITS_MAX = 128  # The service's own pattern: 0|([1-9]\d{0,128}).
_SHARD_END_NUMBER = 10 ** (_SEQUENCE_DIGITS_MAX + 2)  # Above every number that the pattern admits.


class Position(NamedTuple):
    """A place in a shard, comparable; `sequence_number` is a number, negative or huge for sentinels."""

    sequence_number: int
    sub_sequence_number: int = 0

    @property
    def is_sentinel(self) -> bool:
        """Say whether this is TRIM_HORIZON, LATEST, AT_TIMESTAMP or SHARD_END rather than a record's place."""
        return self.sequence_number < 0 or self.sequence_number == _SHARD_END_NUMBER

    @property
    def text(self) -> str:
        """The `checkpoint` attribute as the KCL writes it: decimal digits or the sentinel's name."""
        return SENTINELS.get(self) or str(self.sequence_number)

    def __str__(self) -> str:
        return self.text if self.is_sentinel else f"{self.sequence_number}/{self.sub_sequence_number}"

    @classmethod
    def parse(cls, text: str, sub_sequence_number: int = 0) -> Position:
        """Return the position a `checkpoint` attribute stands for; raise `InvalidInput` for anything else."""
        sentinel = _BY_NAME.get(text)
        if sentinel is not None:
            return sentinel
        if sub_sequence_number < 0:
            raise InvalidInput("sub_sequence_number", "0 or more")
        return cls(parse_sequence_number(text), sub_sequence_number)


SHARD_END = Position(_SHARD_END_NUMBER)
LATEST = Position(-1)
TRIM_HORIZON = Position(-2)
AT_TIMESTAMP = Position(-3)
SENTINELS: dict[Position, str] = {
    SHARD_END: "SHARD_END",
    LATEST: "LATEST",
    TRIM_HORIZON: "TRIM_HORIZON",
    AT_TIMESTAMP: "AT_TIMESTAMP",
}
_BY_NAME = {name: position for position, name in SENTINELS.items()}


def parse_sequence_number(text: str) -> int:
    """Return a sequence number as a number; raise `InvalidInput` unless it is 1 to 129 ASCII digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= _SEQUENCE_DIGITS_MAX + 1):
        raise InvalidInput("sequence_number", "decimal digits or a sentinel", f"{len(text)} characters")
    return int(text)


class KinesisRecord(NamedTuple):
    """One Kinesis record as GetRecords or SubscribeToShard gives it; `partition_key` is None on AUTO streams.

    `arrival_time_s` is ApproximateArrivalTimestamp in epoch seconds; `data` may be an aggregate.
    """

    sequence_number: str
    data: bytes
    partition_key: str | None
    arrival_time_s: float

    def __repr__(self) -> str:
        return f"KinesisRecord({self.sequence_number}, {len(self.data)} bytes)"
