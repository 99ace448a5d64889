"""The knobs of one simulated world, drawn from its seed: per-seed chance over the whole fault catalogue ("swarm").

Many knobs are off in many seeds, the safety nets too: redundancy hides bugs. Focused profiles turn up what swarm seldom
reaches. Worlds are never smaller than one worker, one shard and ten minutes with faults plus five without.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from shardline.consumer.config import Fleet
from shardline.local.sim.network import Faults

from tests.sim.promises import PROMISES
from tests.sim.settings import MINUTE_S, HandlerFaults, Knobs, Rates, plain
from tests.sim.streams import several_streams

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PROFILES", "HandlerFaults", "Knobs", "Rates", "draw"]


def _sometimes(random: Random, share: float, most: float) -> float:
    """Return 0 in most seeds, else up to `most`."""
    return random.random() * most if random.random() < share else 0.0


def _faults(random: Random, severity: float) -> Faults:
    """Draw how a service misbehaves: each kind is on in a third of the seeds."""

    def share(most: float) -> float:
        return _sometimes(random, 0.35, most * severity)

    return Faults(
        request_lost=share(0.06),
        reply_lost=share(0.08),
        late=share(0.06),
        twice=share(0.08),
        throttled=share(0.15),
        slow=share(0.1),
        hung=share(0.03),
        error_before=share(0.06),
        error_after=share(0.06),
        unreachable=share(0.06),
        latency_s=random.choice((0.005, 0.02, 0.1)),
        slow_s=random.choice((1.0, 5.0, 12.0)),
    )


def _swarm(seed: int, random: Random) -> Knobs:
    kinesis = replace(
        _faults(random, 1.0),
        entries=_sometimes(random, 0.4, 0.3),
        empty_pages=_sometimes(random, 0.4, 0.5),
        shards_hidden=_sometimes(random, 0.4, 0.5),
        shards_doubled=_sometimes(random, 0.3, 0.5),
        children_hidden=_sometimes(random, 0.3, 0.8),
        not_found=_sometimes(random, 0.2, 0.02),
    )
    dynamodb = replace(_faults(random, 1.0), stale_s=_sometimes(random, 0.5, 10.0))
    return Knobs(
        seed=seed,
        profile="swarm",
        workers=random.randint(1, 6),
        shards=random.randint(1, 12),
        producers=random.randint(1, 2),
        keys=random.choice((3, 10, 40)),
        records_per_s=random.choice((0.5, 1.0, 3.0)),
        failover_s=random.choice((5.0, 10.0, 10.0)),
        idle_s=random.choice((1.0, 3.0, 5.0)),
        kinesis=kinesis,
        dynamodb=dynamodb,
        rates=_rates(random),
        handler=_handler(random),
        fleet=random.choice((Fleet.AUTO, Fleet.AUTO, Fleet.AUTO, Fleet.KCL2)),
        same_id=random.random() < 0.4,
        restart_s=random.choice((2.0, 20.0, 60.0)),
        iterator_lifetime_s=random.choice((3.0, 15.0, 300.0, 300.0)),
        end_on_empty=random.random() < 0.5,
        hide_children=random.random() < 0.2,
        page_items_max=random.choice((5, 1_000_000)),
        shards_page_max=random.choice((2, 1000)),
        service_limits=random.random() < 0.3,
        aggregation=random.random() < 0.8,
        by_key=random.random() < 0.3,
        linger_s=random.choice((0.1, 1.0, 5.0)),
        auditor=random.random() < 0.6,
        fanout=random.random() < 0.2,
        buffer_records=random.choice((None, None, 20)),
        read_ahead=random.choice((None, None, None, 10)),
        retention_s=random.choice((*[None] * 9, 120.0)),
        clean_up=random.random() < 0.6,
        clean_up_s=random.choice((5.0, 60.0)),
        checkpoint_records=random.choice((None, None, 1, 5)),
    )


def _rates(random: Random) -> Rates:
    return Rates(
        crash=_sometimes(random, 0.6, 1.0),
        pause=_sometimes(random, 0.5, 1.0),
        partition=_sometimes(random, 0.5, 1.0),
        storm=_sometimes(random, 0.3, 0.5),
        outage=_sometimes(random, 0.2, 0.3),
        reshard=_sometimes(random, 0.6, 1.0),
        clock=_sometimes(random, 0.3, 0.5),
        stolen=_sometimes(random, 0.3, 0.5),
        squeeze=_sometimes(random, 0.2, 0.5),
        leave=_sometimes(random, 0.3, 0.5),
        row_edited=_sometimes(random, 0.1, 0.2),
        garbage=_sometimes(random, 0.2, 2.0),
        naive=_sometimes(random, 0.2, 2.0),
        row_deleted=_sometimes(random, 0.2, 0.3),
    )


def _handler(random: Random) -> HandlerFaults:
    return HandlerFaults(
        per_batch=random.random() < 0.3,
        blocking=random.random() < 0.2,
        lanes=random.choice((1, 1, 1, 4)),
        park_attempts=random.choice((None, None, None, 2)),
        slow=_sometimes(random, 0.4, 0.1),
        stubborn=_sometimes(random, 0.2, 0.05),
        fails=_sometimes(random, 0.4, 0.2),
        poison=_sometimes(random, 0.2, 0.02),
        hangs=_sometimes(random, 0.25, 0.004),
        timeout_s=30.0,
    )


def _healthy(seed: int, random: Random) -> Knobs:
    knobs = plain(seed, random, "healthy")
    return replace(knobs, settle_s=3 * MINUTE_S, healthy=True, calm=True, workers=random.randint(1, 4))


def _lost_replies(seed: int, random: Random) -> Knobs:
    faults = Faults(
        reply_lost=random.choice((0.1, 0.25)), slow=random.choice((0.0, 0.2)), slow_s=12.0, hung=0.02, latency_s=0.1
    )
    rates = Rates(crash=0.3, pause=random.choice((0.0, 1.0)), reshard=0.2)
    return replace(
        plain(seed, random, "lost replies"),
        dynamodb=faults,
        rates=rates,
        same_id=True,
        restart_s=2.0,
        failover_s=5.0,
    )


def _late_applies(seed: int, random: Random) -> Knobs:
    late = random.choice((5.0, 15.0, 30.0))
    rates = Rates(crash=random.choice((0.0, 0.5)), partition=0.5, reshard=0.3)
    return replace(
        plain(seed, random, "late applies"),
        dynamodb=Faults(late=0.15, late_s=late, reply_lost=0.05),
        rates=rates,
        same_id=random.random() < 0.5,
        restart_s=2.0,
        failover_s=5.0,
        checkpoint_records=1,
    )


def _reshards(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "reshard storm"),
        shards=random.randint(1, 4),
        rates=Rates(reshard=3.0, crash=random.choice((0.0, 0.7))),
        kinesis=Faults(shards_hidden=0.3, children_hidden=0.3, empty_pages=0.2),
        hide_children=random.random() < 0.3,
        end_on_empty=random.random() < 0.5,
        auditor=random.random() < 0.5,
        shards_page_max=random.choice((2, 1000)),
        aggregation=True,
        linger_s=random.choice((1.0, 5.0)),
    )


def _generations(seed: int, random: Random) -> Knobs:
    """Few keys, so that many shards stay empty and keep their parents' leases, while their cousins' are cleaned up."""
    return replace(
        plain(seed, random, "generations"),
        shards=random.randint(1, 2),
        keys=random.randint(2, 5),
        records_per_s=3.0,
        rates=Rates(reshard=4.0, crash=random.choice((0.0, 0.5)), row_deleted=0.5),
        clean_up_s=5.0,
        page_items_max=random.choice((5, 1_000_000)),
        kinesis=Faults(shards_hidden=random.choice((0.0, 0.3))),
    )


def _clocks(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "clocks and pauses"),
        rates=Rates(pause=2.0, clock=2.0, stolen=2.0),
        iterator_lifetime_s=random.choice((3.0, 15.0)),
        handler=HandlerFaults(slow=0.05, slow_s=20.0, timeout_s=60.0),
    )


def _no_auditor(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "auditor off"),
        auditor=False,
        clean_up=True,
        workers=random.randint(1, 2),
        shards=random.randint(1, 4),
        rates=Rates(reshard=1.5, crash=1.0),
        kinesis=Faults(shards_hidden=0.3, error_before=0.1, request_lost=0.05),
        shards_page_max=2,
    )


def _producer_outage(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "producer outage"),
        producers=2,
        records_per_s=5.0,
        rates=Rates(outage=0.5, storm=0.5, reshard=0.7),
        kinesis=Faults(entries=0.3, reply_lost=0.1, error_after=0.05, slow=0.1, slow_s=8.0, shards_hidden=0.2),
        by_key=random.random() < 0.5,
        aggregation=random.random() < 0.8,
        service_limits=random.random() < 0.5,
    )


def _doubled(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "doubled writes"),
        settle_s=3 * MINUTE_S,
        calm=True,
        dynamodb=Faults(twice=0.3),
    )


def _cut_off(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "cut off"),
        rates=Rates(partition=6.0, outage=1.0, storm=1.0),
        dynamodb=Faults(unreachable=0.02, throttled=0.02),
        kinesis=Faults(unreachable=0.02, throttled=0.02, not_found=0.01),
    )


def _hard_start(seed: int, random: Random) -> Knobs:
    return replace(
        plain(seed, random, "hard start"),
        workers=1,
        auditor=False,
        kinesis=Faults(error_before=0.5, throttled=0.1),
        dynamodb=Faults(error_before=0.2, throttled=0.1),
    )


def _parked_keys(seed: int, random: Random) -> Knobs:
    lost = Faults(
        reply_lost=random.choice((0.0, 0.1, 0.25)),
        late=random.choice((0.0, 0.15)),
        late_s=random.choice((5.0, 30.0)),
        twice=random.choice((0.0, 0.1)),
        latency_s=0.1,
    )
    rates = Rates(
        crash=random.choice((0.5, 1.5)), pause=random.choice((0.0, 1.0)), reshard=random.choice((0.0, 0.5, 1.5))
    )
    handler = HandlerFaults(
        per_batch=random.random() < 0.3,
        lanes=random.choice((1, 1, 4)),
        park_attempts=2,
        park_keys=True,
        poison=random.choice((0.01, 0.03)),
        fails=random.choice((0.0, 0.02)),
    )
    return replace(
        plain(seed, random, "parked keys"),
        dynamodb=lost,
        rates=rates,
        handler=handler,
        same_id=random.random() < 0.5,
        restart_s=random.choice((2.0, 20.0)),
        failover_s=random.choice((5.0, 10.0)),
        auditor=random.random() < 0.5,
        checkpoint_records=random.choice((None, 1)),
    )


def _parking(knobs: Knobs, random: Random) -> Knobs:
    handler = replace(knobs.handler, park_attempts=2, park_keys=True, poison=random.choice((0.01, 0.03)))
    # No operator's hands: tokens, which fence parked keys, begin anew with a row that is made again.
    reshard = max(knobs.rates.reshard, random.choice((0.0, 1.0)))
    rates = replace(knobs.rates, reshard=reshard, row_deleted=0.0, row_edited=0.0)
    return replace(knobs, handler=handler, rates=rates, retention_s=None)


def _switching(knobs: Knobs, random: Random) -> Knobs:
    rates = replace(knobs.rates, switch=random.choice((0.0, 1.0)))
    return replace(knobs, auto=True, by_key=False, rates=rates)


def _breaking(knobs: Knobs, random: Random) -> Knobs:
    return replace(knobs, fanout=True, kinesis=replace(knobs.kinesis, broken=random.choice((0.01, 0.05))))


def _orderly(knobs: Knobs, random: Random) -> Knobs:
    return replace(PROMISES["rolling"](knobs.seed, random), profile="swarm")


def _in_processes(knobs: Knobs, random: Random) -> Knobs:
    faults = knobs.handler
    handler = replace(
        faults,
        processes=random.randint(1, 3),
        blocking=False,
        stubborn=0.0,
        dies=0.02,
        slow=0.4,
        slow_s=3.0,
        hangs=0.002,
    )
    return replace(knobs, handler=handler, rates=replace(knobs.rates, pause=max(knobs.rates.pause, 2.0)))


_PLAIN_SEEDS = 12
"""The first seeds of the swarm go without further knobs: bugs and rare branches have their worlds among them."""
_PROCESSES = 0.1
"""Of those that are left as they are: how many run their handlers in processes."""
_FURTHER = (_parking, _switching, _breaking, _orderly, several_streams)


def _whole_swarm(seed: int, random: Random) -> Knobs:
    """Turn on, in a third of the seeds, what changes a world altogether: parked keys, AUTO, broken streams, peace."""
    knobs = _swarm(seed, random)
    more = Random(f"knobs/further/{seed}")
    if seed <= _PLAIN_SEEDS:
        return knobs
    if more.random() > 1 / 3:
        return _in_processes(knobs, more) if more.random() < _PROCESSES else knobs
    return more.choice(_FURTHER)(knobs, more)


PROFILES: dict[str, Callable[[int, Random], Knobs]] = {
    "swarm": _whole_swarm,
    "healthy": _healthy,
    "lost replies": _lost_replies,
    "late applies": _late_applies,
    "reshard storm": _reshards,
    "generations": _generations,
    "clocks and pauses": _clocks,
    "auditor off": _no_auditor,
    "producer outage": _producer_outage,
    "doubled writes": _doubled,
    "cut off": _cut_off,
    "hard start": _hard_start,
    "parked keys": _parked_keys,
    "several streams": lambda seed, random: several_streams(_swarm(seed, random), random),
    **PROMISES,
}


def draw(seed: int, profile: str = "swarm") -> Knobs:
    """Return the knobs of a seed under a profile; equal seeds draw equal knobs."""
    return PROFILES[profile](seed, Random(f"knobs/{profile}/{seed}"))
