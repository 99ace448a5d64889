"""One shard's subscription (enhanced fan-out) as a core: when to connect, from where, and which events to believe.

Invariants: a new connection starts after the continuation sequence number of the last event taken, or at the stored
checkpoint when there is none; an event that does not lie above what was taken before is not believed (the connection
is made anew and the event counted); an event is only taken while there is room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shardline.common.backoff import Backoff
from shardline.common.limits import SUBSCRIBE_AGAIN_AFTER_S
from shardline.common.ports.kinesis import StartAt, StartKind

if TYPE_CHECKING:
    from random import Random

    from shardline.common.ports.kinesis import SubscribeEvent
    from shardline.consumer.retrieval.polling import PollingSettings

__all__ = ["ShardSubscription"]

_BACKOFF: Final = Backoff(first_s=0.5, max_s=10.0, floor=0.5)


class ShardSubscription:
    """Decides the connections of one shard; the driver makes them and reports."""

    __slots__ = (
        "_bytes_waiting",
        "_connecting",
        "_continuation",
        "_failures",
        "_last",
        "_next_at",
        "_random",
        "_records_waiting",
        "_settings",
        "_start",
        "disbelieved",
        "ended",
        "millis_behind_latest",
    )

    def __init__(self, start: StartAt, settings: PollingSettings, random: Random, now: float) -> None:
        self._start = start
        self._settings = settings
        self._random = random
        self._continuation: str | None = None
        self._last = -1
        self._connecting = False
        self._failures = 0
        self._next_at = now
        self._records_waiting = 0
        self._bytes_waiting = 0
        self.millis_behind_latest: int | None = None
        self.ended = False
        self.disbelieved = 0

    def seek(self, start: StartAt, now: float) -> None:
        """Read on from another position; what waits for the handler is the driver's to drop, and counts no more.

        At once, unless connections fail: then no sooner than the next one was due. One that is being made then has
        failed as well, for nobody hears of it.
        """
        self._start = start
        self._continuation = None
        self._last = -1
        self._records_waiting = self._bytes_waiting = 0
        if self._connecting and self._failures:
            self.on_failed(now)
        self._next_at = max(now, self._next_at) if self._failures else now
        self._connecting = False
        self.ended = False

    def back_to(self, last: str | None, waiting: tuple[int, int], now: float) -> None:
        """Forget what came after the record `last` (None: everything): it was not queued.

        `waiting` are the records and bytes that are, and are not consumed.
        """
        self._continuation, self._last = last, -1 if last is None else int(last)
        self._records_waiting, self._bytes_waiting = waiting
        self._next_at = max(now, self._next_at)
        self.ended = False

    # --- what to do --------------------------------------------------------------------------------------------------

    def next_start(self, now: float) -> StartAt | None:
        """Return where to connect from now; None before `next_wakeup`, without room, and after the end."""
        if self.ended or now < self._next_at or not self.has_room:
            return None
        self._connecting = True
        if self._continuation is None:
            return self._start
        return StartAt(StartKind.AFTER_SEQUENCE_NUMBER, self._continuation)

    def next_wakeup(self) -> float | None:
        """Return when to connect if nothing else happens; None after the end, and while there is no room."""
        return None if self.ended or not self.has_room else self._next_at

    @property
    def has_room(self) -> bool:
        """Say whether another event may be taken."""
        settings = self._settings
        return self._records_waiting < settings.prefetch_records and self._bytes_waiting < settings.prefetch_bytes

    @property
    def doing(self) -> str:
        """How the shard is subscribed to now: subscribed, full, failing, ended."""
        if self.ended or not self.has_room or self._failures:
            return "ended" if self.ended else "failing" if self.has_room else "full"
        return "subscribed"

    @property
    def pause_s(self) -> float:
        """No pause: the service pushes."""
        return 0.0

    @property
    def waiting(self) -> tuple[int, int]:
        """Kinesis records that wait for the handler, and the bytes of their data."""
        return self._records_waiting, self._bytes_waiting

    # --- what happened -----------------------------------------------------------------------------------------------

    def on_event(self, event: SubscribeEvent) -> int | None:
        """Take an event and return its data's bytes; None for one that cannot be true: connect anew."""
        numbers = [int(record.sequence_number) for record in event.records]
        if any(number <= before for before, number in zip([self._last, *numbers], numbers, strict=False)):
            self.disbelieved += 1
            return None
        self._connecting = False
        self._failures = 0
        size = sum([len(record.data) for record in event.records])
        self._records_waiting += len(numbers)
        self._bytes_waiting += size
        if numbers:
            if self._last < 0:  # From now on the beginning is known, LATEST or not.
                self._start = StartAt(StartKind.AT_SEQUENCE_NUMBER, event.records[0].sequence_number)
            self._last = numbers[-1]
        self.millis_behind_latest = event.millis_behind_latest
        if event.continuation_sequence_number is None:
            self.ended = True
        else:
            self._continuation = event.continuation_sequence_number
        return size

    def on_consumed(self, records: int, size: int) -> None:
        """Take note that the handler is done with an event: there is room again."""
        self._records_waiting -= records
        self._bytes_waiting -= size

    def on_closed(self, now: float) -> None:
        """Take the end of a connection (the service ends each after five minutes): connect again at once."""
        self._connecting = False
        self._next_at = now

    def on_failed(self, now: float, *, in_use: bool = False) -> None:
        """Take a connection that failed or broke: again later; one refused as in use, after the service's pause."""
        self._connecting = False
        self._failures += 1
        delay = _BACKOFF.delay_s(self._failures, self._random)
        self._next_at = now + max(delay, SUBSCRIBE_AGAIN_AFTER_S if in_use else 0.0)

    def on_end_refused(self, now: float) -> None:
        """Take back an end that could not be believed: connect again behind the last record, later."""
        self.ended = False
        if self._last >= 0:
            self._continuation = str(self._last)
        self.on_failed(now)
