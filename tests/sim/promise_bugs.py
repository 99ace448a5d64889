"""Planted bugs of the promises beyond leases and lineage: memory, balance, leaving, storms, secrets, malformed input.

Each invariant of `shardline.local.sim.oracles` has at least one here that only it, or it first, finds.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any, Final

from shardline.common.backoff import Backoff
from shardline.common.bucket import TokenBucket
from shardline.common.records import Position
from shardline.consumer.driver.calls import _InProcess as InProcess
from shardline.consumer.driver.decoding import Decoder
from shardline.consumer.driver.fanout import FanOutReader
from shardline.consumer.driver.giving_up import Failures
from shardline.consumer.driver.holding import Holding
from shardline.consumer.driver.keeper import Keeper
from shardline.consumer.driver.polling import PollingReader
from shardline.consumer.driver.taking import Auditor
from shardline.consumer.driver.threads import Threads
from shardline.consumer.fleet import count_policy
from shardline.consumer.fleet.assignment import AssignmentManager
from shardline.consumer.fleet.model import Move, actual_owner
from shardline.consumer.fleet.rescue import StillRows
from shardline.consumer.leases.held import Loss
from shardline.consumer.retrieval.polling import ShardPolling
from shardline.producer.budget import Share
from shardline.producer.router import Router
from shardline.producer.settling import Settler

from tests.sim.planting import Bug

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["PROMISE_BUGS", "PROOFS"]

_RUNAWAYS: Final[set[asyncio.Task[Any]]] = set()


# --- producers ---


def _takes_always(_original: Any) -> Any:
    def try_take(self: Share, size: int, records: int = 0) -> bool:
        self.take(size, records)
        return True

    return try_take


def _keeps_overheads(original: Any) -> Any:
    return lambda self, groups: original(self, [group._replace(ends=False) for group in groups])


def _owned_when_auto(original: Any) -> Any:
    return lambda self, package, shard_id: True if self.summary.auto else original(self, package, shard_id)


# --- reading and delivering ---


def _never_full(_original: Any) -> Any:
    return lambda _self: False


def _bursts(original: Any) -> Any:
    def init(self: ShardPolling, start: Any, settings: Any, random: Any, now: float) -> None:
        original(self, start, settings, random, now)
        self._reads = TokenBucket(settings.reads_per_s, settings.reads_per_s, now)

    return init


def _fetched_is_done(original: Any) -> Any:
    async def fetch(self: PollingReader, call: Any) -> Any:
        over = await original(self, call)
        last = self._polling._last
        keeper = _KEEPERS.get((self._context.me, self._row.key))
        if last is not None and keeper is not None:
            keeper.lease.want_checkpoint(Position(int(last), 0), urgent=True)
            keeper.wake()
        return over

    return fetch


_KEEPERS: Final[dict[tuple[str, str], Keeper]] = {}


def _known_keeper(original: Any) -> Any:
    def init(self: Keeper, context: Any, lease: Any) -> None:
        original(self, context, lease)
        _KEEPERS[context.me, lease.key] = self

    return init


def _runs_on(original: Any) -> Any:
    """Start the reader's work outside of its group: nobody ends it with its lease."""

    async def run(self: Any) -> None:
        work: Coroutine[Any, Any, None] = original(self)
        runaway = asyncio.get_running_loop().create_task(work, name=f"runaway reader of {self._row.key}")
        _RUNAWAYS.add(runaway)
        runaway.add_done_callback(_RUNAWAYS.discard)
        await asyncio.shield(runaway)

    return run


def _begins_regardless(_original: Any) -> Any:
    return lambda self, function, arguments: self._noted(function, arguments)


def _allowed_for_ever(_original: Any) -> Any:
    return lambda _self: inf


def _malformed_dropped(original: Any) -> Any:
    def piece(self: Decoder, record: Any, check: Any) -> Any:
        made = original(self, record, check)
        return made if made.records.reason is None else made._replace(skip=len(made.records))

    return piece


def _misplaced_dropped(original: Any) -> Any:
    def batch(self: Decoder, pieces: Any, page: Any) -> Any:
        made = original(self, pieces, page)
        made._drop_misplaced = True
        return made

    return batch


def _names_what_was_said(original: Any) -> Any:
    async def add(self: Failures, error: Exception, position: Position) -> Any:
        return await original(self, type(str(error), (Exception,), {})(), position)

    return add


def _never_hung(_original: Any) -> Any:
    async def watch(_self: Holding) -> None:
        await asyncio.get_running_loop().create_future()

    return watch


# --- fleets ---


def _shoves(original: Any) -> Any:
    def decide(self: AssignmentManager, view: Any, *, balance: bool) -> Any:
        moves = original(self, view, balance=balance)
        if balance and not moves and len(view.workers) > 1:
            lease = next((one for one in view.leases if one.movable and not one.assignable), None)
            others = [one.worker_id for one in view.workers if lease is not None and one.worker_id != lease.owner]
            if lease is not None and others:
                moves = [Move(lease.lease_key, others[0])]
        return moves

    return decide


