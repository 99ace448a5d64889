"""The contract of `LeaseStore`: every operation, against the in-memory tables and against moto over HTTP.

A difference between the two would mean that the simulator judges other conditions than DynamoDB does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import AlreadyExists, InUse, InvalidInput, NotFound, Rejected
from shardline.common.ports.lease_store import (
    ALWAYS,
    Absent,
    Delete,
    Equals,
    Exists,
    IndexSpec,
    Key,
    Put,
    TableSpec,
    Update,
    UpdateItem,
    WriteResult,
)

from tests.local.stores import OPENERS, Doors, run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardline.common.ports.lease_store import Condition, Item, LeaseStore, Page, Value, Write

T = "leases"
SPEC = TableSpec(name=T, key_attribute="leaseKey")
INDEX = IndexSpec("LeaseOwnerToLeaseKeyIndex", "leaseOwner", "leaseKey")
S = 20.0
LEASE: Mapping[str, Value] = {"leaseKey": "shard-1", "leaseOwner": "worker-1", "leaseCounter": 3}

pytestmark = pytest.mark.parametrize("door", list(OPENERS))


class Steps:
    """The store's calls with the table and the time-out filled in."""

    def __init__(self, store: LeaseStore) -> None:
        self.store = store

    @classmethod
    async def on_a_table(cls, doors: Doors) -> Steps:
        """Make the table and return the steps on it."""
        await doors.store.create_table(SPEC, timeout_s=S)
        return cls(doors.store)

    async def put(self, item: Mapping[str, Value], condition: Condition = ALWAYS) -> WriteResult:
        """Put an item."""
        return await self.store.write(Put(T, item, condition), timeout_s=S)

    async def update(self, key: str, update: Update, condition: Condition = ALWAYS) -> WriteResult:
        """Update an item."""
        return await self.store.write(UpdateItem(T, Key("leaseKey", key), update, condition), timeout_s=S)

    async def delete(self, key: str, condition: Condition = ALWAYS) -> WriteResult:
        """Delete an item."""
        return await self.store.write(Delete(T, Key("leaseKey", key), condition), timeout_s=S)

    async def get(self, key: str) -> Item | None:
        """Read an item consistently."""
        return await self.store.get(T, Key("leaseKey", key), consistent=True, timeout_s=S)

    async def scan(self, segment: int = 0, total: int = 1) -> list[str]:
        """Return the keys of all pages of a segment."""
        keys: list[str] = []
        page: Page | None = None
        while page is None or page.next_start is not None:
            start = page.next_start if page is not None else None
            page = await self.store.scan_page(
                T, start=start, segment=segment, total_segments=total, consistent=True, timeout_s=S
            )
            keys += [str(i["leaseKey"]) for i in page.items]
        return keys


def test_a_put_is_read_back_with_its_types(door: str) -> None:
    """Strings, whole and broken numbers, bytes, sets, lists, maps, booleans and nulls come back as they went."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        item: dict[str, Value] = {
            "leaseKey": "k",
            "text": "ü\0",
            "empty": "",
            "whole": 10**20,
            "negative": -7,
            "broken": 0.25,
            "bytes": b"\x00\xff",
            "set": frozenset({"a", "b"}),
            "list": ["x", 1, [True, None]],
            "map": {"a": {"b": "c"}},
            "yes": True,
            "no": False,
            "null": None,
        }
        result = await s.put(item)
        assert result.applied
        got = await s.get("k")
        assert got == item
        assert got is not None
        assert (type(got["whole"]), type(got["broken"]), type(got["yes"])) == (int, float, bool)

    run(door, story)


def test_whole_floats_are_whole_numbers_afterwards(door: str) -> None:
    """A number has no Python type in the table: 12.0 is read as 12."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        await s.put({"leaseKey": "k", "throughput": 12.0})
        got = await s.get("k")
        assert got is not None
        assert str(got["throughput"]) == "12"

    run(door, story)


def test_a_missing_item_is_none(door: str) -> None:
    """Get of an unknown key returns None."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        assert await s.get("nowhere") is None

    run(door, story)


def test_put_if_absent_applies_once(door: str) -> None:
    """The second creator is told that the condition failed and what stands there."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        first = await s.put(LEASE, (Absent("leaseKey"),))
        second = await s.put({**LEASE, "leaseOwner": "worker-2"}, (Absent("leaseKey"),))
        assert (first.applied, first.item) == (True, LEASE)
        assert (second.applied, second.item) == (False, LEASE)

    run(door, story)


