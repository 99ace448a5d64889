"""Lineage: first leases, missing leases, children, parents before children, holes (I5, I9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.errors import InvalidInput
from shardline.common.hashing import FULL_RANGE, HashRange, Shard
from shardline.common.limits import HASH_KEY_MAX
from shardline.common.ports.kinesis import ChildShard, ShardFilter, ShardFilterKind
from shardline.common.records import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Position
from shardline.consumer.lineage import (
    Hole,
    Start,
    StartPoint,
    application_pin,
    are_all_children,
    blocking_parents,
    child_leases,
    covers_everything,
    find_hole,
    initial_leases,
    may_clean_up,
    missing_leases,
    unknown_parents,
)

from tests.consumer.rows import at, lease

if TYPE_CHECKING:
    from shardline.consumer.leases.row import LeaseRow

EIGHTH = (HASH_KEY_MAX + 1) // 8


def shard(name: str, *parents: str, eighths: tuple[int, int] = (0, 8), is_open: bool = False) -> Shard:
    """Return a shard of that name over some eighths of the hash keys."""
    return Shard(
        name,
        HashRange(eighths[0] * EIGHTH, eighths[1] * EIGHTH - 1),
        parents[0] if parents else None,
        parents[1] if len(parents) > 1 else None,
        starting_sequence_number=str(int(name) + 1),
        ending_sequence_number=None if is_open else "999",
    )


# The worked example of kcl.md 5.2: {0..5} -> 0+1=6, 2+3=7, 4, 5 -> 6+7=8, 4, 5 splits into 9 and 10.
EXAMPLE = [
    shard("0", eighths=(0, 1)),
    shard("1", eighths=(1, 2)),
    shard("2", eighths=(2, 3)),
    shard("3", eighths=(3, 4)),
    shard("4", eighths=(4, 6), is_open=True),
    shard("5", eighths=(6, 8)),
    shard("6", "0", "1", eighths=(0, 2)),
    shard("7", "2", "3", eighths=(2, 4)),
    shard("8", "6", "7", eighths=(0, 4), is_open=True),
    shard("9", "5", eighths=(6, 7), is_open=True),
    shard("10", "5", eighths=(7, 8), is_open=True),
]


def missing(rows: list[LeaseRow], start: object, shards: list[Shard] = EXAMPLE) -> dict[str, Position]:
    """Return shard id -> checkpoint of the missing leases."""
    leases = missing_leases(shards, rows, Start.of(start), pin=100.0)  # type: ignore[arg-type]  # Each kind, by turns.
    return {one.shard_id: one.checkpoint for one in leases}


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("LATEST", {"6": LATEST}),
        ("TRIM_HORIZON", {"0": TRIM_HORIZON, "1": TRIM_HORIZON}),
        (50.0, {"0": AT_TIMESTAMP, "1": AT_TIMESTAMP}),
    ],
)
def test_the_worked_example_of_the_kcl(start: object, expected: dict[str, Position]) -> None:
    """With leases for 4, 5 and 7, exactly the oldest unleased ancestors of the gap are created."""
    assert missing([lease("4"), lease("5"), lease("7")], start) == expected


def test_nothing_is_missing_where_every_branch_has_a_lease() -> None:
    """Descendants of leased shards wait for their ancestors' end."""
    assert missing([lease(name) for name in ("0", "1", "2", "3", "4", "5")], "TRIM_HORIZON") == {}


def test_an_empty_table_at_latest_gets_the_open_shards() -> None:
    """Open shards that descend from no lease start at the initial position."""
    assert missing([], "LATEST") == {"4": LATEST, "8": LATEST, "9": LATEST, "10": LATEST}


def test_a_list_read_during_a_reshard_is_not_used() -> None:
    """A child whose parent is still listed as open makes the list inconsistent."""
    shards = [shard("0", is_open=True), shard("1", "0", is_open=True)]
    assert missing([], "TRIM_HORIZON", shards) == {}


