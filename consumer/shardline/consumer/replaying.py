"""`ParkedKeys`: lists an application's parked keys, replays their records in order, and releases them.

    async with open_parked_keys("billing", FileLot("parked.jsonl")) as parked:
        for key in await parked.keys():
            await parked.replay(key.stream, key.partition_key, bill)

A replay goes through a handler, not back into the stream, where the records would come after newer ones of their key.
The key stays parked meanwhile, so that what the workers read of it still joins the lot.

Invariants: a key is released under a lease only while the last record that the table knows of it there has been
replayed, in one conditional write, so none is left behind in the lot; a replay that was cut short goes on where it was.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shardline.common.backoff import Backoff
from shardline.common.clock import AsyncioRuntime
from shardline.common.errors import Ambiguous, InvalidInput, NotFound, ProtocolViolation, ServiceError
from shardline.common.ports.state_store import StateItem
from shardline.common.state import StateTable
from shardline.common.state_items import state_table_name
from shardline.consumer.handler import FullRecord, Origin
from shardline.consumer.parked_keys import PARKED_KEYS, ParkedKey, Place, keys_of, releasing, replaying, state_key
from shardline.consumer.policy import OpenableLot
from shardline.consumer.spec import HandlerSpec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Container

    from shardline.common.codec import Codec
    from shardline.common.ports.lease_store import Item, Update
    from shardline.common.ports.runtime import Runtime
    from shardline.common.ports.services import Services
    from shardline.common.ports.state_store import StateStore
    from shardline.common.records import Position
    from shardline.consumer.handler import Handler, Record
    from shardline.consumer.policy import Parked, ReadableLot

__all__ = ["ParkedKeys", "Replayed", "open_parked_keys"]

_BACKOFF: Final = Backoff(first_s=0.1, max_s=5.0, floor=0.5)
_TRIES_MAX: Final = 20
_POLL_S: Final = 1.0
_WAIT_S_MAX: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay did: `records` went through the handler; `released` says whether the key is parked nowhere now.

    `missing` are the places that the table knows and the lot has not shown: their workers have still to put them there,
    or the lot (one of several?) was not given, or has lost them.
    """

    records: int
    released: bool
    missing: tuple[Place, ...] = ()


