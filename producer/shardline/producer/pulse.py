"""What no request tells: how much waits, and what was finished between two pulses.

A pulse comes with the driver's own wake-ups, at most five a second, and once more when nothing is pending any longer:
an idle producer has no timer for it. Every user record is finished in exactly one pulse.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from shardline.producer.events import Pulse, StreamPulse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.producer.pipeline import Pipeline

__all__ = ["PULSE_S", "Pulses"]

PULSE_S: Final = 0.2
"""The KPL samples UserRecordsPending as often."""


class Pulses:
    """Decides when the next pulse is due, and takes it; a core."""

    def __init__(self) -> None:
        self._next_at = -inf
        self._pending = 0

    def take(self, cores: Iterable[Pipeline], now: float, *, last: bool = False) -> Pulse | None:
        """Return the pulse of all streams if it is due (or the last one), and if there is anything to tell."""
        cores = list(cores)
        settled = self._pending > 0 and not any(core.deliveries for core in cores)
        if not (last or settled or now >= self._next_at):
            return None
        self._next_at = now + PULSE_S
        before = self._pending
        streams = tuple(_of(core, now) for core in cores)
        self._pending = sum(one.pending for one in streams)
        told = before or self._pending or any(one.finished for one in streams)
        return Pulse(streams=streams) if told else None


def _of(core: Pipeline, now: float) -> StreamPulse:
    oldest = core.oldest_at()
    age_s = 0.0 if oldest is None else now - oldest
    return StreamPulse(core.stream, core.pending_records, age_s, core.settler.finished.take())