def test_a_deleted_child_row_comes_back_at_the_trim_horizon() -> None:
    """A shard whose leased parents are all finished, and that nobody descends from, is created again (F38)."""
    shards = [
        shard("0"),
        shard("1", "0", eighths=(0, 4), is_open=True),
        shard("2", "0", eighths=(4, 8), is_open=True),
    ]
    rows = [lease("0", checkpoint=SHARD_END), lease("1", checkpoint=at(5))]
    assert missing(rows, "LATEST", shards) == {"2": TRIM_HORIZON}
    assert missing([lease("0", checkpoint=at(3)), rows[1]], "LATEST", shards) == {}


def test_a_cleaned_up_shard_does_not_come_back() -> None:
    """A shard without a lease whose child has one was finished and removed."""
    shards = [shard("0"), shard("1", "0"), shard("2", "1", is_open=True)]
    rows = [lease("0", checkpoint=SHARD_END), lease("2", checkpoint=at(5))]
    assert missing(rows, "TRIM_HORIZON", shards) == {}


def test_leases_at_latest_carry_the_applications_first_pin() -> None:
    """A repair pins where the application first started, not where it is repaired."""
    (made,) = missing_leases([shard("0", is_open=True)], [], Start.of("LATEST"), pin=90.0)
    assert made.latest_pin_s == 90.0
    rows = [lease(0, latest_pin_s=70.0), lease(1, latest_pin_s=60.0), lease(2)]
    assert application_pin(rows, 1000.0) == 60.0
    assert application_pin([], 1000.0) == 995.0


def test_first_leases_are_one_per_listed_shard_oldest_first() -> None:
    """A filtered list is taken as it is; parents are noted though they have no lease."""
    made = initial_leases(EXAMPLE[8:4:-1], Start.of("TRIM_HORIZON"), pin=1.0)
    assert [one.shard_id for one in made] == ["5", "6", "7", "8"]
    assert made[3].parents == ("6", "7")
    assert {one.latest_pin_s for one in made} == {None}


def test_children_start_at_the_trim_horizon_whatever_the_start() -> None:
    """A child of a known parent is read from its beginning."""
    children = [ChildShard("2", ("0", "1"), FULL_RANGE)]
    (made,) = child_leases(children, "1:orders:2")
    assert (made.key, made.checkpoint, made.parents) == ("1:orders:2:2", TRIM_HORIZON, ("0", "1"))


def test_parents_block_until_both_are_finished_or_gone() -> None:
    """A missing parent does not block, an unfinished one does."""
    child = lease("2", parents=("0", "1"))
    assert blocking_parents(child, {"0": lease("0"), "1": None}) == ("0",)
    assert blocking_parents(child, {"0": lease("0", checkpoint=SHARD_END), "1": lease("1", checkpoint=at(5))}) == ("1",)
    assert blocking_parents(child, {"0": lease("0", checkpoint=SHARD_END)}) == ()


@pytest.mark.parametrize(
    ("ranges", "hole"),
    [
        ([], Hole(0, HASH_KEY_MAX)),
        ([FULL_RANGE], None),
        ([HashRange(0, 9), HashRange(10, HASH_KEY_MAX)], None),
        ([HashRange(0, 20), HashRange(5, 9), HashRange(10, HASH_KEY_MAX)], None),
        ([HashRange(0, 9), HashRange(11, HASH_KEY_MAX)], Hole(10, 10)),
        ([HashRange(1, HASH_KEY_MAX)], Hole(0, 0)),
        ([HashRange(0, 9)], Hole(10, HASH_KEY_MAX)),
    ],
)
def test_holes_in_the_hash_keys_are_found(ranges: list[HashRange], hole: Hole | None) -> None:
    """Overlaps (parents beside children) are no holes; the first gap is."""
    assert find_hole(ranges) == hole


def test_a_snapshot_must_cover_every_hash_key() -> None:
    """A filtered list with a gap or an overlap is not a snapshot."""
    left, right = shard("1", eighths=(0, 4)), shard("2", eighths=(4, 8))
    assert covers_everything([right, left])
    assert not covers_everything([left])
    assert not covers_everything([left, left, right])
    assert not covers_everything([])