def test_a_put_replaces_the_whole_item(door: str) -> None:
    """Attributes that the new item does not name are gone."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        await s.put(LEASE)
        await s.put({"leaseKey": "shard-1", "other": "x"})
        assert await s.get("shard-1") == {"leaseKey": "shard-1", "other": "x"}

    run(door, story)


def test_an_update_keeps_what_it_does_not_name(door: str) -> None:
    """Set, remove and add touch single attributes; unknown ones survive, and the whole new item is returned."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        await s.put({**LEASE, "foreign": [1, {"x": b"y"}], "checkpointOwner": "worker-0"})
        update = Update(
            set={"leaseOwner": "worker-2", "checkpoint": "TRIM_HORIZON"},
            remove=frozenset({"checkpointOwner", "never there"}),
            add={"leaseCounter": 1, "ownerSwitchesSinceCheckpoint": 1},
        )
        result = await s.update("shard-1", update)
        expected = {
            "leaseKey": "shard-1",
            "leaseOwner": "worker-2",
            "leaseCounter": 4,
            "checkpoint": "TRIM_HORIZON",
            "ownerSwitchesSinceCheckpoint": 1,
            "foreign": [1, {"x": b"y"}],
        }
        assert (result.applied, result.item) == (True, expected)
        assert await s.get("shard-1") == expected

    run(door, story)


def test_an_update_of_a_missing_item_makes_it(door: str) -> None:
    """Without a condition an update creates the item, with its key."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        result = await s.update("new", Update(set={"a": "b"}, add={"n": 2}))
        assert (result.applied, result.item) == (True, {"leaseKey": "new", "a": "b", "n": 2})

    run(door, story)


def test_an_update_on_a_condition_does_not_make_the_item(door: str) -> None:
    """With the condition that an attribute equals or exists, a missing item stays missing; there is no item to give."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        conditions: list[Condition] = [(Equals("leaseCounter", 1),), (Exists("leaseKey"),)]
        for condition in conditions:
            result = await s.update("new", Update(set={"a": "b"}), condition)
            assert (result.applied, result.item) == (False, None)
        assert await s.get("new") is None

    run(door, story)


CONDITIONS: list[tuple[Condition, bool]] = [
    ((), True),
    ((Equals("leaseCounter", 3),), True),
    ((Equals("leaseCounter", 4),), False),
    ((Equals("leaseCounter", "3"),), False),
    ((Equals("leaseOwner", "worker-1"),), True),
    ((Equals("leaseOwner", ""),), False),
    ((Equals("missing", "x"),), False),
    ((Absent("checkpointOwner"),), True),
    ((Absent("leaseOwner"),), False),
    ((Exists("leaseOwner"),), True),
    ((Exists("checkpointOwner"),), False),
    ((Equals("leaseCounter", 3), Absent("checkpointOwner")), True),
    ((Equals("leaseCounter", 3), Exists("checkpointOwner")), False),
    ((Equals("leaseCounter", 3), Equals("leaseOwner", "worker-1"), Absent("checkpointOwner")), True),
]


def test_conditions_are_judged_alike(door: str) -> None:
    """Each clause, and all together, hold or fail as DynamoDB says; a failure shows the item and changes nothing."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        for condition, holds in CONDITIONS:
            await s.put(LEASE)
            result = await s.update("shard-1", Update(set={"leaseCounter": 9}), condition)
            after = {**LEASE, "leaseCounter": 9} if holds else LEASE
            assert (condition, result.applied, result.item) == (condition, holds, after)
            assert await s.get("shard-1") == after

    run(door, story)


def test_a_delete_may_be_conditional(door: str) -> None:
    """A delete on a wrong counter keeps and shows the item; on the right one it goes; of a missing item it applies."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        await s.put(LEASE)
        kept = await s.delete("shard-1", (Equals("leaseCounter", 2),))
        assert (kept.applied, kept.item) == (False, LEASE)
        gone = await s.delete("shard-1", (Equals("leaseCounter", 3),))
        assert (gone.applied, gone.item) == (True, None)
        assert await s.get("shard-1") is None
        again = await s.delete("shard-1")
        assert (again.applied, again.item) == (True, None)

    run(door, story)


