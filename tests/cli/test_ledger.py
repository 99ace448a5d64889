"""The demo's oracle: every planted loss, duplicate and disorder is counted as what it is, and nothing else is."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.cli.demo.report import DeliveredRecord, Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.cli.demo.report import Report

A, B, C = "shardId-000000000000", "shardId-000000000001", "shardId-000000000002"


def ledger_of(count: int, *, shard: str = A, per_record: int = 4) -> Ledger:
    """Return a ledger with `count` records sent and acknowledged, `per_record` in each Kinesis record of `shard`."""
    ledger = Ledger(ids_max=count + 10)
    ledger.sent(count)
    for first in range(0, count, per_record):
        ids = range(first, min(first + per_record, count))
        ledger.acknowledged(ids, shard, 100 + first, bytes_sent=50, bytes_alone=200)
    return ledger


def record(number: int, ids: Sequence[int], *, key: str = "user-1", first_sub: int = 0) -> DeliveredRecord:
    """Return a delivered Kinesis record of one key."""
    return DeliveredRecord(number, first_sub, list(ids), [key] * len(ids))


def deliver(ledger: Ledger, *deliveries: tuple[str, DeliveredRecord]) -> Report:
    """Deliver one after the other and return the report for a stream whose shards B and C are children of A."""
    for shard, one in deliveries:
        ledger.delivered(shard, [one])
    return ledger.report({A: (), B: (A,), C: (A,)})


def test_a_sound_run_has_no_fault() -> None:
    """Each acknowledged record delivered once, in order: nothing lost, doubled or out of order."""
    report = deliver(ledger_of(8), (A, record(100, range(4))), (A, record(104, range(4, 8))))
    assert report.as_fields() == {
        "sent": 8,
        "acknowledged": 8,
        "not_written": 0,
        "unknown": 0,
        "processed": 8,
        "lost": 0,
        "duplicates": 0,
        "resent": 0,
        "redelivered": 0,
        "order_violations": 0,
        "misplaced": 0,
        "foreign": 0,
        "kinesis_records": 2,
        "kinesis_records_saved": 6,
        "data_bytes": 100,
        "data_bytes_alone": 400,
        "payload_units": 2,
        "payload_units_saved": 6,
        "bytes_saved": 6 * 25 * 1024,
    }
    assert report.sound


def test_a_loss_is_not_hidden_by_a_duplicate() -> None:
    """As many deliveries as records, yet one id missing: lost by id, not by totals."""
    report = deliver(ledger_of(4), (A, record(100, [0, 1, 2])), (A, record(100, [2], first_sub=2)))
    assert (report.lost, report.processed, report.duplicates) == (1, 3, 1)
    assert not report.sound


def test_delivery_before_acknowledgement_is_no_loss() -> None:
    """A record may be processed before its answer has reached the producer."""
    ledger = Ledger(ids_max=4)
    ledger.sent(1)
    ledger.delivered(A, [record(100, [0])])
    ledger.acknowledged([0], A, 100, bytes_sent=1, bytes_alone=1)
    assert ledger.pending == 0
    assert ledger.report({}).lost == 0


def test_an_unacknowledged_record_is_not_lost() -> None:
    """Records that the producer gave up are counted as such, and their delivery is welcome."""
    ledger = Ledger(ids_max=4)
    ledger.sent(3)
    ledger.failed(2, unknown=True)
    ledger.failed(1, unknown=False)
    ledger.delivered(A, [record(100, [1])])
    report = ledger.report({})
    assert (report.unknown, report.not_written, report.lost, report.processed) == (2, 1, 0, 1)


def test_one_position_twice_is_redelivered() -> None:
    """The same position again, as after a crash, is a redelivery of each record in it."""
    report = deliver(ledger_of(4), (A, record(100, range(4))), (A, record(100, range(4))))
    assert (report.redelivered, report.resent, report.order_violations) == (4, 0, 0)


def test_one_id_at_two_positions_is_resent() -> None:
    """The same record at another position, as after a producer's retry, is resent; delivered again, redelivered."""
    ledger = ledger_of(4)
    report = deliver(ledger, (A, record(100, range(4))), (A, record(200, range(4))), (A, record(200, [0])))
    assert (report.resent, report.redelivered, report.duplicates, report.order_violations) == (4, 1, 5, 0)


def test_a_resume_inside_an_aggregate_is_understood() -> None:
    """A new owner that begins in the middle of an aggregate delivers new positions of it, which are no duplicates."""
    report = deliver(ledger_of(4), (A, record(100, [0, 1])), (A, record(100, [2, 3], first_sub=2)))
    assert (report.processed, report.duplicates, report.order_violations) == (4, 0, 0)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [(record(104, [4]), record(100, [0])), (record(100, [1], first_sub=1), record(100, [0], first_sub=0))],
    ids=["sequence number", "sub-sequence number"],
)
def test_a_key_going_back_is_out_of_order(earlier: DeliveredRecord, later: DeliveredRecord) -> None:
    """A first delivery below one already delivered for that key in that shard is a violation."""
    assert deliver(ledger_of(8), (A, earlier), (A, later)).order_violations == 1


