"""`LeaseStore` over DynamoDB: values, conditions and updates on the wire, and moto as the table that judges them."""

from __future__ import annotations

import asyncio
import json
import math
import zlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.aws.items import from_item, from_value, request_of, to_item, to_value
from shardline.common.errors import (
    AlreadyExists,
    Ambiguous,
    Denied,
    InUse,
    InvalidInput,
    NotFound,
    Rejected,
    ServiceError,
    Throttled,
)
from shardline.common.ports.lease_store import (
    Absent,
    Delete,
    Equals,
    Exists,
    Foreign,
    IndexDescription,
    IndexSpec,
    Key,
    LeaseStore,
    Put,
    TableSpec,
    Update,
    UpdateItem,
)

from tests.common.aws_server import CALL_S, Received, connection_to, moto_handler, recording, reply, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shardline.common.ports.lease_store import Item, Value

OWNER_INDEX = IndexSpec("LeaseOwnerToLeaseKeyIndex", "leaseOwner", "leaseKey")

NUMBERS = st.integers(-(10**37), 10**37) | st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: round(x, 6))
TEXTS = st.text(max_size=10)
SCALARS = (
    st.none() | st.booleans() | TEXTS | NUMBERS | st.binary(max_size=10) | st.frozensets(TEXTS, min_size=1, max_size=3)
)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXTS, v, max_size=3), max_leaves=6)


# --- values ---


@given(VALUES)
def test_values_survive_the_wire(value: Value) -> None:
    """Every value comes back as it went, type and all, through JSON."""
    wire = json.loads(json.dumps(to_value("a", value)))
    back = from_value(wire)
    assert back == value
    assert isinstance(back, bool) == isinstance(value, bool)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30))
def test_floats_are_written_as_java_rounds_them(value: float) -> None:
    """Half-up to six decimals, no exponent: what the KCL writes for throughputKBps and its parsers read."""
    text = to_value("a", value)["N"]
    assert "e" not in text.lower()
    assert abs(Decimal(text) - Decimal(repr(value))) <= Decimal("0.0000005")


def test_numbers_are_canonical() -> None:
    """Integers are plain digits; floats keep a decimal point; halves go up; there is no minus zero."""
    written = {v: to_value("a", v)["N"] for v in (12, -3, 0, 10**20, 12.0, 1.25, 0.0000005, 2.0000015, -1e-9, 1e20)}
    assert written == {
        12: "12",
        -3: "-3",
        0: "0",
        10**20: "100000000000000000000",
        1.25: "1.25",
        0.0000005: "0.000001",
        2.0000015: "2.000002",
        -1e-9: "0.0",
    } | {12.0: "12.0", 1e20: "100000000000000000000.0"}


@pytest.mark.parametrize(("text", "value"), [("12", 12), ("12.0", 12), ("1E1", 10), ("0012", 12), ("12.5", 12.5)])
def test_stored_numbers_of_any_spelling_are_read(text: str, value: float) -> None:
    """Whoever wrote it: a whole number is an int, any other a float."""
    read = from_value({"N": text})
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 10**40, 1e35, frozenset(), Foreign("NS"), object(), {"a": math.nan}]
)
def test_what_cannot_be_stored_is_refused_before_sending(value: Any) -> None:
    """Numbers out of range, empty sets, foreign values and other types are the caller's error."""
    with pytest.raises(InvalidInput):
        to_item({"leaseKey": "k", "a": value})


def test_types_we_do_not_use_come_back_as_foreign() -> None:
    """Number and binary sets are kept out of reach, by type name only."""
    assert from_item({"a": {"NS": ["1"]}, "b": {"BS": ["AA=="]}}) == {"a": Foreign("NS"), "b": Foreign("BS")}


@pytest.mark.parametrize(
    "raw", [None, {}, {"S": 1}, {"N": "x"}, {"N": "NaN"}, {"N": "Infinity"}, {"Q": "1"}, {"S": "a", "N": "1"}]
)
def test_a_garbled_value_is_ambiguous(raw: Any) -> None:
    """An answer that is not typed as documented is not used (F39)."""
    with pytest.raises(Ambiguous):
        from_value(raw)


