"""The contract of `StateStore`: the fence, against the in-memory tables and against moto over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import InvalidInput, NotFound, Superseded, UnknownSchema
from shardline.common.ports.lease_store import Put, TableSpec, Update
from shardline.common.ports.state_store import Quarantined, StateItem, StateKey, StateWritten
from shardline.common.state import FencedState, StateTable
from shardline.common.state_items import STATE_KEY

from tests.local.stores import OPENERS, Doors, run

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Value

T = "billing-shardline"
KEY = StateKey.of("window", "shardId-000000000000")
S = 20.0

pytestmark = pytest.mark.parametrize("door", list(OPENERS))


async def opened(doors: Doors) -> StateTable:
    """Make the table and return the state on it."""
    await doors.store.create_table(TableSpec(name=T, key_attribute=STATE_KEY), timeout_s=S)
    return StateTable(doors.store, T)


def owner(state: StateTable, token: int) -> FencedState:
    """Return the item as an owner with that token sees it."""
    return FencedState(state, KEY, token, timeout_s=S)


def test_an_item_is_read_back_with_its_fence(door: str) -> None:
    """Fields of every type come back, beside kind, token and a version that counts the writes."""

    async def story(doors: Doors) -> None:
        state = await opened(doors)
        fields: dict[str, Value] = {"text": "x", "count": 3, "bytes": b"\x00", "map": {"a": [1, None]}}
        assert await state.get(KEY, timeout_s=S) is None
        first = await state.write(KEY, Update(set=fields), expect=None, token=4, timeout_s=S)
        assert first == StateWritten(True, StateItem(key=KEY, token=4, version=1, fields=fields))
        second = await state.write(KEY, Update(remove=frozenset(fields)), expect=first.item, token=4, timeout_s=S)
        assert second == StateWritten(True, StateItem(key=KEY, token=4, version=2))
        assert await state.get(KEY, timeout_s=S) == second.item

    run(door, story)


def test_of_two_writers_one_fails_and_is_shown_the_item(door: str) -> None:
    """A write that expects what no longer stands changes nothing and returns the item as it is."""

    async def story(doors: Doors) -> None:
        state = await opened(doors)
        one = await state.write(KEY, Update(set={"n": 1}), expect=None, token=1, timeout_s=S)
        assert await state.write(KEY, Update(set={"n": 2}), expect=None, token=2, timeout_s=S) == StateWritten(
            False, one.item
        )
        two = await state.write(KEY, Update(set={"n": 3}), expect=one.item, token=1, timeout_s=S)
        assert await state.write(KEY, Update(set={"n": 4}), expect=one.item, token=1, timeout_s=S) == StateWritten(
            False, two.item
        )

    run(door, story)


def test_a_superseded_owner_cannot_write(door: str) -> None:
    """From its claim on, no write of an owner with a lower token applies, and that owner is told so."""

    async def story(doors: Doors) -> None:
        state = await opened(doors)
        old, new = owner(state, 5), owner(state, 9)
        await old.claim()
        await old.change(lambda item: None if item and item.fields else Update(set={"n": 1}))
        taken = await new.claim()
        assert (taken.token, dict(taken.fields)) == (9, {"n": 1})
        with pytest.raises(Superseded):
            await old.change(lambda item: None if item and item.fields["n"] == 2 else Update(set={"n": 2}))
        with pytest.raises(Superseded):
            await owner(state, 5).claim()
        assert await state.get(KEY, timeout_s=S) == new.item

    run(door, story)


def test_a_claim_of_nothing_fences_too(door: str) -> None:
    """Where there was no item a claim makes one, so that an earlier owner cannot make it later."""

    async def story(doors: Doors) -> None:
        state = await opened(doors)
        late = owner(state, 1)
        assert await late.change(lambda _: None) is None
        await owner(state, 2).claim()
        with pytest.raises(Superseded):
            await late.change(lambda item: None if item else Update(set={"n": 1}))

    run(door, story)


def test_a_token_of_an_earlier_life_of_the_row_is_taken_over_on_purpose(door: str) -> None:
    """Tokens begin anew with a lease row that was made again; who knows that names the token that it takes over."""

    async def story(doors: Doors) -> None:
        state = await opened(doors)
        await owner(state, 900).claim()
        again = owner(state, 2)
        with pytest.raises(Superseded):
            await again.claim(over_token=800)
        assert (await again.claim(over_token=900)).token == 2

    run(door, story)


def test_an_item_of_an_unknown_schema_is_left_alone(door: str) -> None:
    """What another version wrote is refused by read, write and claim, listed as quarantined, and stays as it is."""

    async def story(doors: Doors) -> None:
        state = await opened(doors)
        strange: dict[str, Value] = {STATE_KEY: KEY.text, "kind": "window", "schema": 2, "token": 1, "version": 1}
        await doors.store.write(Put(T, strange), timeout_s=S)
        with pytest.raises(UnknownSchema, match="left alone"):
            await state.get(KEY, timeout_s=S)
        with pytest.raises(UnknownSchema):
            await state.write(KEY, Update(set={"n": 1}), expect=None, token=1, timeout_s=S)
        with pytest.raises(UnknownSchema):
            await owner(state, 7).claim()
        (found,) = (await state.page(timeout_s=S)).items
        assert found == Quarantined(KEY.text, "its schema is unknown")

    run(door, story)


def test_a_delete_needs_the_item_as_read(door: str) -> None:
    """An item that was written since it was read stays; one that was not goes."""

    async def story(doors: Doors) -> None:
        state = await opened(doors)
        one = await owner(state, 1).claim()
        two = await state.write(KEY, Update(set={"n": 1}), expect=one, token=1, timeout_s=S)
        assert two.item is not None
        assert await state.delete(one, timeout_s=S) == StateWritten(False, two.item)
        assert await state.delete(two.item, timeout_s=S) == StateWritten(True, None)
        assert await state.get(KEY, timeout_s=S) is None

    run(door, story)


def test_what_cannot_be_stored_is_refused_before_it_is_sent(door: str) -> None:
    """An item above 400 KiB and a field of the fence's are the caller's mistakes; a missing table is the service's."""

    async def story(doors: Doors) -> None:
        with pytest.raises(NotFound):
            await StateTable(doors.store, T).get(KEY, timeout_s=S)
        state = await opened(doors)
        with pytest.raises(InvalidInput, match="at most 409600 bytes"):
            await state.write(KEY, Update(set={"big": b"x" * 409_600}), expect=None, token=1, timeout_s=S)
        with pytest.raises(InvalidInput, match="fence's, got token"):
            await state.write(KEY, Update(set={"token": 3}), expect=None, token=1, timeout_s=S)
        assert await state.get(KEY, timeout_s=S) is None

    run(door, story)
