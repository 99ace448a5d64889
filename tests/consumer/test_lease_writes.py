"""Writes on lease rows: the exact conditions and updates of kcl.md 2, and unknown attributes that survive them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.hashing import HashRange
from shardline.common.ports.lease_store import Absent, Delete, Equals, Exists, Key, Put, Update, UpdateItem
from shardline.common.records import LATEST, SHARD_END, TRIM_HORIZON, Position
from shardline.consumer.leases.row import NewLease, Pending, read_row

from tests.consumer.rows import TABLE, WRITES, Book, at, lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.ports.lease_store import Value

KEY = Key("leaseKey", "shardId-000000000000")
PENDING = frozenset({"pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState"})


def test_create_only_where_no_row_is() -> None:
    """A creation puts the whole item on condition that the key is free."""
    new = NewLease(shard_id="s", checkpoint=TRIM_HORIZON, parents=("p",), hash_range=None)
    assert WRITES.create(new) == Put(
        TABLE,
        {
            "leaseKey": "s",
            "leaseCounter": 0,
            "checkpoint": "TRIM_HORIZON",
            "checkpointSubSequenceNumber": 0,
            "ownerSwitchesSinceCheckpoint": 0,
            "entityType": "LEASE",
            "parentShardId": frozenset({"p"}),
        },
        (Absent("leaseKey"),),
    )


def test_renewal_in_steady_state() -> None:
    """A renewal adds one to the counter as read, and fails when a hand-off has begun."""
    assert WRITES.renew(lease(0, "me", 7), 1.5) == UpdateItem(
        TABLE,
        KEY,
        Update(set={"leaseCounter": 8, "throughputKBps": 1.5}),
        (Equals("leaseCounter", 7), Absent("checkpointOwner")),
    )


def test_renewal_during_a_hand_off_tests_the_counter_only() -> None:
    """An owner that knows of the hand-off renews by counter alone, without touching the owners."""
    write = WRITES.renew(lease(0, "next", 7, checkpoint_owner="me"))
    assert write == UpdateItem(TABLE, KEY, Update(set={"leaseCounter": 8}), (Equals("leaseCounter", 7),))


def test_checkpoint_clears_pending_and_owner_switches() -> None:
    """A checkpoint stores its position, resets the switches and removes a prepared checkpoint."""
    write = WRITES.checkpoint(lease(0, "me", 7), at(55, 3))
    expected: dict[str, Value] = {
        "leaseCounter": 8,
        "checkpoint": "55",
        "checkpointSubSequenceNumber": 3,
        "ownerSwitchesSinceCheckpoint": 0,
    }
    condition = (Equals("leaseCounter", 7), Absent("checkpointOwner"))
    assert write == UpdateItem(TABLE, KEY, Update(set=expected, remove=PENDING), condition)


def test_a_prepared_checkpoint_stands_beside_the_stored_one() -> None:
    """Preparing writes the three pending attributes; the bytes only where they were given."""
    with_state = WRITES.checkpoint(lease(0, "me", 7), at(55), pending=Pending(at(60, 1), b"s")).update
    assert with_state.set["pendingCheckpoint"] == "60"
    assert with_state.set["pendingCheckpointSubSequenceNumber"] == 1
    assert (with_state.set["pendingCheckpointState"], with_state.remove) == (b"s", frozenset())
    without = WRITES.checkpoint(lease(0, "me", 7), at(55), pending=Pending(SHARD_END, None)).update
    assert without.set["pendingCheckpoint"] == "SHARD_END"
    assert without.set["pendingCheckpointSubSequenceNumber"] == 0
    assert without.remove == {"pendingCheckpointState"}


@pytest.mark.parametrize(
    ("owner", "checkpoint_owner", "counted"),
    [(None, None, 0), ("other", None, 1), ("me", None, 0), ("me", "other", 0), ("other", "me", 1)],
)
def test_take_counts_owner_switches_as_the_kcl_does(
    owner: str | None, checkpoint_owner: str | None, counted: int
) -> None:
    """`ownerSwitchesSinceCheckpoint` grows by the rule of kcl.md 2.2, in takes and assignments alike."""
    row = lease(0, owner, 7, checkpoint_owner=checkpoint_owner)
    take, assign = WRITES.take(row, "me"), WRITES.assign(row, "me")
    assert take.update.set == {"leaseCounter": 8, "leaseOwner": "me"}
    assert take.update.remove == assign.update.remove == {"checkpointOwner"}
    assert take.update.add.get("ownerSwitchesSinceCheckpoint", 0) == counted
    assert assign.update.add == {"leaseCounter": 1, **({"ownerSwitchesSinceCheckpoint": 1} if counted else {})}


def test_take_tests_the_counter_and_a_rescue_the_owners_too() -> None:
    """The 2.x take is conditional on the counter; the rescue also on both owners as read."""
    row = lease(0, "dead", 7)
    assert WRITES.take(row, "me").condition == (Equals("leaseCounter", 7),)
    rescue = WRITES.take(row, "me", rescue=True).condition
    assert rescue == (Equals("leaseCounter", 7), Equals("leaseOwner", "dead"), Absent("checkpointOwner"))


def test_hand_off_parks_the_owner_and_leaves_the_counter() -> None:
    """The leader's hand-off moves the next owner in and touches no counter."""
    assert WRITES.hand_off(lease(0, "old", 7), "new") == UpdateItem(
        TABLE,
        KEY,
        Update(set={"leaseOwner": "new", "checkpointOwner": "old"}),
        (Equals("leaseOwner", "old"), Absent("checkpointOwner"), Exists("leaseKey")),
    )


