"""The script for DynamoDB, as the `LeaseStore` port uses it: each step on a fresh table, with what DynamoDB does.

Expectations are DynamoDB's own (API reference, and the comparison with DynamoDB Local in `endpoints.md` 9a).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from shardline.common.errors import ShardlineError
from shardline.common.ports.lease_store import (
    Absent,
    Delete,
    Equals,
    Exists,
    IndexSpec,
    Key,
    Put,
    Update,
    UpdateItem,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shardline.common.ports.lease_store import Condition, Item, LeaseStore, Write

T = "conformance"
CALL_S = 30.0
KEY = Key("leaseKey", "a")
ROW: Item = {"leaseKey": "a", "leaseOwner": "w", "leaseCounter": 3, "flag": True}
INDEX = IndexSpec("by-owner", "leaseOwner", "leaseKey")


class DynamoStep(NamedTuple):
    """One step: what it shows, what DynamoDB does, and the calls."""

    name: str
    expected: object
    act: Callable[[LeaseStore], Awaitable[Any]]


STEPS: list[DynamoStep] = []


def step(
    name: str, expected: object
) -> Callable[[Callable[[LeaseStore], Awaitable[Any]]], Callable[[LeaseStore], Awaitable[Any]]]:
    """Enter a step into the script."""

    def enter(act: Callable[[LeaseStore], Awaitable[Any]]) -> Callable[[LeaseStore], Awaitable[Any]]:
        STEPS.append(DynamoStep(name, expected, act))
        return act

    return enter


async def kind(call: Awaitable[Any]) -> str:
    """Return the error's class for a call that should be refused, or "accepted"."""
    try:
        await call
    except ShardlineError as error:
        return type(error).__name__
    return "accepted"


async def put(store: LeaseStore, item: Item, condition: Condition = ()) -> bool:
    """Put an item and say whether it applied."""
    return (await store.write(Put(T, item, condition), timeout_s=CALL_S)).applied


async def judged(store: LeaseStore, *conditions: Condition) -> list[bool]:
    """Say for each condition whether a harmless update of the row applies under it."""
    await put(store, ROW)
    return [
        (await store.write(UpdateItem(T, KEY, Update(set={"x": 1}), c), timeout_s=CALL_S)).applied for c in conditions
    ]


@step("put-if-absent applies once, and the second is told the item", [True, False, ROW])
async def _(store: LeaseStore) -> list[Any]:
    first = await put(store, ROW, (Absent("leaseKey"),))
    second = await store.write(Put(T, {"leaseKey": "a"}, (Absent("leaseKey"),)), timeout_s=CALL_S)
    return [first, second.applied, dict(second.item or {})]


@step("equals, absent, exists and all of them together", [True, False, True, False, True, False, True, False])
async def _(store: LeaseStore) -> list[bool]:
    return await judged(
        store,
        (Equals("leaseCounter", 3),),
        (Equals("leaseCounter", 4),),
        (Absent("checkpointOwner"),),
        (Absent("leaseOwner"),),
        (Exists("leaseOwner"),),
        (Exists("checkpointOwner"),),
        (Equals("leaseCounter", 3), Equals("leaseOwner", "w"), Absent("checkpointOwner")),
        (Equals("leaseCounter", 3), Equals("leaseOwner", "v")),
    )


@step("a text is not equal to the number it spells", [False])
async def _(store: LeaseStore) -> list[bool]:
    return await judged(store, (Equals("leaseCounter", "3"),))


@step("true is not equal to the number 1", [False])
async def _(store: LeaseStore) -> list[bool]:
    return await judged(store, (Equals("flag", 1),))


@step("an update under a condition does not make a missing item", [False, None])
async def _(store: LeaseStore) -> list[Any]:
    result = await store.write(UpdateItem(T, KEY, Update(set={"x": 1}), (Exists("leaseKey"),)), timeout_s=CALL_S)
    return [result.applied, await store.get(T, KEY, consistent=True, timeout_s=CALL_S)]


