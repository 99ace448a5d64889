"""The pure Kinesis state: streams, shards, lineage, listing; each line of endpoints.md section 10 has its test."""

from __future__ import annotations

from itertools import pairwise

import pytest

from shardline.common.limits import HASH_KEY_MAX
from shardline.common.ports.kinesis import (
    Distribution,
    PutEntry,
    ShardFilter,
    ShardFilterKind,
    StartAt,
    StartKind,
    Stream,
)
from shardline.local.state.core import KinesisState
from shardline.local.state.events import ShardClosed, ShardOpened, StateEvent, StreamStatus
from shardline.local.state.options import KinesisOptions, Limits
from shardline.local.state.refusal import Refusal

NOW = 1_700_000_000.0
ORDERS = Stream("orders")
MIDDLE = str(2**127)


def made(shards: int = 1, **options: object) -> KinesisState:
    state = KinesisState(KinesisOptions(**options))  # type: ignore[arg-type]  # The test's own keyword arguments.
    state.create_stream("orders", shards, now=NOW)
    state.settle(NOW + 100)
    return state


def ids(state: KinesisState, now: float, kind: ShardFilterKind, **where: object) -> list[int]:
    wanted = ShardFilter(kind, **where)  # type: ignore[arg-type]  # The test's own keyword arguments.
    return [int(s.shard_id[-12:]) for s in state.list_shards(ORDERS, now=now, shard_filter=wanted).shards]


def expect_refusal(code: str) -> pytest.RaisesExc[Refusal]:
    return pytest.RaisesExc(Refusal, check=lambda r: r.code == code)


def test_ranges_cover_the_key_space_without_gap_or_overlap() -> None:
    """CreateStream's shards cover 0 to 2^128 - 1 exactly, also where the count does not divide it."""
    for count in (1, 2, 3, 7, 100):
        ranges = [s.hash_range for s in made(count).list_shards(ORDERS, now=NOW).shards]
        assert ranges[0].start == 0
        assert ranges[-1].end == HASH_KEY_MAX
        assert all(a.end + 1 == b.start for a, b in pairwise(ranges))


def test_a_split_keeps_the_parent_closed_and_names_it() -> None:
    """After a split the parent is listed, closed, and its children name it and halve its range."""
    state = made()
    state.split_shard(ORDERS, "shardId-000000000000", MIDDLE, now=NOW + 1)
    parent, low, high = state.list_shards(ORDERS, now=NOW + 1).shards
    assert not parent.is_open
    assert low.parent_shard_ids == high.parent_shard_ids == (parent.shard_id,)
    assert (low.hash_range.start, high.hash_range.start, high.hash_range.end) == (0, 2**127, HASH_KEY_MAX)


def test_a_merge_names_both_parents() -> None:
    """A merge's child has a parent and an adjacent parent and the range of both."""
    state = made(2)
    state.merge_shards(ORDERS, "shardId-000000000000", "shardId-000000000001", now=NOW + 1)
    child = state.list_shards(ORDERS, now=NOW + 1).shards[-1]
    assert child.parent_shard_id == "shardId-000000000000"
    assert child.adjacent_parent_shard_id == "shardId-000000000001"
    assert child.hash_range == (0, HASH_KEY_MAX)


def test_update_shard_count_makes_even_contiguous_shards_with_whole_lineage() -> None:
    """Every count from half to twice is reached; each closed shard has at most two children, each child two parents."""
    for before, after in [(2, 4), (4, 2), (3, 5), (5, 3), (4, 7), (7, 6)]:
        state = made(before)
        assert state.update_shard_count(ORDERS, after, now=NOW + 1) == (before, after)
        shards = state.list_shards(ORDERS, now=NOW + 2).shards
        still_open = sorted((s for s in shards if s.is_open), key=lambda s: s.hash_range.start)
        assert len(still_open) == after
        assert [s.hash_range for s in still_open] == [
            s.hash_range for s in made(after).list_shards(ORDERS, now=NOW).shards
        ]
        for shard in shards:
            children = [s for s in shards if shard.shard_id in s.parent_shard_ids]
            assert bool(children) != shard.is_open
            assert len(children) <= 2


def test_update_shard_count_beyond_twice_or_below_half_is_refused() -> None:
    """The target lies from half to twice the open shards."""
    state = made(4)
    for target in (0, 1, 9):
        with expect_refusal("InvalidArgumentException"):
            state.update_shard_count(ORDERS, target, now=NOW + 1)


