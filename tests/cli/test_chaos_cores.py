"""The pure parts of `make chaos`: what happens when, by seed, and what is made of what was found."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.cli.demo.chaos_report import ChaosOutcome, Latencies, percentile
from shardline.cli.demo.chaos_script import PAUSE_S, Deed, chaos_steps, choose_paused
from shardline.cli.demo.messages import Delivered, Ready, Sent, ShardStarted
from shardline.cli.demo.outcome import Outcome, summary
from shardline.cli.demo.report import DeliveredRecord, Ledger
from shardline.common.errors import InvalidInput

from tools.chaos import settings_of


@given(st.floats(20, 7200), st.integers(2, 64), st.integers(0, 2**32 - 1))
def test_every_run_has_each_deed_in_time_and_keeps_the_stream_in_bounds(seconds: float, shards: int, seed: int) -> None:
    """Whatever length and seed: each deed comes, inside the load, in order; the shards stay half to twice as many."""
    steps = chaos_steps(seconds, shards, Random(seed))
    assert steps == chaos_steps(seconds, shards, Random(seed))
    assert steps == sorted(steps)
    assert all(0 <= step.at_s <= seconds for step in steps)
    assert {step.deed for step in steps} == set(Deed)
    assert all(PAUSE_S[0] <= step.length_s <= PAUSE_S[1] for step in steps if step.deed is Deed.STOP)
    count = shards
    for step in steps:
        count += {Deed.SPLIT: 1, Deed.MERGE: -1}.get(step.deed, 0)
        assert max(2, shards // 2) <= count <= max(2 * shards, shards + 1)


def test_half_an_hour_has_the_deeds_of_half_an_hour() -> None:
    """90 kills, 120 stops and 120 reshards in 30 minutes; another seed, other times."""
    steps = chaos_steps(1800, 4, Random(1))
    deeds = Counter(step.deed for step in steps)
    assert (deeds[Deed.KILL], deeds[Deed.STOP], deeds[Deed.SPLIT] + deeds[Deed.MERGE]) == (90, 120, 120)
    assert steps != chaos_steps(1800, 4, Random(2))


def test_one_worker_always_runs() -> None:
    """Any running worker may be stopped, but never the last one, and none twice."""
    found = {choose_paused(["c", "a", "b"], {"b"}, Random(seed)) for seed in range(30)}
    assert found == {"a", "c"}
    assert choose_paused(["a", "b"], {"b"}, Random(1)) is None
    assert choose_paused([], set(), Random(1)) is None


def test_percentiles_are_by_nearest_rank() -> None:
    """The smallest value that the share does not exceed; nothing of nothing."""
    counts = {10.0: 50, 20.0: 49, 30.0: 1}
    assert [percentile(counts, share) for share in (0, 0.5, 0.51, 0.99, 0.991, 1)] == [10, 10, 20, 20, 30, 30]
    assert percentile({}, 0.5) is None


def delivered(stamp: float, *ids: int) -> Delivered:
    """Return a batch of these ids."""
    return Delivered(stamp, "s", 0, (DeliveredRecord(1, 0, list(ids), ["k"] * len(ids)),), {}, 0)


def test_latencies_count_first_deliveries_from_their_put() -> None:
    """An id counts once, from the message that first covers it; ids that nobody sent do not."""
    latencies = Latencies(ids_max=10)
    for message in (
        Ready(0.0), Sent(1.0, 2), Sent(2.0, 4),
        delivered(2.25, 0, 1, 3), delivered(9.0, 0, 2), delivered(9.5, 7, -1, 10),
    ):  # fmt: skip
        latencies(message)
    assert latencies.milliseconds == {1250: 2, 250: 1, 7000: 1}
    assert latencies.moved == {}


def test_what_waited_for_a_worker_is_counted_apart() -> None:
    """A record whose shard began with another worker between its put and its delivery waited for that."""
    latencies = Latencies(ids_max=10)
    for message in (
        ShardStarted(0.5, "s", "TRIM_HORIZON"), Sent(1.0, 2), delivered(1.5, 0),
        ShardStarted(8.0, "s", "7/0"), Sent(8.5, 4), delivered(9.0, 1, 2), delivered(9.5, 3),
    ):  # fmt: skip
        latencies(message)
    assert latencies.milliseconds == {500: 2, 8000: 1, 1000: 1}
    assert latencies.moved == {8000: 1}


def chaos_outcome(kills: int, takeovers: tuple[float, ...]) -> ChaosOutcome:
    """Return the outcome of a run in which one record came twice."""
    ledger = Ledger(ids_max=10)
    ledger.sent(1)
    ledger.acknowledged([0], "s", 1, bytes_sent=10, bytes_alone=10)
    for _ in range(2):
        ledger.delivered("s", [DeliveredRecord(1, 0, [0], ["user-1"])])
    outcome = Outcome(
        report=ledger.report({}),
        seconds=60,
        load_s=60.5,
        drain_s=1.0,
        kills=kills,
        splits=2,
        merges=3,
        starts=kills,
        takeovers=takeovers,
        seed=1,
        rate=500,
        shards=4,
        workers=4,
        stopped_cleanly=True,
        broken=(),
    )
    latencies = Latencies(ids_max=10)
    latencies.milliseconds.update({100: 99, 4000: 1})
    latencies.moved.update({4000: 1})
    return ChaosOutcome.of(outcome, stops=5, retrieval="fanout", failover_s=3.0, latencies=latencies)


def test_the_outcome_has_all_that_was_asked_for() -> None:
    """The JSON object holds the issue's fields and the percentiles; the demo's own stay."""
    found = chaos_outcome(2, (4.0, 6.0, 9.5)).as_fields()
    wanted = {
        "ok": True, "kills": 2, "stops": 5, "splits": 2, "merges": 3, "records": 1, "lost": 0, "duplicates": 1,
        "order_violations": 0, "seconds": 60, "duplicates_per_kill": 0.5, "takeover_seconds_p50": 6.0,
        "takeover_seconds_p99": 9.5, "delivery_ms_p50": 100, "delivery_ms_p99": 100,
        "steady_ms_p50": 100, "steady_ms_p99": 100, "moved_ms_p50": 4000, "moved_ms_p99": 4000, "moved": 1,
        "failover_seconds": 3.0, "retrieval": "fanout",
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted


def test_the_summary_says_what_chaos_adds() -> None:
    """Stops, the fail-over time and the percentiles are in the report; a run without a kill has none of them."""
    lines = summary(chaos_outcome(2, (4.0, 6.0)))
    assert "stops 5; duplicates per kill 0.5, those that stops caused in it" in lines
    assert "take-over after a kill, fail-over 3 s: p50 4.0 s, p99 6.0 s" in lines
    assert "put to handler, fanout: p50 100 ms, p99 100 ms" in lines
    assert "  where the shard stayed with its worker: p50 100 ms, p99 100 ms" in lines
    assert "  where it waited for another (kill, stop, reshard), 1.0%: p50 4000 ms, p99 4000 ms" in lines
    assert lines[-1] == "nothing lost, nothing out of order"
    without = chaos_outcome(0, ()).as_fields()
    assert (without["duplicates_per_kill"], without["takeover_seconds_p99"]) == (None, None)


@pytest.mark.parametrize("text", ["0.3", "-1", "nan", "inf", "121", "x", ""])
def test_minutes_out_of_range_are_refused(text: str) -> None:
    """The refusal names the option and its range."""
    with pytest.raises(InvalidInput, match=r"^--minutes must be from 0\.33 to 120"):
        settings_of(["--minutes", text])


def test_fractions_of_a_minute_are_taken() -> None:
    """Half a minute is thirty seconds."""
    settings = settings_of(["--minutes", "0.5", "--seed", "7", "--retrieval", "fanout"])
    assert (settings.seconds, settings.seed, settings.retrieval) == (30, 7, "fanout")
