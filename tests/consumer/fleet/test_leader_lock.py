"""The leader lock: the lock client's rows and conditions, and a holder that never trusts an unknown answer."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from shardline.common.errors import InvalidInput
from shardline.common.ports.lease_store import Delete, Exists, Key, Put, UpdateItem, WriteResult
from shardline.consumer.fleet.leader_lock import LeaderLock, LockSettings, StepKind

SETTINGS = LockSettings(table="app")


def lock(worker: str = "me", seed: int = 1) -> LeaderLock:
    """Return a worker's view of the lock."""
    return LeaderLock(worker, SETTINGS, Random(seed))


class Table:
    """The one row, judged as DynamoDB would."""

    def __init__(self) -> None:
        self.row: dict[str, Any] | None = None

    def write(self, write: Put | UpdateItem | Delete) -> WriteResult:
        """Carry out a conditional write."""
        row = self.row or {}
        for clause in write.condition:
            exists = clause.attribute in row
            holds = {"Exists": exists, "Absent": not exists}.get(type(clause).__name__)
            if holds is None:
                holds = row.get(clause.attribute) == clause.value  # type: ignore[union-attr]  # Equals is what is left.
            if not holds:
                return WriteResult(applied=False, item=self.row)
        if isinstance(write, Put):
            self.row = dict(write.item)
        elif isinstance(write, UpdateItem):
            self.row = {**row, **write.update.set}
        else:
            self.row = None
        return WriteResult(applied=True, item=self.row)


def turn(worker: LeaderLock, table: Table, now: float) -> None:
    """Let a worker do everything that is due at `now`, with a service that answers at once."""
    while (step := worker.plan(now)) is not None:
        if step.kind is StepKind.READ:
            worker.on_read(table.row, now)
        else:
            assert step.write is not None
            worker.on_written(table.write(step.write), now)


def test_a_free_lock_is_taken_with_the_lock_clients_row() -> None:
    """The first worker puts exactly the attributes and types that Java dereferences."""
    table, me = Table(), lock()
    turn(me, table, 0.0)
    assert table.row is not None
    version = table.row.pop("recordVersionNumber")
    assert len(version) == 36
    assert table.row == {"leaseKey": "Leader", "ownerName": "me", "leaseDuration": "120000", "entityType": "LEADER"}
    assert me.is_leader(119.9)
    assert not me.is_leader(120.0)


def test_a_heartbeat_changes_the_version_and_extends() -> None:
    """Every 30 s the holder replaces the version, conditional on the old one and its name."""
    table, me = Table(), lock()
    turn(me, table, 0.0)
    before = dict(table.row or {})
    assert me.plan(29.9) is None
    step = me.plan(30.0)
    assert step is not None
    assert isinstance(step.write, UpdateItem)
    assert step.write.key == Key("leaseKey", "Leader")
    assert [clause.attribute for clause in step.write.condition] == ["leaseKey", "recordVersionNumber", "ownerName"]
    me.on_written(table.write(step.write), 30.0)
    assert table.row is not None
    assert table.row["recordVersionNumber"] != before["recordVersionNumber"]
    assert me.is_leader(149.9)


def test_a_held_lock_is_left_alone_until_its_own_duration_passed() -> None:
    """The same version must stand longer than the row's leaseDuration, by the observer's clock."""
    table, first, second = Table(), lock("first", 1), lock("second", 2)
    turn(first, table, 0.0)
    for now in (0.0, 30.0, 60.0, 90.0, 120.0):
        turn(second, table, now)
        assert not second.is_leader(now)
    assert second.holder == "first"
    turn(second, table, 150.0)
    assert second.is_leader(150.0)
    assert (table.row or {})["ownerName"] == "second"


def test_a_heart_that_beats_keeps_the_lock() -> None:
    """While the version changes nobody takes over."""
    table, first, second = Table(), lock("first", 1), lock("second", 2)
    for now in range(0, 600, 30):
        turn(first, table, float(now))
        turn(second, table, float(now) + 1)
        assert not second.is_leader(now + 1)


def test_a_released_row_is_free() -> None:
    """A row marked isReleased may be taken at once, conditional on that mark."""
    table, me = Table(), lock()
    table.row = {
        "leaseKey": "Leader",
        "ownerName": "x",
        "leaseDuration": "120000",
        "recordVersionNumber": "v",
        "isReleased": "1",
    }
    turn(me, table, 0.0)
    assert me.is_leader(0.0)
    assert "isReleased" not in (table.row or {})


def test_release_deletes_only_ones_own() -> None:
    """A clean stop deletes the row under the heartbeat's condition; who does not hold it deletes nothing."""
    table, me = Table(), lock()
    assert lock().release() is None
    turn(me, table, 0.0)
    write = me.release()
    assert isinstance(write, Delete)
    assert not me.is_leader(0.0)
    assert table.write(write).applied
    assert table.row is None