def _keeps_what_it_has(_original: Any) -> Any:
    return lambda *_: []


def _leaves_unsaved(original: Any) -> Any:
    return lambda self: None if self._stopping else original(self)


def _leaves_holding(_original: Any) -> Any:
    async def release(self: Keeper) -> None:
        self.lease.give_up(Loss.RELEASED)
        self.wake()

    return release


def _not_repaired(_original: Any) -> Any:
    async def audit(_self: Auditor, _rows: Any) -> None:
        return

    return audit


def _only_unowned(_original: Any) -> Any:
    return lambda _self, lease, _now: actual_owner(lease) is None


def _no_rescue(_original: Any) -> Any:
    return lambda _self, _leases, _now: []


def _no_patience(_original: Any) -> Any:
    return lambda self, _attempt, random: self.first_s * (0.5 + random.random() / 2)


PROMISE_BUGS: dict[str, Bug] = {
    "put takes more than the memory": Bug(((Share, "try_take", _takes_always),), ("producer stall",)),
    "memory of a line not given back": Bug(((Settler, "release_line", _keeps_overheads),), ("producer stall", "swarm")),
    "aggregate under way to an AUTO stream acknowledged": Bug(((Router, "owns", _owned_when_auto),), ("AUTO",)),
    "reading on without room": Bug(((ShardPolling, "_is_full", _never_full),), ("slow handlers",)),
    "reads in bursts": Bug(((ShardPolling, "__init__", _bursts),), ("slow handlers",)),
    "checkpoint at fetch": Bug(
        ((Keeper, "__init__", _known_keeper), (PollingReader, "_fetch_records", _fetched_is_done)), ("healthy", "swarm")
    ),
    "polling runs on after its lease": Bug(((PollingReader, "run", _runs_on),), ("rolling", "healthy")),
    "subscription runs on after its lease": Bug(((FanOutReader, "run", _runs_on),), ("fan-out",)),
    "blocking handler begins without a lease": Bug(((Threads, "_begin", _begins_regardless),), ("late threads",)),
    "process begins without a lease": Bug(((InProcess, "_until", _allowed_for_ever),), ("processes",)),
    "hung handler keeps its shard": Bug(((Holding, "_watch", _never_hung),), ("hung handlers",)),
    "malformed aggregate dropped": Bug(((Decoder, "_piece", _malformed_dropped),), ("foreign records",)),
    "misplaced records dropped": Bug(((Decoder, "_batch", _misplaced_dropped),), ("foreign records",)),
    "failure reported in the handler's words": Bug(((Failures, "add", _names_what_was_said),), ("foreign records",)),
    "leases shoved about for ever": Bug(((AssignmentManager, "_decide", _shoves),), ("rolling",)),
    "surplus never balanced": Bug(((count_policy, "_balance", _keeps_what_it_has),), ("rolling",)),
    "leaving without the last checkpoint": Bug(((Holding, "_done", _leaves_unsaved),), ("rolling", "healthy")),
    "leaving without giving leases back": Bug(((Keeper, "release", _leaves_holding),), ("rolling", "healthy")),
    "leases of the dead left alone": Bug(
        ((StillRows, "on_scan", _no_rescue), (AssignmentManager, "_assignable", _only_unowned)),
        ("auditor off", "swarm"),
    ),
    "deleted row not repaired": Bug(((Auditor, "audit", _not_repaired),), ("operator",)),
    "no back-off": Bug(((Backoff, "delay_s", _no_patience),), ("blackout",)),
}


PROOFS: Final[dict[str, str]] = {
    "I1": "hung handler keeps its shard",
    "I2": "child at LATEST",
    "I3": "batch skipped when the handler raises",
    "I4a": "checkpoint conditioned on owner only",
    "I4b": "checkpoint conditioned on owner and epoch",
    "I5": "child started before one parent",
    "I6": "stale checkpoint at take",
    "I7": "results paired by position",
    "I8": "put takes more than the memory",
    "I9": "no children created",
    "I10": "leases of the dead left alone",
    "I11": "blocking handler begins without a lease",
    "I11b": "validity credited at the reply",
    "I12": "leases shoved about for ever",
    "I13": "leaving without giving leases back",
    "I14": "malformed aggregate dropped",
    "I15": "misplaced aggregate acknowledged",
    "I16": "reads in bursts",
    "I17": "no back-off",
    "I18": "subscription runs on after its lease",
    "I19": "failure reported in the handler's words",
    "P5": "take without the counter",
    "dup": "leaving without the last checkpoint",
    "churn": "spurious condition failure taken for a loss",
}
"""Invariant -> a planted bug that breaks it: a new invariant needs a new one."""
