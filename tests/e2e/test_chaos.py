"""A minute of chaos on real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TIMEOUT_S = 300
ROOT = Path(__file__).resolve().parents[2]


def test_a_minute_of_chaos_loses_nothing(tmp_path: Path) -> None:
    """Workers are killed and stand still, shards split and merge: each acknowledged record is processed, in order."""
    out = tmp_path / "chaos.json"
    run = subprocess.run(
        [sys.executable, "-m", "tools.chaos", "--minutes", "1", "--seed", "1", "--rate", "300", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads(out.read_text())
    assert (found["lost"], found["order_violations"], found["foreign"]) == (0, 0, 0)
    assert min(found[name] for name in ("kills", "stops", "splits", "merges", "records")) > 0
    assert (found["seconds"], found["failover_seconds"]) == (60, 3.0)
    assert "fail-over 3 s" in run.stdout
