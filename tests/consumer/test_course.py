"""Where a shard is read, as pauses and seeks order: the rule of seek, effect by effect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.errors import InvalidInput, SeekAhead
from shardline.common.ports.kinesis import StartAt, StartKind
from shardline.common.records import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Position
from shardline.consumer.shards import ShardEvent, ShardLife, ShardState
from shardline.consumer.steering import Course, Pauses, Read, SeekRefusal, Skipped, Sought, Target

HORIZON = StartAt(StartKind.TRIM_HORIZON)


def course(checkpoint: Position = TRIM_HORIZON, start: StartAt = HORIZON) -> Course:
    """Return the course of a shard that is about to be read."""
    life = ShardLife()
    life.move(ShardEvent.PARENTS_DONE)
    life.move(ShardEvent.INITIALIZED)
    return Course(life, checkpoint, start, began_s=100.0)


def begun(*done: int) -> Course:
    """Return a course whose handler is done up to the last of these numbers."""
    made = course()
    assert made.next_reading() == Read(HORIZON)
    for number in done:
        assert made.on_first(Position(number)) is None
        made.on_reached(Position(number))
    return made


def at(number: int) -> StartAt:
    """Return the start at a sequence number."""
    return StartAt(StartKind.AT_SEQUENCE_NUMBER, str(number))


def state(made: Course) -> ShardState:
    """Return where the shard's life stands."""
    return made._life.state


def test_reading_begins_at_the_checkpoint_and_expects_its_record() -> None:
    """A stored position is read again, filtered out, and missed if retention took it."""
    assert course(Position(50, 2), at(50)).next_reading() == Read(at(50), Position(50, 2), 50)
    assert course().next_reading() == Read(HORIZON)


def test_a_reading_that_ends_by_itself_keeps_the_seek_it_was_to_follow() -> None:
    """Before its first record is there, the seek is still to be followed; behind it, reading goes on."""
    made = begun(10, 11)
    assert made.next_reading() == Read(at(11), Position(11), 11)
    made.begin_anew()
    assert made.next_reading() == Read(at(11), Position(11), 11)
    made.seek(Target.behind(Position(10)), skip=False)
    sought = made.next_reading()
    assert sought is not None
    assert sought.sought
    made.begin_anew()
    assert made.next_reading() == sought


def test_a_pause_ends_the_reading_and_resuming_goes_on_behind_what_was_done() -> None:
    """Nothing is to be read while paused; the life says so."""
    made = begun(10, 11)
    assert not made.interrupted
    made.paused = True
    assert made.interrupted
    assert (made.next_reading(), state(made)) == (None, ShardState.PAUSED)
    assert made.next_reading() is None
    made.paused = False
    assert made.next_reading() == Read(at(11), Position(11), 11)
    assert (state(made), made.on_first(Position(11)), made.interrupted) == (ShardState.PROCESSING, None, False)


def test_a_pause_before_the_first_record_does_not_skip_what_comes_meanwhile() -> None:
    """LATEST is read again from the time at which reading began, any other start as it was."""
    made = course(LATEST, StartAt(StartKind.LATEST))
    assert made.next_reading() == Read(StartAt(StartKind.LATEST))
    made.paused = True
    assert made.next_reading() is None
    made.paused = False
    assert made.next_reading() == Read(StartAt(StartKind.AT_TIMESTAMP, timestamp_s=100.0))


def test_back_delivers_again_and_the_mark_stays() -> None:
    """Records come again; what was done before stays done, and is no skip to seek to later."""
    made = begun(10, 20)
    made.seek(Target.of(Position(5, 1)), skip=False)
    assert made.interrupted
    assert made.next_reading() == Read(at(5), Position(5, 0), sought=True)
    assert (state(made), made.interrupted) == (ShardState.SEEKING, False)
    assert made.on_first(Position(5)) == Sought(Position(20), Position(5, 1))
    assert (state(made), made.mark) == (ShardState.PROCESSING, Position(20))
    made.on_reached(Position(7))
    assert made.mark == Position(20)
    made.seek(Target.of("18"), skip=False)
    assert made.next_reading() == Read(at(18), Position(18, -1), sought=True)
    assert made.on_first(Position(19)) == Sought(Position(20), Position(18))


def test_a_pause_within_records_that_come_again_goes_on_there() -> None:
    """Not at the mark: the seek is not over."""
    made = begun(20)
    made.seek(Target.of(TRIM_HORIZON), skip=False)
    assert made.next_reading() == Read(HORIZON, sought=True)
    assert made.on_first(Position(3)) == Sought(Position(20), Position(3))
    made.paused = True
    assert made.next_reading() is None
    made.paused = False
    assert made.next_reading() == Read(at(3), Position(3, -1))
    made.on_reached(Position(4))
    made.paused = True
    assert made.next_reading() is None
    made.paused = False
    assert made.next_reading() == Read(at(4), Position(4), 4)


