"""The focused profiles of single promises: memory, balance, leaving, storms, threads, operators, foreign records."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shardline.consumer.config import Fleet
from shardline.consumer.fleet.assignment import Strategy
from shardline.local.sim.network import Faults, Service

from tests.sim.settings import MINUTE_S, HandlerFaults, Knobs, Rates, plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

__all__ = ["PROMISES"]


def _squeezed(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "squeezed"),
        fleet=random.choice((Fleet.AUTO, Fleet.KCL2)),
        rates=Rates(squeeze=4.0, crash=random.choice((0.0, 1.0))),
        dynamodb=Faults(slow_s=1.6, reply_lost=0.05, late=random.choice((0.0, 0.2)), late_s=8.0),
        failover_s=5.0,
        idle_s=1.0,
        linger_s=0.1,
        records_per_s=5.0,
        same_id=random.random() < 0.5,
        restart_s=random.choice((2.0, 10.0)),
    )


def _late_restarts(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "late restarts"),
        rates=Rates(squeeze=1.0, crash=1.0, relapse=3.0),
        dynamodb=Faults(slow_s=1.6, late=0.1, late_s=4.0, reply_lost=0.05),
        failover_s=5.0,
        idle_s=1.0,
        linger_s=0.1,
        records_per_s=5.0,
        same_id=True,
        restart_s=1.0,
    )


def _stalled(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "producer stall"),
        rates=Rates(outage=1.5, storm=0.5),
        records_per_s=5.0,
        padding=15_000,
        memory_bytes=1 << 20,
        buffer_records=random.choice((None, 20)),
        by_key=random.random() < 0.5,
        ttl_s=120.0,
    )


def _slow_handlers(seed: int, random: Random) -> Knobs:
    handler = HandlerFaults(
        per_batch=random.random() < 0.3,
        blocking=random.random() < 0.3,
        lanes=random.choice((1, 3)),
        slow=0.3,
        slow_s=8.0,
        timeout_s=60.0,
    )
    return replace(
        plain(seed, random, "slow handlers"),
        handler=handler,
        read_ahead=5,
        records_per_s=5.0,
        aggregation=False,
        idle_s=0.5,
    )


def _hung_handlers(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "hung handlers"),
        handler=HandlerFaults(
            per_batch=random.random() < 0.3, blocking=random.random() < 0.3, hangs=0.01, timeout_s=20.0
        ),
    )


def _rolling(seed: int, random: Random) -> Knobs:
    fleet = random.choice((Fleet.AUTO, Fleet.AUTO, Fleet.KCL2))
    return replace(
        plain(seed, random, "rolling"),
        settle_s=2 * MINUTE_S,
        orderly=True,
        healthy=fleet is not Fleet.KCL2,  # There workers steal, and nobody hands over.
        rates=Rates(leave=1.0),
        workers=random.randint(2, 4),
        fleet=fleet,
        strategy=random.choice(list(Strategy)),
        still_s=3 * MINUTE_S,
    )


def _blackout(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "blackout"),
        settle_s=MINUTE_S,
        blackout=Service.KINESIS if seed % 2 else Service.DYNAMODB,
        workers=3,
        shards=6,
    )


def _operator(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "operator"),
        rates=Rates(row_deleted=0.5, row_edited=0.5, reshard=0.3),
        quiet_s=8 * MINUTE_S,
    )


def _fanout(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "fan-out"),
        fanout=True,
        rates=Rates(reshard=1.0, crash=0.5, pause=0.5, partition=0.5, leave=0.3),
        kinesis=Faults(broken=0.03, children_hidden=0.2, not_found=0.01, error_before=0.05),
        end_on_empty=random.random() < 0.5,
        restart_s=5.0,
    )


def _auto(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "AUTO"),
        auto=True,
        rates=Rates(switch=random.choice((0.0, 1.0)), crash=0.3, storm=0.3),
        kinesis=Faults(reply_lost=0.05, entries=0.1, error_after=0.03),
        handler=HandlerFaults(lanes=random.choice((1, 4)), fails=random.choice((0.0, 0.1))),
    )


def _retention(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "retention"),
        retention_s=90.0,
        workers=random.randint(1, 2),
        rates=Rates(outage=0.3, crash=0.5, partition=0.5),
        restart_s=60.0,
        handler=HandlerFaults(fails=0.1, poison=0.02),
    )


def _foreign(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "foreign records"),
        rates=Rates(garbage=6.0, naive=6.0, reshard=0.7, crash=0.5),
        fanout=random.random() < 0.3,
        handler=HandlerFaults(per_batch=random.random() < 0.5, lanes=random.choice((1, 3)), fails=0.05),
    )


def _late_threads(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "late threads"),
        handler=HandlerFaults(
            per_batch=random.random() < 0.7,
            blocking=True,
            thread_s=3.0,
            lanes=random.choice((1, 3)),
            park_attempts=random.choice((None, 1)),
            poison=0.03,
            timeout_s=60.0,
        ),
        rates=Rates(pause=4.0),
        failover_s=5.0,
        records_per_s=0.5,  # Each record of a lane waits for a thread of its own.
    )


def _processes(seed: int, random: Random) -> Knobs:
    """Handlers in processes, which run on while their worker stands still, and end in the midst of a record."""
    return replace(
        plain(seed, random, "processes"),
        handler=HandlerFaults(
            per_batch=random.random() < 0.3,
            processes=random.randint(1, 3),
            lanes=random.choice((1, 1, 3)),
            park_attempts=random.choice((None, 2)),
            dies=0.02,
            fails=0.05,
            slow=0.4,
            slow_s=3.0,
            hangs=0.002,
            timeout_s=20.0,
        ),
        rates=Rates(pause=4.0, partition=1.0, crash=random.choice((0.0, 0.5))),
        failover_s=5.0,
        records_per_s=2.0,
    )


def _superseded(seed: int, random: Random) -> Knobs:
    handler = HandlerFaults(
        per_batch=random.random() < 0.3,
        blocking=random.random() < 0.3,
        lanes=random.choice((1, 1, 3)),
        park_attempts=random.choice((None, 2)),
        stubborn=0.2,
        fails=0.1,
        slow_s=15.0,
        timeout_s=30.0,
    )
    return replace(
        plain(seed, random, "superseded"),
        handler=handler,
        rates=Rates(partition=3.0, pause=2.0),
        workers=random.randint(1, 3),
        failover_s=5.0,
    )


PROMISES: dict[str, Callable[[int, Random], Knobs]] = {
    "processes": _processes,
    "squeezed": _squeezed,
    "late restarts": _late_restarts,
    "producer stall": _stalled,
    "slow handlers": _slow_handlers,
    "hung handlers": _hung_handlers,
    "rolling": _rolling,
    "blackout": _blackout,
    "operator": _operator,
    "fan-out": _fanout,
    "AUTO": _auto,
    "retention": _retention,
    "foreign records": _foreign,
    "late threads": _late_threads,
    "superseded": _superseded,
}
