"""The producer's examples run as written, against the local endpoint."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shardline.local.http.endpoint import LocalEndpoint

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_ledger_is_written_in_order() -> None:
    """The ledger example leaves when every entry is in the stream, and each account's are in order."""
    with LocalEndpoint({"ledger": 2}) as endpoint:
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": endpoint.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "eu-central-1",
            "AWS_CONFIG_FILE": os.devnull,
        }
        run = subprocess.run(
            [sys.executable, EXAMPLES / "produce_ledger.py", "ledger", "500"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (run.returncode, run.stdout) == (0, "500 of 500 entries are in the stream\n"), run.stderr