@pytest.mark.parametrize("to", [Position(21), Position(20, 2), "30", LATEST, "LATEST"])
def test_ahead_is_refused_without_skip(to: Position | str) -> None:
    """Where it is known beforehand, with an error, and nothing is changed."""
    made = begun(20)
    with pytest.raises(SeekAhead, match="20/0"):
        made.seek(Target.of(to), skip=False)
    assert not made.interrupted


def test_the_next_position_is_not_ahead() -> None:
    """Nothing lies between what was done and what follows it in its aggregate."""
    made = begun(20)
    made.seek(Target.of("20/1"), skip=False)
    assert made.next_reading() == Read(at(20), Position(20), sought=True)


def test_a_skip_is_told_with_its_range_before_anything_behind_it() -> None:
    """The mark moves with it: what was skipped on purpose is not ahead any more."""
    made = begun(20)
    made.seek(Target.of(Position(30)), skip=True)
    assert made.next_reading() == Read(at(30), Position(30, -1), sought=True)
    assert made.mark == Position(20)
    assert made.on_first(Position(33)) == Skipped(Position(20), Position(30))
    assert made.mark == Position(30, -1)
    made.seek(Target.of(Position(29)), skip=False)


def test_a_time_is_judged_by_what_is_read_there() -> None:
    """Back is followed; ahead is not, unless it may skip, and then reading goes on where it was."""
    made = begun(20)
    made.seek(Target.of(5.0), skip=False)
    assert made.next_reading() == Read(StartAt(StartKind.AT_TIMESTAMP, timestamp_s=5.0), sought=True)
    assert made.on_first(Position(4)) == Sought(Position(20), Position(4))
    made.on_reached(Position(20))
    for found in (Position(25), SHARD_END):
        made.seek(Target.of(7), skip=False)
        made.next_reading()
        assert made.on_first(found) == SeekRefusal(Position(20), found)
        assert (made.next_reading(), state(made)) == (Read(at(20), Position(20), 20), ShardState.PROCESSING)
    made.seek(Target.of(7), skip=True)
    made.next_reading()
    assert made.on_first(Position(25)) == Skipped(Position(20), Position(25))


def test_latest_may_skip_to_the_end() -> None:
    """Of a shard that has no record left, everything above the mark is skipped."""
    made = begun(20)
    made.seek(Target.of("LATEST"), skip=True)
    assert made.next_reading() == Read(StartAt(StartKind.LATEST), sought=True)
    assert made.on_first(SHARD_END) == Skipped(Position(20), SHARD_END)
    assert state(made) is ShardState.PROCESSING


def test_before_the_first_record_only_what_lies_before_the_start_is_back() -> None:
    """The horizon is; a time is if it lies before the time where reading begins."""
    start = StartAt(StartKind.AT_TIMESTAMP, timestamp_s=50.0)
    for to, ahead in ((TRIM_HORIZON.text, False), (50.0, False), (50.5, True)):
        made = course(AT_TIMESTAMP, start)
        made.next_reading()
        made.seek(Target.of(to), skip=False)
        made.next_reading()
        expected = SeekRefusal(None, Position(9)) if ahead else Sought(None, Position(9))
        assert made.on_first(Position(9)) == expected
    made = course()
    with pytest.raises(SeekAhead, match="the start"):
        made.seek(Target.of("9"), skip=False)
    made.seek(Target.of(9.0), skip=False)
    made.next_reading()
    assert made.on_first(Position(9)) == SeekRefusal(None, Position(9))
    assert made.next_reading() == Read(HORIZON)


def test_a_position_that_cannot_be_read_is_given_up() -> None:
    """The service refuses it: reading goes on where it was; a refusal at the checkpoint is another matter."""
    made = begun(20)
    assert made.on_unreadable() is None
    made.seek(Target.of("3"), skip=False)
    made.next_reading()
    assert made.on_unreadable() == SeekRefusal(Position(20), Position(3))
    assert made.next_reading() == Read(at(20), Position(20), 20)


def test_a_seek_waits_for_resuming_and_a_pause_does_not_forget_one_under_way() -> None:
    """Paused, then sought, then resumed; and sought, then paused before anything was read."""
    made = begun(20)
    made.paused = True
    assert made.next_reading() is None
    made.seek(Target.of("4"), skip=False)
    assert made.next_reading() is None
    made.paused = False
    assert (made.next_reading(), state(made)) == (Read(at(4), Position(4, -1), sought=True), ShardState.SEEKING)
    made.paused = True
    assert (made.next_reading(), state(made)) == (None, ShardState.PAUSED)
    made.paused = False
    assert made.next_reading() == Read(at(4), Position(4, -1), sought=True)
    made.seek(Target.of("6"), skip=False)
    assert (made.next_reading(), state(made)) == (Read(at(6), Position(6, -1), sought=True), ShardState.SEEKING)


