"""What makes one simulated world different from another: every knob, with its resting value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shardline.consumer.config import Fleet
from shardline.consumer.fleet.assignment import Strategy
from shardline.local.sim.network import Faults, Service

if TYPE_CHECKING:
    from random import Random

__all__ = ["MINUTE_S", "HandlerFaults", "Knobs", "Rates", "plain"]

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
    relapse: float = 0.0
    """A worker dies and comes back, and soon after it has no way to the lease table."""
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
    come: float = 0.0
    """One of several streams is left, taken up again, or has its shards changed."""
    switch: float = 0.0
    """The stream's record distribution changes between AUTO and the partition key's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerFaults:
    """What the application's handler is (`per_batch`, `blocking`, `lanes` or `processes` at once); what it does wrong.

    Shares per call, seconds; `stubborn` calls swallow cancellations, `poison` is the share of records at which it
    always fails; a record that has failed `park_attempts` times is parked (None: tried for ever), with `park_keys` its
    key too.
    """

    per_batch: bool = False
    blocking: bool = False
    thread_s: float = 0.05
    """How long a thread may take to begin."""
    lanes: int = 1
    processes: int = 0
    dies: float = 0.0
    """The share of calls in which its process ends."""
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
    streams: int = 1
    """How many streams are read; all but the first come and go."""
    delete_former: bool = False
    """The leader deletes the leases of streams that are left."""
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


def plain(seed: int, random: Random, profile: str) -> Knobs:
    """Return a small world without any fault, for a focused profile to begin with."""
    return Knobs(
        seed=seed,
        profile=profile,
        workers=random.randint(2, 4),
        shards=random.randint(2, 6),
        records_per_s=random.choice((1.0, 3.0)),
    )
