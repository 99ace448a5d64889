"""Polling one shard: positions, pace, limits, and ends that are believed only when they are true (F14-F16, I16)."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.bucket import TokenBucket
from shardline.common.errors import InvalidInput
from shardline.common.ports.kinesis import GetRecordsPage, StartAt, StartKind
from shardline.common.records import AT_TIMESTAMP, LATEST, TRIM_HORIZON, KinesisRecord
from shardline.consumer.retrieval.polling import (
    FetchIterator,
    FetchRecords,
    PollingSettings,
    ShardPolling,
    starting_at,
)

from tests.consumer.rows import at

HORIZON = StartAt(StartKind.TRIM_HORIZON)


def polling(start: StartAt = HORIZON, **settings: float) -> ShardPolling:
    """Return a shard's polling at time 0 that has its first iterator."""
    made = ShardPolling(start, PollingSettings(**settings), Random(1), 0.0)  # type: ignore[arg-type]  # Each setting by its name.
    assert made.next_call(0.0) == FetchIterator(start)
    made.on_iterator("i0", 0.0)
    return made


def page(*numbers: int, behind: int = 0, size: int = 10, after: str | None = "next") -> GetRecordsPage:
    """Return a page with records of these sequence numbers."""
    return GetRecordsPage([KinesisRecord(str(n), b"x" * size, "k", 0.0) for n in numbers], after, behind)


@pytest.mark.parametrize(
    ("checkpoint", "pin", "time", "expected"),
    [
        (at(77, 3), None, None, StartAt(StartKind.AT_SEQUENCE_NUMBER, "77")),
        (TRIM_HORIZON, None, 5.0, StartAt(StartKind.TRIM_HORIZON)),
        (LATEST, None, None, StartAt(StartKind.LATEST)),
        (LATEST, 9.5, None, StartAt(StartKind.AT_TIMESTAMP, timestamp_s=9.5)),
        (AT_TIMESTAMP, None, 5.0, StartAt(StartKind.AT_TIMESTAMP, timestamp_s=5.0)),
        (AT_TIMESTAMP, None, None, StartAt(StartKind.TRIM_HORIZON)),
    ],
)
def test_where_reading_starts(checkpoint: object, pin: float | None, time: float | None, expected: StartAt) -> None:
    """A stored position is read again; LATEST starts at its pin; a time nobody tells any more skips nothing."""
    assert starting_at(checkpoint, pin_s=pin, timestamp_s=time) == expected  # type: ignore[arg-type]  # Each kind.


def test_an_expired_iterator_is_replaced_after_what_was_fetched() -> None:
    """After records it resumes behind the last one, whatever the start position was."""
    shard = polling(StartAt(StartKind.LATEST))
    shard.on_page(page(5, 6), 1.0)
    shard.on_iterator_lost(2.0)
    assert shard.next_call(2.0) == FetchIterator(StartAt(StartKind.AFTER_SEQUENCE_NUMBER, "6"))


def test_an_iterator_that_expires_before_any_record_starts_at_the_checkpoint_again() -> None:
    """Nothing fetched yet: the stored checkpoint is the place, never the application's start."""
    start = StartAt(StartKind.AT_SEQUENCE_NUMBER, "3")
    shard = polling(start)
    shard.on_page(page(), 1.0)
    shard.on_iterator_lost(2.0)
    assert shard.next_call(2.0) == FetchIterator(start)


def test_an_iterator_that_is_refused_again_and_again_is_no_hot_loop() -> None:
    """The second loss without a page between waits."""
    shard = polling()
    shard.on_iterator_lost(1.0)
    assert shard.next_wakeup(1.0) == 1.0
    shard.on_iterator("i1", 1.0)
    shard.on_iterator_lost(1.0)
    wakeup = shard.next_wakeup(1.0)
    assert wakeup is not None
    assert wakeup > 1.0


def test_an_empty_page_is_not_the_end() -> None:
    """However many empty pages come, the shard is open while an iterator follows."""
    shard = polling()
    now = 0.0
    for _ in range(50):
        wakeup = shard.next_wakeup(now)
        assert wakeup is not None
        now = max(now, wakeup)
        assert isinstance(shard.next_call(now), FetchRecords)
        shard.on_page(page(), now)
    assert not shard.ended
    assert now == pytest.approx(0.5 + 48.0)


def test_the_end_is_a_page_without_an_iterator_and_can_be_taken_back() -> None:
    """The last page ends the shard; an end that cannot be believed is asked for again from the last record, later."""
    shard = polling()
    shard.on_page(page(5, after=None), 1.0)
    assert (shard.ended, shard.next_call(9.0), shard.next_wakeup(9.0)) == (True, None, None)
    shard.on_end_refused(1.0)
    assert shard.next_call(1.0) is None
    assert shard.next_call(99.0) == FetchIterator(StartAt(StartKind.AFTER_SEQUENCE_NUMBER, "5"))


def test_catching_up_reads_on_at_once() -> None:
    """Behind the head only the shard's limits hold reading back."""
    shard = polling()
    shard.on_page(page(1, behind=60_000), 0.0)
    assert shard.next_wakeup(0.0) == 0.0


