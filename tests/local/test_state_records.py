"""The pure Kinesis state: putting, iterating, reading, throttles, retention, null mode, AUTO streams."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.hashing import hash_key
from shardline.common.limits import GET_RECORDS_BYTES_MAX, HASH_KEY_MAX, MIB
from shardline.common.ports.kinesis import (
    Distribution,
    GetRecordsPage,
    PutEntry,
    PutOutcome,
    StartAt,
    StartKind,
    Stream,
)
from shardline.local.state.core import KinesisState
from shardline.local.state.events import RecordRefused, RecordsRead, RecordStored, RecordsTrimmed, StateEvent
from shardline.local.state.options import KinesisOptions, Limits, ShardEnd
from shardline.local.state.refusal import Refusal

NOW = 1_700_000_000.0
ORDERS = Stream("orders")
FIRST = "shardId-000000000000"
HORIZON = StartAt(StartKind.TRIM_HORIZON)
LATEST = StartAt(StartKind.LATEST)


def made(shards: int = 1, **options: object) -> KinesisState:
    state = KinesisState(KinesisOptions(**options))  # type: ignore[arg-type]  # The test's own keyword arguments.
    state.create_stream("orders", shards, now=NOW)
    return state


def put(state: KinesisState, *payloads: bytes, now: float = NOW, key: str = "k") -> list[PutOutcome]:
    return state.put_records(ORDERS, [PutEntry(p, key) for p in payloads], now=now)


def read(state: KinesisState, start: StartAt = HORIZON, now: float = NOW, shard: str = FIRST) -> GetRecordsPage:
    return state.get_records(state.get_shard_iterator(ORDERS, shard, start, now=now), now=now)


def data(page: GetRecordsPage) -> list[bytes]:
    return [r.data for r in page.records]


def expect_refusal(code: str) -> pytest.RaisesExc[Refusal]:
    return pytest.RaisesExc(Refusal, check=lambda r: r.code == code)


def test_records_are_placed_by_the_md5_of_their_key_or_by_their_hash_key() -> None:
    """Each record lands in the shard that owns its hash key, ends of ranges included."""
    state = made(4)
    for key in ("a", "b", "ü", "k" * 256):
        shard = state.resolve(ORDERS, NOW).get(put(state, b"", key=key)[0].shard_id or "")
        assert shard is not None
        assert hash_key(key) in shard.hash_range
    for explicit, index in [(0, 0), (2**126 - 1, 0), (2**126, 1), (HASH_KEY_MAX, 3)]:
        outcome = state.put_records(ORDERS, [PutEntry(b"", "k", str(explicit))], now=NOW)[0]
        assert outcome.shard_id == f"shardId-{index:012d}"


def test_new_writes_go_to_open_children_only() -> None:
    """After a split nothing is added to the parent, and its unread records stay."""
    state = made()
    put(state, b"before")
    state.split_shard(ORDERS, FIRST, str(2**127), now=NOW + 1)
    assert put(state, b"after", now=NOW + 2)[0].shard_id != FIRST
    assert data(read(state, now=NOW + 2)) == [b"before"]


@given(st.lists(st.tuples(st.text(min_size=1, max_size=8), st.binary(max_size=30)), min_size=1, max_size=60))
def test_everything_acknowledged_is_read_once_in_order(records: list[tuple[str, bytes]]) -> None:
    """Reading all shards from the horizon gives every acknowledged record once, in the order of its numbers."""
    state = made(3)
    outcomes = state.put_records(ORDERS, [PutEntry(d, k) for k, d in records], now=NOW)
    seen: dict[str, tuple[str, bytes]] = {}
    for shard in state.list_shards(ORDERS, now=NOW).shards:
        page = read(state, shard=shard.shard_id)
        numbers = [int(r.sequence_number) for r in page.records]
        assert numbers == sorted(set(numbers))
        seen |= {r.sequence_number: (r.partition_key or "", r.data) for r in page.records}
    assert seen == {o.sequence_number: r for o, r in zip(outcomes, records, strict=True)}


def test_a_tail_reader_beside_many_writers_misses_nothing() -> None:
    """A record's number and place are one step: a reader at the tail between any two batches sees all, once."""
    state = made()
    iterator: str | None = state.get_shard_iterator(ORDERS, FIRST, LATEST, now=NOW)
    seen: list[bytes] = []
    for writer, batch in itertools.product(range(4), range(10)):
        put(state, *(f"{writer}-{batch}-{i}".encode() for i in range(500)))
        assert iterator is not None
        page = state.get_records(iterator, now=NOW, limit=333)
        seen, iterator = seen + data(page), page.next_iterator
    while iterator is not None and (page := state.get_records(iterator, now=NOW)).records:
        seen, iterator = seen + data(page), page.next_iterator
    assert len(seen) == len(set(seen)) == 20_000


