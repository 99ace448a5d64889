"""The faulty network between simulated hosts and services: each call is a request that arrives and a reply to it.

Either may be late, lost, or doubled; a service may throttle, fail before or after it applied, be slow or hang; a host
may be cut off from one service in one direction. What happens is drawn from the simulation's chance under `Faults`, per
service. Invariants: a request is applied at the moment it arrives, on no host, whatever became of its sender; a caller
learns no more than a real one would (`Ambiguous` after its `timeout_s`); every fault that happens is counted by name.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from shardline.local.sim.calls import Call
from shardline.local.sim.faults import Cut, Fault, Faults, Sender, Service
from shardline.local.sim.hosts import HOST, Host

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random

    from shardline.local.sim.simulation import Simulation

__all__ = ["Cut", "Fault", "Faults", "Network", "Sender", "Service"]

T = TypeVar("T")

_OF_CUT = {
    Cut.REQUESTS: Fault.REQUEST_LOST,
    Cut.REPLIES: Fault.REPLY_LOST,
    Cut.BOTH: Fault.REQUEST_LOST,
    Cut.WRITES: Fault.REQUEST_LOST,
    Cut.LATE_REQUESTS: Fault.LATE,
    Cut.SLOW_REPLIES: Fault.REPLY_SLOW,
}
_TICK_S = 0.0005
_WRITES = frozenset({"Put", "UpdateItem", "Delete", "TransactWriteItems"})
_STORM = 0.8
"""The share of calls that a storm throttles, and that an outage answers at all."""


class Network:
    """Calls from hosts to services; `count` counts calls and faults by name, `sender` is whose call is being applied.

    `scripted` decides before chance does: a function of the sender that returns the call's fault, or None for chance.
    """

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.loop = simulation.loop
        self.count: Counter[str] = Counter()
        self.sender: Sender | None = None
        self.subscriptions: Counter[Host | None] = Counter()
        """Subscriptions open now, by the host that reads them."""
        self.scripted: Callable[[Sender], Fault | None] | None = None
        self.observe: Callable[[Sender], None] | None = None
        self.answered: Callable[[Sender, object], None] | None = None
        """Told of each answer at the moment it reaches its caller."""
        self._random: Random = simulation.random
        self._faults: dict[Service, Faults] = dict.fromkeys(Service, Faults())
        self._bands: dict[Service, list[tuple[float, Fault]]] = {service: [] for service in Service}
        self._cuts: dict[tuple[str, Service], Cut] = {}
        self._storms: dict[Service, float] = {}
        self._outages: dict[Service, float] = {}

    # --- what is wrong with it ---

    def faults(self, service: Service) -> Faults:
        """Return the faults in force for a service."""
        return self._faults[service]

    def set_faults(self, service: Service, faults: Faults) -> None:
        """Let a service misbehave as `faults` says from now on."""
        self._faults[service] = faults
        total = 0.0
        bands: list[tuple[float, Fault]] = []
        for fault, share in faults.shares():
            if share:
                total += share
                bands.append((total, fault))
        self._bands[service] = bands

    def heal(self) -> None:
        """End every fault, partition, storm and outage; what is under way may still arrive late."""
        for service in Service:
            self.set_faults(service, Faults(latency_s=self._faults[service].latency_s))
        self._cuts.clear()
        self._storms.clear()
        self._outages.clear()
        self.scripted = None

    def cut(self, host: Host, service: Service, way: Cut = Cut.BOTH) -> None:
        """Part a host from a service, in one direction or both."""
        self._cuts[host.name, service] = way
        self.count[f"partition {service} {way}"] += 1

    def mend(self, host: Host, service: Service) -> None:
        """End a host's partition from a service."""
        self._cuts.pop((host.name, service), None)

    def storm(self, service: Service, seconds: float) -> None:
        """Throttle four of five calls to a service for so long."""
        self._storms[service] = self.loop.now + seconds
        self.count[f"throttle storm {service}"] += 1

    def outage(self, service: Service, seconds: float) -> None:
        """Answer every call to a service with an error for so long."""
        self._outages[service] = self.loop.now + seconds
        self.count[f"outage {service}"] += 1

    # --- calls ---

    async def call(
        self, service: Service, operation: str, apply: Callable[[], Coroutine[Any, Any, T]], timeout_s: float
    ) -> T:
        """Carry one call: `apply` makes the coroutine that the service runs when the request arrives.

        Raises what the service raises, or `Ambiguous` after `timeout_s` of the caller's clock. Cancelling leaves the
        request on its way.
        """
        sender = Sender(HOST.get(), service, operation, self.loop.now)
        self.count[operation] += 1
        fault = self._fault(sender)
        if fault is not Fault.NONE:
            sender = sender._replace(fault=fault)
        if self.observe is not None:
            self.observe(sender)
        call = Call(self, sender, apply)
        call.send(fault)
        if call.reply_s - self.loop.now < timeout_s:
            return await call.reply  # type: ignore[no-any-return]  # The future holds what `apply` returned.
        timer = self.loop.call_later(timeout_s, call.time_out)
        try:
            return await call.reply  # type: ignore[no-any-return]  # The future holds what `apply` returned.
        finally:
            timer.cancel()

    def _fault(self, sender: Sender) -> Fault:
        fault = self._drawn(sender)
        if fault is not Fault.NONE:
            self.count[fault] += 1
        return fault

    def _drawn(self, sender: Sender) -> Fault:
        if self.scripted is not None:
            scripted = self.scripted(sender)
            if scripted is not None:
                return scripted
        way = self._cuts.get((sender.host.name, sender.service)) if self._cuts and sender.host else None
        if way is not None and (way is not Cut.WRITES or sender.operation in _WRITES):
            return _OF_CUT[way]
        if self._outages.get(sender.service, 0.0) > self.loop.now:
            return Fault.ERROR_BEFORE if self._random.random() < _STORM else Fault.REQUEST_LOST
        stormy = self._storms.get(sender.service, 0.0) > self.loop.now
        if stormy and self._random.random() < _STORM:
            return Fault.THROTTLED
        bands = self._bands[sender.service]
        if bands:
            drawn = self._random.random()
            for upto, fault in bands:
                if drawn < upto:
                    return fault
        return Fault.NONE

    def latency_s(self, service: Service) -> float:
        """Draw the time of one way to or from a service."""
        return _TICK_S + self._faults[service].latency_s * self._random.random()

    def chance(self, share: float, name: str) -> bool:
        """Say whether something of that share happens now, and count it by name."""
        if share and self._random.random() < share:
            self.count[name] += 1
            return True
        return False

    def draw_s(self, seconds_max: float) -> float:
        """Draw a time from 0 to `seconds_max`."""
        return self._random.random() * seconds_max
