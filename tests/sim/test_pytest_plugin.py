"""The fixtures for users: every program of docs/testing.md runs as it stands there."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from shardline.local.sim import TimeLimit
from shardline.local.sim.lab import SimLab

from tests.pages import programs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_the_documented_tests_pass(tmp_path: Path) -> None:
    """The programs of docs/testing.md are collected by pytest and pass."""
    conftest, *examples = programs("docs/testing.md")
    (tmp_path / "conftest.py").write_text(conftest)
    for number, program in enumerate(examples):
        (tmp_path / f"test_documented_{number}.py").write_text(program)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "3 passed" in ran.stdout


def test_a_programs_failure_reaches_the_test() -> None:
    """What a program raises is raised by `run`."""

    class Fails:
        async def __aenter__(self) -> None:
            raise LookupError("no such thing")

        async def __aexit__(self, *_: object) -> None: ...

    lab = SimLab()
    lab.start(lambda _services, _runtime: Fails())
    with pytest.raises(LookupError, match="no such thing"):
        lab.run(1)
    lab.close()


def test_faults_and_limits_are_the_labs_own() -> None:
    """A lab's time limit ends a run that asks for more."""
    lab = SimLab(3)
    lab.simulation.until_s = 10
    with pytest.raises(TimeLimit):
        lab.run(60)
    lab.close()
