"""The oracle: each predicate is broken by hand once, so that no invariant is a word without teeth."""

from __future__ import annotations

import pytest

from shardline.common.ports.lease_store import Delete, Key
from shardline.local.sim.network import Sender, Service
from shardline.local.sim.oracle import INVARIANTS, payload
from shardline.local.sim.truth import Place, UserId

from tests.sim.scene import FIRST, SECOND, STREAM, Scene


@pytest.fixture
def scene() -> Scene:
    """Return a fresh scene."""
    return Scene()


def test_a_clean_run_breaks_nothing(scene: Scene) -> None:
    """Put, deliver, process, checkpoint, acknowledge: no violation, nothing lost."""
    one, two = scene.put("a", "b")
    scene.handle("A", one)
    scene.handle("A", two)
    scene.write("A", checkpoint=str(two[1].sequence_number), checkpointSubSequenceNumber=1)
    scene.oracle.putting(one[0])
    scene.oracle.outcome(one[0], "delivered", Place(FIRST, one[1]))
    scene.oracle.finish(["A"])
    assert scene.broken == set()


def test_lost_records_are_found_by_id(scene: Scene) -> None:
    """I1: an acknowledged record that nobody processed is lost, though another was processed twice."""
    (one,), (two,) = scene.put("a"), scene.put("b")
    for user, position in (one, two):
        scene.oracle.putting(user)
        scene.oracle.outcome(user, "delivered", Place(FIRST, position))
    scene.handle("A", two)
    scene.oracle.finish()
    assert scene.oracle.lost() == ["a"]
    assert "I1" in scene.broken


def test_a_skipped_record_of_a_key_is_found(scene: Scene) -> None:
    """I2: the second record of a key may not be delivered before the first; other keys do not matter."""
    (_,), (other,), (two,) = scene.put("a"), scene.put("x", key="other"), scene.put("b")
    scene.handle("A", other)
    assert scene.broken == set()
    scene.handle("A", two)
    assert scene.broken == {"I2"}


def test_records_taken_in_turn_come_in_the_order_of_the_shard(scene: Scene) -> None:
    """I2: where handlers take one record after another, keys make no difference, nor does it that there is none."""
    scene.oracle.in_turn = True
    (first,), (second,), (third,) = scene.put("a"), scene.put("x", key="other"), scene.put("b")
    scene.handle("A", first)
    assert scene.broken == set()
    scene.handle("A", third)
    assert scene.broken == {"I2"}
    assert second[0].id in scene.oracle.violations[0].what


@pytest.mark.parametrize("in_turn", [False, True])
def test_records_without_keys_have_an_order_only_where_they_are_taken_in_turn(scene: Scene, *, in_turn: bool) -> None:
    """I2: several lanes deal out what the service kept no key of; a copy of a record there is no earlier one of it."""
    scene.oracle.in_turn = in_turn
    (first,), (copy,) = scene.stored("a"), scene.stored("a")
    scene.handle("A", copy)
    scene.handle("A", first)
    assert scene.broken == ({"I2"} if in_turn else set())


def test_aggregated_records_keep_their_keys_wherever_they_lie(scene: Scene) -> None:
    """I2: the service drops the key of a record that it places, and not those inside of an aggregate."""
    _, later = scene.stored("a", "b", aggregated=True)
    scene.handle("A", later)
    assert scene.broken == {"I2"}


def test_a_checkpoint_past_an_unprocessed_record_is_found(scene: Scene) -> None:
    """I3: a checkpoint, and the sub-sequence number in it, may cover only what is processed."""
    one, two = scene.put("a", "b")
    scene.handle("A", one)
    scene.write("A", checkpoint=str(one[1].sequence_number), checkpointSubSequenceNumber=0)
    assert scene.broken == set()
    scene.write("A", checkpoint=str(two[1].sequence_number), checkpointSubSequenceNumber=1)
    assert scene.broken == {"I3"}


def test_shard_end_for_an_open_shard_is_found(scene: Scene) -> None:
    """I3: SHARD_END belongs to closed shards alone (and I9: nobody then stands for the shard)."""
    scene.write("A", checkpoint="SHARD_END")
    assert scene.broken == {"I3", "I9"}


