"""`StateStore`: shardline's own durable state, which is not the KCL's, in a table of its own; items with a fence.

No private entity may enter the lease table, so parked keys, window states and the progress of replays stand beside it,
in ``<application>-shardline``. Each item says which kind it is, which schema it was written by, the fencing token of
the lease whose owner wrote it last, and how often it was written (its version).

Invariants: a write is conditional on version and token as they were read, so of two writers one fails and is shown the
item as it stands; a superseded owner finds a token above its own there, and stops. An item of an unknown schema is
never written. One process may reach an item by `FencedState` (`shardline.common.state`), which keeps these rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from shardline.common.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shardline.common.ports.lease_store import Item, Update, Value

__all__ = ["Quarantined", "StateItem", "StateKey", "StatePage", "StateStore", "StateWritten"]

_KIND: Final = re.compile(r"[a-z][a-z-]{0,63}")
_KEY_BYTES_MAX: Final = 2048  # DynamoDB, a partition key's length.


class StateKey(NamedTuple):
    """An item's key: its kind (``parked-keys``), and the name of what it belongs to; build it with `StateKey.of`."""

    kind: str
    name: str

    @classmethod
    def of(cls, kind: str, name: str) -> StateKey:
        """Return the key; raises `InvalidInput` for a kind that is not a-z and -, or a name that is empty or long."""
        if not _KIND.fullmatch(kind):
            raise InvalidInput("kind", "1 to 64 characters of a-z and -, beginning with a letter")
        key = cls(kind, name)
        if not name or len(key.text.encode()) > _KEY_BYTES_MAX:
            raise InvalidInput("name", f"text that makes a key of at most {_KEY_BYTES_MAX} bytes")
        return key

    @property
    def text(self) -> str:
        """The hash key's value: ``kind/name``."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateItem:
    """An item as it stands; `fields` are the attributes of its kind, `token` and `version` its fence."""

    key: StateKey
    token: int
    version: int
    fields: Mapping[str, Value] = field(default_factory=dict[str, "Value"], repr=False)


class Quarantined(NamedTuple):
    """An item of the state table that cannot be understood; it is reported and never written."""

    key: str
    reason: str


class StateWritten(NamedTuple):
    """Outcome of a write: `item` is the one after it if `applied`, else as it stands (None where there is none)."""

    applied: bool
    item: StateItem | None


class StatePage(NamedTuple):
    """One page of all items; `next_start` continues it, None ends it."""

    items: Sequence[StateItem | Quarantined]
    next_start: Item | None


class StateStore(Protocol):
    """The items of one application's state; reads are consistent, errors those of the ports (see the package).

    `NotFound` is raised where the table does not exist, `UnknownSchema` for an item that another version of shardline
    (or somebody else) wrote.
    """

    async def get(self, key: StateKey, *, timeout_s: float) -> StateItem | None:
        """Return the item or None."""
        ...

    async def write(
        self, key: StateKey, update: Update, *, expect: StateItem | None, token: int, timeout_s: float
    ) -> StateWritten:
        """Change the item under `token` if it stands as `expect` says (None: there is none); what is not named is kept.

        Raises `InvalidInput`, before anything is sent, for an item that would be larger than DynamoDB takes, or a field
        that the fence needs for itself.
        """
        ...

    async def delete(self, item: StateItem, *, timeout_s: float) -> StateWritten:
        """Delete the item if it still stands as it was read."""
        ...

    async def page(self, *, start: Item | None = None, timeout_s: float) -> StatePage:
        """Return one page of the items of every kind, consistent."""
        ...
