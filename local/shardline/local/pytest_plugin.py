"""pytest fixtures for applications that use shardline: no AWS, no network, and if wanted no waiting either.

Enable them in a `conftest.py`::

    pytest_plugins = ["shardline.local.pytest_plugin"]

`local_stream` makes streams in this process, in real time; `sim` is a world in virtual time, with hosts that can be
crashed and stopped. `docs/testing.md` shows both.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from shardline.local.doors.services import LocalServices
from shardline.local.sim.lab import SimLab, StreamControl

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LocalStreams", "local_stream", "sim"]


class LocalStreams:
    """Makes streams in this process: call it with a name; `services` is the `connection` of producers and workers."""

    def __init__(self) -> None:
        self.services = LocalServices()

    def __call__(self, name: str, shards: int = 1) -> StreamControl:
        """Create a stream and return its controls."""
        return StreamControl(self.services.state, self.services.clock, name, shards)


@pytest.fixture
def local_stream() -> LocalStreams:
    """Return a maker of in-process streams, in real time."""
    return LocalStreams()


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> Iterator[SimLab]:
    """Yield a world in virtual time; SHARDLINE_SIM_SEED chooses another interleaving, which a failure names."""
    seed = os.environ.get("SHARDLINE_SIM_SEED", "0")
    lab = SimLab(f"{request.node.nodeid}/{seed}")
    try:
        yield lab
    finally:
        lab.close()