def test_a_checkpoint_of_a_former_owner_is_found(scene: Scene) -> None:
    """I4a: B's checkpoint on A's lease, and A's own from an earlier epoch, are both found."""
    scene.write("B", checkpoint="LATEST")
    assert scene.broken == {"I4a"}
    again = Scene()
    again.wait(5)
    again.write("B", leaseOwner="B")
    again.write("A", leaseOwner="A")
    again.write("A", checkpoint="LATEST", sent_s=1.0)
    assert again.broken == {"I4a"}


def test_a_checkpoint_that_moves_back_is_found(scene: Scene) -> None:
    """I4b: a lower value is a violation of its own, whoever writes it."""
    (one,), (two,) = scene.put("a"), scene.put("b")
    scene.handle("A", one)
    scene.handle("A", two)
    scene.write("A", checkpoint=str(two[1].sequence_number))
    scene.write("A", checkpoint=str(one[1].sequence_number))
    assert scene.broken == {"I4b"}


def test_a_child_before_its_parent_is_found(scene: Scene) -> None:
    """I5: a child's record may not be delivered while the parent is not at SHARD_END."""
    scene.state.split_shard(STREAM, FIRST, str(2**127), now=scene.sim.wall_s)
    scene.lease(SECOND, "A")
    (one,) = scene.put("a")
    scene.handle("A", one, shard_id=SECOND)
    assert scene.broken == {"I5"}


def test_a_tenure_that_begins_too_early_is_found(scene: Scene) -> None:
    """I6: a tenure that began after a stored checkpoint may not deliver what that covers, nor anything twice."""
    (one,), (two,) = scene.put("a"), scene.put("b")
    scene.handle("A", one)
    scene.write("A", checkpoint=str(one[1].sequence_number))
    scene.write("A", throughputKBps=1)
    scene.handle("A", one, token=3)
    assert scene.broken == {"I6"}
    again = Scene()
    (two,) = again.put("a")
    again.handle("A", two)
    again.handle("A", two)
    assert again.broken == {"I6"}


def test_a_finished_shard_that_comes_back_is_found(scene: Scene) -> None:
    """I6: a worker may not create the row of a shard again that was finished and cleaned up; an operator may."""
    scene.state.split_shard(STREAM, FIRST, str(2**127), now=scene.sim.wall_s)
    for child in (SECOND, "shardId-000000000002"):
        scene.lease(child, "A")
        scene.write("A", child, checkpoint="LATEST")
    for operator, broken in ((True, set[str]()), (False, {"I6"})):
        scene.write("A", checkpoint="SHARD_END")
        worker = Sender(scene.hosts["A"], Service.DYNAMODB, "any", 0)
        scene.network.sender = worker
        scene.tables.write(Delete("leases", Key("leaseKey", FIRST)), scene.sim.wall_s)
        scene.network.sender = None if operator else worker
        scene.lease(FIRST, "A")
        assert scene.broken == broken


def test_a_tenure_is_one_of_one_life_of_the_row(scene: Scene) -> None:
    """I6: the counter of a row that was deleted by hand starts over; the same token names another tenure then."""
    (one,) = scene.put("a")
    scene.handle("A", one)
    scene.tables.write(Delete("leases", Key("leaseKey", FIRST)), scene.sim.wall_s)
    scene.lease(FIRST, "A")
    scene.handle("A", one)
    assert "I6" not in scene.broken
    assert scene.oracle.redelivered == 1
    scene.handle("A", one)
    assert "I6" in scene.broken


def test_lies_of_a_producer_are_found(scene: Scene) -> None:
    """I7: a wrong place, a record called not written that is there, a second outcome and none at all are found."""
    (one,) = scene.put("a")
    scene.oracle.putting(one[0])
    scene.oracle.outcome(one[0], "not written")
    scene.oracle.outcome(one[0], "delivered", Place(SECOND, one[1]))
    scene.oracle.putting(UserId("never", "k", 9))
    scene.oracle.finish()
    assert [v.where for v in scene.oracle.violations if v.invariant == "I7"] == ["a", "a", "a", "never"]