def test_reshards_within_one_second_keep_child_numbers_above_parents() -> None:
    """Sequence numbers of a child lie above all of its parents', however soon one reshard follows the other."""
    state = made()
    newest = 0
    for step in range(5):
        outcome = state.put_records(ORDERS, [PutEntry(b"x", "k")], now=NOW + 1)[0]
        assert outcome.sequence_number is not None
        assert len(outcome.sequence_number) == 56
        assert int(outcome.sequence_number) > newest
        newest = int(outcome.sequence_number)
        shard = state.resolve(ORDERS, NOW + 1).get(outcome.shard_id or "")
        assert shard is not None
        start, end = shard.hash_range
        state.split_shard(ORDERS, shard.shard_id, str((start + end) // 2 + step), now=NOW + 1)
        assert shard.ending is not None
        assert newest < shard.ending < min(c.numbering.starting() for c in shard.children)


@pytest.mark.parametrize("key", ["0", "1", str(HASH_KEY_MAX), str(HASH_KEY_MAX + 1), "-1", "x", ""])
def test_a_split_outside_the_range_is_refused(key: str) -> None:
    """The new starting hash key lies strictly inside the shard."""
    with expect_refusal("InvalidArgumentException"):
        made().split_shard(ORDERS, "shardId-000000000000", key, now=NOW + 1)


def test_split_or_merge_of_a_closed_shard_is_refused() -> None:
    """A shard that was split or merged cannot be split or merged again."""
    state = made(2)
    state.split_shard(ORDERS, "shardId-000000000000", str(2**100), now=NOW + 1)
    with expect_refusal("InvalidArgumentException"):
        state.split_shard(ORDERS, "shardId-000000000000", str(2**99), now=NOW + 2)
    with expect_refusal("InvalidArgumentException"):
        state.merge_shards(ORDERS, "shardId-000000000000", "shardId-000000000001", now=NOW + 2)


def test_merge_of_shards_that_are_no_neighbours_is_refused() -> None:
    """Only an adjacent pair, the lower one first, can be merged."""
    state = made(3)
    for pair in [(0, 2), (1, 0), (1, 1)]:
        with expect_refusal("InvalidArgumentException"):
            state.merge_shards(ORDERS, *(f"shardId-{i:012d}" for i in pair), now=NOW + 1)


def test_unknown_shards_and_streams_are_not_found() -> None:
    """Unknown names are ResourceNotFoundException, deleting an unknown stream included, and nothing more."""
    state = made()
    with expect_refusal("ResourceNotFoundException"):
        state.split_shard(ORDERS, "shardId-000000000009", MIDDLE, now=NOW + 1)
    with expect_refusal("ResourceNotFoundException"):
        state.delete_stream(Stream("other"), now=NOW + 1)
    state.create_stream("other", 1, now=NOW + 2)
    assert state.resolve(Stream("other"), NOW + 3).status == "ACTIVE"


def test_an_arn_names_the_stream_and_a_foreign_arn_does_not() -> None:
    """StreamARN is taken everywhere; an ARN of another account or region finds nothing."""
    state = made()
    arn = state.resolve(ORDERS, NOW).arn
    assert state.resolve(Stream.of(arn), NOW).name == "orders"
    with expect_refusal("ResourceNotFoundException"):
        state.resolve(Stream.of(arn.replace("us-east-1", "eu-west-1")), NOW)


def test_states_take_their_time() -> None:
    """CREATING, UPDATING and DELETING last as long as set; a reshard applies at the end of UPDATING."""
    events: list[StateEvent] = []
    state = KinesisState(KinesisOptions(creating_s=10, updating_s=5, deleting_s=3), events.append)
    state.create_stream("orders", 1, now=NOW)
    with expect_refusal("ResourceInUseException"):
        state.split_shard(ORDERS, "shardId-000000000000", MIDDLE, now=NOW + 1)
    with expect_refusal("ResourceNotFoundException"):
        state.put_records(ORDERS, [PutEntry(b"", "k")], now=NOW + 9)
    assert state.next_wakeup() == NOW + 10
    state.split_shard(ORDERS, "shardId-000000000000", MIDDLE, now=NOW + 11)
    assert state.put_records(ORDERS, [PutEntry(b"", "k")], now=NOW + 12)[0].shard_id == "shardId-000000000000"
    assert state.put_records(ORDERS, [PutEntry(b"", "k")], now=NOW + 17)[0].shard_id != "shardId-000000000000"
    state.delete_stream(ORDERS, now=NOW + 20)
    state.delete_stream(ORDERS, now=NOW + 21)
    assert state.resolve(ORDERS, NOW + 22).status == "DELETING"
    with expect_refusal("ResourceNotFoundException"):
        state.resolve(ORDERS, NOW + 23)
    seen = [(e.status, e.at_s - NOW) for e in events if isinstance(e, StreamStatus)]
    assert seen == [("CREATING", 0), ("ACTIVE", 10), ("UPDATING", 11), ("ACTIVE", 16), ("DELETING", 20), ("GONE", 23)]
    assert [type(e) for e in events if isinstance(e, ShardClosed | ShardOpened)] == [
        ShardOpened,
        ShardClosed,
        ShardOpened,
        ShardOpened,
    ]


def test_several_changes_fall_due_in_order_of_time() -> None:
    """Streams made at different moments become ACTIVE each in its own time."""
    events: list[StateEvent] = []
    state = KinesisState(KinesisOptions(creating_s=10), events.append)
    state.create_stream("b", 1, now=NOW)
    state.create_stream("a", 1, now=NOW + 1)
    state.settle(NOW + 60)
    active = [(e.stream, e.at_s - NOW) for e in events if isinstance(e, StreamStatus) and e.status == "ACTIVE"]
    assert active == [("b", 10), ("a", 11)]
    assert state.next_wakeup() is None


def test_shard_filters_choose_as_documented() -> None:
    """AT_TRIM_HORIZON gives the shards open at the horizon only; every other type its own set."""
    state = made()
    state.split_shard(ORDERS, "shardId-000000000000", MIDDLE, now=NOW + 10)
    state.split_shard(ORDERS, "shardId-000000000001", str(2**126), now=NOW + 20)
    late = NOW + 30
    kinds = ShardFilterKind
    assert ids(state, late, kinds.AT_TRIM_HORIZON) == [0]
    assert ids(state, late, kinds.FROM_TRIM_HORIZON) == [0, 1, 2, 3, 4]
    assert ids(state, late, kinds.AT_LATEST) == [2, 3, 4]
    assert ids(state, late, kinds.AT_TIMESTAMP, timestamp_s=NOW + 15) == [1, 2]
    assert ids(state, late, kinds.FROM_TIMESTAMP, timestamp_s=NOW + 15) == [1, 2, 3, 4]
    assert ids(state, late, kinds.AFTER_SHARD_ID, shard_id="shardId-000000000002") == [3, 4]
    assert ids(state, late, kinds.AT_TIMESTAMP, timestamp_s=NOW - 1000) == [0]
    for kind in (kinds.AT_TIMESTAMP, kinds.FROM_TIMESTAMP, kinds.AFTER_SHARD_ID):
        with expect_refusal("InvalidArgumentException"):
            ids(state, late, kind)
    with expect_refusal("InvalidArgumentException"):
        ids(state, late, kinds.AT_TIMESTAMP, timestamp_s=late + 1)
    with expect_refusal("InvalidArgumentException"):
        ids(state, late, kinds.AFTER_SHARD_ID, shard_id="nonsense")


def test_open_at_a_moment_is_one_cover_even_when_reshards_share_their_moment() -> None:
    """For every moment the shards open then cover the key space once, also for reshards at one and the same time."""
    state = made(2)
    state.update_shard_count(ORDERS, 4, now=NOW)
    state.update_shard_count(ORDERS, 2, now=NOW)
    edges = sorted({t for s in state.resolve(ORDERS, NOW).shards.values() for t in (s.opened_s, s.closed_s) if t})
    for at in [NOW, *edges, NOW + 1]:
        page = state.list_shards(ORDERS, now=NOW + 5, shard_filter=ShardFilter(ShardFilterKind.AT_TIMESTAMP, at))
        assert sum(s.hash_range.width for s in page.shards) == 2**128


def test_closed_shards_disappear_once_their_records_are_trimmed() -> None:
    """A closed shard is listed and readable until the retention has passed since its end."""
    state = made()
    state.split_shard(ORDERS, "shardId-000000000000", MIDDLE, now=NOW + 10)
    day = 24 * 3600
    assert len(state.list_shards(ORDERS, now=NOW + day).shards) == 3
    assert [s.shard_id[-1] for s in state.list_shards(ORDERS, now=NOW + day + 11).shards] == ["1", "2"]
    assert ids(state, NOW + day + 11, ShardFilterKind.AT_TRIM_HORIZON) == [1, 2]
    with expect_refusal("ResourceNotFoundException"):
        state.get_shard_iterator(ORDERS, "shardId-000000000000", StartAt(StartKind.LATEST), now=NOW + day + 11)


def test_pages_follow_by_token_alone_and_expire() -> None:
    """A next token carries stream, filter and place; with a stream beside it, altered, or old it is refused."""
    state = made(5, list_shards_page_max=2)
    wanted = ShardFilter(ShardFilterKind.AT_LATEST)
    seen: list[str] = []
    page = state.list_shards(ORDERS, now=NOW, shard_filter=wanted)
    while page.next_token:
        seen += [s.shard_id[-1] for s in page.shards]
        page = state.list_shards(None, now=NOW, next_token=page.next_token)
    assert [*seen, *(s.shard_id[-1] for s in page.shards)] == list("01234")
    token = state.list_shards(ORDERS, now=NOW).next_token
    assert token is not None
    with expect_refusal("InvalidArgumentException"):
        state.list_shards(ORDERS, now=NOW, next_token=token)
    with expect_refusal("InvalidArgumentException"):
        state.list_shards(None, now=NOW, next_token="A" + token[1:])
    with expect_refusal("ExpiredNextTokenException"):
        state.list_shards(None, now=NOW + 301, next_token=token)
    with expect_refusal("InvalidArgumentException"):
        state.list_shards(None, now=NOW)
    state.delete_stream(ORDERS, now=NOW + 1)
    state.create_stream("orders", 1, now=NOW + 2)
    with expect_refusal("InvalidArgumentException"):
        state.list_shards(None, now=NOW + 3, next_token=token)


def test_exclusive_start_and_max_results_page_too() -> None:
    """ExclusiveStartShardId and MaxResults bound a page; MaxResults has its range."""
    state = made(5)
    page = state.list_shards(ORDERS, now=NOW, exclusive_start="shardId-000000000001", results_max=2)
    assert [s.shard_id[-1] for s in page.shards] == ["2", "3"]
    with expect_refusal("ValidationException"):
        state.list_shards(ORDERS, now=NOW, results_max=10_001)


def test_list_streams_pages_by_name() -> None:
    """ListStreams gives names in order, page by page, by token or by the last name."""
    state = KinesisState()
    for name in "cab":
        state.create_stream(name, 1, now=NOW)
    page = state.list_streams(now=NOW, limit=2)
    assert [s.name for s in page.streams] == ["a", "b"]
    assert [s.name for s in state.list_streams(now=NOW, next_token=page.next_token).streams] == ["c"]
    assert [s.name for s in state.list_streams(now=NOW, after="a").streams] == ["b", "c"]
    with expect_refusal("ValidationException"):
        state.list_streams(now=NOW, limit=0)
    shard_token = made(3, list_shards_page_max=1).list_shards(ORDERS, now=NOW).next_token
    with expect_refusal("InvalidArgumentException"):
        state.list_streams(now=NOW, next_token=shard_token)
    with expect_refusal("InvalidArgumentException"):
        state.list_shards(None, now=NOW, next_token=page.next_token)


@pytest.mark.parametrize("name", ["", "a" * 129, "with space", "ü", "a/b"])
def test_a_name_that_aws_would_refuse_is_refused(name: str) -> None:
    """Stream names have 1 to 128 characters of a-zA-Z0-9_.- and no other."""
    with expect_refusal("ValidationException"):
        KinesisState().create_stream(name, 1, now=NOW)


def test_create_stream_refuses_what_the_service_refuses() -> None:
    """A name in use, no shards, too many shards, AUTO on a provisioned stream, a record size out of range."""
    state = made(3, open_shards_max=4)
    with expect_refusal("ResourceInUseException"):
        state.create_stream("orders", 1, now=NOW)
    with expect_refusal("LimitExceededException"):
        state.create_stream("b", 2, now=NOW)
    for count in (None, 0, 5):
        with expect_refusal("ValidationException"):
            state.create_stream("b", count, now=NOW)
    with expect_refusal("InvalidArgumentException"):
        state.create_stream("b", 1, now=NOW, distribution=Distribution.AUTO)
    with expect_refusal("ValidationException"):
        state.create_stream("b", 1, now=NOW, record_kib_max=10_241)
    state.split_shard(ORDERS, "shardId-000000000000", str(2**100), now=NOW)
    with expect_refusal("LimitExceededException"):
        state.split_shard(ORDERS, "shardId-000000000001", str(2**126 + 2**125), now=NOW)
    with expect_refusal("LimitExceededException"):
        state.update_shard_count(ORDERS, 5, now=NOW)


def test_on_demand_streams_scale_by_themselves_only() -> None:
    """An on-demand stream starts with four shards, refuses resharding calls, and is scaled by the service."""
    state = KinesisState()
    state.create_stream("orders", on_demand=True, now=NOW)
    with expect_refusal("ValidationException"):
        state.split_shard(ORDERS, "shardId-000000000000", "5", now=NOW)
    state.scale_on_demand(ORDERS, 6, now=NOW)
    assert len(state.resolve(ORDERS, NOW).open) == 6
    with expect_refusal("InvalidArgumentException"):
        state.scale_on_demand(ORDERS, 0, now=NOW)
    state.set_distribution(ORDERS, Distribution.AUTO, now=NOW)
    state.update_stream_mode(ORDERS, on_demand=False, now=NOW)
    assert state.resolve(ORDERS, NOW).distribution is Distribution.USER_PARTITION_KEY
    with expect_refusal("InvalidArgumentException"):
        state.set_distribution(ORDERS, Distribution.AUTO, now=NOW)


def test_retention_moves_in_its_range_and_direction() -> None:
    """Retention goes up by one call and down by the other, from 24 to 8760 hours."""
    state = made()
    state.change_retention(ORDERS, 48, increase=True, now=NOW)
    for hours, increase in [(24, True), (72, False), (23, False), (8761, True)]:
        with expect_refusal("InvalidArgumentException"):
            state.change_retention(ORDERS, hours, increase=increase, now=NOW)
    state.change_retention(ORDERS, 24, increase=False, now=NOW)
    assert state.resolve(ORDERS, NOW).retention_hours == 24


def test_tags_are_kept_up_to_fifty() -> None:
    """Tags given at creation or later are kept, removed by key, and bounded."""
    state = KinesisState()
    state.create_stream("orders", 1, now=NOW, tags={"team": "a"})
    state.set_tags(ORDERS, {f"k{i}": "" for i in range(49)}, now=NOW)
    for tags in ({"one more": ""}, {"": "x"}, {"k": "v" * 257}):
        with expect_refusal("InvalidArgumentException"):
            state.set_tags(ORDERS, tags, now=NOW)
    state.remove_tags(ORDERS, ["team", "unknown"], now=NOW)
    assert len(state.resolve(ORDERS, NOW).tags) == 49


def test_control_calls_are_limited_only_when_asked() -> None:
    """With the service's limits on, a burst of DescribeStream-like calls ends in LimitExceededException."""
    free, strict = made(), made(limits=Limits.SERVICE)
    for _ in range(20):
        free.list_streams(now=NOW)
    for _ in range(5):
        strict.list_streams(now=NOW + 200)
    with expect_refusal("LimitExceededException"):
        strict.list_streams(now=NOW + 200)
    for _ in range(10):
        strict.update_shard_count(ORDERS, 1, now=NOW + 300)
    with expect_refusal("LimitExceededException"):
        strict.update_shard_count(ORDERS, 1, now=NOW + 301)


def test_options_out_of_range_are_refused() -> None:
    """Options name the setting that is out of range."""
    for wrong in ({"creating_s": -1.0}, {"account_id": "1"}, {"open_shards_max": 0}, {"heartbeat_s": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            KinesisOptions(**wrong)  # pyright: ignore[reportArgumentType]  # the wrong values are the point.


def test_reprs_tell_what_there_is() -> None:
    """Each stateful object has a repr worth reading."""
    state = made()
    stream = state.resolve(ORDERS, NOW)
    assert repr(state) == "KinesisState(1 streams, 0 consumers)"
    assert repr(stream) == "StreamState(orders, ACTIVE, 1 open of 1 shards)"
    assert repr(stream.open[0]) == "ShardLog(shardId-000000000000, 0 written, open)"