def test_at_the_head_the_pace_follows_what_is_found() -> None:
    """A page with records is followed soon, empty ones ever later up to the limit, records again soon."""
    shard = polling()
    waits: list[float] = []
    for numbers in ([1], [], [], [], [2]):
        shard.on_page(page(*numbers), 100.0)
        wakeup = shard.next_wakeup(100.0)
        assert wakeup is not None
        waits.append(wakeup - 100.0)
    assert waits == [0.25, 0.5, 1.0, 1.0, 0.25]


def test_reading_stops_while_too_much_waits_for_the_handler() -> None:
    """Back-pressure by records or bytes; consuming makes room."""
    shard = polling(prefetch_records=2)
    size = shard.on_page(page(1, 2, behind=5), 0.0)
    assert shard.next_wakeup(10.0) is None
    shard.on_consumed(2, size)
    assert isinstance(shard.next_call(10.0), FetchRecords)
    narrow = polling(prefetch_bytes=15)
    narrow.on_page(page(1, 2, behind=5), 0.0)
    assert narrow.next_call(10.0) is None


def test_failures_back_off_with_the_same_iterator() -> None:
    """A throttled read is repeated later and later, at the same place."""
    shard = polling()
    now, waits = 0.0, []
    for _ in range(8):
        assert shard.next_call(now) == FetchRecords("i0", 10_000)
        shard.on_failed(now)
        wakeup = shard.next_wakeup(now)
        assert wakeup is not None
        waits.append(wakeup - now)
        now = wakeup
    assert waits == sorted(waits[:6]) + waits[6:]
    assert max(waits) <= 10.0
    assert waits[-1] >= 5.0


def test_seeking_starts_elsewhere() -> None:
    """Seek forgets the iterator and the position."""
    shard = polling()
    shard.on_page(page(5, after=None), 1.0)
    start = StartAt(StartKind.AT_TIMESTAMP, timestamp_s=3.0)
    shard.seek(start, 2.0)
    assert shard.next_call(2.0) == FetchIterator(start)


def test_a_call_that_a_seek_abandons_amid_failures_has_failed_too() -> None:
    """Nobody hears its answer: were it forgotten, whoever seeks often would call often, and never back off (I17)."""
    shard = polling()
    shard.on_failed(1.0)
    due = shard.next_wakeup(1.0)
    assert due is not None
    assert isinstance(shard.next_call(due), FetchRecords)
    shard.seek(StartAt(StartKind.LATEST), due + 0.1)
    again = shard.next_wakeup(due + 0.1)
    assert again is not None
    assert again > due + 0.1
    assert shard.next_call(due + 0.1) is None
    assert shard.next_call(again) == FetchIterator(StartAt(StartKind.LATEST))


def test_a_call_that_a_seek_abandons_otherwise_is_forgotten() -> None:
    """Where calls succeed, reading elsewhere begins at once."""
    shard = polling()
    assert isinstance(shard.next_call(1.0), FetchRecords)
    shard.seek(StartAt(StartKind.LATEST), 1.0)
    assert shard.next_call(1.0) == FetchIterator(StartAt(StartKind.LATEST))


@given(
    st.lists(st.tuples(st.integers(0, 3_000_000), st.booleans(), st.floats(0, 0.5)), min_size=1, max_size=60),
)
def test_the_shards_limits_hold(pages: list[tuple[int, bool, float]]) -> None:
    """Over any run: at most 5 reads per second, and 2 MiB per second, each with its burst, whatever comes back."""
    shard = polling(prefetch_bytes=10**12, reads_per_s=5.0)
    now, reads, total, last = 0.0, 0, 0, 0
    for size, behind, took in pages:
        wakeup = shard.next_wakeup(now)
        assert wakeup is not None
        now = max(now, wakeup)
        call = shard.next_call(now)
        if not isinstance(call, FetchRecords):
            assert call is None  # A rounding of the buckets: due a moment later.
            now += 1e-6
            continue
        assert total <= 2 * 2**20 * (now + 1) + last + 1, "reading ahead of the bytes"
        reads += 1
        now += took
        shard.on_page(page(1, behind=int(behind), size=size), now)
        total, last = total + size, size
        assert reads <= 5 * now + 6


