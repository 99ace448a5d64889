"""The token bucket."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shardline.common.bucket import TokenBucket
from shardline.common.errors import InvalidInput


def test_a_full_bucket_gives_its_capacity_at_once_and_then_the_rate() -> None:
    """What is left is the capacity less what was taken, refilled at the rate, never above the capacity."""
    bucket = TokenBucket(rate_per_s=2, capacity=10, now=100)
    assert bucket.try_take(100, 10)
    assert not bucket.try_take(100, 1)
    assert bucket.wait_s(100, 1) == 0.5
    assert bucket.try_take(100.5, 1)
    assert bucket.level(200) == 10


def test_an_amount_above_the_capacity_waits_for_a_full_bucket_and_leaves_a_debt() -> None:
    """A large amount is not refused for ever: it takes a full bucket into debt, and the next one waits it off."""
    bucket = TokenBucket(rate_per_s=5, capacity=5, now=0)
    assert bucket.try_take(0, 20)
    assert bucket.level(0) == -15
    assert bucket.wait_s(0, 5) == 4
    assert repr(bucket) == "TokenBucket(rate_per_s=5, capacity=5, level=-15)"


def test_a_new_rate_keeps_what_was_earned_at_the_old_one() -> None:
    """Time before the change counts at the old rate, time after it at the new one."""
    bucket = TokenBucket(rate_per_s=1, capacity=100, now=0)
    bucket.take(0, 100)
    bucket.set_rate(10, 10)
    assert bucket.level(11) == 20


def test_time_that_goes_back_earns_nothing_twice() -> None:
    """A `now` before the last one neither refills nor takes away."""
    bucket = TokenBucket(rate_per_s=1, capacity=10, now=50)
    bucket.take(60, 10)
    bucket.take(40, 0)
    assert bucket.level(40) == 0
    assert bucket.level(61) == 1


@example(rate=0.001, capacity=1.891317743808031, start=0.0, takes=[(0.0, 4395632.2), (0.0, 4194304.1), (1.0, 1.0)])
@given(
    st.floats(0.001, 1e7),
    st.floats(0.001, 1e7),
    st.floats(0, 1e8),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1e7)), max_size=20),
)
def test_after_the_wait_it_asked_for_an_amount_may_be_taken(
    rate: float, capacity: float, start: float, takes: list[tuple[float, float]]
) -> None:
    """Waiting exactly `wait_s` is enough, whatever rounding does: no caller spins on a rest too small to sleep."""
    bucket = TokenBucket(rate, capacity, start)
    now = start
    for pause, amount in takes:
        now += pause
        now += bucket.wait_s(now, amount)
        assert bucket.try_take(now, amount)


@given(st.floats(0.5, 1e4), st.floats(0.5, 1e4), st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 1e4)), max_size=30))
def test_no_span_gives_more_than_rate_and_capacity_and_one_amount(
    rate: float, capacity: float, asked: list[tuple[float, float]]
) -> None:
    """What leaves in t seconds is at most rate x t + capacity + one amount."""
    bucket = TokenBucket(rate, capacity, now=0)
    now = taken = largest = 0.0
    for pause, amount in asked:
        now += pause
        largest = max(largest, amount)
        taken += amount if bucket.try_take(now, amount) else 0
    assert taken <= (rate * (now + 1e-6) + capacity + largest) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("rate", "capacity", "field"), [(0, 1, "rate_per_s"), (1, 0, "capacity"), (1, 1e999, "capacity")]
)
def test_settings_out_of_range_are_refused_by_name(rate: float, capacity: float, field: str) -> None:
    """Rates and capacities that are not finite numbers above 0 are refused on construction."""
    with pytest.raises(InvalidInput, match=f"^{field} must be "):
        TokenBucket(rate, capacity, now=0)


def test_a_new_rate_out_of_range_is_refused_and_changes_nothing() -> None:
    """A refused rate leaves the bucket as it was."""
    bucket = TokenBucket(rate_per_s=3, capacity=3, now=0)
    with pytest.raises(InvalidInput, match="^rate_per_s must be "):
        bucket.set_rate(0, float("nan"))
    assert bucket.rate_per_s == 3
