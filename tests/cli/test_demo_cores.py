"""The demo's pure parts: the script, the order of the processes' words, the screen's state and what is drawn of it."""

from __future__ import annotations

import json
import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from shardline.cli.demo.clickstream import ACTIONS, PAGES, Clickstream, PageViews, parse_event
from shardline.cli.demo.inbox import Inbox, Lines
from shardline.cli.demo.messages import (
    Acknowledged,
    Delivered,
    Done,
    Failed,
    Note,
    Ready,
    Sent,
    ShardEnded,
    ShardStarted,
    ShardStopped,
    decode,
    encode,
)
from shardline.cli.demo.model import EVENTS_MAX, Counts, Live, ShardState, lineage
from shardline.cli.demo.outcome import Outcome, summary
from shardline.cli.demo.report import DeliveredRecord, Ledger
from shardline.cli.demo.screen import PlainScreen
from shardline.cli.demo.script import TIMELINE, Action, Script, choose_merge, choose_split, choose_victim, middle
from shardline.cli.demo.view import line, render
from shardline.common.errors import DecodeFailure
from shardline.common.hashing import FULL_RANGE, HashRange, Shard

TOP = FULL_RANGE.end + 1


def quarter(index: int) -> Shard:
    """Return one of four equal shards."""
    return Shard(f"shardId-{index:012d}", HashRange(index * TOP // 4, (index + 1) * TOP // 4 - 1))


def child(index: int, start: int, end: int, *parents: Shard) -> Shard:
    """Return a child of one or two shards over the eighths `start` to `end` of the hash keys."""
    ids = [*(parent.shard_id for parent in parents), None, None]
    return Shard(f"shardId-{index:012d}", HashRange(start * TOP // 8, end * TOP // 8 - 1), ids[0], ids[1])


def closed(shard: Shard) -> Shard:
    """Return the shard as it is listed after a reshard."""
    return shard._replace(ending_sequence_number="9")


def delivered(stamp: float, shard_id: str, count: int) -> Delivered:
    """Return a batch of `count` records of one shard."""
    record = DeliveredRecord(100, 0, list(range(count)), ["user-1"] * count)
    return Delivered(stamp, shard_id, 0, (record,), {"/cart": count}, 1)


def test_the_script_gives_each_action_once_and_in_order() -> None:
    """Actions come when their fraction has come, also those that a long tick stepped over."""
    script = Script()
    assert script.due(0.1) == []
    assert script.due(0.2) == [Action.SPLIT]
    assert script.due(0.2) == []
    assert script.due(0.7) == [Action.MERGE, Action.KILL]
    assert not script.done
    assert script.due(1.0) == [Action.START]
    assert script.done
    assert [action for _, action in TIMELINE] == list(Action)


def test_a_split_takes_the_middle_of_a_widest_shard() -> None:
    """The widest shards are split first, in half."""
    narrow, wide = child(5, 0, 1), child(6, 1, 4)
    assert choose_split([narrow, wide], Random(1)) == wide
    assert middle(Shard("s", HashRange(10, 19))) == 15
    assert middle(Shard("s", FULL_RANGE)) == 2**127


def test_a_merge_takes_neighbours_that_are_no_children_where_there_are_some() -> None:
    """Only shards side by side are merged; children of the split only if nothing else is left."""
    zero, one, two, three = map(quarter, range(4))
    halves = (child(4, 2, 3, one), child(5, 3, 4, one))
    for seed in range(20):
        assert choose_merge([zero, *halves, two, three], Random(seed)) == (two, three)
    assert choose_merge(halves, Random(1)) == halves
    assert choose_merge([zero, two], Random(1)) is None


def test_the_victim_owns_the_most_shards() -> None:
    """The kill hits a worker that has something to lose; chance decides only between equals."""
    assert choose_victim({"a": 1, "b": 3, "c": 2}, Random(1)) == "b"
    assert {choose_victim({"a": 2, "b": 2, "c": 1}, Random(seed)) for seed in range(30)} == {"a", "b"}
    assert choose_victim({}, Random(1)) is None


@pytest.mark.parametrize(
    "message",
    [
        Ready(1.5, "http://127.0.0.1:1"),
        Done(1.5, {"seconds": 2.0}),
        Note(1.5, "text"),
        Sent(1.5, 7),
        Acknowledged(1.5, "shardId-1", 10**56, 10, 20, (1, 2, 3)),
        Failed(1.5, 2, True, "expired"),
        delivered(1.5, "shardId-1", 3),
        ShardStarted(1.5, "shardId-1", "TRIM_HORIZON"),
        ShardStopped(1.5, "shardId-1", "lost"),
        ShardEnded(1.5, "shardId-1"),
    ],
)
def test_messages_come_back_as_they_were(message: Ready) -> None:
    """Every kind of message survives its line, big sequence numbers included."""
    assert encode(message).endswith(b"\n")
    assert encode(message).count(b"\n") == 1
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b'["what",1]', b'["sent",1]', b'["delivered",1,2,3,4,5,6]', b"\xff"]
)
def test_what_is_no_message_is_refused(text: bytes) -> None:
    """A line that no process of ours writes raises the typed error."""
    with pytest.raises(DecodeFailure, match="is not a message"):
        decode(text)


@given(st.lists(st.binary(max_size=20)), st.integers(1, 7))
def test_lines_are_cut_wherever_the_bytes_break(lines: list[bytes], size: int) -> None:
    """Whatever pieces a pipe gives, the lines are the same, and an unfinished one is not said."""
    clean = [one.replace(b"\n", b"") for one in lines]
    data = b"".join(one + b"\n" for one in clean) + b"killed here"
    reader = Lines()
    found = [one for at in range(0, len(data), size) for one in reader.feed(data[at : at + size])]
    assert found == clean
    assert reader.unfinished == len(b"killed here")


def test_words_are_taken_by_stamp_and_not_ahead_of_the_clock() -> None:
    """What was read too early (another process may have said something before it) waits for the next round."""
    inbox = Inbox()
    inbox.add("b", [Sent(2.0, 1), Sent(4.0, 2)])
    inbox.add("a", [Sent(1.0, 3), Sent(2.5, 4)])
    assert inbox.take(2.0) == [("a", Sent(1.0, 3)), ("b", Sent(2.0, 1))]
    inbox.add("a", [Sent(2.2, 5)])
    assert inbox.take(9.0) == [("a", Sent(2.2, 5)), ("a", Sent(2.5, 4)), ("b", Sent(4.0, 2))]


def test_a_hand_over_read_in_the_wrong_order_is_no_disorder() -> None:
    """The pipe of the new owner is read before that of the old one, and still the old owner's word comes first."""
    ledger = Ledger(ids_max=10)
    old, new = (DeliveredRecord(number, 0, [number], ["user-1"]) for number in (1, 2))
    inbox = Inbox()
    inbox.add("new", [Delivered(2.0, "s", 0, (new,), {}, 0)])  # Round 1: the old owner's pipe was read before it wrote.
    taken = inbox.take(1.5)
    inbox.add("old", [Delivered(1.8, "s", 0, (old,), {}, 0)])
    for _, message in taken + inbox.take(3.0):
        assert isinstance(message, Delivered)
        ledger.delivered(message.shard_id, message.records)
    assert ledger.order_violations({}) == 0
    assert ledger.processed_count == 2


def test_events_of_the_clickstream_are_as_described() -> None:
    """Events carry the workload's fields, are numbered from 0, keyed by user, and repeat with the seed."""
    stream, again = Clickstream(Random(7)), Clickstream(Random(7))
    made = [stream.next_event(1_700_000_000.25) for _ in range(50)]
    assert made == [again.next_event(1_700_000_000.25) for _ in range(50)]
    for index, (key, data) in enumerate(made):
        event = json.loads(data)
        assert set(event) == {
            "id", "user_id", "page", "action", "session_id", "timestamp", "device", "country",
        }  # fmt: skip
        assert (event["id"], event["user_id"], event["timestamp"]) == (index, key, "2023-11-14T22:13:20.250Z")
        assert parse_event(data, key) == (index, event["page"], event["action"])
        assert event["page"] in PAGES
        assert event["action"] in ACTIONS


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"\xff", b'{"user_id":"user-1","id":3,"page":"/","action":"view"}']
)
def test_a_damaged_event_has_no_id(data: bytes) -> None:
    """Bytes that are not the event of their key are told by an id of -1."""
    assert parse_event(data, "user-2") == (-1, "", "")