def test_the_five_starts_of_an_iterator() -> None:
    """AT and AFTER a number, the horizon, the tail, and a time each start where they say."""
    state = made()
    first, second = put(state, b"1")[0], put(state, b"2", now=NOW + 10)[0]
    put(state, b"3", now=NOW + 20)
    at, after = StartKind.AT_SEQUENCE_NUMBER, StartKind.AFTER_SEQUENCE_NUMBER
    late = NOW + 30
    assert data(read(state, StartAt(at, second.sequence_number), late)) == [b"2", b"3"]
    assert data(read(state, StartAt(after, first.sequence_number), late)) == [b"2", b"3"]
    assert data(read(state, LATEST, late)) == []
    assert data(read(state, StartAt(StartKind.AT_TIMESTAMP, timestamp_s=NOW + 10), late)) == [b"2", b"3"]
    assert data(read(state, StartAt(StartKind.AT_TIMESTAMP, timestamp_s=NOW - 9), late)) == [b"1", b"2", b"3"]
    starting = state.list_shards(ORDERS, now=late).shards[0].starting_sequence_number
    assert data(read(state, StartAt(after, starting), late)) == [b"1", b"2", b"3"]


def test_at_timestamp_past_the_end_gives_nothing_old() -> None:
    """A start later than every record waits at the tail."""
    state = made()
    put(state, b"old")
    iterator = state.get_shard_iterator(
        ORDERS, FIRST, StartAt(StartKind.AT_TIMESTAMP, timestamp_s=NOW + 5), now=NOW + 5
    )
    assert data(state.get_records(iterator, now=NOW + 5)) == []
    put(state, b"new", now=NOW + 6)
    assert data(state.get_records(iterator, now=NOW + 6)) == [b"new"]


@pytest.mark.parametrize(
    "start",
    [
        StartAt(StartKind.AT_TIMESTAMP),
        StartAt(StartKind.AT_TIMESTAMP, timestamp_s=NOW + 1000),
        StartAt(StartKind.AT_SEQUENCE_NUMBER),
        StartAt(StartKind.AT_SEQUENCE_NUMBER, "12345"),
        StartAt(StartKind.AFTER_SEQUENCE_NUMBER, "-1"),
        StartAt(StartKind.AFTER_SEQUENCE_NUMBER, "9" * 200),
    ],
)
def test_a_wrong_start_is_refused(start: StartAt) -> None:
    """A missing or foreign number, and a missing or future time, are InvalidArgumentException."""
    state = made()
    put(state, b"x")
    with expect_refusal("InvalidArgumentException"):
        state.get_shard_iterator(ORDERS, FIRST, start, now=NOW)


def test_numbers_of_another_shard_are_refused() -> None:
    """A sequence number of a sibling shard does not start an iterator."""
    state = made(2)
    outcome = state.put_records(ORDERS, [PutEntry(b"", "k", str(HASH_KEY_MAX))], now=NOW)[0]
    with expect_refusal("InvalidArgumentException"):
        state.get_shard_iterator(ORDERS, FIRST, StartAt(StartKind.AT_SEQUENCE_NUMBER, outcome.sequence_number), now=NOW)


