"""Opens an application's state table, made the first time that a feature needs it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shardline.common.clock import AsyncioRuntime
from shardline.common.errors import ServiceError
from shardline.common.plain_log import events_for
from shardline.common.state import StateTable
from shardline.common.state_items import STATE_KEY, state_table_name
from shardline.consumer.config import TableConfig
from shardline.consumer.driver.context import is_ambiguous, missing_permission
from shardline.consumer.driver.tables import Maker
from shardline.consumer.events import CallFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from shardline.common.events import Events, Listener
    from shardline.common.ports.lease_store import LeaseStore
    from shardline.common.ports.runtime import Runtime
    from shardline.common.ports.services import Services
    from shardline.common.ports.state_store import StateStore
    from shardline.consumer.driver.context import Caller

__all__ = ["make_state_table", "open_state"]


async def make_state_table(caller: Caller, store: LeaseStore, application: str, settings: TableConfig) -> StateTable:
    """Return the application's state table, made as the lease table is made if there is none.

    Raises `InvalidInput` for a name that DynamoDB would refuse, else as `Maker.ensure`.
    """
    settings = replace(settings, name=state_table_name(application))
    assert settings.name is not None
    await Maker(caller, store, settings, settings.name, STATE_KEY).ensure()
    return StateTable(store, settings.name)


@dataclass(frozen=True, slots=True)
class _Opener:
    runtime: Runtime
    events: Events

    def report(self, call: str, error: Exception, lease: str = "") -> None:
        code = error.code if isinstance(error, ServiceError) else type(error).__name__
        known, missing = not is_ambiguous(error), missing_permission(error)
        self.events.emit(CallFailed(call=call, lease=lease, error=code, known=known, missing=missing))


@asynccontextmanager
async def open_state(
    application: str,
    *,
    connection: Services | None = None,
    table: TableConfig | None = None,
    listeners: Iterable[Listener] = (),
    runtime: Runtime | None = None,
) -> AsyncGenerator[StateStore]:
    """Open the state of `application`: the table ``<application>-shardline``, made as `table` says if there is none.

    For programs that keep state beside their worker (windows), each item under the token of a lease: `FencedState`.
    `connection` None is the environment's. Raises `InvalidInput` for a table of another kind, and what the service
    says.
    """
    opener = _Opener(runtime or AsyncioRuntime(), events_for(listeners))
    if connection is None:
        from shardline.common.connection import Connection  # noqa: PLC0415 - only where no connection was given.

        connection = Connection()
    async with connection.lease_store() as store:
        yield await make_state_table(opener, store, application, table or TableConfig())