def test_evict_gives_back_or_completes_a_hand_off() -> None:
    """Giving back removes the owner; in a hand-off only the parked one, so that the next owner gets the lease."""
    free = WRITES.evict(lease(0, "me", 7))
    assert free.update == Update(remove=frozenset({"leaseOwner", "checkpointOwner"}), add={"leaseCounter": 1})
    assert free.condition == (Equals("leaseOwner", "me"), Absent("checkpointOwner"), Exists("leaseKey"))
    handed = WRITES.evict(lease(0, "next", 7, checkpoint_owner="me"))
    assert handed.update == Update(remove=frozenset({"checkpointOwner"}), add={"leaseCounter": 1})


def test_meta_information_needs_only_the_row() -> None:
    """Children and hash ranges are written on existence, without touching the counter."""
    children = WRITES.children(lease(), ("a", "b"))
    assert (children.update, children.condition) == (
        Update(set={"childShardIds": frozenset({"a", "b"})}),
        (Exists("leaseKey"),),
    )
    filled = WRITES.hash_range(lease(), HashRange(0, 9)).update
    assert filled == Update(set={"startingHashKey": "0", "endingHashKey": "9"})


def test_deletes_are_conditional() -> None:
    """A finished lease goes only as read and at SHARD_END; a former stream's only with counter and owners as read."""
    finished = WRITES.delete_finished(lease(0, "me", 7))
    assert finished == Delete(TABLE, KEY, (Equals("leaseCounter", 7), Equals("checkpoint", "SHARD_END")))
    former = WRITES.delete_former(lease(0, "me", 7))
    assert former.condition == (Equals("leaseCounter", 7), Equals("leaseOwner", "me"), Absent("checkpointOwner"))


def test_unknown_attributes_survive_every_write_of_an_owner() -> None:
    """What another version keeps in a row is still there after take, renewal, checkpoint and give-back."""
    book = Book()
    book.create()
    foreign = Update(set={"surprise": b"\x01", "nested": {"a": [1]}})
    book.write(UpdateItem(TABLE, KEY, foreign, (Exists("leaseKey"),)))
    writes: tuple[Callable[[], UpdateItem], ...] = (
        lambda: WRITES.take(book.row(), "me"),
        lambda: WRITES.renew(book.row(), 1.0),
        lambda: WRITES.checkpoint(book.row(), at(5)),
        lambda: WRITES.hand_off(book.row(), "you"),
        lambda: WRITES.assign(book.row(), "you"),
        lambda: WRITES.evict(book.row()),
    )
    for write in writes:
        assert book.write(write()).applied
    item = book.item()
    assert item is not None
    assert item["surprise"] == b"\x01"
    assert book.row().counter == 5


POSITIONS = st.one_of(
    st.builds(Position, st.integers(0, 10**56), st.integers(0, 2**31)),
    st.sampled_from([TRIM_HORIZON, LATEST, SHARD_END]),
)


@given(POSITIONS, st.none() | st.tuples(POSITIONS, st.none() | st.binary(max_size=50)), st.none() | st.just(1.5))
def test_every_field_of_a_checkpoint_comes_back_as_it_was_written(
    position: Position, prepared: tuple[Position, bytes | None] | None, kbps: float | None
) -> None:
    """A prepared checkpoint's bytes stay bytes, its numbers numbers, and what nobody wrote stays as it stood."""
    pending = None if prepared is None else Pending(*prepared)
    book = Book()
    book.write(WRITES.take(book.create(), "me"))
    foreign: dict[str, Value] = {"childShardIds": frozenset({"a", "b"}), "ownerSwitchesSinceCheckpoint": 3, "theirs": 1}
    book.write(UpdateItem(TABLE, KEY, Update(set=foreign)))
    before = book.row()
    assert (before.children, before.owner_switches) == (("a", "b"), 3)
    result = book.write(WRITES.checkpoint(before, position, kbps, pending))
    assert result.applied
    assert result.item is not None
    assert result.item["theirs"] == 1
    wanted = before._replace(counter=before.counter + 1, checkpoint=position, pending=pending, owner_switches=0)
    assert read_row(result.item) == wanted._replace(throughput_kbps=kbps)