@pytest.mark.parametrize(
    "settings",
    [
        {"idle_s": 0.1},
        {"idle_s": float("nan")},
        {"idle_s": 2.0, "idle_s_max": 1.0},
        {"page_records": 0},
        {"page_records": 10_001},
        {"prefetch_records": 0},
        {"prefetch_bytes": 0},
        {"reads_per_s": 5.1},
        {"bytes_per_s": 0.0},
        {"timeout_s": float("inf")},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    """Each refusal names the setting."""
    with pytest.raises(InvalidInput, match=next(iter(settings))[:6]):
        PollingSettings(**settings)  # type: ignore[arg-type]  # Each setting by its name.


def test_no_second_sees_more_than_five_reads() -> None:
    """Allowed all of them, a shard that is behind is read five times in any second, after a pause too: no burst."""
    shard = polling(reads_per_s=5.0)
    reads: list[float] = []
    now = 100.0
    for number in range(1, 30):
        now = max(now, shard.next_wakeup(now) or now)
        assert isinstance(shard.next_call(now), FetchRecords)
        reads.append(now)
        shard.on_page(page(number, behind=60_000), now)
    assert min(later - earlier for earlier, later in zip(reads, reads[5:], strict=False)) >= 1.0 - 1e-6
    assert reads[-1] - reads[0] < 6.0


def test_what_was_not_queued_is_fetched_again() -> None:
    """Behind the last record that was; before any, at the first that was seen, whatever the start (story 10)."""
    latest = polling(StartAt(StartKind.LATEST))
    latest.next_call(0.0)
    latest.on_page(page(5, 6, behind=9), 0.0)
    latest.back_to(None, (0, 0), 0.0)
    assert latest.waiting == (0, 0)
    assert latest.next_call(0.0) == FetchIterator(StartAt(StartKind.AT_SEQUENCE_NUMBER, "5"))
    latest.on_iterator("i1", 0.0)
    latest.next_call(1.0)
    latest.on_page(page(5, 6, after=None), 1.0)
    latest.back_to("6", (2, 20), 1.0)
    assert (latest.ended, latest.waiting) == (False, (2, 20))
    assert latest.next_call(1.0) == FetchIterator(StartAt(StartKind.AFTER_SEQUENCE_NUMBER, "6"))


class SharedShard:
    """A shard that takes five reads a second from everybody: readers of ours that catch up, others at a fixed pace."""

    def __init__(self, ours: int, *others: float) -> None:
        self.ours = [ShardPolling(HORIZON, PollingSettings(), Random(seed), 0.0) for seed in range(ours)]
        self.read = Counter[str]()
        self._bucket = TokenBucket(5, 5, 0.0)
        self._others = {f"other {number}": period for number, period in enumerate(others)}
        self._due = {name: Random(name).random() for name in self._others}
        self._random = Random(5)

    def play(self, seconds: int) -> None:
        """Let everybody read, in steps of 10 ms."""
        for step in range(100 * seconds):
            now = step / 100
            for name, due in self._due.items():
                if now >= due:
                    self._due[name] = now + self._others[name]
                    self.read[name] += self._bucket.try_take(now, 1)
            for number, one in self._random.sample(list(enumerate(self.ours)), len(self.ours)):
                self._turn(f"ours {number}", one, now)

    def _turn(self, name: str, one: ShardPolling, now: float) -> None:
        call = one.next_call(now)
        if isinstance(call, FetchIterator):
            one.on_iterator("i", now)
        elif call is not None and self._bucket.try_take(now, 1):
            self.read[name] += 1
            one.on_consumed(1, one.on_page(page(self.read[name], behind=10_000), now))
        elif call is not None:
            one.on_throttled(now)


@pytest.mark.parametrize("ours", [1, 2, 3])
def test_several_readers_of_a_shard_share_it_evenly(ours: int) -> None:
    """Each gets about its part of the five reads, and together they use nearly all of them; alone it leaves one."""
    shard = SharedShard(ours)
    shard.play(300)
    fair = 300 * 5 / max(ours, 1.25)
    assert all(0.75 * fair <= reads <= 1.3 * fair for reads in shard.read.values())
    assert sum(shard.read.values()) > (0.95 if ours > 1 else 0.79) * 300 * 5


@pytest.mark.parametrize("others", [1, 3])
def test_who_reads_less_than_his_part_is_left_alone(others: int) -> None:
    """Beside a reader of ours that catches up, those that ask once a second (as a KCL does) get most of their reads."""
    shard = SharedShard(1, *[1.0] * others)
    shard.play(300)
    assert all(shard.read[f"other {number}"] > 0.8 * 300 for number in range(others))
    assert shard.read["ours 0"] > 1.5 * 300


def test_a_reader_beside_one_that_takes_everything_is_not_starved_for_long() -> None:
    """However often it is throttled, it tries again every few seconds, by chance at another moment."""
    one, now, gaps = polling(), 0.0, list[float]()
    for _ in range(30):
        assert isinstance(one.next_call(now), FetchRecords)
        one.on_throttled(now)
        due = one.next_wakeup(now)
        assert due is not None
        gaps.append(due - now)
        now = due
    assert 2.5 <= max(gaps) <= 5.0
    assert len(set(gaps[-10:])) == 10


def test_a_share_that_was_left_comes_back() -> None:
    """Within a minute of the last throttled read its own limit is used again."""
    one = polling()
    for _ in range(5):
        one.on_throttled(0.0)
    now, reads = 100.0, 0
    while now < 220.0:
        if one.next_call(now) is not None:
            reads += now >= 160.0
            one.on_consumed(1, one.on_page(page(int(now * 1000), behind=9), now))
        now += 0.01
    assert reads >= 0.98 * 60 * 4