def test_a_renewal_on_the_wire() -> None:
    """Conditions are ANDed, updates name only what they change, names and values go by placeholder."""
    update = Update(set={"leaseCounter": 6, "throughputKBps": 1.5}, remove=frozenset({"checkpointOwner"}), add={"n": 1})
    write = UpdateItem(
        "t", Key("leaseKey", "s"), update, (Equals("leaseCounter", 5), Absent("checkpointOwner"), Exists("x"))
    )
    kind, fields = request_of(write)
    assert kind == "Update"
    assert fields == {
        "TableName": "t",
        "Key": {"leaseKey": {"S": "s"}},
        "ConditionExpression": "#n0 = :v0 AND attribute_not_exists(#n1) AND attribute_exists(#n2)",
        "UpdateExpression": "SET #n0 = :v1, #n3 = :v2 REMOVE #n1 ADD #n4 :v3",
        "ExpressionAttributeNames": {
            "#n0": "leaseCounter",
            "#n1": "checkpointOwner",
            "#n2": "x",
            "#n3": "throughputKBps",
            "#n4": "n",
        },
        "ExpressionAttributeValues": {":v0": {"N": "5"}, ":v1": {"N": "6"}, ":v2": {"N": "1.5"}, ":v3": {"N": "1"}},
    }


def test_updates_that_make_no_sense_are_refused() -> None:
    """An update without change, one that names an attribute twice, and an empty key never leave."""
    key = Key("leaseKey", "s")
    for update in (Update(), Update(set={"a": 1}, remove=frozenset({"a"}))):
        with pytest.raises(InvalidInput, match="update"):
            request_of(UpdateItem("t", key, update))
    with pytest.raises(InvalidInput, match="leaseKey"):
        request_of(Delete("t", Key("leaseKey", "")))


# --- against moto ---


def with_table(table: str, act: Callable[[LeaseStore], Awaitable[Any]]) -> Any:
    """Return what `act` gives on a store of moto's with a fresh table `table`."""

    async def main() -> Any:
        async with serving(moto_handler) as url, connection_to(url).lease_store() as store:
            await store.create_table(TableSpec(name=table, key_attribute="leaseKey"), timeout_s=CALL_S)
            return await act(store)

    return asyncio.run(main())


def test_a_failed_condition_is_a_value_with_the_item_as_it_stands() -> None:
    """Create once; the second create changes nothing and shows what is there, or None where nothing is."""
    item: Item = {"leaseKey": "a", "leaseCounter": 0, "parentShardId": frozenset({"p"}), "t": 1.5, "b": b"\x00"}

    async def act(store: LeaseStore) -> None:
        first = await store.write(Put("create", item, (Absent("leaseKey"),)), timeout_s=CALL_S)
        second = await store.write(Put("create", {"leaseKey": "a"}, (Absent("leaseKey"),)), timeout_s=CALL_S)
        nobody = await store.write(
            UpdateItem("create", Key("leaseKey", "z"), Update(set={"x": 1}), (Exists("leaseKey"),)), timeout_s=CALL_S
        )
        assert first == (True, item)
        assert second == (False, item)
        assert nobody == (False, None)
        assert await store.get("create", Key("leaseKey", "a"), consistent=True, timeout_s=CALL_S) == item
        assert await store.get("create", Key("leaseKey", "z"), consistent=False, timeout_s=CALL_S) is None

    with_table("create", act)


def test_updates_keep_what_they_do_not_name() -> None:
    """A renewal returns the whole new item, attributes of others included; a stale one changes nothing."""

    async def act(store: LeaseStore) -> None:
        await store.write(Put("renew", {"leaseKey": "a", "leaseCounter": 5, "theirs": "x"}), timeout_s=CALL_S)
        update = Update(set={"leaseCounter": 6}, add={"ownerSwitchesSinceCheckpoint": 1})
        write = UpdateItem(
            "renew", Key("leaseKey", "a"), update, (Equals("leaseCounter", 5), Absent("checkpointOwner"))
        )
        renewed = {"leaseKey": "a", "leaseCounter": 6, "theirs": "x", "ownerSwitchesSinceCheckpoint": 1}
        assert await store.write(write, timeout_s=CALL_S) == (True, renewed)
        assert await store.write(write, timeout_s=CALL_S) == (False, renewed)
        gone = Delete("renew", Key("leaseKey", "a"), (Equals("leaseCounter", 6),))
        assert await store.write(gone, timeout_s=CALL_S) == (True, None)
        assert (await store.scan_page("renew", timeout_s=CALL_S)).items == []

    with_table("renew", act)


