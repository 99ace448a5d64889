"""The demo end to end: real processes, real sockets, the command as a user runs it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from shardline.local import LocalEndpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shardline.common.ports.kinesis import GetRecordsPage
    from shardline.local import KinesisState

pytestmark = pytest.mark.slow

TIMEOUT_S = 180
ENVIRONMENT = {
    **os.environ,
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
}


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo without a terminal for its shortest load."""
    return subprocess.run(
        [sys.executable, "-m", "shardline.cli", "demo", "--seconds", "15", "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=ENVIRONMENT,
    )


def last_line(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the JSON object that the demo printed last."""
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_the_demo_loses_nothing(tmp_path: Path) -> None:
    """A split, a merge and a SIGKILL later every acknowledged record was processed, in order, and the counts agree."""
    out = tmp_path / "out" / "demo.json"
    result = demo("--seed", "1", "--out", str(out))
    assert result.returncode == 0, result.stdout + result.stderr
    found = last_line(result)
    assert (found["lost"], found["order_violations"], found["foreign"]) == (0, 0, 0)
    assert (found["kills"], found["splits"], found["merges"], found["starts"]) == (1, 1, 1, 1)
    assert 0 < found["acknowledged"] <= found["sent"] <= 15 * 2000
    assert found["processed"] >= found["acknowledged"]
    assert found["duplicates"] == found["resent"] + found["redelivered"]
    assert 0 < found["kinesis_records"] < found["acknowledged"] / 4
    assert found["seconds"] == 15
    assert json.loads(out.read_text()) == found
    assert "fail-over 3 s, call time-out 1 s, parent poll 1 s" in result.stdout
    assert re.search(r"SIGKILL worker-\d \(process \d+\)", result.stdout)
    assert "\x1b" not in result.stdout


@pytest.fixture
def forgetful() -> Iterator[str]:
    """Yield the URL of an endpoint that acknowledges everything and stores nothing."""
    process = subprocess.Popen(
        [sys.executable, "-m", "shardline.cli", "local", "--null"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 0
    process.stdout.close()


def left_behind(url: str) -> tuple[list[str], list[str]]:
    """Return the streams and tables that an endpoint holds."""
    arguments = {"endpoint_url": url, "region_name": "us-east-1"}
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    streams = boto3.client("kinesis", **arguments, **keys).list_streams()["StreamNames"]
    tables = boto3.client("dynamodb", **arguments, **keys).list_tables()["TableNames"]
    return streams, tables


class Faulty:
    """Reads of a Kinesis state that lose one Kinesis record in 200, and turn one page of several in 20 around."""

    def __init__(self, state: KinesisState) -> None:
        self._get_records = state.get_records
        self._pages = count(1)
        self.seen: dict[str, bool] = {}

    def __call__(self, iterator: str, **arguments: Any) -> GetRecordsPage:
        """Read one page; a record that is lost once stays lost."""
        page = self._get_records(iterator, **arguments)
        for record in page.records:
            self.seen.setdefault(record.sequence_number, len(self.seen) % 200 != 199)
        records = [record for record in page.records if self.seen[record.sequence_number]]
        if len(records) > 1 and next(self._pages) % 20 == 0:
            records.reverse()
        return page._replace(records=records)


def test_the_demo_tells_what_an_endpoint_does_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few records lost after they were acknowledged and a few pages back to front: counted, and exit status 1."""
    with LocalEndpoint() as endpoint:
        faulty = Faulty(endpoint.state)
        monkeypatch.setattr(endpoint.state, "get_records", faulty)
        before = left_behind(endpoint.url)  # moto's tables are the process's: other tests may have left some.
        result = demo("--endpoint-url", endpoint.url, "--yes", "--drain", "5", "--seed", "2")
        remains = left_behind(endpoint.url)
    found = last_line(result)
    assert result.returncode == 1
    assert 0 < found["lost"] < found["acknowledged"] / 20
    assert found["order_violations"] > 0
    assert "creates the Kinesis stream" in result.stdout
    assert remains == before


def interrupted(url: str, number: signal.Signals | None) -> tuple[int, str]:
    """Start a demo, stop it (by a signal, or by reading no further) once it runs; return exit status and errors."""
    process = subprocess.Popen(
        [sys.executable, "-m", "shardline.cli", "demo", "--endpoint-url", url, "--yes", "--rate", "100"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if " starts shard " in line:
            break
    if number is not None:
        process.send_signal(number)
        process.stdout.read()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    return process.wait(TIMEOUT_S), errors


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (None, 141)],
    ids=["Ctrl-C", "SIGTERM", "closed pipe"],
)
def test_an_interrupted_demo_removes_what_it_created(
    forgetful: str, number: signal.Signals | None, status: int
) -> None:
    """Ctrl-C, SIGTERM and a reader that goes away each end it with their status, silently, and nothing is left."""
    assert interrupted(forgetful, number) == (status, "")
    assert left_behind(forgetful) == ([], [])


def test_a_terminal_gets_a_picture_and_its_cursor_back() -> None:
    """On a terminal the shards are drawn live; after Ctrl-C the cursor shows again."""
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "shardline.cli", "demo"],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env={**ENVIRONMENT, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"},
    )
    os.close(inner)
    shown = b""
    while b"lag s" not in shown:
        shown += os.read(outer, 65_536)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # Reading a terminal that nobody has open any more fails.
        while data := os.read(outer, 65_536):
            shown += data
    os.close(outer)
    assert process.wait(TIMEOUT_S) == 130
    assert b"shardline demo: stream shardline-demo-" in shown
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l") > 0
    assert b"Traceback" not in shown


def alive(pids: list[str]) -> list[str]:
    """Return which of the processes still run (a zombie does not)."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    states = dict(line.split() for line in listed.splitlines())
    return [pid for pid in pids if not states.get(pid, "Z").startswith("Z")]


def children(parent: int) -> list[str]:
    """Return the process ids of a process's children."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return [pid for pid, of in (line.split() for line in listed.splitlines()) if of == str(parent)]


def test_no_process_outlives_a_killed_demo() -> None:
    """Endpoint, producer and workers notice that their parent was killed, and leave by themselves."""
    process = subprocess.Popen(
        [sys.executable, "-m", "shardline.cli", "demo"], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stdout is not None
    for line in process.stdout:
        if " starts shard " in line:
            break
    pids = children(process.pid)
    assert len(pids) == 1 + 3 + 1
    process.kill()
    process.wait(TIMEOUT_S)
    process.stdout.close()
    until = time.monotonic() + TIMEOUT_S
    while alive(pids) and time.monotonic() < until:
        time.sleep(0.1)
    assert alive(pids) == []
