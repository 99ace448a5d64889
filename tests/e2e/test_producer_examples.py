"""The producer's examples run as written, against the local endpoint."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shardline.local.http.endpoint import LocalEndpoint

from tests.e2e.programs import EXAMPLES, environment_of

pytestmark = pytest.mark.slow


def test_ledger_is_written_in_order() -> None:
    """The ledger example leaves when every entry is in the stream, and each account's are in order."""
    with LocalEndpoint({"ledger": 2}) as endpoint:
        run = subprocess.run(
            [sys.executable, EXAMPLES / "produce_ledger.py", "ledger", "500"],
            env=environment_of(endpoint.url),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (run.returncode, run.stdout) == (0, "500 of 500 entries are in the stream\n"), run.stderr
