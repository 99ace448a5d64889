"""The knobs of one simulated world, drawn from its seed: per-seed chance over the whole fault catalogue ("swarm").

Many knobs are off in many seeds, the safety nets too: redundancy hides bugs. Focused profiles turn up what swarm seldom
reaches. Worlds are never smaller than one worker, one shard and ten minutes with faults plus five without.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING

from shardline.consumer.config import Fleet
from shardline.consumer.fleet.assignment import Strategy
from shardline.local.sim.network import Faults, Service

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PROFILES", "Knobs", "draw"]

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How often something happens to the world, per simulated minute."""

    crash: float = 0.0
    pause: float = 0.0
    partition: float = 0.0
    storm: float = 0.0
    outage: float = 0.0
    reshard: float = 0.0
    clock: float = 0.0
    stolen: float = 0.0
    squeeze: float = 0.0
    """A worker's writes answered late or never, and then no way to the lease table."""
    leave: float = 0.0
    """A worker stops in order and comes back."""
    row_deleted: float = 0.0
    """An operator deletes a lease row."""
    row_edited: float = 0.0
    """An operator takes a lease from its owner, and perhaps sets its checkpoint back."""
    garbage: float = 0.0
    """A record that looks like an aggregate and is none is stored past every producer."""
    naive: float = 0.0
    """A producer that knows no shard map stores an aggregate whose records belong to other shards."""
    switch: float = 0.0
    """The stream's record distribution changes between AUTO and the partition key's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerFaults:
    """What the application's handler is (`per_batch`, `blocking`, `lanes` at a time), and what it does wrong.

    Shares per call, seconds; `stubborn` calls swallow cancellations, `poison` is the share of records at which it
    always fails; a record that has failed `park_attempts` times is parked (None: tried for ever), with `park_keys` its
    key too.
    """

    per_batch: bool = False
    blocking: bool = False
    lanes: int = 1
    park_attempts: int | None = None
    park_keys: bool = False
    stubborn: float = 0.0
    poison: float = 0.0
    slow: float = 0.0
    slow_s: float = 5.0
    fails: float = 0.0
    hangs: float = 0.0
    timeout_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """Everything that makes one world different from another."""

    seed: int
    profile: str
    workers: int = 2
    shards: int = 2
    producers: int = 1
    keys: int = 10
    records_per_s: float = 2.0
    """Per producer."""
    padding: int = 50
    chaos_s: float = 10 * MINUTE_S
    quiet_s: float = 5 * MINUTE_S
    settle_s: float = 0.0
    """How long the fleet is left alone before records flow."""
    failover_s: float = 10.0
    idle_s: float = 2.0
    kinesis: Faults = field(default_factory=Faults)
    dynamodb: Faults = field(default_factory=Faults)
    rates: Rates = field(default_factory=Rates)
    handler: HandlerFaults = field(default_factory=HandlerFaults)
    fleet: Fleet = Fleet.AUTO
    same_id: bool = False
    """A restarted worker keeps its id."""
    restart_s: float = 20.0
    iterator_lifetime_s: float = 300.0
    end_on_empty: bool = False
    hide_children: bool = False
    page_items_max: int = 1_000_000
    shards_page_max: int = 1000
    service_limits: bool = False
    buffer_records: int | None = None
    memory_bytes: int | None = None
    """A small memory for producers, with requests and records to match."""
    read_ahead: int | None = None
    """How many Kinesis records a page holds, and how many more may wait for the handler."""
    fanout: bool = False
    auto: bool = False
    """An on-demand stream that places records itself."""
    retention_s: float | None = None
    blackout: Service | None = None
    """The service that answers nothing for three minutes in the middle."""
    strategy: Strategy = Strategy.WORKER_UTILIZATION_AWARE
    still_s: float = 0.0
    """How long the fleet is watched in peace at the end: no lease may move then (I12)."""
    aggregation: bool = True
    by_key: bool = False
    linger_s: float = 1.0
    ttl_s: float = 30.0
    auditor: bool = True
    clean_up: bool = True
    clean_up_s: float = 60.0
    checkpoint_records: int | None = None
    healthy: bool = False
    """No fault and no reshard: nothing may be delivered twice."""
    orderly: bool = False
    """No fault: whoever is asked to leave leaves nothing behind, also in the middle."""
    calm: bool = False
    """Nobody dies: no lease may move once the fleet has settled."""

    @property
    def simulated_s(self) -> float:
        """The least time that the world simulates."""
        return self.settle_s + self.chaos_s + self.quiet_s


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
        page_items_max=random.choice((2, 1_000_000)),
        shards_page_max=random.choice((2, 1000)),
        service_limits=random.random() < 0.3,
        aggregation=random.random() < 0.8,
        by_key=random.random() < 0.3,
        linger_s=random.choice((0.1, 1.0, 5.0)),
        auditor=random.random() < 0.6,
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
        hangs=_sometimes(random, 0.1, 0.002),
        timeout_s=30.0,
    )


def _plain(seed: int, random: Random, profile: str) -> Knobs:
    return Knobs(
        seed=seed,
        profile=profile,
        workers=random.randint(2, 4),
        shards=random.randint(2, 6),
        records_per_s=random.choice((1.0, 3.0)),
    )


def _healthy(seed: int, random: Random) -> Knobs:
    knobs = _plain(seed, random, "healthy")
    return replace(knobs, settle_s=3 * MINUTE_S, healthy=True, calm=True, workers=random.randint(1, 4))


def _lost_replies(seed: int, random: Random) -> Knobs:
    faults = Faults(
        reply_lost=random.choice((0.1, 0.25)), slow=random.choice((0.0, 0.2)), slow_s=12.0, hung=0.02, latency_s=0.1
    )
    rates = Rates(crash=0.3, pause=random.choice((0.0, 1.0)), reshard=0.2)
    return replace(
        _plain(seed, random, "lost replies"),
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
        _plain(seed, random, "late applies"),
        dynamodb=Faults(late=0.15, late_s=late, reply_lost=0.05),
        rates=rates,
        same_id=random.random() < 0.5,
        restart_s=2.0,
        failover_s=5.0,
        checkpoint_records=1,
    )


def _reshards(seed: int, random: Random) -> Knobs:
    return replace(
        _plain(seed, random, "reshard storm"),
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
        _plain(seed, random, "generations"),
        shards=random.randint(1, 2),
        keys=random.randint(2, 5),
        records_per_s=3.0,
        rates=Rates(reshard=4.0, crash=random.choice((0.0, 0.5)), row_deleted=0.5),
        clean_up_s=5.0,
        page_items_max=random.choice((2, 1_000_000)),
        kinesis=Faults(shards_hidden=random.choice((0.0, 0.3))),
    )


def _clocks(seed: int, random: Random) -> Knobs:
    return replace(
        _plain(seed, random, "clocks and pauses"),
        rates=Rates(pause=2.0, clock=2.0, stolen=2.0),
        iterator_lifetime_s=random.choice((3.0, 15.0)),
        handler=HandlerFaults(slow=0.05, slow_s=20.0, timeout_s=60.0),
    )


def _no_auditor(seed: int, random: Random) -> Knobs:
    return replace(
        _plain(seed, random, "auditor off"),
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
        _plain(seed, random, "producer outage"),
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
        _plain(seed, random, "doubled writes"),
        settle_s=3 * MINUTE_S,
        healthy=True,
        calm=True,
        dynamodb=Faults(twice=0.3),
    )


def _cut_off(seed: int, random: Random) -> Knobs:
    return replace(
        _plain(seed, random, "cut off"),
        rates=Rates(partition=6.0, outage=1.0, storm=1.0),
        dynamodb=Faults(unreachable=0.02, throttled=0.02),
        kinesis=Faults(unreachable=0.02, throttled=0.02, not_found=0.01),
    )


def _squeezed(seed: int, random: Random) -> Knobs:
    return replace(
        _plain(seed, random, "squeezed"),
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


def _stalled(seed: int, random: Random) -> Knobs:
    return replace(
        _plain(seed, random, "producer stall"),
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
        _plain(seed, random, "slow handlers"),
        handler=handler,
        read_ahead=5,
        records_per_s=5.0,
        aggregation=False,
        idle_s=0.5,
    )


def _rolling(seed: int, random: Random) -> Knobs:
    fleet = random.choice((Fleet.AUTO, Fleet.AUTO, Fleet.KCL2))
    return replace(
        _plain(seed, random, "rolling"),
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
        _plain(seed, random, "blackout"),
        settle_s=MINUTE_S,
        blackout=Service.KINESIS if seed % 2 else Service.DYNAMODB,
        workers=3,
        shards=6,
    )


def _operator(seed: int, random: Random) -> Knobs:
    return replace(
        _plain(seed, random, "operator"),
        rates=Rates(row_deleted=0.5, row_edited=0.5, reshard=0.3),
        quiet_s=8 * MINUTE_S,
    )


def _fanout(seed: int, random: Random) -> Knobs:
    return replace(
        _plain(seed, random, "fan-out"),
        fanout=True,
        rates=Rates(reshard=1.0, crash=0.5, pause=0.5, partition=0.5, leave=0.3),
        kinesis=Faults(broken=0.03, children_hidden=0.2, not_found=0.01, error_before=0.05),
        end_on_empty=random.random() < 0.5,
        restart_s=5.0,
    )


def _auto(seed: int, random: Random) -> Knobs:
    return replace(
        _plain(seed, random, "AUTO"),
        auto=True,
        rates=Rates(switch=random.choice((0.0, 1.0)), crash=0.3, storm=0.3),
        kinesis=Faults(reply_lost=0.05, entries=0.1, error_after=0.03),
    )


def _retention(seed: int, random: Random) -> Knobs:
    return replace(
        _plain(seed, random, "retention"),
        retention_s=90.0,
        workers=random.randint(1, 2),
        rates=Rates(outage=0.3, crash=0.5, partition=0.5),
        restart_s=60.0,
        handler=HandlerFaults(fails=0.1, poison=0.02),
    )


def _foreign(seed: int, random: Random) -> Knobs:
    return replace(
        _plain(seed, random, "foreign records"),
        rates=Rates(garbage=6.0, naive=6.0, reshard=0.7, crash=0.5),
        fanout=random.random() < 0.3,
        handler=HandlerFaults(per_batch=random.random() < 0.5, lanes=random.choice((1, 3)), fails=0.05),
    )


def _superseded(seed: int, random: Random) -> Knobs:
    handler = HandlerFaults(
        per_batch=random.random() < 0.3,
        blocking=random.random() < 0.5,
        lanes=random.choice((1, 3)),
        park_attempts=random.choice((None, 2)),
        stubborn=0.1,
        fails=0.1,
        slow_s=15.0,
        timeout_s=30.0,
    )
    return replace(
        _plain(seed, random, "superseded"),
        handler=handler,
        rates=Rates(partition=3.0, pause=2.0),
        workers=random.randint(1, 3),
        failover_s=5.0,
    )


def _hard_start(seed: int, random: Random) -> Knobs:
    return replace(
        _plain(seed, random, "hard start"),
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
        _plain(seed, random, "parked keys"),
        dynamodb=lost,
        rates=rates,
        handler=handler,
        same_id=random.random() < 0.5,
        restart_s=random.choice((2.0, 20.0)),
        failover_s=random.choice((5.0, 10.0)),
        auditor=random.random() < 0.5,
        checkpoint_records=random.choice((None, 1)),
    )


PROFILES: dict[str, Callable[[int, Random], Knobs]] = {
    "swarm": _swarm,
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
    "squeezed": _squeezed,
    "superseded": _superseded,
    "producer stall": _stalled,
    "slow handlers": _slow_handlers,
    "rolling": _rolling,
    "blackout": _blackout,
    "operator": _operator,
    "fan-out": _fanout,
    "AUTO": _auto,
    "retention": _retention,
    "foreign records": _foreign,
}


def draw(seed: int, profile: str = "swarm") -> Knobs:
    """Return the knobs of a seed under a profile; equal seeds draw equal knobs."""
    return PROFILES[profile](seed, Random(f"knobs/{profile}/{seed}"))