class ParkedKeys:
    """The parked keys of an application, for whoever has put right what they failed on; see `open_parked_keys`.

    One replay of a key at a time.
    """

    def __init__(self, state: StateStore, lots: tuple[ReadableLot, ...], runtime: Runtime, timeout_s: float) -> None:
        self._state = state
        self._lots = lots
        self._runtime = runtime
        self._timeout_s = timeout_s

    async def keys(self, stream: str | None = None) -> list[ParkedKey]:
        """Return what is parked, once for each lease that it is parked under; [] where nothing ever was.

        Raises what the service says.
        """
        try:
            items = await self._items()
        except NotFound:
            return []
        found = [key for item in items for key in keys_of(item).values()]
        return [key for key in found if stream in (None, key.stream)]

    async def replay(
        self,
        stream: str,
        partition_key: str,
        handler: Handler,
        *,
        codec: Codec | None = None,
        wait_s: float = 10.0,
    ) -> Replayed:
        """Hand a key's parked records to `handler`, in order and one at a time, then release the key.

        `handler` is one of single records, as a worker's: asynchronous or blocking, with `codec` of decoded values.
        Its records have the token 0. A record that is known to have joined the lot and is not seen there is waited for,
        `wait_s` seconds after the last one that was.

        What `handler` raises is raised here: the key stays parked, what was done is noted, and the next replay goes on
        behind it (a record may come twice where noting failed). Raises `InvalidInput` without a lot, and what lots and
        services say. A cancelled replay stays where it is.
        """
        if not self._lots:
            raise InvalidInput("lots", "given: where the records are")
        if not 0 <= wait_s <= _WAIT_S_MAX:
            raise InvalidInput("wait_s", f"from 0 to {_WAIT_S_MAX:g} seconds", str(wait_s))
        spec = HandlerSpec.of(handler, batch=False, codec=codec)
        records, until = 0, self._runtime.monotonic() + wait_s
        while True:
            held = await self._held(stream, partition_key)
            if not held:
                return Replayed(records=records, released=True)
            parked = await self._parked(held)
            done = await self._replay(held, parked, spec)
            records += done
            missing = [key.last for key in held if not await self._release(key, parked)]
            if done:
                until = self._runtime.monotonic() + wait_s
            if missing and self._runtime.monotonic() >= until:
                return Replayed(records=records, released=False, missing=tuple(missing))
            if missing:
                await asyncio.sleep(_POLL_S)

    async def release(self, stream: str, partition_key: str) -> int:
        """Release a key as it is; return under how many leases it was parked.

        What of it is in the lot stays there, and newer records overtake it.
        """
        held = await self._held(stream, partition_key)
        for key in held:
            await self._release(key, None)
        return len(held)

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _held(self, stream: str, partition_key: str) -> list[ParkedKey]:
        return [key for key in await self.keys(stream) if key.partition_key == partition_key]

    async def _parked(self, held: list[ParkedKey]) -> dict[Place, Parked]:
        """Return the key's records that the lots have, each once, in order: sequence numbers grow down the lineage."""
        since = min(key.first.position for key in held)
        found: dict[Place, Parked] = {}
        for lot in self._lots:
            async for parked in lot.records(held[0].stream, held[0].partition_key):
                place = _place(parked)
                if place.position >= since:
                    found[place] = parked
        return dict(sorted(found.items(), key=lambda one: (one[0].position, one[0].shard_id)))

    async def _replay(self, held: list[ParkedKey], parked: dict[Place, Parked], spec: HandlerSpec) -> int:
        """Hand over what no replay has come to yet; return how many records that were."""
        done: dict[str, Position] = {}
        for key in held:
            for shard_id, position in key.replayed.items():
                done[shard_id] = max(position, done.get(shard_id, position))
        count = 0
        for place, one in parked.items():
            if place.shard_id in done and done[place.shard_id] >= place.position:
                continue
            await self._handle(spec, _record(one, place))
            count += 1
            for key in held:
                await self._change(key.lease, lambda item, key=key, place=place: replaying(item, key, place))  # type: ignore[misc]  # Defaults bind the loop's values.
        return count

    async def _handle(self, spec: HandlerSpec, record: Record) -> None:
        if spec.blocking:
            await self._runtime.run_blocking(spec.function, record)
        else:
            await spec.call(record)

    async def _release(self, key: ParkedKey, replayed: Container[Place] | None) -> bool:
        """Release a key under one lease; False if a record is known there that was not replayed."""
        item = await self._change(key.lease, lambda item: releasing(item, key, replayed))
        return item is None or key.partition_key not in keys_of(item)

    async def _change(self, lease: str, missing: Callable[[StateItem | None], Update | None]) -> StateItem | None:
        """Make a change of a lease's item beside its owner, under the owner's own token; return the item then."""
        key = state_key(lease)
        attempts = 0
        while True:
            attempts += 1
            try:
                item = await self._state.get(key, timeout_s=self._timeout_s)
                update = missing(item)
                if update is None or item is None:
                    return item
                await self._state.write(key, update, expect=item, token=item.token, timeout_s=self._timeout_s)
            except (ServiceError, ProtocolViolation) as error:
                if attempts >= _TRIES_MAX or not _is_retryable(error):
                    raise
                await asyncio.sleep(_BACKOFF.delay_s(attempts, self._runtime.random))

    async def _items(self) -> list[StateItem]:
        found: list[StateItem] = []
        start: Item | None = None
        while True:
            page = await self._state.page(start=start, timeout_s=self._timeout_s)
            found += [item for item in page.items if isinstance(item, StateItem) and item.key.kind == PARKED_KEYS]
            start = page.next_start
            if start is None:
                return found

    def __repr__(self) -> str:
        return f"ParkedKeys({self._state!r}, {len(self._lots)} lots)"


def _is_retryable(error: ServiceError | ProtocolViolation) -> bool:
    return isinstance(error, ProtocolViolation | Ambiguous) or error.retryable


def _place(parked: Parked) -> Place:
    return Place.parse(f"{parked.shard_id}/{parked.sequence_number}/{parked.sub_sequence_number}")


def _record(parked: Parked, place: Place) -> Record:
    origin = Origin(
        stream=parked.stream,
        shard_id=parked.shard_id,
        sequence_number=parked.sequence_number,
        number=place.position.sequence_number,
        arrival_time_s=parked.arrival_time_s,
        token=0,
    )
    sub = place.position.sub_sequence_number
    misplaced = False
    return FullRecord(
        origin, parked.data, parked.partition_key, parked.explicit_hash_key, sub, misplaced, parked.headers
    )


@asynccontextmanager
async def open_parked_keys(
    application: str,
    *lots: ReadableLot,
    connection: Services | None = None,
    runtime: Runtime | None = None,
    timeout_s: float = 10.0,
) -> AsyncGenerator[ParkedKeys]:
    """Open the parked keys of `application`; `lots` are all those that its workers' policies park into.

    Needs none for listing and releasing. `connection` None is the environment's. No table is made.
    """
    if connection is None:
        from shardline.common.connection import Connection  # noqa: PLC0415 - only where no connection was given.

        connection = Connection()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(connection.lease_store())
        state = StateTable(store, state_table_name(application))
        opened = tuple([await _opened(stack, lot) for lot in lots])
        yield ParkedKeys(state, opened, runtime or AsyncioRuntime(), timeout_s)


async def _opened(stack: AsyncExitStack, lot: ReadableLot) -> ReadableLot:
    return await stack.enter_async_context(lot.opened()) if isinstance(lot, OpenableLot) else lot