def test_a_hole_in_the_leases_is_found(scene: Scene) -> None:
    """I9: SHARD_END before the children have leases leaves open shards without anybody; so does a deleted row."""
    scene.state.split_shard(STREAM, FIRST, str(2**127), now=scene.sim.wall_s)
    scene.write("A", checkpoint="SHARD_END")
    assert scene.broken == {"I9"}
    again = Scene()
    again.network.sender = Sender(again.hosts["A"], Service.DYNAMODB, "Delete", 0)
    again.tables.write(Delete("leases", Key("leaseKey", FIRST)), again.sim.wall_s)
    assert again.broken == {"I9"}


def test_a_lease_in_dead_hands_is_found(scene: Scene) -> None:
    """I10: at the end every unfinished lease belongs to a living worker."""
    scene.wait(1)
    scene.oracle.finish(["B"])
    assert scene.broken == {"I10"}


@pytest.mark.parametrize(("stood_still_s", "broken"), [(11.0, {"I11"}), (3.0, set[str]())])
def test_a_zombie_is_found(stood_still_s: float, broken: set[str]) -> None:
    """I11: after a take by expiry the former owner delivers nothing; after a steal it may for a moment."""
    scene = Scene()
    (one,) = scene.put("a")
    scene.wait(stood_still_s)
    scene.write("B", leaseOwner="B")
    scene.handle("A", one)
    assert scene.broken == broken


def test_a_counter_that_does_not_rise_is_found(scene: Scene) -> None:
    """P5: a counter never goes back, and a new owner does not get the old one's."""
    scene.write("A", leaseCounter=0)
    assert scene.broken == {"P5"}
    again = Scene()
    again.write("B", leaseOwner="B", leaseCounter=1)
    assert again.broken == {"P5"}


def test_a_token_that_does_not_rise_is_found(scene: Scene) -> None:
    """P5: what B delivers under a token that A had already cannot be told apart by a sink."""
    one, two = scene.put("a", "b")
    scene.handle("A", one, token=2)
    scene.write("B", leaseOwner="B")
    scene.handle("B", two, token=2)
    assert scene.broken == {"P5"}


def test_a_delivery_under_a_lease_that_ran_out_is_found(scene: Scene) -> None:
    """I11b: validity counts from the sending of the last write that was applied, though nobody has taken the lease."""
    one, two = scene.put("a", "b")
    scene.wait(20)
    scene.write("A", sent_s=15.0)
    scene.wait(4)
    scene.handle("A", one)
    assert scene.broken == set()
    scene.wait(2)
    scene.handle("A", two)
    assert scene.broken == {"I11b"}


@pytest.mark.parametrize("why", ["cancelled", "superseded", "a later tenure"])
def test_a_late_result_is_no_processing(scene: Scene, why: str) -> None:
    """I3: a checkpoint over a record whose handler was superseded when it returned covers what nobody has done."""
    (one,) = scene.put("a")
    scene.oracle.delivered("A", FIRST, one[1], 1, one[0])
    if why == "superseded":
        scene.write("B", leaseOwner="B")
        scene.write("A", leaseOwner="B")
    elif why == "a later tenure":
        scene.oracle.delivered("A", FIRST, one[1], 3, one[0])
    scene.oracle.processed("A", FIRST, one[1], 1, one[0], cancelled=why == "cancelled")
    assert scene.broken == set()
    scene.write("B" if why == "superseded" else "A", checkpoint=str(one[1].sequence_number))
    assert scene.broken == {"I3"}


def test_a_record_that_is_parked_in_part_is_found(scene: Scene) -> None:
    """I1: parking keeps a record's bytes; a parked record counts as done."""
    one, two = scene.put("a", "b")
    scene.oracle.parked("A", FIRST, one[1], payload(one[0]))
    assert scene.broken == set()
    scene.oracle.parked("A", FIRST, two[1], b"")
    assert scene.broken == {"I1"}


