"""Processor load: each source's text, and the samples made of it."""

from __future__ import annotations

import json

import pytest

from shardline.consumer.fleet.cpu import (
    CpuSampler,
    Reading,
    read_cgroup_v1,
    read_cgroup_v2,
    read_ecs,
    read_proc_stat,
)

PROC = "cpu  100 20 30 1000 50 5 5 10 40 0\ncpu0 50 10 15 500 25 2 2 5 20 0\ncpu1 50 10 15 500 25 3 3 5 20 0\nintr 1\n"


def test_proc_stat_counts_all_but_idle_once() -> None:
    """Busy is user, nice, system, interrupts and stolen time; guest time is in user already."""
    assert read_proc_stat(PROC) == Reading(1.7, 2.0)


@pytest.mark.parametrize("text", ["", "intr 5\n", "cpu a b c d e f\n", "cpu 1 2 3\n"])
def test_a_strange_proc_stat_is_no_reading(text: str) -> None:
    """Text of another form gives nothing rather than a wrong load."""
    assert read_proc_stat(text) is None


def test_cgroup_v2_with_and_without_limit() -> None:
    """A quota gives the processors allowed; `max` means the host's."""
    stat = "usage_usec 2500000\nuser_usec 1\nsystem_usec 2\n"
    assert read_cgroup_v2(stat, "150000 100000\n", 8) == Reading(2.5, 1.5)
    assert read_cgroup_v2(stat, "max 100000\n", 8) == Reading(2.5, 8.0)
    assert read_cgroup_v2("nothing\n", "max 100000\n", 8) is None


def test_cgroup_v1_with_and_without_limit() -> None:
    """A quota of -1 means the host's processors."""
    assert read_cgroup_v1("2500000000\n", "50000\n", "100000\n", 8) == Reading(2.5, 0.5)
    assert read_cgroup_v1("2500000000\n", "-1\n", "100000\n", 8) == Reading(2.5, 8.0)
    assert read_cgroup_v1("x", "-1", "100000", 8) is None


def test_ecs_with_and_without_limit() -> None:
    """The task's limit counts where there is one; broken JSON is no reading."""
    stats = json.dumps({"cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}, "online_cpus": 4}})
    assert read_ecs(stats, 0.25) == Reading(2.5, 0.25)
    assert read_ecs(stats, None) == Reading(2.5, 4.0)
    assert read_ecs("{}", None) is None
    assert read_ecs("{", None) is None


def test_load_is_use_over_time_and_processors() -> None:
    """One second of use in two seconds on two processors is 25 percent; the report averages the raw values."""
    sampler = CpuSampler()
    sampler.on_reading(Reading(0.0, 2.0), 0.0)
    sampler.on_reading(Reading(1.0, 2.0), 2.0)
    sampler.on_reading(Reading(4.0, 2.0), 4.0)
    assert sampler.report() == [50.0]


def test_nothing_measured_is_a_failed_sample() -> None:
    """A failing source, a counter that went back and a clock that stood still give no raw value."""
    sampler = CpuSampler()
    sampler.on_reading(Reading(5.0, 1.0), 0.0)
    sampler.on_reading(None, 1.0)
    sampler.on_reading(Reading(5.0, 1.0), 2.0)
    sampler.on_reading(Reading(1.0, 1.0), 3.0)
    sampler.on_reading(Reading(2.0, 1.0), 3.0)
    assert sampler.report() == [-1.0]


def test_ten_samples_are_kept() -> None:
    """The oldest sample goes first."""
    sampler = CpuSampler()
    samples: list[float] = []
    for second in range(12):
        sampler.on_reading(Reading(second * second / 200.0, 1.0), float(second))
        samples = sampler.report()
    assert len(samples) == 10
    assert samples[-1] == pytest.approx(10.5)
