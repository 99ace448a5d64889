"""The state table over any `LeaseStore`, and one of its items as the owner under one fencing token sees it.

`StateTable` is the `StateStore` of every door: DynamoDB by the AWS adapter, the tables of `shardline.local`, and those
of the simulator, whose faults therefore hit it. `FencedState` is how a lease's owner keeps one item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common.errors import Ambiguous, ProtocolViolation, Superseded
from shardline.common.ports.lease_store import Key, Update
from shardline.common.ports.state_store import StatePage, StateStore, StateWritten
from shardline.common.state_items import STATE_KEY, delete_of, read_item, require_item, write_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.ports.lease_store import Item, LeaseStore
    from shardline.common.ports.state_store import StateItem, StateKey

__all__ = ["FencedState", "StateTable"]


class StateTable(StateStore):
    """The state of an application in `table`, which must exist (`shardline.consumer.open_state` makes it)."""

    def __init__(self, store: LeaseStore, table: str) -> None:
        self.table = table
        self._store = store

    async def get(self, key: StateKey, *, timeout_s: float) -> StateItem | None:
        """See `StateStore`."""
        item = await self._store.get(self.table, Key(STATE_KEY, key.text), consistent=True, timeout_s=timeout_s)
        return require_item(item)

    async def write(
        self, key: StateKey, update: Update, *, expect: StateItem | None, token: int, timeout_s: float
    ) -> StateWritten:
        """See `StateStore`."""
        result = await self._store.write(write_of(self.table, key, update, expect, token), timeout_s=timeout_s)
        return StateWritten(result.applied, require_item(result.item))

    async def delete(self, item: StateItem, *, timeout_s: float) -> StateWritten:
        """See `StateStore`."""
        result = await self._store.write(delete_of(self.table, item), timeout_s=timeout_s)
        return StateWritten(result.applied, require_item(result.item))

    async def page(self, *, start: Item | None = None, timeout_s: float) -> StatePage:
        """See `StateStore`."""
        page = await self._store.scan_page(self.table, start=start, consistent=True, timeout_s=timeout_s)
        return StatePage([read_item(item) for item in page.items], page.next_start)

    def __repr__(self) -> str:
        return f"StateTable({self.table})"


class FencedState:
    """One item as the owner of a lease under `token` keeps it: `item` is what is known to stand (None: there is none).

    `claim` comes first: from then on no write of an earlier owner applies, so what it read is what stands. A change is
    a function from the item to what is missing of its goal, asked again whenever the item turns out to be another one
    (an answer was lost, an operator wrote): it must return None once the goal is reached.

    Not for several tasks at once. Cancelling a call leaves its outcome unknown; the next one reads before it writes.
    """

    def __init__(self, store: StateStore, key: StateKey, token: int, *, timeout_s: float = 3.0) -> None:
        self.key = key
        self.token = token
        self.item: StateItem | None = None
        self._store = store
        self._timeout_s = timeout_s
        self._known = False
        self._applied = False
        self._over = 0

    async def claim(
        self, begin: Callable[[StateItem | None], Update | None] = lambda _: None, *, over_token: int = 0
    ) -> StateItem:
        """Fence off every earlier owner and return the item, made where there was none.

        `begin` says what to write beside the token. Raises `Superseded` where the item has a higher token than ours,
        unless it is `over_token`: one that the caller knows to be of an earlier life of the lease's row. Raises
        `UnknownSchema`, and what the store raises; it may be called again after any of these.
        """
        self._over = over_token
        self._known = self._applied = False

        def take(item: StateItem | None) -> Update | None:
            # At least one write of this call applies: even an owner whose token is there already is then noticed.
            update = begin(item)
            return update if self._applied else update or Update()

        item = await self.change(take)
        assert item is not None, "a claim makes the item"
        self._over = 0
        return item

    async def look(self) -> StateItem | None:
        """Read the item anew; raises as `change` does."""
        self._known = False
        return await self.change(lambda _: None)

    async def change(self, missing: Callable[[StateItem | None], Update | None]) -> StateItem | None:
        """Write what is `missing` until nothing is; return the item as it then stands.

        Raises `Superseded` when another owner has claimed the item, and what the store raises (then it may be called
        again: whether the write was applied is found out first).
        """
        while True:
            if not self._known:
                self._see(await self._store.get(self.key, timeout_s=self._timeout_s))
            update = missing(self.item)
            if update is None:
                return self.item
            await self._write(update)

    async def _write(self, update: Update) -> None:
        self._known = False  # Until there is an answer; a cancelled call stays so.
        try:
            written = await self._store.write(
                self.key, update, expect=self.item, token=self.token, timeout_s=self._timeout_s
            )
        except Exception as error:
            self._known = not isinstance(error, Ambiguous | ProtocolViolation)
            raise
        self._applied = written.applied
        self._see(written.item)

    def _see(self, item: StateItem | None) -> None:
        if item is not None and item.token > self.token and item.token != self._over:
            raise Superseded(self.key.text, item.token)
        self.item = item
        self._known = True

    def __repr__(self) -> str:
        return f"FencedState({self.key.text}, token {self.token})"