def test_iterators_expire_after_their_lifetime_and_may_be_used_again_before() -> None:
    """An iterator reads the same place twice within five minutes and is ExpiredIteratorException after them."""
    state = made()
    put(state, b"x")
    iterator = state.get_shard_iterator(ORDERS, FIRST, HORIZON, now=NOW)
    assert (
        data(state.get_records(iterator, now=NOW + 300)) == data(state.get_records(iterator, now=NOW + 300)) == [b"x"]
    )
    with expect_refusal("ExpiredIteratorException"):
        state.get_records(iterator, now=NOW + 300.1)


def test_garbage_iterators_are_refused_as_invalid() -> None:
    """Text that is no iterator, or one altered anywhere, is InvalidArgumentException, never a crash."""
    state = made()
    good = state.get_shard_iterator(ORDERS, FIRST, HORIZON, now=NOW)
    altered = [good[:i] + ("A" if good[i] != "A" else "B") + good[i + 1 :] for i in range(0, len(good) - 4, 3)]
    for wrong in ["", "x", "AAAA", "ü", good[:-4], *altered]:
        with expect_refusal("InvalidArgumentException"):
            state.get_records(wrong, now=NOW)
    with expect_refusal("InvalidArgumentException"):
        state.get_records(good, now=NOW, stream=Stream("other"))


def test_an_iterator_of_a_recreated_stream_is_not_found() -> None:
    """A stream made again under the same name is another stream."""
    state = made()
    iterator = state.get_shard_iterator(ORDERS, FIRST, HORIZON, now=NOW)
    state.delete_stream(ORDERS, now=NOW + 1)
    with expect_refusal("ResourceNotFoundException"):
        state.get_records(iterator, now=NOW + 1)
    state.create_stream("orders", 1, now=NOW + 2)
    with expect_refusal("ResourceNotFoundException"):
        state.get_records(iterator, now=NOW + 2)


@pytest.mark.parametrize("timing", list(ShardEnd))
def test_the_end_of_a_closed_shard_names_its_children(timing: ShardEnd) -> None:
    """No next iterator and the children with parents and ranges: with the last batch or after it, as set."""
    state = made(shard_end=timing)
    put(state, b"x")
    state.split_shard(ORDERS, FIRST, str(2**127), now=NOW + 1)
    page = read(state, now=NOW + 2)
    assert data(page) == [b"x"]
    if timing is ShardEnd.ON_EMPTY_BATCH:
        assert page.next_iterator is not None
        assert page.child_shards == ()
        page = state.get_records(page.next_iterator, now=NOW + 2)
    assert page.next_iterator is None
    assert [(c.shard_id[-1], c.parent_shard_ids, c.hash_range) for c in page.child_shards] == [
        ("1", (FIRST,), (0, 2**127 - 1)),
        ("2", (FIRST,), (2**127, HASH_KEY_MAX)),
    ]


def test_child_shards_can_be_hidden() -> None:
    """A switch leaves the children out, as an answer on the way to being consistent does."""
    state = made(hide_child_shards=True)
    state.split_shard(ORDERS, FIRST, str(2**127), now=NOW + 1)
    page = read(state, now=NOW + 2)
    assert (page.next_iterator, page.child_shards) == (None, ())


def test_a_page_holds_ten_mib_at_most() -> None:
    """The bytes of a page stop at 10 MiB, but one record is always given."""
    state = made()
    state.update_max_record_size(ORDERS, 10_240, now=NOW)
    put(state, bytes(6 * MIB))
    put(state, bytes(6 * MIB))
    put(state, bytes(GET_RECORDS_BYTES_MAX - 1))
    page = read(state)
    assert [len(r.data) for r in page.records] == [6 * MIB]
    assert page.next_iterator is not None
    page = state.get_records(page.next_iterator, now=NOW)
    assert [len(r.data) for r in page.records] == [6 * MIB]


