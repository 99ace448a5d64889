"""One call through the faulty network: its request and its reply on their ways, and what a fault makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from shardline.common.errors import Ambiguous, ShardlineError, Throttled, Unreachable
from shardline.local.sim.faults import Fault

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from shardline.local.sim.faults import Sender
    from shardline.local.sim.network import Network

__all__ = ["Call"]

T = TypeVar("T")

_NEVER = float("inf")


class Call:
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
