"""The in-memory tables alone: types in conditions, stale reads, states in time, limits, the event log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import InvalidInput
from shardline.common.ports.lease_store import (
    Absent,
    Delete,
    Equals,
    Foreign,
    IndexSpec,
    Key,
    Put,
    TableSpec,
    Update,
    UpdateItem,
)
from shardline.local.state.events import ConditionFailed, ItemApplied, StateEvent
from shardline.local.state.refusal import Refusal
from shardline.local.tables.core import LeaseTables, TableOptions

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Value

T = "leases"
NOW = 1_700_000_000.0
SPEC = TableSpec(name=T, key_attribute="leaseKey")
INDEX = IndexSpec("by-owner", "leaseOwner", "leaseKey")


def made(**options: object) -> LeaseTables:
    tables = LeaseTables(TableOptions(**options))  # type: ignore[arg-type]  # The test's own keyword arguments.
    tables.create_table(SPEC, NOW)
    return tables


def put(tables: LeaseTables, key: str, now: float = NOW, **attributes: Value) -> None:
    tables.write(Put(T, {"leaseKey": key, **attributes}), now)


def keys(tables: LeaseTables, now: float, *, consistent: bool = False) -> list[str]:
    return sorted(str(i["leaseKey"]) for i in tables.scan_page(T, now, consistent=consistent).items)


def expect_refusal(code: str) -> pytest.RaisesExc[Refusal]:
    return pytest.RaisesExc(Refusal, check=lambda r: r.code == code)


def test_conditions_compare_types_first() -> None:
    """True is no 1 and "1" is no 1, as DynamoDB compares; Python and moto would say otherwise."""
    tables = made()
    put(tables, "k", flag=True, text="1")
    for name in ("flag", "text"):
        assert not tables.write(Delete(T, Key("leaseKey", "k"), (Equals(name, 1),)), NOW).applied


def test_a_stale_scan_shows_one_past_moment() -> None:
    """An eventually consistent scan shows the whole table as it stood that many seconds ago; a consistent one, now."""
    tables = made(scan_staleness_s=10)
    put(tables, "a", NOW)
    put(tables, "b", NOW + 5)
    tables.write(Delete(T, Key("leaseKey", "a")), NOW + 6)
    assert keys(tables, NOW + 9) == []
    assert keys(tables, NOW + 12) == ["a"]
    assert keys(tables, NOW + 15) == ["a", "b"]
    assert keys(tables, NOW + 16) == ["b"]
    assert keys(tables, NOW + 9, consistent=True) == ["b"]


def test_a_stale_index_and_a_stale_get_lag_alike() -> None:
    """The index and eventually consistent gets show the past, consistent gets do not."""
    tables = made(index_staleness_s=4, get_staleness_s=4)
    tables.create_index(T, INDEX, NOW)
    put(tables, "a", NOW, leaseOwner="x")
    tables.write(UpdateItem(T, Key("leaseKey", "a"), Update(set={"leaseOwner": "y"})), NOW + 10)
    late = NOW + 12
    assert [i["leaseKey"] for i in tables.query_index(T, INDEX, "x", late).items] == ["a"]
    assert tables.query_index(T, INDEX, "y", late).items == []
    assert [i["leaseKey"] for i in tables.query_index(T, INDEX, "y", late + 3).items] == ["a"]
    for consistent, owner in [(False, "x"), (True, "y")]:
        item = tables.get(T, Key("leaseKey", "a"), late, consistent=consistent)
        assert item is not None
        assert item["leaseOwner"] == owner


def test_the_past_is_kept_only_as_long_as_it_can_be_seen() -> None:
    """A row that is renewed for hours holds the versions of the last seconds only."""
    tables = made()
    for second in range(1000):
        put(tables, "a", NOW + second, leaseCounter=second)
    assert len(tables.tables[T]._rows["a"].versions) < 30


def test_tables_and_indexes_take_their_time() -> None:
    """A table is CREATING, an index CREATING under an UPDATING table, a deleted table DELETING, as long as set."""
    tables = LeaseTables(TableOptions(creating_s=5, index_creating_s=5, deleting_s=5))
    tables.create_table(SPEC, NOW)
    with expect_refusal("ResourceInUseException"):
        tables.create_table(SPEC, NOW + 1)
    with expect_refusal("ResourceNotFoundException"):
        put(tables, "a", NOW + 1)
    with expect_refusal("ResourceInUseException"):
        tables.create_index(T, INDEX, NOW + 1)
    statuses = [_status(tables, NOW + 1), _status(tables, NOW + 5)]
    tables.create_index(T, INDEX, NOW + 5)
    put(tables, "a", NOW + 6)
    with expect_refusal("ValidationException"):
        tables.query_index(T, INDEX, "x", NOW + 6)
    with expect_refusal("ResourceInUseException"):
        tables.delete_table(T, NOW + 6)
    statuses += [_status(tables, NOW + 6), _status(tables, NOW + 10)]
    tables.delete_table(T, NOW + 11)
    statuses += [_status(tables, NOW + 12), _status(tables, NOW + 16)]
    assert statuses == [
        "CREATING ",
        "ACTIVE ",
        "UPDATING by-owner CREATING",
        "ACTIVE by-owner ACTIVE",
        "DELETING by-owner ACTIVE",
        "",
    ]


def _status(tables: LeaseTables, now: float) -> str:
    found = tables.describe_table(T, now)
    if found is None:
        return ""
    return f"{found.status} " + " ".join(f"{i.name} {i.status}" for i in found.indexes)


def test_pages_can_be_made_short() -> None:
    """Scan and index follow pages of any size to the end, each item once."""
    tables = made(page_items_max=2)
    tables.create_index(T, INDEX, NOW)
    for i in range(5):
        put(tables, f"k{i}", leaseOwner="x")
    scanned: list[object] = []
    queried: list[object] = []
    page = tables.scan_page(T, NOW)
    while page.next_start:
        scanned += [i["leaseKey"] for i in page.items]
        page = tables.scan_page(T, NOW, start=page.next_start)
    scanned += [i["leaseKey"] for i in page.items]
    page = tables.query_index(T, INDEX, "x", NOW)
    while page.next_start:
        queried += [i["leaseKey"] for i in page.items]
        page = tables.query_index(T, INDEX, "x", NOW, page.next_start)
    queried += [i["leaseKey"] for i in page.items]
    assert sorted(map(str, scanned)) == queried == [f"k{i}" for i in range(5)]


@pytest.mark.parametrize(
    "item",
    [
        {"leaseKey": "k", "big": bytes(400 * 1024)},
        {"leaseKey": "k", "set": frozenset()},
        {"leaseKey": "k", "set": frozenset({1})},
        {"leaseKey": "k", "n": float("nan")},
        {"leaseKey": "k", "n": 10**39 + 1},
        {"leaseKey": "k", "n": object()},
        {"leaseKey": "k", "n": Foreign("NS")},
        {"leaseKey": "k", "leaseOwner": 7},
        {"leaseKey": "k", "leaseOwner": ""},
        {"leaseKey": ""},
        {"leaseKey": 1},
        {},
    ],
)
def test_items_that_dynamodb_refuses_are_refused(item: dict[str, Value]) -> None:
    """Too large, an empty set, a number out of range, a foreign type, a wrong key or index key."""
    tables = made()
    tables.create_index(T, INDEX, NOW)
    with expect_refusal("ValidationException"):
        tables.write(Put(T, item), NOW)
    assert keys(tables, NOW) == []


def test_an_update_may_not_name_an_attribute_twice() -> None:
    """Setting and removing one attribute in one update is refused."""
    with expect_refusal("ValidationException"):
        made().write(UpdateItem(T, Key("leaseKey", "k"), Update(set={"a": 1}, remove=frozenset({"a"}))), NOW)
    with expect_refusal("ValidationException"):
        made().transact([], NOW)
    with expect_refusal("ValidationException"):
        made().scan_page(T, NOW, segment=1, total_segments=1)


def test_a_false_condition_comes_before_a_wrong_operand() -> None:
    """Where the condition fails, what the update would have done is not looked at."""
    tables = made()
    put(tables, "k", text="x")
    update = UpdateItem(T, Key("leaseKey", "k"), Update(add={"text": 1}), (Absent("text"),))
    assert not tables.write(update, NOW).applied


def test_the_sink_sees_rows_before_and_after_and_failures() -> None:
    """The event log tells of each applied write with both rows, and of each false condition."""
    events: list[StateEvent] = []
    tables = made()
    tables.sink = events.append
    put(tables, "k", n=1)
    condition = (Absent("leaseKey"),)
    failing = Put(T, {"leaseKey": "k"}, condition)
    tables.write(failing, NOW)
    assert not tables.transact([failing], NOW)
    assert tables.transact([Delete(T, Key("leaseKey", "k"))], NOW)
    row = {"leaseKey": "k", "n": 1}
    assert [(e.before, e.after) for e in events if isinstance(e, ItemApplied)] == [(None, row), (row, None)]
    assert [e.item for e in events if isinstance(e, ConditionFailed)] == [row, row]


def test_options_out_of_range_name_themselves() -> None:
    """A staleness beyond the history and an empty page are refused."""
    for wrong in ({"scan_staleness_s": 99.0}, {"index_staleness_s": -1.0}, {"page_items_max": 0}):
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            TableOptions(**wrong)  # pyright: ignore[reportArgumentType]  # the wrong values are the point.


def test_reprs_count() -> None:
    """Tables and a table tell how much they hold."""
    tables = made()
    put(tables, "k", list=[1], map={"a": None})
    assert repr(tables) == "LeaseTables(1 tables)"
    assert repr(tables.tables[T]) == "Table(leases, 1 keys)"
