"""The cores of multi-stream mode: what was asked, identities, former streams' waiting period, rows that outlived."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.errors import InvalidInput
from shardline.common.hashing import FULL_RANGE, HashRange, Shard
from shardline.common.limits import HASH_KEY_MAX
from shardline.common.ports.kinesis import Distribution, Stream, StreamSummary
from shardline.common.records import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON
from shardline.consumer.lineage import Start
from shardline.consumer.outlived import judge_rows
from shardline.consumer.streams import (
    FormerLeases,
    FormerStreams,
    Identity,
    StrayLeases,
    StreamConfig,
    StreamLife,
    StreamsAsked,
    TrackingConfig,
    Verdict,
)

from tests.consumer.rows import WRITES, Book, at, lease

ARN = "arn:aws:kinesis:eu-central-1:123456789012:stream/orders"
OTHER = "arn:aws:kinesis:eu-central-1:210987654321:stream/orders"


# --- what was asked ---


@pytest.mark.parametrize(
    ("streams", "multi_stream", "multi", "grows"),
    [
        ("orders", None, False, False),
        (["orders"], None, False, False),
        (["orders"], True, True, True),
        (["orders", "refunds"], None, True, False),
        ([ARN, OTHER], None, True, False),
        (lambda: ["orders"], None, True, True),
    ],
)
def test_the_mode_follows_from_what_was_asked(streams: Any, multi_stream: Any, multi: bool, grows: bool) -> None:
    """One stream is single-stream mode unless the program says otherwise; several, or a function, are not."""
    asked = StreamsAsked.of(streams, None, multi_stream)
    assert (asked.multi, asked.grows) == (multi, grows)


@pytest.mark.parametrize(
    ("streams", "start", "multi_stream"),
    [
        ([], None, None),
        (["a", "a"], None, None),
        (["a", "b"], None, False),
        (lambda: ["a"], None, False),
        (7, None, None),
        ([7], None, None),
        ("a", {"b": "LATEST"}, None),
        ("a", "earliest", None),
    ],
)
def test_what_cannot_be_asked_is_refused(streams: Any, start: Any, multi_stream: Any) -> None:
    """No stream, one twice, a mode that does not fit, a start for another stream."""
    with pytest.raises(InvalidInput):
        StreamsAsked.of(streams, start, multi_stream)


def test_a_start_is_the_streams_own_or_the_mappings_or_the_workers() -> None:
    """The nearest word counts; a function's streams may have a mapping that names streams to come."""
    asked = StreamsAsked.of([StreamConfig.of("a", "LATEST"), "b"], {"b": 17.0})
    assert [asked.start_of(config) for config in asked.configs] == [Start.of("LATEST"), Start.of(17.0)]
    assert StreamsAsked.of("a", "LATEST").start_of(StreamConfig.of("z")) == Start.of("LATEST")
    coming = StreamsAsked.of(lambda: ["x"], {"y": "LATEST"})
    assert [coming.start_of(StreamConfig.of(name)) for name in "yz"] == [Start.of("LATEST"), None]


def test_a_consumers_arn_is_checked() -> None:
    """An ARN of a registered consumer, nothing else."""
    good = f"{ARN}/consumer/billing:1700000000"
    assert StreamConfig.of(OTHER, consumer_arn=good).consumer_arn == good
    for wrong in (ARN, "billing", f"{ARN}/consumer/billing", f"{good}x"):
        with pytest.raises(InvalidInput, match="consumer_arn"):
            StreamConfig.of("orders", consumer_arn=wrong)


@pytest.mark.parametrize("wrong", [{"poll_s": 0}, {"poll_s": float("nan")}, {"former_wait_s": -1}, {"provided": "abc"}])
def test_tracking_is_checked(wrong: dict[str, Any]) -> None:
    """Values out of range name their field."""
    with pytest.raises(InvalidInput, match="tracking"):
        TrackingConfig(**wrong)


# --- identities ---