def test_starts() -> None:
    """Three kinds of start, each with its sentinel and its filter of ListShards."""
    kinds = ShardFilterKind
    assert (Start.of("LATEST").checkpoint, Start.of("LATEST").shard_filter) == (LATEST, ShardFilter(kinds.AT_LATEST))
    horizon = Start.of(Start(StartPoint.TRIM_HORIZON))
    assert (horizon.checkpoint, horizon.shard_filter) == (TRIM_HORIZON, ShardFilter(kinds.AT_TRIM_HORIZON))
    timed = Start.of(12)
    assert (timed.checkpoint, timed.shard_filter) == (AT_TIMESTAMP, ShardFilter(kinds.AT_TIMESTAMP, 12.0))


@pytest.mark.parametrize("start", ["latest", "", True, float("nan"), -1, None, "AT_TIMESTAMP"])
def test_other_starts_are_refused(start: object) -> None:
    """The error names the three choices."""
    with pytest.raises(InvalidInput, match="start must be"):
        Start.of(start)  # type: ignore[arg-type]  # The point of the test.


@given(st.data())
def test_repairs_complete_any_tree(data: st.DataObject) -> None:
    """For any reshard history and any subset of leases, following shard ends and repairs covers every open shard."""
    shards, rows = _tree(data), {}
    listed = {one.shard_id: one for one in shards}
    for name in data.draw(st.sets(st.sampled_from(sorted(listed)))):
        finished = not listed[name].is_open and data.draw(st.booleans())
        rows[name] = lease(name, checkpoint=SHARD_END if finished else at(5))
    starts: list[str | float] = ["TRIM_HORIZON", "LATEST", 5.0]
    start = Start.of(data.draw(st.sampled_from(starts)))
    for _ in range(4 * len(shards) + 4):
        made = missing_leases(shards, rows.values(), start, pin=1.0)
        for one in made:
            assert one.shard_id not in rows
            rows[one.shard_id] = lease(one.shard_id, checkpoint=one.checkpoint)
        for name, row in sorted(rows.items()):
            if not listed[name].is_open:  # Its owner finishes it, and creates the children as it does.
                rows[name] = lease(name, checkpoint=SHARD_END)
                for child in shards:
                    if row.key in child.parent_shard_ids and child.shard_id not in rows:
                        rows[child.shard_id] = lease(child.shard_id)
    unleased = [one.shard_id for one in shards if one.is_open and one.shard_id not in rows]
    assert unleased == []


def _tree(data: st.DataObject) -> list[Shard]:
    """Return the shards of a stream that was split and merged at random."""
    shards = [shard("0", is_open=True)]
    for _ in range(data.draw(st.integers(0, 6))):
        active = sorted((one for one in shards if one.is_open), key=lambda one: one.hash_range)
        pick = data.draw(st.integers(0, len(active) - 1))
        first = active[pick]
        partner = active[pick + 1] if pick + 1 < len(active) and data.draw(st.booleans()) else None
        number = len(shards)
        for closed in (first, partner):
            if closed is not None:
                shards[shards.index(closed)] = closed._replace(ending_sequence_number="9")
        if partner is not None:
            whole = HashRange(first.hash_range.start, partner.hash_range.end)
            shards.append(shard(str(number), first.shard_id, partner.shard_id, is_open=True)._replace(hash_range=whole))
            continue
        middle = (first.hash_range.start + first.hash_range.end) // 2
        for offset, part in enumerate(
            (HashRange(first.hash_range.start, middle), HashRange(middle + 1, first.hash_range.end))
        ):
            child = shard(str(number + offset), first.shard_id, is_open=True)
            shards.append(child._replace(hash_range=part))
    return shards


