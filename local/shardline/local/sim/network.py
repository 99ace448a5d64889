"""The faulty network between simulated hosts and services: each call is a request that arrives and a reply to it.

Either may be late, lost, or doubled; a service may throttle, fail before or after it applied, be slow or hang; a host
may be cut off from one service in one direction. What happens is drawn from the simulation's chance under `Faults`, per
service. Invariants: a request is applied at the moment it arrives, on no host, whatever became of its sender; a caller
learns no more than a real one would (`Ambiguous` after its `timeout_s`); every fault that happens is counted by name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from shardline.common.errors import Ambiguous, InvalidInput, ShardlineError, Throttled, Unreachable
from shardline.local.sim.hosts import HOST, Host

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from random import Random

    from shardline.local.sim.simulation import Simulation

__all__ = ["Cut", "Fault", "Faults", "Network", "Service"]

T = TypeVar("T")


class Service(StrEnum):
    """The services that hosts talk to."""

    KINESIS = "kinesis"
    DYNAMODB = "dynamodb"
    CLOUDWATCH = "cloudwatch"
    S3 = "s3"
    SQS = "sqs"


class Cut(StrEnum):
    """Which way a partition cuts; ``slow replies`` only holds them up, by about `Faults.slow_s`."""

    REQUESTS = "requests"
    REPLIES = "replies"
    BOTH = "both"
    SLOW_REPLIES = "slow replies"


class Fault(StrEnum):
    """What can happen to one call; the names are what reports count."""

    NONE = "none"
    REQUEST_LOST = "request lost"
    REPLY_LOST = "reply lost"
    LATE = "applied late"
    TWICE = "applied twice"
    THROTTLED = "throttled"
    SLOW = "slow"
    REPLY_SLOW = "reply slow"
    HUNG = "hung"
    ERROR_BEFORE = "error before applying"
    ERROR_AFTER = "error after applying"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How one service and the way to it misbehave: probabilities per call, seconds, all 0 unless given.

    The fields of the first block are exclusive: their sum is the share of calls that something happens to. `late_s` is
    how long after its send a late request may arrive, `slow_s` how long a slow answer may take. `stale_s`: reads that
    need not be consistent show the past, up to so many seconds ago. The others are shares of their own: `entries` of
    PutRecords calls with failing entries, `empty_pages` of GetRecords answers that are empty though the shard is not at
    its end, `shards_hidden` of ListShards pages that lack their newest shard, `shards_doubled` of those that repeat
    one, `children_hidden` of shard ends without their child list (or a child's second parent), `not_found` of
    GetRecords and GetShardIterator calls answered with ResourceNotFound, `broken` of a subscription's events after
    which it breaks.

    Raises `InvalidInput` unless the shares lie between 0 and 1.
    """

    request_lost: float = 0.0
    reply_lost: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    throttled: float = 0.0
    slow: float = 0.0
    hung: float = 0.0
    error_before: float = 0.0
    error_after: float = 0.0
    unreachable: float = 0.0

    latency_s: float = 0.02
    late_s: float = 30.0
    slow_s: float = 5.0
    stale_s: float = 0.0
    entries: float = 0.0
    empty_pages: float = 0.0
    shards_hidden: float = 0.0
    shards_doubled: float = 0.0
    children_hidden: float = 0.0
    not_found: float = 0.0
    broken: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            if not one.name.endswith("_s") and not 0 <= getattr(self, one.name) <= 1:
                raise InvalidInput(one.name, "a share from 0 to 1")
        if sum(share for _, share in self.shares()) > 1:
            raise InvalidInput("faults", "shares that add up to at most 1")

    def shares(self) -> list[tuple[Fault, float]]:
        """Return the exclusive faults with their shares."""
        return [
            (Fault.REQUEST_LOST, self.request_lost),
            (Fault.REPLY_LOST, self.reply_lost),
            (Fault.LATE, self.late),
            (Fault.TWICE, self.twice),
            (Fault.THROTTLED, self.throttled),
            (Fault.SLOW, self.slow),
            (Fault.HUNG, self.hung),
            (Fault.ERROR_BEFORE, self.error_before),
            (Fault.ERROR_AFTER, self.error_after),
            (Fault.UNREACHABLE, self.unreachable),
        ]


class Sender(NamedTuple):
    """Who asks for a call and when, in simulated seconds, and its fault; what the oracle learns while it applies."""

    host: Host | None
    service: Service
    operation: str
    sent_s: float
    fault: Fault = Fault.NONE


_OF_CUT = {
    Cut.REQUESTS: Fault.REQUEST_LOST,
    Cut.REPLIES: Fault.REPLY_LOST,
    Cut.BOTH: Fault.REQUEST_LOST,
    Cut.SLOW_REPLIES: Fault.REPLY_SLOW,
}
_NEVER = float("inf")
_TICK_S = 0.0005
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
        call = _Call(self, sender, apply)
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
        if way is not None:
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


