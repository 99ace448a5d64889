"""A shard consumer's life as a table: state and event give the next state, everything else is an error (`kcl.md` 6.1).

Invariants: a shard is read only in PROCESSING and, where a seek led, SEEKING; a paused or waiting shard keeps its
lease; only SHUTTING_DOWN leads to COMPLETE; a stronger reason to stop replaces a weaker one, never the other way.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final

__all__ = ["TRANSITIONS", "ShardEvent", "ShardLife", "ShardState", "StopReason"]


class ShardState(Enum):
    """Where a shard consumer stands."""

    WAITING_ON_PARENTS = "waiting on parents"
    INITIALIZING = "initializing"
    PROCESSING = "processing"
    PAUSED = "paused"
    SEEKING = "seeking"
    HANDING_OFF = "handing off"
    SHUTTING_DOWN = "shutting down"
    COMPLETE = "complete"


class ShardEvent(Enum):
    """What can happen to a shard consumer."""

    PARENTS_DONE = "parents done"
    INITIALIZED = "initialized"
    PAUSE = "pause"
    RESUME = "resume"
    SEEK = "seek"
    SOUGHT = "sought"
    HAND_OFF = "hand-off"
    STOP = "stop"
    FINISHED = "finished"


class StopReason(IntEnum):
    """Why a shard consumer shuts down; a higher one overrides a lower one."""

    REQUESTED = 1
    SHARD_END = 2
    LEASE_LOST = 3


_S, _E = ShardState, ShardEvent
_STOPPABLE = (_S.WAITING_ON_PARENTS, _S.INITIALIZING, _S.PROCESSING, _S.PAUSED, _S.SEEKING, _S.HANDING_OFF)

TRANSITIONS: Final[dict[tuple[ShardState, ShardEvent], ShardState]] = {
    (_S.WAITING_ON_PARENTS, _E.PARENTS_DONE): _S.INITIALIZING,
    (_S.INITIALIZING, _E.INITIALIZED): _S.PROCESSING,
    (_S.PROCESSING, _E.PAUSE): _S.PAUSED,
    (_S.PAUSED, _E.RESUME): _S.PROCESSING,
    (_S.PROCESSING, _E.SEEK): _S.SEEKING,
    (_S.PAUSED, _E.SEEK): _S.SEEKING,
    (_S.SEEKING, _E.SEEK): _S.SEEKING,
    (_S.SEEKING, _E.PAUSE): _S.PAUSED,
    (_S.SEEKING, _E.SOUGHT): _S.PROCESSING,
    (_S.INITIALIZING, _E.HAND_OFF): _S.HANDING_OFF,
    (_S.WAITING_ON_PARENTS, _E.HAND_OFF): _S.HANDING_OFF,
    (_S.PROCESSING, _E.HAND_OFF): _S.HANDING_OFF,
    (_S.PAUSED, _E.HAND_OFF): _S.HANDING_OFF,
    (_S.SEEKING, _E.HAND_OFF): _S.HANDING_OFF,
    **{(state, _E.STOP): _S.SHUTTING_DOWN for state in _STOPPABLE},
    (_S.SHUTTING_DOWN, _E.STOP): _S.SHUTTING_DOWN,
    (_S.SHUTTING_DOWN, _E.FINISHED): _S.COMPLETE,
}


class ShardLife:
    """One shard consumer's state; `move` follows the table and raises `AssertionError` where it has no entry."""

    __slots__ = ("reason", "state")

    def __init__(self) -> None:
        self.state = ShardState.WAITING_ON_PARENTS
        self.reason: StopReason | None = None

    def may(self, event: ShardEvent) -> bool:
        """Say whether `event` has an entry in the present state."""
        return (self.state, event) in TRANSITIONS

    def move(self, event: ShardEvent) -> ShardState:
        """Follow the table and return the new state."""
        assert self.may(event), f"no transition for {event} in {self.state}"
        self.state = TRANSITIONS[self.state, event]
        return self.state

    def stop(self, reason: StopReason) -> None:
        """Begin to shut down for `reason`, or replace a weaker reason; nothing happens once complete."""
        if self.state is ShardState.COMPLETE:
            return
        if self.reason is None or reason > self.reason:
            self.reason = reason
        self.move(ShardEvent.STOP)

    def __repr__(self) -> str:
        return f"ShardLife({self.state.value}{'' if self.reason is None else ', ' + self.reason.name})"