def test_a_transaction_is_all_or_nothing(door: str) -> None:
    """When one condition of a transaction fails nothing is written; otherwise everything is."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        await s.put(LEASE)
        await s.put({"leaseKey": "old"})
        key = Key("leaseKey", "shard-1")
        writes: list[Write] = [
            Put(T, {"leaseKey": "new"}, (Absent("leaseKey"),)),
            UpdateItem(
                T, key, Update(set={"leaseOwner": "worker-2"}, add={"leaseCounter": 1}), (Equals("leaseCounter", 3),)
            ),
            Delete(T, Key("leaseKey", "old"), (Exists("leaseKey"),)),
        ]
        assert not await doors.store.transact(
            [*writes[:2], Delete(T, Key("leaseKey", "old"), (Exists("x"),))], timeout_s=S
        )
        assert (await s.get("new"), await s.get("shard-1")) == (None, LEASE)
        assert await doors.store.transact(writes, timeout_s=S)
        assert await s.get("shard-1") == {"leaseKey": "shard-1", "leaseOwner": "worker-2", "leaseCounter": 4}
        assert (await s.get("new"), await s.get("old")) == ({"leaseKey": "new"}, None)

    run(door, story)


def test_wrong_transactions_are_rejected(door: str) -> None:
    """More than a hundred writes, or two to one item, are a wrong request."""

    async def story(doors: Doors) -> None:
        await Steps.on_a_table(doors)
        twice: list[Write] = [Put(T, {"leaseKey": "k"}), Delete(T, Key("leaseKey", "k"))]
        for writes in (twice, [Put(T, {"leaseKey": str(i)}) for i in range(101)]):
            with pytest.raises((Rejected, InvalidInput)):
                await doors.store.transact(writes, timeout_s=S)

    run(door, story)


def test_scans_give_every_item_once_over_pages_and_segments(door: str) -> None:
    """Pages of 1 MiB and parallel segments together hold each item once."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        keys = {f"shard-{i:03d}" for i in range(40)}
        for key in sorted(keys):
            await s.put({"leaseKey": key, "weight": bytes(60_000)})
        whole = await s.scan()
        assert (sorted(whole), len(whole)) == (sorted(keys), 40)
        first = await doors.store.scan_page(T, consistent=True, timeout_s=S)
        assert first.next_start is not None
        assert len(first.items) < 40
        parts = [await s.scan(segment, 4) for segment in range(4)]
        assert sorted(key for part in parts for key in part) == sorted(keys)

    run(door, story)


