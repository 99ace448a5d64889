"""Reads the processor load's sources: ECS task metadata, cgroup v2, cgroup v1, /proc/stat, whichever is there first.

Blocking: a driver calls `read_processor` on a thread. A source that cannot be read gives None, never an exception.
"""

from __future__ import annotations

import os
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import urlopen

from shardline.consumer.fleet.cpu import read_cgroup_v1, read_cgroup_v2, read_ecs, read_ecs_limit, read_proc_stat

if TYPE_CHECKING:
    from shardline.consumer.fleet.cpu import Reading

__all__ = ["read_processor"]

_ECS: Final = "ECS_CONTAINER_METADATA_URI_V4"
_CGROUP_V1: Final = ("cpuacct.usage", "cpu.cfs_quota_us", "cpu.cfs_period_us")
_TIMEOUT_S: Final = 1.0
_ANSWER_BYTES_MAX: Final = 1024 * 1024


def read_processor(root: Path = Path("/")) -> Reading | None:
    """Return processor time used and allowed, by the first source that can be read; None where none can."""
    processors = os.cpu_count() or 1
    cgroup = root / "sys/fs/cgroup"
    usage, quota, period = (
        cgroup / f"cpu/{name}" for name in ("cpuacct.usage", "cpu.cfs_quota_us", "cpu.cfs_period_us")
    )
    return (
        _read_ecs()
        or read_cgroup_v2(_text(cgroup / "cpu.stat"), _text(cgroup / "cpu.max") or "max", processors)
        or read_cgroup_v1(_text(usage), _text(quota), _text(period), processors)
        or read_proc_stat(_text(root / "proc/stat"))
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def _read_ecs() -> Reading | None:
    """Ask the agent that the environment names; None outside ECS."""
    address = os.environ.get(_ECS, "")
    if urlsplit(address).scheme != "http":
        return None
    return read_ecs(_fetched(f"{address}/stats"), read_ecs_limit(_fetched(f"{address}/task")))


def _fetched(url: str) -> str:
    """Return what the agent says; "" where it does not answer."""
    try:
        with urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - the scheme was checked by the caller.
            return str(answer.read(_ANSWER_BYTES_MAX), "utf-8", "replace")
    except (OSError, HTTPException, ValueError):
        return ""