class _Call:
    """One request and its reply on their ways; holds on to nothing of the caller but the future it awaits."""

    __slots__ = ("_apply", "_network", "_sender", "reply", "reply_s")

    def __init__(self, network: Network, sender: Sender, apply: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._network = network
        self._sender = sender
        self._apply = apply
        self.reply: asyncio.Future[Any] = network.loop.create_future()
        self.reply_s = _NEVER
        """When the reply comes, in simulated time; infinite if never."""

    def send(self, fault: Fault) -> None:
        """Put the request on its way, to what `fault` makes of it."""
        network, service = self._network, self._sender.service
        now, faults = network.loop.now, network.faults(service)
        arrives, returns = now + network.latency_s(service), network.latency_s(service)
        if fault is Fault.NONE:
            self._at(arrives, returns, self._answer)
        elif fault is Fault.REPLY_LOST:
            network.loop.call_real(arrives, self._applied)
        elif fault is Fault.LATE:
            network.loop.call_real(arrives + network.draw_s(faults.late_s), self._applied)
        elif fault is Fault.TWICE:
            network.loop.call_real(arrives, self._applied)
            self._at(arrives + network.latency_s(service), returns, self._answer)
        elif fault is Fault.THROTTLED:
            self._at(arrives, returns, self._throttle)
        elif fault in {Fault.SLOW, Fault.REPLY_SLOW}:
            self._slowly(arrives, returns, reply=fault is Fault.REPLY_SLOW)
        elif fault is Fault.HUNG:
            if network.draw_s(1.0) < 0.5:  # noqa: PLR2004 - half of the hung calls were applied.
                network.loop.call_real(arrives, self._applied)
        elif fault is Fault.ERROR_BEFORE:
            self._at(arrives, returns, self._fail)
        elif fault is Fault.ERROR_AFTER:
            self._at(arrives, returns, self._fail_applied)
        elif fault is Fault.UNREACHABLE:
            self._at(arrives, 0.0, self._refuse)

    def _slowly(self, arrives: float, returns: float, *, reply: bool) -> None:
        """Be slow on the way there or back; a slow reply takes most of the time that slowness may take."""
        network = self._network
        slow_s = network.faults(self._sender.service).slow_s
        if reply:
            self._at(arrives, returns + slow_s - network.draw_s(slow_s / 4), self._answer)
            return
        spent = network.draw_s(slow_s)
        at_arrival = network.draw_s(1.0) < 0.5  # noqa: PLR2004 - slow on the way there, or back.
        self._at(arrives + (0 if at_arrival else spent), returns + (spent if at_arrival else 0), self._answer)

    def _at(self, arrives: float, returns: float, act: Callable[[float], None]) -> None:
        self.reply_s = arrives + returns
        self._network.loop.call_real(arrives, act, self.reply_s)

    # --- at the service ---

    def _applied(self) -> tuple[Any, BaseException | None]:
        """Apply the request now, whoever still cares; return its result or error."""
        network = self._network
        network.sender = self._sender
        try:
            return _result(self._apply()), None
        except ShardlineError as error:  # What the service answers; anything else is a mistake and fails the run.
            network.count[type(error).__name__] += 1
            return None, error
        finally:
            network.sender = None

    def _answer(self, reply_s: float) -> None:
        result, error = self._applied()
        self._network.loop.call_real(reply_s, self._deliver, result, error)

    def _throttle(self, reply_s: float) -> None:
        error = Throttled("ThrottlingException", "the simulated service is busy")
        self._network.loop.call_real(reply_s, self._deliver, None, error)

    def _fail(self, reply_s: float) -> None:
        error = Ambiguous("InternalFailure", "the simulated service failed")
        self._network.loop.call_real(reply_s, self._deliver, None, error)

    def _fail_applied(self, reply_s: float) -> None:
        self._applied()
        self._fail(reply_s)

    def _refuse(self, reply_s: float) -> None:
        error = Unreachable("ConnectionRefused", "the simulated service cannot be reached")
        self._network.loop.call_real(reply_s, self._deliver, None, error)

    # --- at the caller ---

    def _deliver(self, result: Any, error: BaseException | None) -> None:  # noqa: ANN401 - what `apply` returned.
        host = self._sender.host
        if self.reply.done() or (host is not None and not host.alive):
            return
        if error is None:
            if self._network.answered is not None:
                self._network.answered(self._sender, result)
            self.reply.set_result(result)
        else:
            self.reply.set_exception(error)

    def time_out(self) -> None:
        """Tell the caller that no answer came in time."""
        if not self.reply.done():
            self.reply.set_exception(Ambiguous("RequestTimeout", "no answer in time"))


def _result(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that does not wait to its end; in-process doors answer at once."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # StopIteration is not generic.
    coroutine.close()
    raise RuntimeError("an in-process door waited inside a call")