def test_the_consumer_counts_views_and_alarms() -> None:
    """Views are counted per page; only a submit at the check-out raises an alarm."""
    views = PageViews()
    for page, action in (("/home", "view"), ("/home", "view"), ("/cart", "submit"), ("/checkout", "submit")):
        views.add(page, action)
    assert (views.views, views.alarms) == ({"/home": 2}, 1)


def test_lineage_draws_children_below_their_first_parent() -> None:
    """A split hangs two children below one shard, a merge one child below the lower of two, which names the other."""
    zero, one, two, three = map(quarter, range(4))
    shards = [closed(zero), one, closed(two), closed(three), child(4, 0, 1, zero), child(5, 1, 2, zero)]
    shards.append(child(6, 4, 8, two, three))
    drawn = [(prefix, shard.shard_id[-1], also) for prefix, shard, also in lineage({s.shard_id: s for s in shards})]
    assert drawn == [
        ("", "0", None),
        ("├ ", "4", None),
        ("└ ", "5", None),
        ("", "1", None),
        ("", "2", None),
        ("└ ", "6", three.shard_id),
        ("", "3", None),
    ]


def test_a_child_whose_parents_are_trimmed_is_a_root() -> None:
    """ListShards leaves trimmed parents out; their children are drawn all the same."""
    lower = child(4, 0, 1, quarter(0))
    assert lineage({lower.shard_id: lower}) == [("", lower, None)]


