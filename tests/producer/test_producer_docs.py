"""The programs of docs/producer.md, run as they stand on a Kinesis in process."""

from __future__ import annotations

import asyncio

import pytest

from shardline import common
from shardline.common import connection
from shardline.local import LocalServices

from tests.pages import programs, run_in_coroutine


@pytest.mark.parametrize("number", [0, 1])
def test_the_programs_write(number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One stream, and several on one connection: what is put is in the stream when the program ends."""
    services = LocalServices()
    streams = ("orders", "clicks")[: number + 1]
    for name in streams:
        services.state.create_stream(name, 1, now=0.0)
    for module in (connection, common):
        monkeypatch.setattr(module, "Connection", lambda **_: services)
    written: list[str] = []
    services.state.sink = lambda event: written.append(type(event).__name__)
    asyncio.run(run_in_coroutine(programs("docs/producer.md")[number], "docs/producer.md"))
    assert sum("Record" in name or "Written" in name for name in written) == len(streams)
    assert ("Delivered(" in capsys.readouterr().out) is (number == 0)
