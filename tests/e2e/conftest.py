"""Fixtures of the end-to-end tests: the local endpoint as a process of its own, and in this one with empty tables."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.programs import TIMEOUT_S, environment_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", autouse=True)
def _empty_tables() -> None:
    """Forget the tables of other modules' endpoints in this process: moto keeps them beyond an endpoint's end."""
    from shardline.local.moto.dispatch import reset

    reset()


@pytest.fixture
def clicks() -> Iterator[dict[str, str]]:
    """Yield the environment of a program whose AWS is a local endpoint with a stream `clicks` of two shards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "shardline.cli", "local", "--stream", "clicks:2"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield environment_of(process.stdout.readline().strip())
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 0
    process.stdout.close()