@pytest.mark.parametrize("limit", [0, 10_001, -1])
def test_a_limit_out_of_range_is_refused(limit: int) -> None:
    """GetRecords takes a limit from 1 to 10,000."""
    state = made()
    with expect_refusal("ValidationException"):
        state.get_records(state.get_shard_iterator(ORDERS, FIRST, HORIZON, now=NOW), now=NOW, limit=limit)


def test_millis_behind_latest_is_the_age_of_the_next_record() -> None:
    """0 at the tip, otherwise how long the next unread record has been waiting."""
    state = made()
    put(state, b"1")
    put(state, b"2", now=NOW + 4)
    iterator = state.get_shard_iterator(ORDERS, FIRST, HORIZON, now=NOW + 10)
    assert state.get_records(iterator, now=NOW + 10, limit=1).millis_behind_latest == 6000
    assert state.get_records(iterator, now=NOW + 10).millis_behind_latest == 0


def test_retention_trims_and_readers_continue_at_the_horizon() -> None:
    """Records older than the retention are gone; an old position continues with the oldest that is left."""
    events: list[StateEvent] = []
    state = made()
    state.sink = events.append
    for hour in range(48):
        put(state, *(bytes(10) for _ in range(50)), now=NOW + hour * 3600)
    late = NOW + 47 * 3600 + 1
    page = read(state, now=late)
    assert page.records[0].arrival_time_s == NOW + 24 * 3600
    assert len(page.records) == 24 * 50
    assert sum(e.records for e in events if isinstance(e, RecordsTrimmed)) == 24 * 50
    put(state, b"last", now=late)
    week = NOW + 7 * 24 * 3600
    iterator = state.get_shard_iterator(ORDERS, FIRST, HORIZON, now=week)
    assert data(state.get_records(iterator, now=week)) == []
    put(state, b"fresh", now=week)
    assert data(state.get_records(iterator, now=week)) == [b"fresh"]


@pytest.mark.parametrize("asked", ["list", "shard"])
def test_a_shard_that_is_listed_no_more_has_told_that_its_records_are_gone(asked: str) -> None:
    """Whoever learns that a shard is over, from the list or by asking for it, learns nothing before the log says so."""
    events: list[StateEvent] = []
    state = made()
    put(state, b"1", now=NOW)
    put(state, b"2", now=NOW + 10)
    state.split_shard(ORDERS, FIRST, str(1 << 127), now=NOW + 10)
    state.sink = events.append
    late = NOW + 25 * 3600
    if asked == "list":
        assert FIRST not in [shard.shard_id for shard in state.list_shards(ORDERS, now=late).shards]
    else:
        with expect_refusal("ResourceNotFoundException"):
            read(state, now=late)
    assert [(e.shard_id, e.records) for e in events if isinstance(e, RecordsTrimmed)] == [(FIRST, 2)]


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([], "ValidationException"),
        ([PutEntry(b"", "k")] * 501, "ValidationException"),
        ([PutEntry(b"", "")], "ValidationException"),
        ([PutEntry(b"", "k" * 257)], "ValidationException"),
        ([PutEntry(b"", None)], "ValidationException"),
        ([PutEntry(bytes(MIB), "k")], "ValidationException"),
        ([PutEntry(bytes(MIB - 10), "k")] * 11, "InvalidArgumentException"),
        ([PutEntry(b"", "k", "-1")], "InvalidArgumentException"),
        ([PutEntry(b"", "k", str(2**128))], "InvalidArgumentException"),
    ],
)
def test_a_wrong_request_is_refused_whole(entries: list[PutEntry], code: str) -> None:
    """One wrong entry, or too many or too heavy ones, and nothing of the request is stored."""
    state = made()
    with expect_refusal(code):
        state.put_records(ORDERS, [PutEntry(b"good", "k"), *entries] if 0 < len(entries) < 500 else entries, now=NOW)
    assert data(read(state)) == []


