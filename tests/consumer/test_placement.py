"""Placement: aggregates at home in their shard are told from others exactly, by as few digests as possible (I15)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shardline.common.aggregation import AggregateBuilder
from shardline.common.deaggregation import Validation, iterate
from shardline.common.hashing import FULL_RANGE, HashRange
from shardline.consumer.retrieval.placement import Placement

LOWER = HashRange(0, 2**127 - 1)
KEYS = st.text("abcdef", min_size=1, max_size=3)
HASHES = st.one_of(st.none(), st.integers(0, 2**128 - 1).map(str))


def validated(records: list[tuple[str, str | None]], placement: Placement | None = None) -> Validation:
    """Return the validation of an aggregate of (partition key, explicit hash key)."""
    builder = AggregateBuilder(1_000_000)
    for key, explicit in records:
        builder.try_append(key, b"x", explicit)
    return Validation(builder.seal().data, known={} if placement is None else placement.known).run()


@given(st.lists(st.lists(st.tuples(KEYS, HASHES), min_size=2, max_size=6), min_size=1, max_size=4))
def test_the_quick_answer_never_hides_a_misplaced_record(aggregates: list[list[tuple[str, str | None]]]) -> None:
    """Over any sequence of aggregates: None is answered only where judging every record finds none misplaced."""
    placement = Placement(LOWER)
    for records in aggregates:
        check = validated(records, placement)
        judged = placement.to_judge(check)
        misplaced = [record.misplaced for record in iterate(check, "a", hash_range=LOWER)]
        assert judged in (None, LOWER)
        if judged is None:
            assert not any(misplaced)


def test_a_full_range_and_plain_records_need_no_judging() -> None:
    """Nothing can be misplaced in a shard of all keys, and a plain record was placed by the service."""
    check = validated([("a", None), ("b", None)])
    assert Placement(FULL_RANGE).to_judge(check) is None
    assert Placement(None).to_judge(check) is None
    assert Placement(HashRange(0, 0)).to_judge(Validation(b"plain").run()) is None
    assert Placement(HashRange(0, 0)).to_judge(check) == HashRange(0, 0)


def test_what_is_remembered_is_bounded() -> None:
    """A stream of ever new keys does not grow the memory."""
    placement = Placement(HashRange(0, 2**128 - 2))
    for start in range(0, 40_000, 10_000):
        assert placement.to_judge(validated([(f"k{n}", None) for n in range(start, start + 10_000)])) is None
        assert len(placement.known) <= 16_384
