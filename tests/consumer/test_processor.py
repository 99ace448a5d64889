"""The processor load: read from whichever source a host has, reported in the KCL's form."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, ClassVar

from shardline.consumer.driver.processor import read_processor
from shardline.consumer.fleet.cpu import Reading
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.world import QUICK, World

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def write(root: Path, name: str, text: str) -> None:
    """Write a file below a root."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_sources_are_tried_in_the_kcls_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing, /proc, cgroup v1, cgroup v2: each later one takes precedence; garbage counts as absent."""
    monkeypatch.setenv("ECS_CONTAINER_METADATA_URI_V4", "file:///etc/passwd")
    assert read_processor(tmp_path) is None
    write(tmp_path, "proc/stat", "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    assert read_processor(tmp_path) == Reading(2.0, 1.0)
    write(tmp_path, "sys/fs/cgroup/cpu/cpuacct.usage", "3000000000\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert read_processor(tmp_path) == Reading(3.0, 0.5)
    write(tmp_path, "sys/fs/cgroup/cpu.stat", "usage_usec 4000000\nuser_usec 1\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "200000 100000\n")
    assert read_processor(tmp_path) == Reading(4.0, 2.0)
    write(tmp_path, "sys/fs/cgroup/cpu.stat", "rubbish")
    assert read_processor(tmp_path) == Reading(3.0, 0.5)


class _Agent(BaseHTTPRequestHandler):
    """The ECS agent, as a container sees it."""

    said: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        """Answer what there is."""
        self.send_response(200 if self.path in self.said else 404)
        self.end_headers()
        self.wfile.write(self.said.get(self.path, "").encode())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def test_a_task_is_measured_by_its_own_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ECS: the agent's figures come before any file; a small task has a quarter of a processor, not the host's."""
    write(tmp_path, "proc/stat", "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    stats = '{"cpu_stats": {"cpu_usage": {"total_usage": 5000000000}, "online_cpus": 2}}'
    with HTTPServer(("127.0.0.1", 0), _Agent) as agent:
        threading.Thread(target=agent.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("ECS_CONTAINER_METADATA_URI_V4", f"http://127.0.0.1:{agent.server_port}/v4/x")
        monkeypatch.setattr(_Agent, "said", {"/v4/x/stats": stats})
        assert read_processor(tmp_path) == Reading(5.0, 2.0)
        monkeypatch.setattr(_Agent, "said", {"/v4/x/stats": stats, "/v4/x/task": '{"Limits": {"CPU": 0.25}}'})
        assert read_processor(tmp_path) == Reading(5.0, 0.25)
        monkeypatch.setattr(_Agent, "said", {})
        assert read_processor(tmp_path) == Reading(2.0, 1.0)
        agent.shutdown()


def test_samples_are_reported_when_asked_for() -> None:
    """With `cpu_metrics` the row carries percentages under C, and the leader goes on assigning."""

    async def main(sim: Simulation) -> None:
        world = World(sim)
        await world.create()
        leases = replace(QUICK, cpu_metrics=True, report_s=5.0)
        world.start("w0", leases=leases)
        await asyncio.sleep(21)
        row = world.services.tables.scan_page("app", world.wall(), consistent=True).items
        (item,) = [one for one in row if one["leaseKey"] == "w0"]
        samples, limits = item["sts"], item["opr"]
        assert isinstance(samples, dict)
        assert limits == {"C": [100]}
        assert 3 <= len(samples["C"]) <= 5
        assert all(0 <= value <= 100 for value in samples["C"])
        assert {one.owner for one in world.rows().values()} == {"w0"}
        await world.stop()

    run(main, until=600)