def test_a_sink_is_read_behind_its_own_position() -> None:
    """Above the checkpoint what lies between is a skip on purpose; below, it comes again; at it, nothing happens."""
    made = course(Position(10), at(10))
    made.place(Target.behind("10"))
    assert not made.interrupted
    made.place(Target.behind(Position(15, 3)))
    assert made.next_reading() == Read(at(15), Position(15, 3), sought=True)
    assert made.on_first(Position(15)) == Skipped(Position(10), Position(15, 4))
    below = course(Position(10), at(10))
    below.place(Target.behind("7/1"))
    assert below.next_reading() == Read(at(7), Position(7, 1), sought=True)
    assert below.on_first(Position(7)) == Sought(Position(10), Position(7, 2))
    empty = course(Position(10), at(10))
    empty.place(Target.behind(TRIM_HORIZON))
    assert empty.next_reading() == Read(HORIZON, sought=True)


@pytest.mark.parametrize(
    "to", [SHARD_END, AT_TIMESTAMP, "SHARD_END", "x", "", "1e3", "-1", True, -1.0, float("nan"), Position(3, -1), None]
)
def test_what_is_no_position_is_refused(to: object) -> None:
    """A typed error, before anything is changed."""
    with pytest.raises(InvalidInput):
        Target.of(to)  # type: ignore[arg-type]  # what an untyped caller may give


@pytest.mark.parametrize("at_what", [SHARD_END, LATEST, "LATEST", 7])
def test_what_no_sink_can_hold_is_refused(at_what: object) -> None:
    """A sink has records up to a position, or none."""
    with pytest.raises(InvalidInput):
        Target.behind(at_what)  # type: ignore[arg-type]  # what an untyped caller may give


def test_the_last_order_that_covers_a_shard_holds() -> None:
    """Everything, a stream, a shard: wide orders replace narrow ones, narrow ones are exceptions of wide ones."""
    pauses = Pauses()
    assert not pauses.holds("a", "1")
    pauses.order(None, None, paused=True)
    pauses.order("a", "1", paused=False)
    assert (pauses.holds("a", "1"), pauses.holds("a", "2"), pauses.holds("b", "1")) == (False, True, True)
    pauses.order("a", None, paused=True)
    assert pauses.holds("a", "1")
    pauses.order(None, None, paused=False)
    assert not any(pauses.holds(*where) for where in (("a", "1"), ("a", "2"), ("b", "1")))


scopes = st.sampled_from([(None, None), ("a", None), ("b", None), ("a", "1"), ("a", "2"), ("b", "1")])


@given(st.lists(st.tuples(scopes, st.booleans()), max_size=8))
def test_orders_are_those_of_the_whole_history(orders: list[tuple[tuple[str | None, str | None], bool]]) -> None:
    """Forgetting what is covered changes no answer: the last order of all whose scope fits decides."""
    pauses = Pauses()
    for scope, paused in orders:
        pauses.order(*scope, paused=paused)
    for where in (("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")):
        fitting = [
            paused
            for scope, paused in orders
            if all(one in (None, other) for one, other in zip(scope, where, strict=True))
        ]
        assert pauses.holds(*where) == (fitting[-1] if fitting else False)


actions = st.lists(
    st.one_of(
        st.tuples(st.just("done"), st.integers(1, 40)),
        st.tuples(st.just("seek"), st.integers(0, 60)),
        st.tuples(st.just("skip"), st.integers(0, 60)),
        st.tuples(st.just("time"), st.integers(0, 60)),
        st.tuples(st.just("pause"), st.integers(0, 1)),
    ),
    max_size=30,
)


@given(actions)
def test_no_record_is_left_out_but_by_a_told_skip(steps: list[tuple[str, int]]) -> None:
    """A shard of records 1 to 50, read as ordered: at the end each one was done, or lies in a range that was told."""
    made, records = course(), list(range(1, 51))
    done: set[int] = set()
    for what, number in [*steps, ("pause", 0), ("done", 100)]:
        if what == "pause":
            made.paused = bool(number)
        elif what in ("seek", "skip"):
            try:
                made.seek(Target.of(Position(number)), skip=what == "skip")
            except SeekAhead:
                continue
        elif what == "time":
            made.seek(Target.of(float(number)), skip=False)
        else:
            for _ in range(3):
                read = made.next_reading()
                if read is None:
                    break
                told = play(made, read, records, number)
                if told is not None:
                    done |= told
                    break
    assert done == set(records)


def play(made: Course, read: Read, records: list[int], count: int) -> set[int] | None:
    """Read and handle up to `count` records; returns what was done or skipped, None where the seek was refused."""
    begin = {
        StartKind.TRIM_HORIZON: 0.0,
        StartKind.AT_SEQUENCE_NUMBER: float(read.start.sequence_number or 0),
        StartKind.AT_TIMESTAMP: read.start.timestamp_s or 0.0,
    }[read.start.kind]
    found = [number for number in records if number >= begin]
    arrival = made.on_first(Position(found[0]) if found else SHARD_END)
    if isinstance(arrival, SeekRefusal):
        return None
    told: set[int] = set()
    if isinstance(arrival, Skipped):
        after = arrival.after or Position(0)
        told = {number for number in records if after < Position(number) < arrival.before}
    for number in [one for one in found if read.after is None or Position(one) > read.after][:count]:
        made.on_reached(Position(number))
        told.add(number)
    return told
