"""Parked keys as fields of an item: each goal is reached by what is said to be missing, whatever stood there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.ports.state_store import Quarantined, StateItem
from shardline.common.records import Position
from shardline.common.state_items import read_item
from shardline.consumer.parked_keys import (
    ParkedKey,
    Place,
    following,
    inheriting,
    keys_of,
    parking,
    releasing,
    replaying,
    state_key,
)

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Update, Value

ITEM = StateItem(key=state_key("shard-2"), token=1, version=1)
PLACES = st.builds(
    Place, st.sampled_from(["shard-1", "shard-2"]), st.builds(Position, st.integers(0, 9), st.integers(0, 2))
)
STEPS = st.sampled_from(["park", "follow", "replay", "release", "let go"])
KEYS = st.sampled_from(["a", "b", "\ud800", "ü" * 256])


def parked(partition_key: str, place: Place) -> ParkedKey:
    """Return a key parked at a place."""
    return ParkedKey(
        stream="orders",
        partition_key=partition_key,
        lease="shard-2",
        first=place,
        last=place,
        parked_at_s=1.5,
        reason="ValueError",
        attempts=2,
    )


def after(item: StateItem, update: Update | None) -> StateItem:
    """Return the item after an update."""
    fields: dict[str, Value] = dict(item.fields)
    if update is not None:
        fields.update(update.set)
        for name in update.remove:
            del fields[name]
    return StateItem(key=item.key, token=item.token, version=item.version + 1, fields=fields)


@given(
    st.lists(st.tuples(st.sampled_from(["park", "follow", "replay", "release", "let go"]), KEYS, PLACES), max_size=12)
)
def test_a_goal_is_reached_by_what_is_missing(steps: list[tuple[str, str, Place]]) -> None:
    """After the change nothing is missing, so no writer turns in circles; and a key is released behind its last."""
    item = after(ITEM, inheriting(None, "orders", ()))
    for what, name, place in steps:
        key = parked(name, place)

        def missing(now: StateItem, what: str = what, key: ParkedKey = key, place: Place = place) -> Update | None:
            if what == "park":
                return parking(now, key)
            if what == "follow":
                return following(now, key.partition_key, place)
            if what == "replay":
                return replaying(now, key, place)
            return releasing(now, key, {place} if what == "release" else None)

        before = keys_of(item).get(name)
        item = after(item, missing(item))
        assert missing(item) is None
        now = keys_of(item).get(name)
        if what == "park":
            assert now is not None
            assert now.takes(place)
        if before is not None and now is None:
            assert what == "let go" or before.last == place
        if before is not None and now is not None and before.last.shard_id == now.last.shard_id:
            assert now.last.position >= before.last.position


@given(PLACES, PLACES, st.booleans())
def test_a_child_inherits_from_the_first_to_the_last(one: Place, other: Place, both: bool) -> None:
    """A key that both parents of a merge had is parked from its first record on, up to its last; once begun, kept."""
    left = after(ITEM, parking(ITEM, parked("a", one)))
    left = after(left, replaying(left, parked("a", one), one))
    right = after(ITEM, parking(ITEM, parked("a" if both else "b", other)))
    child = after(ITEM, inheriting(None, "orders", (left, right)))
    found = keys_of(child)
    assert set(found) == ({"a"} if both else {"a", "b"})
    if both:
        assert found["a"].first.position == min(one, other, key=lambda place: place.position).position
        assert found["a"].last.position == max(one, other, key=lambda place: place.position).position
    assert found["a"].replayed == {one.shard_id: one.position}
    assert inheriting(child, "orders", (left,)) is None


@given(PLACES)
def test_a_place_is_read_as_it_was_written(place: Place) -> None:
    """Its text gives the same place."""
    assert Place.parse(str(place)) == place


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stateKey": 7}, "stateKey is not text"),
        ({"schema": True}, "its schema is unknown"),
        ({"kind": "window"}, "kind is not the key's"),
        ({"kind": None}, "kind is not the key's"),
        ({"token": "1"}, "token or version is no number"),
        ({"version": -1}, "token or version is no number"),
    ],
)
def test_an_item_that_cannot_be_understood_is_quarantined(changes: dict[str, Value], reason: str) -> None:
    """One wrong attribute of the fence is enough; nothing raises (F39)."""
    item: dict[str, Value] = {
        "stateKey": "parked-keys/shard-1",
        "kind": "parked-keys",
        "schema": 1,
        "token": 1,
        "version": 1,
    }
    assert isinstance(read_item(item), StateItem)
    read = read_item({**item, **changes})
    assert isinstance(read, Quarantined)
    assert read.reason == reason
