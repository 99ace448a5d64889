"""Storms: while a service answers nothing, the calls to it decay; when it comes back, they do not come all at once."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from shardline.local.sim.judge import Judge
    from shardline.local.sim.network import Sender, Service

__all__ = ["INVARIANTS", "Storms"]

INVARIANTS: Final = {
    "I17": "While a service answers nothing, a host's calls to it decay to a floor, and do not come back at once.",
}
WINDOW_S: Final = 10.0
_NOTICING: Final = 3
"""How many calls more than a settled reader's a new one makes in its first ten seconds: its back-off begins."""


class Storms:
    """Judges one outage of one service: call `begin` and `end`, and `sent` for every call in between and after.

    `floor` is how many calls a host may make in ten seconds once it has had `settle_s` to notice, `spike` how many
    all hosts together may make in any one second of the ten that follow the outage.
    """

    def __init__(self, judge: Judge, service: Service, *, floor: int, spike: int, settle_s: float = 30.0) -> None:
        self._judge = judge
        self._service = service
        self._floor = floor
        self._spike = spike
        self._settle_s = settle_s
        self._from_s = self._until_s = float("inf")
        self._calls: dict[str, deque[float]] = {}
        self._begun: dict[str, deque[tuple[float, int]]] = {}
        self._seconds: Counter[int] = Counter()
        self.most = 0
        """The most calls that a host made in ten seconds of the settled outage."""

    def begin(self, seconds: float) -> None:
        """Note that the service answers nothing for so long from now on."""
        now = self._judge.simulation.now
        self._from_s, self._until_s = now + self._settle_s, now + seconds

    def begun(self, host: str, readers: int) -> None:
        """Note that so many of a host's readers begin to read just now, by order: they have noticed nothing yet."""
        self._begun.setdefault(host, deque()).append((self._judge.simulation.now, readers))

    def sent(self, sender: Sender) -> None:
        """Take a call at the moment it is sent."""
        if sender.service is not self._service or sender.host is None:
            return
        if self._from_s <= sender.sent_s < self._until_s:
            self._during(sender.host.name, sender.sent_s)
        elif self._until_s <= sender.sent_s < self._until_s + WINDOW_S:
            second = int(sender.sent_s - self._until_s)
            self._seconds[second] += 1
            if self._seconds[second] == self._spike + 1:
                what = f"more than {self._spike} calls within the second {second} after the outage"
                self._judge.violate("I17", self._service, what)

    @property
    def spike(self) -> int:
        """The most calls of all hosts together in one second after the outage."""
        return max(self._seconds.values(), default=0)

    def _during(self, host: str, at_s: float) -> None:
        calls = self._calls.setdefault(host, deque())
        calls.append(at_s)
        while calls[0] <= at_s - WINDOW_S:
            calls.popleft()
        self.most = max(self.most, len(calls))
        if len(calls) > self._floor + _NOTICING * self._readers_begun(host, at_s):
            self._judge.violate("I17", host, f"{len(calls)} calls within {WINDOW_S:g} s to a service that is out")

    def _readers_begun(self, host: str, at_s: float) -> int:
        """Return how many readers were begun so lately that a window holds their first calls."""
        begun = self._begun.get(host, deque())
        while begun and begun[0][0] <= at_s - 2 * WINDOW_S:
            begun.popleft()
        return sum(readers for _, readers in begun)
