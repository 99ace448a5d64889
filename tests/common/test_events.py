"""The hub that hands events to listeners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from shardline.common.events import Event, Events
from shardline.common.plain_log import PlainLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent(Event):
    """An event of the tests."""

    name: ClassVar[str] = "test.sent"
    records: int
    seconds: float


def test_every_listener_gets_every_event_in_order() -> None:
    """Listeners given at construction and subscribed later get the same events, in the order of emission."""
    early: list[Event] = []
    late: list[Event] = []
    events = Events(early.append)
    events.subscribe(late.append)
    first, second = Sent(records=1, seconds=0.5), Sent(records=2, seconds=0.25)
    events.emit(first)
    events.emit(second)
    assert early == late == [first, second]


def test_an_unsubscribed_listener_gets_nothing_more() -> None:
    """The function that `subscribe` returns removes that listener, and calling it twice does no harm."""
    seen: list[Event] = []
    events = Events()
    unsubscribe = events.subscribe(seen.append)
    unsubscribe()
    unsubscribe()
    events.emit(Sent(records=1, seconds=0))
    assert seen == []


def test_a_listener_may_say_what_it_hears() -> None:
    """Nobody hears nothing, a function everything, the plain log only what is loud."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Loud(Event):
        level: ClassVar[str] = "warning"

    events = Events(PlainLog())
    assert (Events().hears(Loud), events.hears(Loud), events.hears(Sent)) == (False, True, False)
    seen: list[Event] = []
    events.subscribe(seen.append)
    assert events.hears(Sent)


def test_a_listener_that_raises_stops_nobody() -> None:
    """The failure is counted; the listeners after it and the caller go on."""
    seen: list[Event] = []

    def broken(_: Event) -> None:
        raise RuntimeError("a listener's own fault")

    events = Events(broken, seen.append)
    events.emit(Sent(records=1, seconds=0))
    assert (len(seen), events.listener_failures) == (1, 1)


def test_fields_are_the_event_by_name() -> None:
    """Logs get the fields as they are called, and neither name nor level among them."""
    event = Sent(records=3, seconds=0.5)
    assert event.as_fields() == {"records": 3, "seconds": 0.5}
    assert (event.name, event.level) == ("test.sent", "info")