def test_an_identity_is_the_kcls() -> None:
    """`account:name:epoch`, the creation time cut to the second."""
    summary = StreamSummary("orders", ARN, "ACTIVE", 1700000000.9, 24, 1, True, 1 << 20, Distribution.AUTO)
    identity = Identity.of(summary)
    assert str(identity) == "123456789012:orders:1700000000"
    assert Identity.parse(str(identity)) == identity
    assert [identity.is_named(text) for text in ("orders", str(identity), ARN, OTHER, "other")] == [True] * 3 + [
        False
    ] * 2


@pytest.mark.parametrize("text", ["", "orders", "1:orders", "x:orders:5", "1:orders:five", "1:a:2:3"])
def test_what_is_no_identity(text: str) -> None:
    """Anything but three parts with digits outside is none."""
    assert Identity.parse(text) is None


# --- former streams ---


def former(strategy: FormerStreams, wait_s: float = 60.0) -> FormerLeases:
    """Return a leader's view with nothing seen yet."""
    return FormerLeases(TrackingConfig(former=strategy, former_wait_s=wait_s))


def test_a_former_stream_is_due_after_the_wait() -> None:
    """Counted from the first scan that shows it; tracking it again forgets the time, and so does a new leadership."""
    view, stored, none = former(FormerStreams.DETECT), ["1:a:1", "1:b:1"], frozenset[str]()
    assert view.on_scan(stored, ["1:a:1"], none, 0.0) == []
    assert view.on_scan(stored, ["1:a:1"], none, 59.0) == []
    assert view.on_scan(stored, ["1:a:1"], none, 60.0) == ["1:b:1"]
    assert view.on_scan(stored, stored, none, 61.0) == []
    assert view.on_scan(stored, ["1:a:1"], none, 62.0) == []
    assert view.on_scan(stored, ["1:a:1"], none, 121.0) == []
    view.reset()
    assert view.on_scan(stored, ["1:a:1"], none, 122.0) == []
    assert view.on_scan(stored, ["1:a:1"], none, 182.0) == ["1:b:1"]


def test_a_stray_lease_is_due_after_a_failover_time_unwritten() -> None:
    """Counted anew when somebody wrote it, or when it was ours or not ours in between."""
    strays = StrayLeases(10.0)
    assert strays.on_round({"a": 4, "b": 1}, 0.0) == []
    assert strays.on_round({"a": 4, "b": 2}, 9.9) == []
    assert strays.on_round({"a": 4, "b": 2}, 10.0) == ["a"]
    assert strays.on_round({"b": 2}, 19.0) == []
    assert strays.on_round({"a": 4, "b": 2}, 20.0) == ["b"]
    assert strays.on_round({"a": 4, "b": 2}, 30.0) == ["a", "b"]


def test_strategies_say_whose_leases_may_go() -> None:
    """Nobody's, everybody's that is not tracked, or the named ones'; never a name that no KCL writes."""
    stored = ["1:a:1", "1:b:1", "garbage"]
    for strategy, due in (
        (FormerStreams.KEEP, []),
        (FormerStreams.DETECT, ["1:a:1", "1:b:1"]),
        (FormerStreams.PROVIDED, ["1:b:1"]),
    ):
        assert former(strategy, 0.0).on_scan(stored, [], frozenset(["b"]), 0.0) == due


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from(["1:a:1", "1:b:1", "1:c:2"])), st.sets(st.sampled_from(["1:a:1", "1:b:1"])))
    ),
    st.sampled_from(list(FormerStreams)),
)
def test_a_tracked_stream_is_never_due(scans: list[tuple[set[str], set[str]]], strategy: FormerStreams) -> None:
    """Whatever the scans show, and in which order."""
    view = former(strategy, 2.0)
    for now, (stored, tracked) in enumerate(scans):
        due = set(view.on_scan(stored, tracked, frozenset(["a", "b", "c"]), float(now)))
        assert due <= stored - tracked


# --- existence ---


def test_a_stream_is_gone_after_three_answers_in_time() -> None:
    """Not by several at once; an answer that it is there begins the count anew."""
    life = StreamLife()
    assert life.on_described(100.9) is Verdict.PRESENT
    assert [life.on_missing(now) for now in (0.0, 1.0, 2.0, 10.0)] == [Verdict.UNSURE] * 4
    assert life.on_described(100.2) is Verdict.PRESENT
    assert [life.on_missing(now) for now in (20.0, 30.0, 40.0, 41.0)] == [Verdict.UNSURE] * 2 + [Verdict.GONE] * 2
    assert life.gone
    assert life.on_described(100.0) is Verdict.PRESENT
    assert not life.gone
    assert life.on_described(170.0) is Verdict.RECREATED
    assert life.on_described(170.0) is Verdict.PRESENT


