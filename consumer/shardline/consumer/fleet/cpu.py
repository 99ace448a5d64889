"""Processor load for the worker-metrics row: parsers of what the kernel and ECS show, and the samples kept of it.

Sources as the KCL chooses them (`kcl.md` 4.1): ECS task metadata, cgroup v2, cgroup v1, /proc/stat. The parsers take
text that a driver read; a reading is (processor seconds used, processors allowed), and the load is the use between two
readings over the wall time between them, in percent of what is allowed.

Invariants: a source that cannot be read yields a failed sample (-1), never an exception or a made-up load; at most 300
raw values and 10 reported samples are kept.
"""

from __future__ import annotations

import json
from collections import deque
from math import inf
from typing import Any, NamedTuple

from shardline.consumer.fleet.worker_metrics import FAILED_SAMPLE, SAMPLES_KEPT

__all__ = ["CpuSampler", "Reading", "read_cgroup_v1", "read_cgroup_v2", "read_ecs", "read_ecs_limit", "read_proc_stat"]

_RAW_KEPT = 300
_TICKS_PER_S = 100.0  # USER_HZ, fixed at 100 in the kernel's user interface.
_IDLE_FIELDS = (3, 4)  # idle and iowait in /proc/stat's first line.
_PROC_FIELDS_MIN = 5
_STOLEN_AFTER = 8  # guest times, already counted in user and nice, follow the first eight fields.


class Reading(NamedTuple):
    """Processor time used so far and the processors that may be used."""

    used_s: float
    processors: float


def read_proc_stat(text: str) -> Reading | None:
    """Read /proc/stat: all processors of the host."""
    lines = text.splitlines()
    fields = lines[0].split() if lines else []
    if len(fields) <= _PROC_FIELDS_MIN or fields[0] != "cpu" or not all(one.isdigit() for one in fields[1:]):
        return None
    ticks = [int(one) for one in fields[1 : 1 + _STOLEN_AFTER]]
    busy = sum(ticks) - sum(ticks[index] for index in _IDLE_FIELDS)
    processors = sum(1 for line in lines[1:] if line.startswith("cpu"))
    return Reading(busy / _TICKS_PER_S, float(max(1, processors)))


def read_cgroup_v2(cpu_stat: str, cpu_max: str, host_processors: int) -> Reading | None:
    """Read cgroup v2's cpu.stat and cpu.max (``max PERIOD`` means no limit)."""
    usage = dict(line.split(None, 1) for line in cpu_stat.splitlines() if " " in line).get("usage_usec", "")
    quota, _, period = cpu_max.strip().partition(" ")
    if not usage.isdigit():
        return None
    return Reading(int(usage) / 1e6, _allowed(quota, period, host_processors))


def read_cgroup_v1(usage_ns: str, quota_us: str, period_us: str, host_processors: int) -> Reading | None:
    """Read cgroup v1's cpuacct.usage, cpu.cfs_quota_us (-1 means no limit) and cpu.cfs_period_us."""
    if not usage_ns.strip().isdigit():
        return None
    return Reading(int(usage_ns) / 1e9, _allowed(quota_us.strip(), period_us.strip(), host_processors))


def read_ecs(stats_json: str, limit_processors: float | None) -> Reading | None:
    """Read one container of ECS task metadata v4 ``/stats``; the task's limit is in processors, None for none."""
    try:
        stats: Any = json.loads(stats_json)
        cpu = stats["cpu_stats"]
        return Reading(float(cpu["cpu_usage"]["total_usage"]) / 1e9, limit_processors or float(cpu["online_cpus"]))
    except (ValueError, KeyError, TypeError):
        return None


def read_ecs_limit(task_json: str) -> float | None:
    """Read the processors that ECS task metadata v4 ``/task`` allows the task; None where it names no limit.

    On Fargate the host has more than the task may use: without it a quarter of a processor, used up, would count as an
    eighth of a host's two.
    """
    try:
        limit = float(json.loads(task_json)["Limits"]["CPU"])
    except (ValueError, KeyError, TypeError):
        return None
    return limit if 0 < limit < inf else None


def _allowed(quota: str, period: str, host_processors: int) -> float:
    if quota.isdigit() and period.isdigit() and int(period) > 0 and int(quota) > 0:
        return int(quota) / int(period)
    return float(host_processors)


class CpuSampler:
    """Turns readings into raw loads, and raw loads into the samples that a report carries."""

    def __init__(self) -> None:
        self._last: tuple[Reading, float] | None = None
        self._raw: deque[float] = deque(maxlen=_RAW_KEPT)
        self._reported: deque[float] = deque(maxlen=SAMPLES_KEPT)

    def on_reading(self, reading: Reading | None, now: float) -> None:
        """Take in a reading made at `now`; None where the source failed."""
        last, self._last = self._last, None if reading is None else (reading, now)
        if reading is None or last is None or now <= last[1]:
            return
        used = reading.used_s - last[0].used_s
        if used >= 0:  # A counter that went back belongs to another container: no sample.
            self._raw.append(min(100.0, 100.0 * used / ((now - last[1]) * reading.processors)))

    def report(self) -> list[float]:
        """Close a report period and return the samples to report, oldest first; -1 where nothing could be measured."""
        self._reported.append(round(sum(self._raw) / len(self._raw), 6) if self._raw else FAILED_SAMPLE)
        self._raw.clear()
        return list(self._reported)
