"""The calls that a lease's holder makes, where a lease stands with its holder, and how it can be lost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Delete, UpdateItem
    from shardline.common.records import Position
    from shardline.consumer.leases.row import Pending

__all__ = ["LEAVING", "HeldState", "Loss", "Op", "OpKind"]


class OpKind(Enum):
    """What a holder can ask of the table."""

    TAKE = auto()
    RENEW = auto()
    CHECKPOINT = auto()
    TRANSFER = auto()
    RELEASE = auto()
    DELETE = auto()
    READ = auto()


LEAVING = (OpKind.TRANSFER, OpKind.RELEASE, OpKind.DELETE)


class HeldState(Enum):
    """Where a lease stands with its holder."""

    ACQUIRING = auto()
    HELD = auto()
    LOST = auto()
    RELEASED = auto()


class Loss(Enum):
    """Why a lease is no longer held (or was never acquired)."""

    EXPIRED = "expired"
    TAKEN = "taken"
    DELETED = "deleted"
    MALFORMED = "malformed"
    RELEASED = "released"
    HUNG = "hung"


@dataclass(frozen=True, slots=True)
class Op:
    """One call to make: `write` is None for the consistent read; `position` is the checkpoint it stores."""

    kind: OpKind
    sent_at: float
    write: UpdateItem | Delete | None = None
    position: Position | None = None
    pending: Pending | None = None