def live_with_two_workers() -> Live:
    """Return the state of two workers that own one shard each of two."""
    live = Live()
    live.on_shards([quarter(0), quarter(1)])
    for name, shard in (("worker-1", quarter(0)), ("worker-2", quarter(1))):
        live.on_worker(name, 4711, "up")
        live.on_message(name, ShardStarted(0.0, shard.shard_id, "TRIM_HORIZON"), 1.0)
    return live


def snapshot(live: Live, elapsed_s: float, height: int = 60) -> str:
    """Return what a terminal shows."""
    console = Console(width=110, height=height)
    with console.capture() as capture:
        shown = live.snapshot(title="t", phase="load", elapsed_s=elapsed_s, load_s=30, counts=Counts())
        console.print(render(shown, height))
    return capture.get()


def test_rates_cover_the_last_two_seconds() -> None:
    """A shard's rate falls back to nothing when nothing comes."""
    live = live_with_two_workers()
    live.on_message("worker-1", delivered(0.0, quarter(0).shard_id, 10), 1.0)
    rows = live.snapshot(title="", phase="", elapsed_s=2.9, load_s=30, counts=Counts()).shards
    assert (rows[0].records_per_s, rows[0].processed) == (5.0, 10)
    rows = live.snapshot(title="", phase="", elapsed_s=3.1, load_s=30, counts=Counts()).shards
    assert (rows[0].records_per_s, rows[0].processed) == (0.0, 10)


def test_a_kill_orphans_shards_until_somebody_takes_them_over() -> None:
    """The victim's shards have no owner; its last words do not bring it back; the take-over is timed."""
    live = live_with_two_workers()
    assert live.on_killed("worker-1", 10.0) == 1
    live.on_message("worker-1", delivered(0.0, quarter(0).shard_id, 10), 10.1)
    assert live.snapshot(title="", phase="", elapsed_s=10.2, load_s=30, counts=Counts()).shards[0].owner is None
    assert live.shards_by_worker() == {"worker-2": 1}
    live.on_message("worker-2", ShardStarted(0.0, quarter(0).shard_id, "5"), 14.5)
    assert live.takeovers == [4.5]
    assert live.shards_by_worker() == {"worker-2": 2}


def test_a_shard_goes_from_open_to_closed_to_ended() -> None:
    """Closed by a reshard, ended when its worker has read it to the end."""
    live = live_with_two_workers()
    live.on_shards([closed(quarter(0)), quarter(1)])
    rows = live.snapshot(title="", phase="", elapsed_s=1, load_s=30, counts=Counts()).shards
    assert [row.state for row in rows] == [ShardState.CLOSED, ShardState.OPEN]
    live.on_message("worker-1", ShardEnded(0.0, quarter(0).shard_id), 2.0)
    row = live.snapshot(title="", phase="", elapsed_s=2, load_s=30, counts=Counts()).shards[0]
    assert (row.state, row.owner) == (ShardState.ENDED, None)


def test_a_lease_lost_to_another_worker_does_not_orphan_it() -> None:
    """The old owner's goodbye may come after the new owner's start."""
    live = live_with_two_workers()
    live.on_message("worker-2", ShardStarted(0.0, quarter(0).shard_id, "5"), 2.0)
    live.on_message("worker-1", ShardStopped(0.0, quarter(0).shard_id, "taken"), 2.1)
    assert live.snapshot(title="", phase="", elapsed_s=2.2, load_s=30, counts=Counts()).shards[0].owner == "worker-2"