# --- rows that outlived their stream ---

HALVES = (HashRange(0, HASH_KEY_MAX // 2), HashRange(HASH_KEY_MAX // 2 + 1, HASH_KEY_MAX))


def name(index: int) -> str:
    """Return a shard's id."""
    return f"shardId-{index:012d}"


def shard(
    index: int, start: int = 1000, *, end: int | None = None, parent: int | None = None, of: HashRange = FULL_RANGE
) -> Shard:
    """Return a shard of the stream as it is now."""
    up = None if parent is None else name(parent)
    return Shard(name(index), of, up, None, str(start), None if end is None else str(end))


def keys(found: Any) -> tuple[bool, list[int], list[int]]:
    """Return a judgement in short: recreated, indices set back in order, indices deleted."""
    resets = [int(row.key[-3:]) for row, _ in found.resets]
    return found.recreated, resets, [int(row.key[-3:]) for row in found.drops]


def test_rows_of_the_present_stream_are_left_alone() -> None:
    """A number in its shard, sentinels of a shard that fits, a finished parent: nothing to do."""
    shards = [shard(0, 100, end=900), shard(1, 1000, parent=0, of=HALVES[0]), shard(2, 1000, parent=0, of=HALVES[1])]
    rows = [
        lease(0, checkpoint=SHARD_END),
        lease(1, checkpoint=at(1500), parents=(name(0),), hash_range=HALVES[0]),
        lease(2, checkpoint=TRIM_HORIZON, parents=(name(0),)),
    ]
    found = judge_rows(shards, rows, recreated=None, settled=True)
    assert not found
    assert keys(found) == (False, [], [])


def test_one_row_below_its_shard_was_edited() -> None:
    """Beside a row that is right, a wrong one is set back alone."""
    shards = [shard(0, of=HALVES[0]), shard(1, of=HALVES[1])]
    rows = [lease(0, checkpoint=at(5)), lease(1, checkpoint=at(2000))]
    assert keys(judge_rows(shards, rows, recreated=None)) == (False, [0], [])
    assert keys(judge_rows(shards, rows, recreated=False)) == (False, [0], [])


def test_without_a_right_row_the_stream_was_created_again() -> None:
    """Ambiguous rows are written first, the proof last; shards that are no more take their rows along."""
    shards = [shard(0, end=5000), shard(1, 5001, parent=0)]
    rows = [lease(1, checkpoint=at(7)), lease(0, checkpoint=SHARD_END), lease(9, checkpoint=at(8))]
    assert keys(judge_rows(shards, rows, recreated=None)) == (True, [0, 1], [9])


def test_known_to_be_new_the_rest_is_left_to_those_who_came_first() -> None:
    """With a row of the new stream there, a closed shard's end is its own; one that is open still is not."""
    shards = [shard(0, end=5000), shard(1, 5001, parent=0, of=HALVES[0]), shard(2, 1000, of=HALVES[1])]
    rows = [lease(0, checkpoint=SHARD_END), lease(1, checkpoint=at(6000)), lease(2, checkpoint=SHARD_END)]
    assert keys(judge_rows(shards, rows, recreated=True)) == (True, [2], [])


@pytest.mark.parametrize("checkpoint", [TRIM_HORIZON, LATEST, AT_TIMESTAMP])
def test_an_unread_row_of_another_shape_is_set_right(checkpoint: Any) -> None:
    """A range or parents that are not the new shard's would misjudge its records."""
    rows = [lease(0, checkpoint=checkpoint, hash_range=HALVES[0])]
    assert keys(judge_rows([shard(0)], rows, recreated=True)) == (True, [0], [])
    assert keys(judge_rows([shard(0)], [lease(0, checkpoint=checkpoint)], recreated=True)) == (True, [], [])


def test_a_finished_row_of_an_open_shard_needs_time_to_be_believed() -> None:
    """A list read during a reshard shows the same; once settled it is a row that outlived, with its children."""
    rows = [lease(0, checkpoint=SHARD_END), lease(1, checkpoint=at(5), parents=(name(0),))]
    assert not judge_rows([shard(0)], rows, recreated=None)
    assert keys(judge_rows([shard(0)], rows, recreated=None, settled=True)) == (True, [0], [1])
    assert keys(judge_rows([shard(0)], rows[:1], recreated=False, settled=True)) == (False, [0], [])


@given(
    st.lists(st.sampled_from([TRIM_HORIZON, LATEST, SHARD_END, at(5), at(1500)]), max_size=4),
    st.sampled_from([None, True, False]),
    st.booleans(),
)
def test_a_place_in_the_present_stream_is_never_set_back(checkpoints: list[Any], recreated: Any, settled: bool) -> None:
    """Whatever else stands in the table: a number at or above its shard's start is kept."""
    rows = [lease(index, checkpoint=checkpoint) for index, checkpoint in enumerate(checkpoints)]
    found = judge_rows([shard(index) for index in range(4)], rows, recreated=recreated, settled=settled)
    assert all(row.checkpoint != at(1500) for row, _ in found.resets)
    assert not found.drops


NOW, BEFORE, ELSE = "1:orders:20", "1:orders:10", "1:other:10"


def test_a_row_that_says_whose_it_is_is_believed() -> None:
    """Of an earlier stream: begun again wherever it stands; of the present: kept; of another name: not touched."""
    shards = [shard(index) for index in range(6)]
    rows = [
        lease(0, checkpoint=at(1500), stream_mark=BEFORE),
        lease(1, checkpoint=SHARD_END, stream_mark=BEFORE),
        lease(2, checkpoint=at(1500), stream_mark=NOW),
        lease(3, checkpoint=at(5), stream_mark=ELSE),
        lease(4, checkpoint=at(5), stream_mark="1:orders:30"),
        lease(9, checkpoint=SHARD_END, stream_mark=BEFORE),
        lease(8, checkpoint=SHARD_END, stream_mark=NOW),
        lease(5, checkpoint=at(5), stream_mark=NOW),
    ]
    found = judge_rows(shards, rows, identity=Identity.parse(NOW), recreated=None)
    assert (keys(found), found.marked) == ((True, [5, 0, 1], [9]), True)
    assert not judge_rows(shards, rows[:3], recreated=None)


def test_a_row_of_the_present_stream_disproves_what_numbers_suggest() -> None:
    """Beside one of ours that is right, an unmarked row below its shard's start was edited."""
    rows = [lease(0, checkpoint=at(5)), lease(1, checkpoint=TRIM_HORIZON, stream_mark=NOW)]
    found = judge_rows([shard(0), shard(1)], rows, identity=Identity.parse(NOW), recreated=None)
    assert keys(found) == (False, [0], [])


def test_beginning_again_goes_on_counting_and_takes_the_lease_away() -> None:
    """In place and conditional: whoever holds the old stream's lease fails, unknown attributes stay."""
    book = Book()
    book.create(0)
    held = book.taken("old")
    before = book.row()
    item = dict(book.item() or {})
    write = WRITES.begin_again(before, shard(0, parent=7, of=HALVES[0]), "1:orders:5")
    assert book.write(write).applied
    after = book.row()
    assert (after.counter, after.owner, after.checkpoint) == (before.counter + 1, None, TRIM_HORIZON)
    assert (after.hash_range, after.parents, after.children) == (HALVES[0], (name(7),), ())
    assert after.stream_mark == "1:orders:5"
    assert not book.write(write).applied
    assert not book.write(WRITES.renew(held.row)).applied
    assert book.write(WRITES.begin_again(after, shard(0), None)).applied
    assert not {"parentShardId", "shardlineStream"} & set(book.item() or {})
    assert set(item) - {"leaseOwner"} <= set(book.item() or {})


def test_stream_names() -> None:
    """A configuration is known by its ARN where it has one."""
    assert [StreamConfig.of(one).key for one in ("orders", ARN, Stream("x"))] == ["orders", ARN, "x"]