def test_limits_are_taken_to_the_byte() -> None:
    """500 records, a 256-character key, and data and key of exactly the limit are accepted."""
    state = made()
    assert len(put(state, *[b""] * 500)) == 500
    put(state, bytes(MIB - 1))
    put(state, bytes(MIB - 256), key="k" * 256)
    state.update_max_record_size(ORDERS, 2048, now=NOW)
    put(state, bytes(2 * MIB - 1))
    with expect_refusal("ValidationException"):
        put(state, bytes(2 * MIB))


def test_dry_run_stores_nothing() -> None:
    """DryRun answers DryRunOperationException for a good request, the real error for a wrong one, and keeps nothing."""
    state = made()
    with expect_refusal("DryRunOperationException"):
        state.put_records(ORDERS, [PutEntry(b"x", "k")], now=NOW, dry_run=True)
    with expect_refusal("ValidationException"):
        state.put_records(ORDERS, [PutEntry(b"x", "")], now=NOW, dry_run=True)
    with expect_refusal("DryRunOperationException"):
        state.get_shard_iterator(ORDERS, FIRST, HORIZON, now=NOW, dry_run=True)
    with expect_refusal("DryRunOperationException"):
        state.get_records(state.get_shard_iterator(ORDERS, FIRST, HORIZON, now=NOW), now=NOW, dry_run=True)
    assert data(read(state)) == []


def test_write_throttling_fails_single_entries() -> None:
    """With the service's limits on, the entries above 1 MiB/s or 1,000 records/s of a shard fail, the others do not."""
    events: list[StateEvent] = []
    state = made(2, limits=Limits.SERVICE)
    state.sink = events.append
    entries = [PutEntry(bytes(200_000), "k", str(0 if i % 2 else HASH_KEY_MAX)) for i in range(20)]
    outcomes = state.put_records(ORDERS, entries, now=NOW)
    failed = [o for o in outcomes if o.error_code == "ProvisionedThroughputExceededException"]
    assert len(failed) == 10
    assert all(
        o.sequence_number is None and o.shard_id is None and "Rate exceeded" in (o.error_message or "") for o in failed
    )
    assert sum(isinstance(e, RecordRefused) for e in events) == 10
    assert sum(isinstance(e, RecordStored) for e in events) == 10
    counted = [put(state, *[b""] * 500, now=NOW + 100) for _ in range(3)]
    assert sum(o.error_code is None for batch in counted for o in batch) == 1000
    assert put(state, b"", now=NOW + 101)[0].error_code is None


def test_read_throttling_is_five_calls_and_two_mib_a_second() -> None:
    """The sixth call within a second is refused; so is a call after more bytes than two MiB a second allow."""
    state = made(limits=Limits.SERVICE)
    iterator = state.get_shard_iterator(ORDERS, FIRST, HORIZON, now=NOW)
    for _ in range(5):
        state.get_records(iterator, now=NOW)
    with expect_refusal("ProvisionedThroughputExceededException"):
        state.get_records(iterator, now=NOW)
    state.get_records(iterator, now=NOW + 1)


def test_ten_mib_in_one_answer_are_followed_by_five_seconds_of_refusals() -> None:
    """An answer of 10 MiB makes the calls of the next five seconds fail."""
    state = made()
    state.update_max_record_size(ORDERS, 10_240, now=NOW)
    put(state, bytes(GET_RECORDS_BYTES_MAX - 1))
    state.options = KinesisOptions(limits=Limits.SERVICE)
    iterator = state.get_shard_iterator(ORDERS, FIRST, HORIZON, now=NOW)
    state.get_records(iterator, now=NOW)
    with expect_refusal("ProvisionedThroughputExceededException"):
        state.get_records(iterator, now=NOW + 4.9)
    state.get_records(iterator, now=NOW + 5)