def test_other_keys_and_shards_have_orders_of_their_own() -> None:
    """Only the same key in the same shard is compared."""
    report = deliver(ledger_of(8), (B, record(104, [4])), (C, record(100, [0])), (B, record(90, [5], key="user-2")))
    assert report.order_violations == 0


def test_a_redelivery_is_never_out_of_order() -> None:
    """Going back to the checkpoint after a crash repeats positions, and repeats are not first deliveries."""
    ledger = ledger_of(12)
    report = deliver(ledger, *[(A, record(n, range(n - 100, n - 96))) for n in (100, 104, 108, 100, 104, 108)])
    assert (report.redelivered, report.order_violations) == (12, 0)


def test_a_child_before_its_parents_end_is_out_of_order() -> None:
    """Each first delivery of a child before the last one of its parent is a violation."""
    ledger = ledger_of(12)
    report = deliver(
        ledger,
        (A, record(100, range(4))),
        (B, record(500, [8, 9, 10])),
        (A, record(104, [4], key="user-9")),
        (B, record(501, [11])),
    )
    assert report.order_violations == 3


def test_a_grandchild_before_the_end_is_out_of_order() -> None:
    """All ancestors count, also where the shard between them has had no record."""
    ledger = ledger_of(8)
    ledger.delivered(C, [record(500, [0])])
    ledger.delivered(A, [record(100, [1])])
    assert ledger.order_violations({C: (B,), B: (A,), A: ()}) == 1
    assert ledger.order_violations({C: (B,)}) == 0


def test_a_child_after_its_parents_is_in_order_even_if_the_parent_repeats() -> None:
    """A redelivery of the parent's records after the child began is a duplicate, not a disorder."""
    ledger = ledger_of(8)
    report = deliver(ledger, (A, record(100, [0])), (B, record(500, [1])), (A, record(100, [0])))
    assert (report.order_violations, report.redelivered) == (0, 1)


def test_what_was_never_sent_is_foreign() -> None:
    """A damaged payload, an id beyond what was sent and one beyond what can be sent all count, and fail the run."""
    ledger = ledger_of(4)
    report = deliver(ledger, (A, record(100, [0, 1, 2, 3])), (A, record(104, [-1, 6, 10**9])))
    assert report.foreign == 3
    assert not report.sound


def test_a_second_acknowledgement_changes_nothing() -> None:
    """Ids and Kinesis records are counted once, however often they are acknowledged."""
    ledger = ledger_of(4)
    ledger.acknowledged(range(4), A, 100, bytes_sent=50, bytes_alone=200)
    report = ledger.report({})
    assert (report.acknowledged, report.kinesis_records, report.data_bytes, report.lost) == (4, 1, 50, 4)


def test_misplaced_records_are_counted_apart() -> None:
    """A record in a shard that does not own its key is processed, counted as misplaced, and no fault."""
    ledger = ledger_of(4)
    ledger.delivered(A, [record(100, range(4))], misplaced=2)
    report = ledger.report({})
    assert (report.misplaced, report.order_violations, report.sound) == (2, 0, True)


@given(
    seed=st.integers(0, 2**32),
    lost=st.sets(st.integers(0, 59), max_size=10),
    twice=st.sets(st.integers(0, 14), max_size=5),
    resent=st.sets(st.integers(0, 59), max_size=10),
)
def test_planted_faults_are_counted_exactly(seed: int, lost: set[int], twice: set[int], resent: set[int]) -> None:
    """Any mixture of losses, redelivered Kinesis records and resent user records gives exactly those counts."""
    ledger = ledger_of(60)
    rng = Random(seed)
    for index in range(15):
        ids = [one for one in range(index * 4, index * 4 + 4) if one not in lost]
        pieces = [record(100 + index, [one], first_sub=one % 4, key=f"user-{rng.randint(1, 3)}") for one in ids]
        for _ in range(2 if index in twice else 1):
            for piece in pieces:
                ledger.delivered(A, [piece])
    for one in sorted(resent):
        ledger.delivered(A, [record(1000 + one, [one])])
    report = ledger.report({A: ()})
    redelivered = sum(1 for one in range(60) if one // 4 in twice and one not in lost)
    assert (report.redelivered, report.resent) == (redelivered, len(resent - lost))
    assert report.lost == len(lost - resent)
    assert report.order_violations == 0


def test_payload_units_are_rounded_up_per_kinesis_record() -> None:
    """A Kinesis record of one byte more than 25 KB is billed as two units."""
    ledger = Ledger(ids_max=1000)
    ledger.acknowledged(range(500), A, 1, bytes_sent=25 * 1024, bytes_alone=25 * 1024)
    ledger.acknowledged(range(500, 1000), A, 2, bytes_sent=25 * 1024 + 1, bytes_alone=20_000)
    report = ledger.report({})
    assert (report.payload_units, report.payload_units_saved) == (3, 997)
    assert (report.data_bytes, report.data_bytes_alone) == (50 * 1024 + 1, 25 * 1024 + 20_000)
