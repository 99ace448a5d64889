"""Hash keys, their ranges, and the map from a hash key to its shard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.errors import InvalidInput
from shardline.common.hashing import (
    FULL_RANGE,
    HashRange,
    Shard,
    ShardMap,
    hash_key,
    hash_key_bytes,
    parse_explicit_hash_key,
)
from shardline.common.limits import HASH_KEY_MAX

HALF = 2**127


def key(number: int) -> bytes:
    """Return a hash key as the map takes it."""
    return number.to_bytes(16, "big")


def halves() -> list[Shard]:
    """Return two open shards that share the hash keys evenly, and their closed parent."""
    return [
        Shard("right", HashRange(HALF, HASH_KEY_MAX), parent_shard_id="parent"),
        Shard("left", HashRange(0, HALF - 1), parent_shard_id="parent"),
        Shard("parent", FULL_RANGE, ending_sequence_number="9"),
    ]


def test_the_hash_key_is_the_md5_read_big_endian() -> None:
    """The MD5 of "a" is a published value."""
    assert hash_key("a") == 0x0CC175B9C0F1B6A831C399E269772661
    assert hash_key_bytes("a") == key(hash_key("a"))


@pytest.mark.parametrize(
    ("value", "number"), [(0, 0), ("0", 0), (HASH_KEY_MAX, HASH_KEY_MAX), (str(HASH_KEY_MAX), HASH_KEY_MAX), ("17", 17)]
)
def test_explicit_hash_keys_in_range_are_numbers(value: int | str, number: int) -> None:
    """Both ends of the range are allowed, as a number and as text."""
    assert parse_explicit_hash_key(value) == number


@pytest.mark.parametrize(
    "value",
    [-1, 2**128, str(2**128), "-1", "+1", "0123", "", " 1", "1e3", "1_0", "\u0661", "9" * 5000, True, 1.0, None, b"1"],
)
def test_explicit_hash_keys_out_of_range_are_refused(value: object) -> None:
    """Anything but an integer from 0 to 2^128 - 1 is refused with the range in the message."""
    with pytest.raises(InvalidInput, match=r"^explicit_hash_key must be an integer from 0 to \d+ \(2\^128 - 1\)"):
        parse_explicit_hash_key(value)  # type: ignore[arg-type]  # the wrong types are the point.


def test_ranges_hold_both_their_ends() -> None:
    """A range is inclusive, as in the API, and holds numbers only."""
    hash_range = HashRange(10, 19)
    assert [number in hash_range for number in (9, 10, 19, 20)] == [False, True, True, False]
    text: object = "10"
    assert (text in hash_range, hash_range.width) == (False, 10)


def test_ranges_meet_or_overlap() -> None:
    """Neighbours meet without overlapping; a gap does neither."""
    left, right, far = HashRange(0, 9), HashRange(10, 19), HashRange(11, 19)
    assert (left.meets(right), right.meets(left), left.overlaps(right)) == (True, True, False)
    assert (left.meets(far), left.overlaps(far), right.overlaps(far)) == (False, False, True)


def test_a_shard_knows_its_parents() -> None:
    """A fresh shard has none, a split's child one, a merge's child two."""
    fresh = Shard("a", FULL_RANGE)
    merged = Shard("c", FULL_RANGE, parent_shard_id="a", adjacent_parent_shard_id="b")
    assert (fresh.parent_shard_ids, merged.parent_shard_ids) == ((), ("a", "b"))
    assert halves()[0].parent_shard_ids == ("parent",)


def test_the_map_locates_in_open_shards_only() -> None:
    """Each side of a boundary goes to its own shard, and never to the closed parent."""
    shard_map = ShardMap(halves())
    found = [shard_map.locate(key(number)) for number in (0, HALF - 1, HALF, HASH_KEY_MAX)]
    assert [shard and shard.shard_id for shard in found] == ["left", "left", "right", "right"]
    assert (shard_map.complete, len(shard_map), shard_map.get("parent")) == (True, 2, None)
    assert repr(shard_map) == "ShardMap(2 open, complete=True)"


@pytest.mark.parametrize("missing", ["left", "right"])
def test_a_gap_has_no_shard(missing: str) -> None:
    """Hash keys that no open shard owns are located nowhere, below and above what is known."""
    shard_map = ShardMap(shard for shard in halves() if shard.shard_id != missing)
    number = 0 if missing == "left" else HASH_KEY_MAX
    assert shard_map.locate(key(number)) is None
    assert not shard_map.complete


def test_overlapping_open_shards_are_refused() -> None:
    """A listing in which two open shards own one hash key is no shard map."""
    with pytest.raises(InvalidInput, match="ranges that do not overlap"):
        ShardMap([Shard("a", HashRange(0, 10)), Shard("b", HashRange(10, 20))])


@given(st.sets(st.integers(1, HASH_KEY_MAX), max_size=20), st.integers(0, HASH_KEY_MAX))
def test_in_a_complete_map_every_key_has_its_shard(cuts: set[int], number: int) -> None:
    """Wherever the key space is cut, bisection finds the one shard whose range holds the key."""
    starts = [0, *sorted(cuts)]
    ends = [*(start - 1 for start in starts[1:]), HASH_KEY_MAX]
    shards = [Shard(str(at), HashRange(*pair)) for at, pair in enumerate(zip(starts, ends, strict=True))]
    shard_map = ShardMap(reversed(shards))
    found = shard_map.locate(key(number))
    assert shard_map.complete
    assert found is not None
    assert number in found.hash_range