def test_an_index_holds_the_keys_of_items_that_have_both_attributes(door: str) -> None:
    """An index gives keys only, of one owner, and follows every write; items without the attribute are not in it."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        await s.put({"leaseKey": "before", "leaseOwner": "a", "leaseCounter": 1})
        await doors.store.create_index(T, INDEX, timeout_s=S)
        description = await doors.store.describe_table(T, timeout_s=S)
        assert description is not None
        assert [i.name for i in description.indexes] == [INDEX.name]
        await s.put({"leaseKey": "x", "leaseOwner": "a", "leaseCounter": 1})
        await s.put({"leaseKey": "y", "leaseOwner": "b"})
        await s.put({"leaseKey": "z"})
        page = await doors.store.query_index(T, INDEX, "a", timeout_s=S)
        assert list(page.items) == [{"leaseKey": "before", "leaseOwner": "a"}, {"leaseKey": "x", "leaseOwner": "a"}]
        assert page.next_start is None
        await s.update("x", Update(set={"leaseOwner": "b"}))
        await s.update("y", Update(remove=frozenset({"leaseOwner"})))
        page = await doors.store.query_index(T, INDEX, "b", timeout_s=S)
        assert [i["leaseKey"] for i in page.items] == ["x"]

    run(door, story)


def test_tables_are_described_and_made_once(door: str) -> None:
    """A table shows status, key and capacity; a second one of the name is refused, as is an index twice."""

    async def story(doors: Doors) -> None:
        assert await doors.store.describe_table(T, timeout_s=S) is None
        spec = TableSpec(
            name=T,
            key_attribute="leaseKey",
            read_capacity=5,
            write_capacity=6,
            deletion_protection=True,
            tags={"a": "b"},
        )
        await doors.store.create_table(spec, timeout_s=S)
        found = await doors.store.describe_table(T, timeout_s=S)
        assert found is not None
        assert (found.name, found.status, found.key_attributes) == (T, "ACTIVE", ("leaseKey",))
        assert (found.read_capacity, found.write_capacity, found.deletion_protection) == (5, 6, True)
        assert found.arn.endswith(f":table/{T}")
        with pytest.raises((AlreadyExists, InUse)):
            await doors.store.create_table(spec, timeout_s=S)
        await doors.store.create_index(T, INDEX, timeout_s=S)
        with pytest.raises(AlreadyExists):
            await doors.store.create_index(T, INDEX, timeout_s=S)
        await doors.store.enable_point_in_time_recovery(T, timeout_s=S)
        with pytest.raises(Rejected):
            await doors.store.delete_table(T, timeout_s=S)

    run(door, story)


def test_an_on_demand_table_has_no_capacity(door: str) -> None:
    """Without capacities a table is on demand, and can be deleted."""

    async def story(doors: Doors) -> None:
        await Steps.on_a_table(doors)
        found = await doors.store.describe_table(T, timeout_s=S)
        assert found is not None
        assert (found.read_capacity, found.write_capacity, found.deletion_protection) == (None, None, False)
        await doors.store.delete_table(T, timeout_s=S)
        assert await doors.store.describe_table(T, timeout_s=S) is None

    run(door, story)


def test_a_missing_table_is_not_found(door: str) -> None:
    """Every operation on a table that is not there raises NotFound."""

    async def story(doors: Doors) -> None:
        store, key = doors.store, Key("leaseKey", "k")
        calls = [
            store.get(T, key, consistent=False, timeout_s=S),
            store.write(Put(T, LEASE), timeout_s=S),
            store.write(UpdateItem(T, key, Update(set={"a": 1})), timeout_s=S),
            store.write(Delete(T, key), timeout_s=S),
            store.transact([Put(T, LEASE)], timeout_s=S),
            store.scan_page(T, timeout_s=S),
            store.query_index(T, INDEX, "a", timeout_s=S),
            store.create_index(T, INDEX, timeout_s=S),
            store.enable_point_in_time_recovery(T, timeout_s=S),
            store.delete_table(T, timeout_s=S),
        ]
        for call in calls:
            with pytest.raises(NotFound):
                await call

    run(door, story)


def test_a_missing_index_is_not_found(door: str) -> None:
    """A query of an index that the table does not have raises NotFound."""

    async def story(doors: Doors) -> None:
        await Steps.on_a_table(doors)
        with pytest.raises(NotFound):
            await doors.store.query_index(T, INDEX, "a", timeout_s=S)

    run(door, story)


def test_another_key_schema_is_rejected(door: str) -> None:
    """A key attribute that is not the table's, and an item without the key, are wrong requests."""

    async def story(doors: Doors) -> None:
        store = (await Steps.on_a_table(doors)).store
        key = Key("otherKey", "k")
        calls = [
            store.get(T, key, consistent=True, timeout_s=S),
            store.write(Put(T, {"otherKey": "k"}), timeout_s=S),
            store.write(UpdateItem(T, key, Update(set={"a": 1})), timeout_s=S),
            store.write(Delete(T, key), timeout_s=S),
        ]
        for call in calls:
            with pytest.raises(Rejected):
                await call

    run(door, story)


def test_wrong_updates_are_rejected(door: str) -> None:
    """Adding to text and changing the key are wrong requests that change nothing."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        await s.put(LEASE)
        for update in (Update(add={"leaseOwner": 1}), Update(set={"leaseKey": "x"})):
            with pytest.raises(Rejected):
                await s.update("shard-1", update)
        assert await s.get("shard-1") == LEASE

    run(door, story)


def test_what_is_read_is_the_readers_own(door: str) -> None:
    """Changing a value that was read or written changes nothing in the table."""

    async def story(doors: Doors) -> None:
        s = await Steps.on_a_table(doors)
        inner: list[Value] = [1]
        await s.put({"leaseKey": "k", "list": inner})
        inner.append(2)
        got = await s.get("k")
        assert got is not None
        mine = got["list"]
        assert isinstance(mine, list)
        mine.append(3)
        assert await s.get("k") == {"leaseKey": "k", "list": [1]}

    run(door, story)