def test_a_heartbeat_under_way_does_not_keep_the_lock_of_who_left() -> None:
    """The lock was renewed by a write whose answer nobody waited for: it is given back under that version."""
    table, me = Table(), lock()
    turn(me, table, 0.0)
    step = me.plan(30.0)
    assert step is not None
    assert step.write is not None
    write = me.release()
    assert write is not None
    table.write(step.write)
    again = me.on_released(table.write(write))
    assert again is not None
    assert table.write(again).applied
    assert table.row is None


def test_who_gave_the_lock_back_does_not_seek_it() -> None:
    """Stepping down makes room for somebody else for a while; leaving, for ever."""
    table, me = Table(), lock()
    turn(me, table, 0.0)
    write = me.release(rest_until=60.0)
    assert write is not None
    table.write(write)
    me.hurry(10.0)
    assert me.plan(59.0) is None
    turn(me, table, 60.0)
    assert me.is_leader(60.0)
    me.release()
    assert me.plan(1e9) is None


def test_a_clean_leave_seen_elsewhere_makes_for_a_read_at_once() -> None:
    """`hurry` brings the next read forward; whoever holds the lock has no use for it."""
    table, me, other = Table(), lock("me", 1), lock("other", 2)
    turn(other, table, 0.0)
    turn(me, table, 0.0)
    table.row = None
    assert me.plan(5.0) is None
    me.hurry(5.0)
    turn(me, table, 5.0)
    assert me.is_leader(5.0)
    me.hurry(6.0)
    assert me.plan(6.0) is None


def test_losing_the_race_is_found_out() -> None:
    """A claim whose condition fails makes no leader; the next step is a read."""
    table, me, other = Table(), lock("me", 1), lock("other", 2)
    step = me.plan(0.0)
    assert step is not None
    me.on_read(None, 0.0)
    turn(other, table, 0.0)
    step = me.plan(0.1)
    assert step is not None
    assert step.write is not None
    me.on_written(table.write(step.write), 0.2)
    assert not me.is_leader(0.2)
    after = me.plan(0.2)
    assert after is not None
    assert after.kind is StepKind.READ


def test_an_unknown_claim_is_resolved_by_reading_and_credited_from_its_send() -> None:
    """A claim whose answer was lost counts from when it was sent, once a read shows our version."""
    table, me = Table(), lock()
    me.plan(0.0)
    me.on_read(None, 0.0)
    step = me.plan(1.0)
    assert step is not None
    assert step.write is not None
    table.write(step.write)
    me.on_ambiguous(6.0)
    assert not me.is_leader(6.0)
    turn(me, table, 6.0)
    assert me.is_leader(119.9)
    assert not me.is_leader(121.0)


def test_an_unknown_heartbeat_that_was_not_applied_is_sent_again() -> None:
    """The row still shows the old version: the heartbeat is repeated while the lock still holds."""
    table, me = Table(), lock()
    turn(me, table, 0.0)
    assert me.plan(30.0) is not None
    me.on_ambiguous(31.0)
    turn(me, table, 31.0)
    assert me.is_leader(119.0)
    turn(me, table, 32.0)
    turn(me, table, 62.0)
    assert me.is_leader(150.0)


def test_a_throttled_write_is_retried_soon() -> None:
    """A refused heartbeat does not wait for the next full period."""
    table, me = Table(), lock()
    turn(me, table, 0.0)
    assert me.plan(30.0) is not None
    me.on_not_applied(30.5)
    assert me.next_wakeup() == 33.5
    turn(me, table, 33.5)
    assert me.is_leader(153.0)


def test_a_row_of_an_earlier_life_is_taken_over_not_trusted() -> None:
    """Our own name under a version that this process never sent is claimed anew, conditional on that version."""
    table, old, new = Table(), lock("me", 1), lock("me", 2)
    turn(old, table, 0.0)
    new.plan(1.0)
    new.on_read(table.row, 1.0)
    assert not new.is_leader(1.0)
    turn(new, table, 1.0)
    assert new.is_leader(1.0)


def test_garbage_is_never_overwritten() -> None:
    """A row without the protocol's types is left as it is."""
    table, me = Table(), lock()
    table.row = {"leaseKey": "Leader", "leaseDuration": 120000, "recordVersionNumber": 7}
    for now in range(0, 600, 30):
        turn(me, table, float(now))
    assert not me.is_leader(600.0)
    assert table.row == {"leaseKey": "Leader", "leaseDuration": 120000, "recordVersionNumber": 7}


@pytest.mark.parametrize(("field", "value"), [("heartbeat_s", 0.0), ("lease_duration_s", 59.0)])
def test_settings_out_of_range_are_refused(field: str, value: float) -> None:
    """A duration below two heartbeats cannot hold."""
    with pytest.raises(InvalidInput, match=field):
        LockSettings(**{"table": "t", field: value})  # type: ignore[arg-type]  # The point is the wrong value.


def test_the_condition_of_a_claim_names_the_key() -> None:
    """A take-over demands that the row exists, as the lock client does."""
    table, me = Table(), lock()
    turn(lock("other", 9), table, 0.0)
    turn(me, table, 0.0)
    me.plan(130.0)
    me.on_read(table.row, 130.0)
    step = me.plan(130.0)
    assert step is not None
    assert step.write is not None
    assert step.write.condition[0] == Exists("leaseKey")