def test_a_result_is_judged_in_its_own_life_of_the_row(scene: Scene) -> None:
    """P5: a row that is made again counts anew, and what came under the old one stays late where it was late."""
    one, two = scene.put("a", "b")
    scene.oracle.delivered("A", FIRST, one[1], 3, one[0])
    scene.oracle.delivered("A", FIRST, one[1], 5, one[0])
    scene.tables.write(Delete("leases", Key("leaseKey", FIRST)), scene.sim.wall_s)
    scene.oracle.processed("A", FIRST, one[1], 3, one[0])
    assert scene.oracle.pending() == 2
    scene.lease(FIRST, "B")
    scene.handle("B", one)
    scene.handle("B", two)
    assert (scene.broken, scene.oracle.pending()) == (set(), 0)


@pytest.mark.parametrize(("stood_still_s", "broken"), [(11.0, {"I11"}), (3.0, set[str]())])
def test_a_former_owner_that_parks_is_found(stood_still_s: float, broken: set[str]) -> None:
    """I11: nothing is handed to a lot after a take by expiry; after a steal, for a moment."""
    scene = Scene()
    ((_, position),) = scene.put("a")
    scene.wait(stood_still_s)
    scene.write("B", leaseOwner="B")
    scene.oracle.parking("A", FIRST, position)
    assert scene.broken == broken


def test_what_joins_the_lot_late_is_not_done(scene: Scene) -> None:
    """I3: a record that a superseded worker parked is its successor's to handle; the lot may hold it twice."""
    ((user, position),) = scene.put("a")
    scene.oracle.parking("A", FIRST, position)
    scene.write("B", leaseOwner="B")
    scene.write("A", leaseOwner="B")
    scene.oracle.parked("A", FIRST, position, payload(user))
    assert (scene.broken, scene.oracle.pending()) == (set(), 1)
    scene.write("B", checkpoint=str(position.sequence_number))
    assert scene.broken == {"I3"}


def test_a_superseded_worker_goes_on_in_its_own_order(scene: Scene) -> None:
    """I2: what it parked late is not done, and yet it is through with it; as an owner again it begins anew."""
    scene.oracle.in_turn = True
    ((user, position),), (after,) = scene.put("a"), scene.put("b")
    scene.write("B", leaseOwner="B")
    scene.write("A", leaseOwner="B")
    scene.oracle.parked("A", FIRST, position, payload(user))
    scene.oracle.delivered("A", FIRST, after[1], 1, after[0])
    assert scene.broken == set()
    scene.write("A", leaseOwner="A")
    again = scene.put("c")[0]
    scene.oracle.delivered("A", FIRST, again[1], 5, again[0])
    assert "I2" in scene.broken


def test_the_lease_of_a_shard_that_is_over_needs_no_child_that_is_over_too() -> None:
    """I9: a row goes when its children have begun; one that retention took before it had a lease never will."""
    for retention_s, broken in ((60.0, set[str]()), (3600.0, {"I9"})):
        scene = Scene()
        scene.oracle.retention_s = retention_s
        scene.state.split_shard(STREAM, FIRST, str(1 << 127), now=scene.sim.wall_s)
        scene.lease("shardId-000000000002", "A")
        scene.write("A", "shardId-000000000002", checkpoint="LATEST")
        scene.state.merge_shards(STREAM, SECOND, "shardId-000000000002", now=scene.sim.wall_s)
        scene.lease("shardId-000000000003", "A")
        scene.write("A", checkpoint="SHARD_END")
        scene.wait(100.0)
        scene.network.sender = Sender(scene.hosts["A"], Service.DYNAMODB, "DeleteItem", scene.sim.now)
        scene.tables.write(Delete("leases", Key("leaseKey", FIRST)), scene.sim.wall_s)
        assert scene.broken == broken


def test_strict_worlds_find_duplicates_and_moves(scene: Scene) -> None:
    """A healthy world allows no second delivery, and a calm one no move of a lease."""
    scene.oracle.strict_duplicates = scene.oracle.calm = True
    (one,) = scene.put("a")
    scene.handle("A", one)
    scene.write("B", leaseOwner="B")
    scene.handle("B", one, token=2)
    assert scene.broken == {"dup", "churn"}
    assert scene.oracle.redelivered == 1


def test_every_invariant_has_a_sentence() -> None:
    """Each invariant says in one sentence what it protects."""
    assert all(text.endswith(".") and len(text.split()) > 5 for text in INVARIANTS.values())
