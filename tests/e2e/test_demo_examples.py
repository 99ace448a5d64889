"""The clickstream examples run as written, against the local endpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TIMEOUT_S = 120
EVENTS = 2000


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Yield the environment of a program whose AWS is a local endpoint with a stream `clicks` of two shards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "shardline.cli", "local", "--stream", "clicks:2"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield {
        **os.environ,
        "AWS_ENDPOINT_URL": process.stdout.readline().strip(),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "eu-central-1",
        "AWS_CONFIG_FILE": os.devnull,
    }
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 0
    process.stdout.close()


def test_what_the_first_example_writes_the_second_reads(environment: dict[str, str]) -> None:
    """The producer leaves when its events are in the stream; the worker, asked to stop, prints what it counted."""
    written = subprocess.run(
        [sys.executable, EXAMPLES / "clickstream_produce.py", "clicks", str(EVENTS)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (written.returncode, written.stdout) == (0, f"{EVENTS} events are in the stream\n"), written.stderr
    worker = subprocess.Popen(
        [sys.executable, EXAMPLES / "clickstream_consume.py", "clicks"],
        env=environment,
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
