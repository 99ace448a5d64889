"""The backfill example runs as written, against the local endpoint, and goes on after Ctrl-C."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.e2e.programs import EXAMPLES, TIMEOUT_S

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

EVENTS = 1000


def indexed(path: Path) -> int:
    """Return how many records the index has."""
    if not path.exists():
        return 0
    connection = sqlite3.connect(path)
    try:
        (count,) = connection.execute("SELECT count(*) FROM records").fetchone()
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
    return int(count)


def test_an_interrupted_backfill_goes_on(clicks: dict[str, str], tmp_path: Path) -> None:
    """Interrupted on its way, and run again: every record of the stretch is in the index; a third run does nothing."""
    subprocess.run(
        [sys.executable, EXAMPLES / "clickstream_produce.py", "clicks", str(EVENTS)],
        env=clicks,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    now = datetime.now(UTC) + timedelta(seconds=1)
    start, until = ((now + timedelta(seconds=at)).strftime("%Y-%m-%dT%H:%M:%S") for at in (-600, 1))
    path = tmp_path / "index.db"
    command: list[str | Path] = [sys.executable, EXAMPLES / "backfill_index.py", "clicks", start, until, path]
    slow = subprocess.Popen(
        command, env={**clicks, "PACE": "100"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + TIMEOUT_S
    while not 0 < indexed(path) < EVENTS and time.monotonic() < deadline:
        time.sleep(0.1)
    slow.send_signal(signal.SIGINT)
    assert slow.wait(TIMEOUT_S) != 0
    assert 0 < indexed(path) < EVENTS
    for handled in (True, False):
        run = subprocess.run(command, env=clicks, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        assert run.returncode == 0, run.stderr
        here, _, rest = run.stdout.partition(" records handled here in ")
        assert (int(here) > 0, f"{EVENTS} in the index" in rest) == (handled, True), run.stdout