@step("set, remove and add keep every other attribute", {"leaseKey": "a", "leaseCounter": 4, "flag": True, "n": 2})
async def _(store: LeaseStore) -> dict[str, Any]:
    await put(store, ROW)
    update = Update(remove=frozenset({"leaseOwner"}), add={"leaseCounter": 1, "n": 2})
    return dict((await store.write(UpdateItem(T, KEY, update), timeout_s=CALL_S)).item or {})


@step("adding to a text is refused", "Rejected")
async def _(store: LeaseStore) -> str:
    await put(store, ROW)
    return await kind(store.write(UpdateItem(T, KEY, Update(add={"leaseOwner": 1})), timeout_s=CALL_S))


@step("a delete under a false condition keeps and shows the item", [False, ROW, True])
async def _(store: LeaseStore) -> list[Any]:
    await put(store, ROW)
    kept = await store.write(Delete(T, KEY, (Equals("leaseCounter", 9),)), timeout_s=CALL_S)
    gone = await store.write(Delete(T, KEY, (Equals("leaseCounter", 3),)), timeout_s=CALL_S)
    return [kept.applied, dict(kept.item or {}), gone.applied]


@step("a transaction writes all or nothing", [False, None, True, {"leaseKey": "b"}])
async def _(store: LeaseStore) -> list[Any]:
    await put(store, ROW)
    other = Put(T, {"leaseKey": "b"}, (Absent("leaseKey"),))
    outcomes: list[Any] = []
    for counter in (9, 3):
        writes: list[Write] = [other, Delete(T, KEY, (Equals("leaseCounter", counter),))]
        outcomes.append(await store.transact(writes, timeout_s=CALL_S))
        found = await store.get(T, Key("leaseKey", "b"), consistent=True, timeout_s=CALL_S)
        outcomes.append(None if found is None else dict(found))
    return outcomes


@step("an index is back-filled, gives keys only and follows updates", [["a"], {"leaseKey", "leaseOwner"}, []])
async def _(store: LeaseStore) -> list[Any]:
    await put(store, ROW)
    await store.create_index(T, INDEX, timeout_s=CALL_S)
    page = await store.query_index(T, INDEX, "w", timeout_s=CALL_S)
    await store.write(UpdateItem(T, KEY, Update(remove=frozenset({"leaseOwner"}))), timeout_s=CALL_S)
    after = await store.query_index(T, INDEX, "w", timeout_s=CALL_S)
    return [[i["leaseKey"] for i in page.items], set(page.items[0]), [i["leaseKey"] for i in after.items]]


@step("a number as the key of an index is refused", "Rejected")
async def _(store: LeaseStore) -> str:
    await store.create_index(T, INDEX, timeout_s=CALL_S)
    return await kind(store.write(Put(T, {"leaseKey": "a", "leaseOwner": 7}), timeout_s=CALL_S))


@step("an item of more than 400 KB is refused", "Rejected")
async def _(store: LeaseStore) -> str:
    return await kind(store.write(Put(T, {"leaseKey": "a", "b": bytes(410_000)}), timeout_s=CALL_S))


@step("four segments of a scan hold each item once", 40)
async def _(store: LeaseStore) -> int:
    for i in range(40):
        await put(store, {"leaseKey": f"k{i}"})
    keys: list[str] = []
    for segment in range(4):
        page = await store.scan_page(T, segment=segment, total_segments=4, consistent=True, timeout_s=CALL_S)
        keys += [str(i["leaseKey"]) for i in page.items]
    return len(keys) if len(set(keys)) == len(keys) else -1


@step("a query of an index that is not there is refused, a missing table not found", ["NotFound", "NotFound"])
async def _(store: LeaseStore) -> list[str]:
    index = await kind(store.query_index(T, INDEX, "w", timeout_s=CALL_S))
    return [index, await kind(store.scan_page("nowhere", timeout_s=CALL_S))]