@pytest.mark.parametrize(
    ("checkpoint", "child", "parent", "expected"),
    [
        (SHARD_END, at(5), None, True),
        (SHARD_END, SHARD_END, None, True),
        (SHARD_END, LATEST, None, True),
        (SHARD_END, TRIM_HORIZON, None, False),
        (SHARD_END, AT_TIMESTAMP, None, False),
        (SHARD_END, None, None, False),
        (SHARD_END, at(5), at(5), False),
        (at(5), at(5), None, False),
    ],
)
def test_a_finished_lease_goes_when_nothing_needs_it(
    checkpoint: Position, child: Position | None, parent: Position | None, expected: bool
) -> None:
    """All children have begun, all parents' leases are gone, the shard has been at its end for a while: only then."""
    children = {"1": lease("1", checkpoint=at(1)), "2": None if child is None else lease("2", checkpoint=child)}
    parents = {"p": None if parent is None else lease("p", checkpoint=parent)}
    assert may_clean_up(lease("0", checkpoint=checkpoint), children, parents, finished_s=120.0) is expected
    assert not may_clean_up(lease("0", checkpoint=checkpoint), children, parents, finished_s=119.0)
    assert not may_clean_up(lease("0", checkpoint=SHARD_END), {}, {}, finished_s=1e9)


def test_a_merges_child_waits_for_the_lease_of_its_other_parent() -> None:
    """All parents' leases, or none is made: a parent without one, while the child has none, is not finished."""
    child = ChildShard("2", ("0", "1"), FULL_RANGE)
    assert unknown_parents(child, {"0": lease("0"), "1": None, "2": None}) == ("1",)
    assert unknown_parents(child, {"0": lease("0"), "1": lease("1"), "2": None}) == ()
    assert unknown_parents(child, {"0": lease("0"), "1": None, "2": lease("2")}) == ()
    assert unknown_parents(ChildShard("2", ("0",), FULL_RANGE), {"0": None, "2": None}) == ("0",)  # Deleted by hand.
    assert unknown_parents(ChildShard("2", ("0",), FULL_RANGE), {"0": lease("0"), "2": None}) == ()


def test_a_merges_child_is_no_orphan_while_an_ancestor_is_read() -> None:
    """Of 0 -> 1, 2 and the merge 1 + 3 -> 4 (3 a child of 2): 4 waits, though its leased parent is finished."""
    shards = [
        shard("0"),
        shard("1", "0", eighths=(0, 4)),
        shard("2", "0", eighths=(4, 8)),
        shard("3", "2", eighths=(4, 8)),
        shard("4", "1", "3", is_open=True),
    ]
    rows = [lease("1", checkpoint=SHARD_END), lease("2", checkpoint=at(5))]
    assert missing(rows, "TRIM_HORIZON", shards) == {}
    rows = [lease("1", checkpoint=SHARD_END), lease("2", checkpoint=SHARD_END)]
    assert missing(rows, "TRIM_HORIZON", shards) == {"3": TRIM_HORIZON}
    rows = [lease("1", checkpoint=SHARD_END), lease("3", checkpoint=SHARD_END)]
    assert missing(rows, "TRIM_HORIZON", shards) == {"4": TRIM_HORIZON}


def test_children_are_believed_when_they_can_be_all() -> None:
    """One half of a split is not all of it; a merge's child covers more than one parent."""
    parent = HashRange(0, 7)
    low, high = ChildShard("1", ("0",), HashRange(0, 3)), ChildShard("2", ("0",), HashRange(4, 7))
    merged = ChildShard("3", ("0", "9"), HashRange(0, 15))
    for children in ([low, high], [high, low], [merged]):
        assert are_all_children("0", parent, children)
        assert are_all_children("0", None, children)
    for children in ([], [low], [high], [ChildShard("1", ("9",), parent)], [low, ChildShard("2", (), HashRange(4, 7))]):
        assert not are_all_children("0", parent, children)
    assert not are_all_children("0", None, [low])


def test_a_missing_half_of_a_split_is_not_found_by_reading_the_parent_again() -> None:
    """The parent was cleaned up and one child has a lease: only the other child is missing, from its beginning."""
    shards = [
        shard("0"),
        shard("1", "0", eighths=(0, 4), is_open=True),
        shard("2", "0", eighths=(4, 8), is_open=True),
    ]
    for start in ("TRIM_HORIZON", "LATEST", 5.0):
        assert missing([lease("1", checkpoint=at(5))], start, shards) == {"2": TRIM_HORIZON}
