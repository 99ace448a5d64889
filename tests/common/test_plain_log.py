"""What is said where nobody listens: warnings and errors, thinned out, with nothing that forges a line."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

import pytest

from shardline.common.errors import InvalidInput
from shardline.common.events import Event
from shardline.common.plain_log import PlainLog, events_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """A failure."""

    name: ClassVar[str] = "call.failed"
    level: ClassVar[str] = "warning"
    error: str
    attempts: int = 1
    lease: str = ""


class Quiet(Event):
    """Something that nobody needs to be told unasked."""

    name: ClassVar[str] = "all.well"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged."""
    return [record.getMessage() for record in caplog.records if record.name == "shardline"]


def test_warnings_are_told_and_the_rest_is_not(caplog: pytest.LogCaptureFixture) -> None:
    """Without a listener of one's own: level and fields, empty ones left out."""
    events = events_for(())
    events.emit(Quiet())
    events.emit(Failed(error="Throttled"))
    assert told(caplog) == ["call.failed error=Throttled attempts=1"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_listener_of_ones_own_takes_its_place(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said twice."""
    heard: list[Event] = []
    events_for([heard.append]).emit(Failed(error="Throttled"))
    assert heard == [Failed(error="Throttled")]
    assert told(caplog) == []
    for wrong in (heard.append, [1]):
        with pytest.raises(InvalidInput, match="listeners"):
            events_for(wrong)  # type: ignore[arg-type]  # One, where several are meant; and no function.


def test_what_is_said_again_and_again_is_thinned_out(caplog: pytest.LogCaptureFixture) -> None:
    """Doubling, then each 64th time; another text is another thing, a number is not."""
    log = PlainLog()
    for attempt in range(1, 257):
        log(Failed(error="Throttled", attempts=attempt))
    log(Failed(error="Denied"))
    times = [1, 2, 4, 8, 16, 32, 64, 128, 192, 256]
    assert [record.getMessage() for record in caplog.records] == [
        f"call.failed error=Throttled attempts={count}" + (f" ({count} times)" if count > 1 else "") for count in times
    ] + ["call.failed error=Denied attempts=1"]


def test_memory_is_bounded_whatever_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Ten thousand different things leave no more than a thousand in memory."""
    log = PlainLog()
    for number in range(10_000):
        log(Failed(error=str(number)))
    assert len(log._seen) <= 1000
    assert len(told(caplog)) == 10_000


def test_no_field_forges_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Line breaks and escapes are spelled out."""
    PlainLog()(Failed(error="x\ncall.failed error=\x1b[2J"))
    assert told(caplog) == ["call.failed error=x\\ncall.failed error=\\x1b[2J attempts=1"]
