"""The README's programs, run as they stand against the local endpoint, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lambda_.events import Context, aggregate, event
from tests.pages import program_below

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-m", "shardline.cli"]


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Start the endpoint as the README says, and return the environment that points at it."""
    given = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1"}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | given
    command = [*COMMAND, "local", "--port", "0", "--stream", "orders:4"]
    with subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://")
        yield clean | {"AWS_ENDPOINT_URL": url}
        process.terminate()
        assert process.wait(30) == 0


def test_produce_then_consume(environment: dict[str, str]) -> None:
    """A hundred orders go in, and a hundred come out; SIGTERM ends the worker cleanly."""
    produced = subprocess.run(
        [sys.executable, "-c", program_below("README.md", "Produce")],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "shardId-" in produced.stdout
    command = [sys.executable, "-u", "-c", program_below("README.md", "Consume")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        lines: set[str] = set()
        while len(lines) < 100:
            line = worker.stdout.readline()
            assert line, "the worker ended before it had seen every order"
            lines.add(line.split()[2].rstrip("}"))
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    assert lines == {str(number) for number in range(1, 101)}


def test_lambda_snippet(capsys: pytest.CaptureFixture[str]) -> None:
    """The Lambda program handles plain and aggregated records."""
    names: dict[str, object] = {}
    exec(compile(program_below("README.md", "Lambda"), "README.md", "exec"), names)
    handler = names["handler"]
    assert callable(handler)
    answer = handler(event(b'{"id": 1}', aggregate(b'{"id": 2}', b'{"id": 3}', key="c")), Context(9000))
    assert answer == {"batchItemFailures": []}
    assert capsys.readouterr().out.splitlines() == ["k {'id': 1}", "c {'id': 2}", "c {'id': 3}"]
