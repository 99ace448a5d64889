"""One shard's limiter: its rate, what throttles do to it, and large records beside small ones."""

from __future__ import annotations

from random import Random

import pytest

from shardline.common.limits import MIB
from shardline.producer.limiter import ShardLimiter


def sent(limiter: ShardLimiter, start: float, seconds: float, size: int) -> int:
    """Send as much as the limiter allows, looking every millisecond; return the bytes."""
    total = 0
    for tick in range(int(seconds * 1000)):
        now = start + tick / 1000
        while limiter.wait_s(now, size) <= 0:
            limiter.take(now, size)
            total += size
    return total


def test_rate_is_the_shards_limit() -> None:
    """Over ten seconds a shard gets its MiB a second, a burst of a quarter of a second aside."""
    total = sent(ShardLimiter(1.0, 0.0), 0.0, 10.0, 50_000)
    assert 9.9 * MIB < total <= 10.3 * MIB


def test_records_are_limited_too() -> None:
    """A thousand records a second, however small they are."""
    assert 2_900 < sent(ShardLimiter(1.0, 0.0), 0.0, 3.0, 1) <= 3_251


def test_share_scales_the_rate() -> None:
    """A share of a quarter gives a quarter."""
    assert sent(ShardLimiter(0.25, 0.0), 0.0, 10.0, 10_000) == pytest.approx(2.5 * MIB, rel=0.05)


def test_throttle_slows_once_and_time_recovers() -> None:
    """Many throttled entries of one moment count once; the rate comes back with time."""
    limiter = ShardLimiter(1.0, 0.0)
    for _ in range(10):
        limiter.on_throttle(5.0, Random(1))
    assert limiter.factor == pytest.approx(0.7)
    assert limiter.wait_s(5.0, 1) > 0
    limiter.take(20.0, 1)
    assert limiter.factor == 1.0


def test_throttles_in_a_row_back_off_to_a_floor() -> None:
    """Under constant throttling the pauses grow and the rate keeps a floor."""
    limiter = ShardLimiter(1.0, 0.0)
    for second in range(60):
        limiter.on_throttle(float(second), Random(second))
    assert 0 < limiter.factor < 0.25
    assert limiter.failures > 10


def test_large_record_neither_waits_nor_blocks() -> None:
    """A 10 MiB record goes at once on its own debt; small ones go on; the next large one waits for the debt."""
    limiter = ShardLimiter(1.0, 0.0)
    assert limiter.wait_s(0.0, 10 * MIB) <= 0
    limiter.take(0.0, 10 * MIB)
    assert limiter.wait_s(0.0, 50_000) <= 0
    assert limiter.wait_s(0.0, 10 * MIB) == pytest.approx(9.0)
    assert limiter.wait_s(9.1, 10 * MIB) <= 0


def test_give_back_undoes_take() -> None:
    """A package that was not sent after all costs nothing."""
    limiter = ShardLimiter(1.0, 0.0)
    for _ in range(100):
        limiter.take(0.0, 200_000)
        limiter.give_back(0.0, 200_000)
    assert limiter.wait_s(0.0, 200_000) <= 0