def test_lag_is_the_age_of_the_oldest_record_that_waits() -> None:
    """It grows while nobody reads, falls when the handler has had the record, and is 0 for what was had before."""
    live = live_with_two_workers()
    shard_id = quarter(0).shard_id

    def lag_s(now: float) -> float:
        return live.snapshot(title="", phase="", elapsed_s=now, load_s=30, counts=Counts()).shards[0].lag_s

    for number, now in ((100, 2.0), (101, 3.0)):
        live.on_message("producer", Acknowledged(0.0, shard_id, number, 1, 1, (number,)), now)
    assert lag_s(6.0) == 4.0
    live.on_message("worker-1", delivered(0.0, shard_id, 1), 6.0)
    assert lag_s(6.0) == 3.0
    live.on_message("producer", Acknowledged(0.0, shard_id, 100, 1, 1, (9,)), 6.5)
    live.on_message("worker-1", Delivered(0.0, shard_id, 0, (DeliveredRecord(101, 0, [1], ["user-1"]),), {}, 0), 7.0)
    assert lag_s(9.0) == 0.0


def test_leases_of_finished_shards_are_nobodys_news() -> None:
    """Whoever holds the lease of a shard that was read to its end owns nothing, and its release is no event."""
    live = live_with_two_workers()
    live.on_message("worker-1", ShardEnded(0.0, quarter(0).shard_id), 2.0)
    before = live.events_total
    live.on_message("worker-2", ShardStarted(0.0, quarter(0).shard_id, "SHARD_END"), 3.0)
    live.on_message("worker-2", ShardStopped(0.0, quarter(0).shard_id, "released"), 4.0)
    assert live.events_total == before
    assert live.shards_by_worker() == {"worker-1": 0, "worker-2": 1}


def test_notes_of_a_kind_are_shown_once_a_second() -> None:
    """A storm of failed calls does not push everything else off the screen; what was not shown is counted."""
    live = live_with_two_workers()
    for elapsed_s, text in (
        (5.0, "call.failed: a"),
        (5.1, "call.failed: b"),
        (5.2, "task: c"),
        (5.9, "call.failed: d"),
    ):
        live.on_message("worker-1", Note(0.0, text), elapsed_s)
    live.on_message("worker-2", Note(0.0, "call.failed: e"), 5.9)
    live.on_message("worker-1", Note(0.0, "call.failed: f"), 6.1)
    assert [event.partition("  ")[2] for event in map(str.lstrip, live.last_events(4))] == [
        "worker-1: call.failed: a",
        "worker-1: task: c",
        "worker-2: call.failed: e",
        "worker-1: call.failed: f (and 2 more since)",
    ]


def test_events_are_bounded() -> None:
    """Only the last events are kept, and all of them counted."""
    live = Live()
    for index in range(EVENTS_MAX + 5):
        live.on_event(index, f"event {index}")
    assert live.events_total == EVENTS_MAX + 5
    assert len(live.last_events(100)) == EVENTS_MAX
    assert live.last_events(1) == [f"{EVENTS_MAX + 4:6.1f}s  event {EVENTS_MAX + 4}"]
    assert live.last_events(0) == []


def test_the_picture_shows_shards_owners_workers_and_events() -> None:
    """Everything an on-call engineer looks for is on the screen."""
    live = live_with_two_workers()
    halves = [child(number, number - 4, number - 3, quarter(0)) for number in (4, 5)]
    live.on_shards([closed(quarter(0)), quarter(1), *halves])
    live.on_message("worker-1", delivered(0.0, quarter(0).shard_id, 3000), 1.0)
    live.on_killed("worker-2", 1.5)
    shown = snapshot(live, 2.0)
    for text in ("worker-1", "open", "1,500", "nobody", "killed", "/cart", "submit at /checkout", "TRIM_HORIZON"):
        assert text in shown
    for text in (r"│  0 +closed +worker-1 +1,500", r"│  ├ 4 +open +nobody", r"│  └ 5 +open", r"│  1 +open +nobody"):
        assert re.search(text, shown)


def test_a_low_terminal_shows_fewer_events() -> None:
    """The picture fits the terminal, with the newest events, as long as the shards and workers do."""
    live = live_with_two_workers()
    for index in range(20):
        live.on_event(index, f"event {index}")
    tall, low = snapshot(live, 2.0), snapshot(live, 2.0, height=20)
    assert "event 8" in tall
    assert "event 8" not in low
    assert "event 19" in low
    assert len(low.splitlines()) < 20


