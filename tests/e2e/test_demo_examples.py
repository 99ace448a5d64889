"""The clickstream examples run as written, against the local endpoint."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.e2e.programs import EXAMPLES, TIMEOUT_S

pytestmark = pytest.mark.slow

EVENTS = 2000


def test_what_the_first_example_writes_the_second_reads(clicks: dict[str, str]) -> None:
    """The producer leaves when its events are in the stream; the worker, asked to stop, prints what it counted."""
    written = subprocess.run(
        [sys.executable, EXAMPLES / "clickstream_produce.py", "clicks", str(EVENTS)],
        env=clicks,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (written.returncode, written.stdout) == (0, f"{EVENTS} events are in the stream\n"), written.stderr
    worker = subprocess.Popen(
        [sys.executable, EXAMPLES / "clickstream_consume.py", "clicks"],
        env=clicks,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline().startswith("submit at /checkout in shardId-")
    worker.send_signal(signal.SIGTERM)
    rest = worker.stdout.read().splitlines()
    worker.stdout.close()
    assert worker.wait(TIMEOUT_S) == 0
    counts = [line.split() for line in rest if not line.startswith("submit")]
    assert {page for _, page in counts} <= {"/home", "/products", "/cart", "/checkout", "/profile"}
    assert 0 < sum(int(number) for number, _ in counts) <= EVENTS