def test_transactions_happen_together_or_not() -> None:
    """One failed condition cancels all; returned as False."""

    async def act(store: LeaseStore) -> None:
        puts = [Put("trans", {"leaseKey": k}, (Absent("leaseKey"),)) for k in "ab"]
        assert await store.transact(puts, timeout_s=CALL_S)
        again = [Put("trans", {"leaseKey": "c"}), puts[0]]
        assert not await store.transact(again, timeout_s=CALL_S)
        page = await store.scan_page("trans", timeout_s=CALL_S)
        assert sorted(str(item["leaseKey"]) for item in page.items) == ["a", "b"]

    with_table("trans", act)


def test_scans_and_queries_follow_pages() -> None:
    """A parallel scan's segments hold every item once; the index gives keys by owner."""

    async def act(store: LeaseStore) -> None:
        await store.create_index("pages", OWNER_INDEX, timeout_s=CALL_S)
        for n in range(6):
            item = {"leaseKey": f"k{n}", "leaseOwner": "me" if n % 2 else "you", "big": "x" * 300_000}
            await store.write(Put("pages", item), timeout_s=CALL_S)
        found: list[str] = []
        for segment in range(2):
            start, more = None, True
            while more:
                page = await store.scan_page(
                    "pages", segment=segment, total_segments=2, start=start, consistent=True, timeout_s=CALL_S
                )
                found += [str(item["leaseKey"]) for item in page.items]
                start, more = page.next_start, page.next_start is not None
        assert sorted(found) == [f"k{n}" for n in range(6)]
        mine = await store.query_index("pages", OWNER_INDEX, "me", timeout_s=CALL_S)
        assert sorted(str(item["leaseKey"]) for item in mine.items) == ["k1", "k3", "k5"]

    with_table("pages", act)


def test_tables_and_indexes_as_they_stand() -> None:
    """Creating asks for billing, protection and tags; describing tells; what is there or missing is of the tree."""

    async def act(store: LeaseStore) -> None:
        described = await store.describe_table("stand", timeout_s=CALL_S)
        assert described is not None
        assert (described.key_attributes, described.status, described.read_capacity) == (("leaseKey",), "ACTIVE", None)
        with pytest.raises(NotFound):
            await store.query_index("stand", OWNER_INDEX, "me", timeout_s=CALL_S)
        await store.create_index("stand", OWNER_INDEX, timeout_s=CALL_S)
        with pytest.raises(AlreadyExists):
            await store.create_index("stand", OWNER_INDEX, timeout_s=CALL_S)
        with pytest.raises(InUse):
            await store.create_table(TableSpec(name="stand", key_attribute="leaseKey"), timeout_s=CALL_S)
        spec = TableSpec(
            name="paid", key_attribute="k", read_capacity=3, write_capacity=4, deletion_protection=True, tags={"a": "b"}
        )
        await store.create_table(spec, timeout_s=CALL_S)
        await store.create_index("paid", OWNER_INDEX, timeout_s=CALL_S)
        await store.enable_point_in_time_recovery("paid", timeout_s=CALL_S)
        paid = await store.describe_table("paid", timeout_s=CALL_S)
        assert paid is not None
        assert (paid.read_capacity, paid.write_capacity, paid.deletion_protection) == (3, 4, True)
        assert paid.indexes == (IndexDescription(OWNER_INDEX.name, "ACTIVE"),)
        with pytest.raises(Rejected):
            await store.delete_table("paid", timeout_s=CALL_S)
        await store.delete_table("stand", timeout_s=CALL_S)
        assert await store.describe_table("stand", timeout_s=CALL_S) is None
        with pytest.raises(NotFound):
            await store.get("stand", Key("leaseKey", "a"), consistent=True, timeout_s=CALL_S)
        with pytest.raises(Rejected):
            await store.get("paid", Key("leaseKey", "a"), consistent=True, timeout_s=CALL_S)

    with_table("stand", act)