def test_nothing_steers_the_terminal() -> None:
    """Control characters in names and messages are spelled out on the picture and in plain lines."""
    live = live_with_two_workers()
    live.on_message("worker-1", Note(0.0, "\x1b[2Jgone\r\n\u202e"), 1.0)
    shown = snapshot(live, 2.0)
    assert "\x1b[2J" not in shown
    assert "\\x1b[2Jgone\\r\\n\\u202e" in shown


def test_a_plain_line_tells_counts_rate_and_lag() -> None:
    """Without a terminal one line says how the run stands."""
    live = live_with_two_workers()
    live.on_message("worker-1", delivered(0.0, quarter(0).shard_id, 100), 1.0)
    live.on_message("producer", Acknowledged(0.0, quarter(1).shard_id, 7, 1, 1, (1,)), 0.8)
    counts = Counts(1000, 900, 800, 100, 7, 2)
    text = line(live.snapshot(title="t", phase="load", elapsed_s=2.0, load_s=30, counts=counts))
    assert text == (
        "   2.0s  load: sent 1,000, acknowledged 900, processed 800, waiting 100, duplicates 7, out of order 2; "
        "50 records/s, lag 1.2 s, 2 open shards, 2 workers"
    )


def test_the_screen_goes_on_when_the_clock_is_set_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts are printed every two seconds, also after the start of the load began to count from 0 again."""
    screen, live = PlainScreen(), live_with_two_workers()
    for elapsed_s in (0.0, 0.5, 2.1, 9.9, 0.1, 1.0, 2.2):
        shown = live.snapshot(title="", phase="load", elapsed_s=elapsed_s, load_s=30, counts=Counts())
        screen.show(shown, ["an event"] if elapsed_s == 1.0 else [])
    lines = capsys.readouterr().out.splitlines()
    assert [one.split()[0] for one in lines] == ["0.0s", "2.1s", "9.9s", "0.1s", "an", "2.2s"]


def outcome_of(
    ledger: Ledger, *, stopped_cleanly: bool = True, broken: tuple[tuple[str | int, ...], ...] = ()
) -> Outcome:
    """Return the result of a run with this ledger."""
    return Outcome(
        report=ledger.report({}),
        seconds=15,
        load_s=15.2,
        drain_s=1.0,
        kills=1,
        splits=1,
        merges=1,
        starts=1,
        takeovers=(4.25,),
        seed=1,
        rate=2000,
        shards=4,
        workers=3,
        stopped_cleanly=stopped_cleanly,
        broken=broken,
    )


def test_an_outcome_is_sound_only_if_something_went_through() -> None:
    """A run without a record proves nothing; a loss, a breakdown or a process that hangs fails it."""
    ledger = Ledger(ids_max=10)
    assert not outcome_of(ledger).sound
    ledger.sent(1)
    ledger.acknowledged([0], "s", 1, bytes_sent=10, bytes_alone=10)
    assert not outcome_of(ledger).sound
    ledger.delivered("s", [DeliveredRecord(1, 0, [0], ["user-1"])])
    assert outcome_of(ledger).sound
    assert not outcome_of(ledger, stopped_cleanly=False).sound
    assert not outcome_of(ledger, broken=(("worker-1", 1, "why"),)).sound


def test_the_outcome_has_all_that_was_asked_for() -> None:
    """The JSON object holds at least the issue's fields, as numbers."""
    found = outcome_of(Ledger(ids_max=1)).as_fields()
    asked = (
        "sent acknowledged processed lost duplicates resent redelivered order_violations kinesis_records kills splits "
        "merges seconds"
    )
    assert all(isinstance(found[name], int) for name in asked.split())
    assert json.loads(json.dumps(found)) == found


def test_the_summary_says_what_failed() -> None:
    """People read whether it passed on the last line, and who broke down."""
    ledger = Ledger(ids_max=10)
    assert summary(outcome_of(ledger, broken=(("worker-1", 1, "Boom"),)))[-1] == "FAILED"
    assert "worker-1 broke down, exit status 1: Boom" in summary(outcome_of(ledger, broken=(("worker-1", 1, "Boom"),)))
    ledger.sent(1)
    ledger.acknowledged([0], "s", 1, bytes_sent=10, bytes_alone=30)
    ledger.delivered("s", [DeliveredRecord(1, 0, [0], ["user-1"])])
    lines = summary(outcome_of(ledger))
    assert lines[-1] == "nothing lost, nothing out of order"
    assert any("the data weigh 20 bytes less" in one for one in lines)
