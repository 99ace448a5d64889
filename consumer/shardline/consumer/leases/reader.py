"""Reads a lease table again and again, as a leader and its deputy do every two seconds: what seldom changes is kept.

Between two looks counter, checkpoint and throughput of most rows have changed, and nothing else; parsing the rest anew
would be most of what a look costs a worker of a fleet with thousands of leases. Invariants: the answer is that of
`read_row`, item by item; rows that have left the table are forgotten; no item is kept, only parsed values.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Final

from shardline.common.errors import InvalidInput
from shardline.consumer.leases import row as names
from shardline.consumer.leases.row import LeaseRow, read_row, with_news

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.common.ports.lease_store import Item, Value
    from shardline.consumer.leases.row import Quarantined

__all__ = ["RowReader"]

_SELDOM: Final = (
    names.ENTITY_TYPE,
    names.OWNER,
    names.CHECKPOINT_OWNER,
    names.PARENTS,
    names.CHILDREN,
    names.HASH_START,
    names.HASH_END,
    names.STREAM_NAME,
    names.SHARD_ID,
    names.STREAM_MARK,
    names.PENDING,
    names.LATEST_PIN,
)
_NOTHING: Final = object()
"""An attribute that is not there; one that is NULL is another matter."""


class RowReader:
    """Remembers the rows of the last scan; `read` answers for a whole scan."""

    def __init__(self) -> None:
        self._known: dict[Value, tuple[tuple[object, ...], LeaseRow]] = {}

    def read(self, items: Iterable[Item]) -> list[LeaseRow | Quarantined]:
        """Return what the items of one whole scan are, those of other kinds left out, in their order."""
        known: dict[Value, tuple[tuple[object, ...], LeaseRow]] = {}
        found: list[LeaseRow | Quarantined] = []
        for item in items:
            key, seldom = item.get(names.LEASE_KEY), tuple(map(item.get, _SELDOM, repeat(_NOTHING)))
            before = self._known.get(key) if isinstance(key, str) else None
            row = _read_again(before[1], item) if before is not None and _same(before[0], seldom) else read_row(item)
            if isinstance(row, LeaseRow):
                known[row.key] = (seldom, row)
            if row is not None:
                found.append(row)
        self._known = known
        return found


def _same(before: tuple[object, ...], now: tuple[object, ...]) -> bool:
    """Say whether the values are the same and need no look; a prepared checkpoint has parts that are not among them.

    Equality of types matters too: to Python 1 is True, to DynamoDB it is not. Only the pin may be a number.
    """
    return before == now and now[-2] is _NOTHING and type(before[-1]) is type(now[-1])


def _read_again(before: LeaseRow, item: Item) -> LeaseRow | Quarantined:
    try:
        return with_news(before, item)
    except InvalidInput:
        found = read_row(item)
        assert found is not None, "a lease stays a lease while its entity type is the same"
        return found