# --- what moto does not do ---


def refused(answer: bytes, act: Callable[[LeaseStore], Awaitable[Any]]) -> Any:
    """Return the result or error of `act` against a server with one answer."""
    seen: list[Received] = []

    async def main() -> Any:
        async with serving(recording(seen, answer)) as url, connection_to(url).lease_store() as store:
            try:
                return await act(store)
            except ServiceError as error:
                return error

    return asyncio.run(main())


async def transact(store: LeaseStore) -> bool:
    """Put one item in a transaction."""
    return await store.transact([Put("t", {"leaseKey": "a"})], timeout_s=CALL_S)


def cancelled(*codes: str) -> bytes:
    """Return a TransactionCanceledException with these reasons."""
    reasons = [{"Code": code} for code in codes]
    return reply(400, {"__type": "x#TransactionCanceledException", "message": "", "CancellationReasons": reasons})


def test_cancelled_transactions_are_told_apart() -> None:
    """A condition alone is False; throttling and conflicts are errors to try again, anything else is refused."""
    assert refused(cancelled("None", "ConditionalCheckFailed"), transact) is False
    assert isinstance(refused(cancelled("ThrottlingError", "ConditionalCheckFailed"), transact), Throttled)
    assert isinstance(refused(cancelled("TransactionConflict"), transact), InUse)
    assert isinstance(refused(cancelled("ValidationError"), transact), Rejected)
    assert isinstance(refused(cancelled(), transact), Rejected)


def test_a_missing_index_as_the_service_says_it() -> None:
    """The service calls a missing index a validation error (emulators: not found); both are `NotFound`."""

    async def query(store: LeaseStore) -> Any:
        return await store.query_index("t", OWNER_INDEX, "me", timeout_s=CALL_S)

    fields = {"__type": "ValidationException", "message": "The table does not have the specified index: LeaseOwner"}
    assert isinstance(refused(reply(400, fields), query), NotFound)
    other = {"__type": "ValidationException", "message": "Value cannot be null"}
    assert isinstance(refused(reply(400, other), query), Rejected)


def test_a_body_that_does_not_match_its_checksum_is_not_used() -> None:
    """x-amz-crc32 is checked where it is sent."""

    async def get(store: LeaseStore) -> Any:
        return await store.get("t", Key("leaseKey", "a"), consistent=True, timeout_s=CALL_S)

    body = b'{"Item":{"leaseKey":{"S":"a"}}}'
    assert refused(reply(200, body, x_amz_crc32=str(zlib.crc32(body))), get) == {"leaseKey": "a"}
    assert isinstance(refused(reply(200, body, x_amz_crc32="1"), get), Ambiguous)


def test_an_internal_error_of_a_write_is_ambiguous() -> None:
    """F5: a 500 to a conditional write may have been applied."""

    async def write(store: LeaseStore) -> Any:
        return await store.write(Put("t", {"leaseKey": "a"}), timeout_s=CALL_S)

    assert isinstance(refused(reply(500, {"__type": "InternalServerError"}), write), Ambiguous)
    assert isinstance(refused(reply(400, {"__type": "ProvisionedThroughputExceededException"}), write), Throttled)


def test_a_missing_permission_names_the_table_or_its_index() -> None:
    """F41: where the service does not say on what (an emulator), the request does."""
    refused = reply(400, {"__type": "AccessDeniedException", "message": "no"})

    async def main() -> None:
        async with serving(recording([], refused)) as url, connection_to(url).lease_store() as store:
            with pytest.raises(Denied) as read:
                await store.get("leases", Key("leaseKey", "shard"), consistent=True, timeout_s=CALL_S)
            with pytest.raises(Denied) as asked:
                await store.query_index("leases", OWNER_INDEX, "me", timeout_s=CALL_S)
            with pytest.raises(Denied) as written:
                await store.write(Delete("leases", Key("leaseKey", "shard")), timeout_s=CALL_S)
            assert read.value.permission == "dynamodb:GetItem on table/leases"
            assert asked.value.permission == f"dynamodb:Query on table/leases/index/{OWNER_INDEX.name}"
            assert written.value.permission == "dynamodb:DeleteItem on table/leases"

    asyncio.run(main())