def test_iterators_are_limited_to_five_a_second() -> None:
    """GetShardIterator is throttled per shard when limits are on."""
    state = made(limits=Limits.SERVICE)
    for _ in range(5):
        state.get_shard_iterator(ORDERS, FIRST, HORIZON, now=NOW)
    with expect_refusal("ProvisionedThroughputExceededException"):
        state.get_shard_iterator(ORDERS, FIRST, HORIZON, now=NOW)


def test_null_mode_stores_nothing_and_names_the_owning_shard() -> None:
    """In null mode each entry is answered with its shard and a growing number, and nothing can be read."""
    state = made(4, null=True)
    outcomes = state.put_records(ORDERS, [PutEntry(b"x", "k", str(2**126 * i)) for i in range(4)] * 2, now=NOW)
    assert [o.shard_id for o in outcomes] == [f"shardId-{i:012d}" for i in range(4)] * 2
    assert int(outcomes[4].sequence_number or 0) > int(outcomes[0].sequence_number or 0)
    assert data(read(state)) == []


def test_auto_streams_spread_records_and_drop_their_keys() -> None:
    """On AUTO the service places records itself, a key may be missing, and none comes back; switching is at once."""
    state = KinesisState()
    state.create_stream("orders", on_demand=True, now=NOW, distribution=Distribution.AUTO)
    outcomes = state.put_records(ORDERS, [PutEntry(b"x", key) for key in ("same", None) * 20], now=NOW)
    assert {o.shard_id for o in outcomes} == {f"shardId-{i:012d}" for i in range(4)}
    assert {r.partition_key for r in read(state).records} == {None}
    state.set_distribution(ORDERS, Distribution.USER_PARTITION_KEY, now=NOW)
    with expect_refusal("ValidationException"):
        state.put_records(ORDERS, [PutEntry(b"x", None)], now=NOW)
    placed = state.put_records(ORDERS, [PutEntry(b"x", "same")] * 5, now=NOW)
    assert len({o.shard_id for o in placed}) == 1


def test_null_mode_takes_auto_streams_too() -> None:
    """Null mode spreads the records of an AUTO stream."""
    state = KinesisState(KinesisOptions(null=True))
    state.create_stream("orders", on_demand=True, now=NOW, distribution=Distribution.AUTO)
    outcomes = state.put_records(ORDERS, [PutEntry(b"x", None)] * 4, now=NOW)
    assert len({o.shard_id for o in outcomes}) == 4


def test_the_sink_sees_each_record_as_it_gets_its_place() -> None:
    """The event log tells of every stored record with number and hash key, and of every read with its range."""
    events: list[StateEvent] = []
    state = made()
    state.sink = events.append
    outcomes = put(state, b"1", b"2")
    read(state)
    stored = [e for e in events if isinstance(e, RecordStored)]
    assert [str(e.number) for e in stored] == [o.sequence_number for o in outcomes]
    assert {int.from_bytes(e.hash_key, "big") for e in stored} == {hash_key("k")}
    assert [e for e in events if isinstance(e, RecordsRead)] == [
        RecordsRead(NOW, "orders", FIRST, 2, stored[0].number, stored[1].number)
    ]


def test_arrival_times_never_go_back() -> None:
    """A clock that steps back cannot reorder a shard."""
    state = made()
    put(state, b"1", now=NOW + 10)
    put(state, b"2", now=NOW + 5)
    assert [r.arrival_time_s for r in read(state, now=NOW + 20).records] == [NOW + 10, NOW + 10]


def test_watchers_of_a_shard_are_told_of_writes_and_of_its_end() -> None:
    """A subscription is woken by a record and by the shard's end."""
    state = made()
    calls: list[int] = []
    state.resolve(ORDERS, NOW).open[0].watchers.append(lambda: calls.append(1))
    put(state, b"x")
    state.split_shard(ORDERS, FIRST, str(2**127), now=NOW)
    assert len(calls) == 2


def test_refusals_read_well() -> None:
    """A refusal's text names its code and says what is wrong."""
    with pytest.raises(Refusal, match="ResourceNotFoundException: Stream nowhere under account"):
        made().resolve(Stream("nowhere"), NOW)
