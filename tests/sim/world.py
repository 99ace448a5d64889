"""One simulated world: producers, workers, a stream that reshards; its seed's knobs turned, the oracle watching.

A world runs in phases: the fleet settles, chaos, then every fault ends and the backlog must drain; then the workers
leave gracefully. The product runs unmodified; what the world adds are hosts, handlers, and bad luck.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from shardline.common.ports.kinesis import Distribution, PutOutcome, Stream
from shardline.consumer.fleet.assignment import Strategy
from shardline.consumer.fleet.startup import Fleet as FleetKind
from shardline.local.sim import Simulation, SimulationError
from shardline.local.sim.doors import SimServices
from shardline.local.sim.network import Fault, Network, Service
from shardline.local.sim.oracle import Oracle, Violation, ViolationError
from shardline.local.sim.oracles.balance import Balance
from shardline.local.sim.oracles.blobs import Blobs
from shardline.local.sim.oracles.leaving import Leaving
from shardline.local.sim.oracles.memory import Memory
from shardline.local.sim.oracles.secrets import Secrets
from shardline.local.sim.oracles.storms import Storms
from shardline.local.state.core import KinesisState
from shardline.local.state.events import ItemApplied, RecordsRead, RecordsTrimmed
from shardline.local.state.options import KinesisOptions, Limits, ShardEnd
from shardline.local.tables.core import LeaseTables, TableOptions

from tests.sim.chaos import Chaos
from tests.sim.fleet import Fleet
from tests.sim.outsiders import Outsiders
from tests.sim.parking import Operator, ParkingJudge
from tests.sim.streams import Streams
from tests.sim.writers import Writers

if TYPE_CHECKING:
    from shardline.local.sim.network import Sender
    from shardline.local.state.events import Sink, StateEvent

    from tests.sim.knobs import Knobs

__all__ = ["STREAM", "Result", "World", "run_world"]

STREAM = Stream("orders")
_DRAIN_POLL_S = 5.0
_LIMIT_S = 3600.0
_BLACKOUT_AT_S = 120.0
_BLACKOUT_S = 180.0
_STORM_BOUNDS: dict[Service, dict[str, int]] = {
    Service.KINESIS: {"floor": 12, "spike": 12},
    Service.DYNAMODB: {"floor": 24, "spike": 24},
}
"""What I17 allows a host in ten seconds of an outage, and all of them in one second after it."""


@dataclass(slots=True, kw_only=True)
class Result:
    """What became of one world."""

    seed: int
    profile: str
    simulated_s: float = 0.0
    steps: int = 0
    records: int = 0
    lost: int = 0
    redelivered: int = 0
    resent: int = 0
    violations: list[Violation] = field(default_factory=list[Violation])
    counts: Counter[str] = field(default_factory=Counter[str])
    reached: Counter[str] = field(default_factory=Counter[str])
    trace: str = ""
    error: str = ""
    log: list[str] = field(default_factory=list[str])

    @property
    def failed(self) -> bool:
        """Say whether an invariant broke or the run did not end as it should."""
        return bool(self.violations or self.error)


class World:
    """The whole of one world; `run` plays it."""

    def __init__(self, knobs: Knobs, *, stop_at_first: bool = True) -> None:
        self.knobs = knobs
        self.sim = Simulation(f"{knobs.profile}/{knobs.seed}", until_s=knobs.simulated_s + _LIMIT_S)
        self.network = Network(self.sim)
        self.oracle = Oracle(self.sim, self.network, failover_s=knobs.failover_s)
        self.oracle.stop_at_first = stop_at_first
        self.oracle.in_turn = knobs.handler.per_batch or knobs.handler.lanes == 1
        self.parking = ParkingJudge(self.oracle)
        self.streams = Streams(self)
        self.state = KinesisState(_stream_options(knobs), sink=self._sink)
        self.tables = LeaseTables(TableOptions(page_items_max=knobs.page_items_max), sink=self._table_sink)
        self.services = SimServices(self.network, self.state, self.tables)
        self._create_stream()
        self.note_ranges()
        self.leaving = Leaving(self.oracle)
        self.balance = Balance(self.oracle)
        self.secrets = Secrets(self.oracle)
        self.blobs = Blobs(self.oracle)
        self.memory = Memory(
            self.oracle,
            bytes_max=knobs.memory_bytes,
            records_max=knobs.buffer_records,
            read_ahead_max=None if knobs.read_ahead is None or knobs.fanout else 2 * knobs.read_ahead,
        )
        self.network.answered = self._answered
        self.storms: Storms | None = None
        self.outsiders = Outsiders(self)
        self.fleet = Fleet(self)
        self.writers = Writers(self)
        self.chaos = Chaos(self)

    def _create_stream(self) -> None:
        knobs, wall_s = self.knobs, self.sim.wall_s
        if knobs.auto:
            self.oracle.auto = True
            self.state.create_stream(STREAM.name, now=wall_s, on_demand=True, distribution=Distribution.AUTO)
        else:
            self.state.create_stream(STREAM.name, knobs.shards, now=wall_s)
        if knobs.retention_s is not None:
            # Less than the service's shortest, so that a world of minutes sees records go.
            self.state.streams[STREAM.name].retention_hours = knobs.retention_s / 3600  # type: ignore[assignment]  # Hours are whole there.
            self.oracle.retention_s = knobs.retention_s
        self.streams.create()

    @property
    def _judge_sink(self) -> Sink:
        return self.parking.sink if self.knobs.handler.park_keys else self.oracle.sink

    def _table_sink(self, event: StateEvent) -> None:
        mine = self.streams.judge(event)
        if mine is None:
            return
        self._judge_sink(mine)
        if isinstance(mine, ItemApplied) and mine.key in self.oracle.leases and mine.after is not None:
            lease = self.oracle.leases[mine.key]
            self.blobs.covered(lease.shard_id, lease.checkpoint)

    def _sink(self, event: StateEvent) -> None:
        if self.streams.judge(event) is None:
            return
        self._judge_sink(event)
        if isinstance(event, RecordsTrimmed):
            self.blobs.skipped(event.shard_id, -1, event.last + 1)
        sender = self.network.sender
        if isinstance(event, RecordsRead) and event.records and sender is not None and sender.fault is Fault.NONE:
            worker = self.oracle.worker_of(sender.host)
            if worker is not None:
                self.memory.read(worker, event.shard_id, event.first, event.last)

    def _answered(self, sender: Sender, answer: object) -> None:
        """Take an answer that reached its caller: which records a producer was told of."""
        if sender.operation != "PutRecords" or not isinstance(answer, list) or not self.writers.is_first(sender.host):
            return
        for outcome in answer:
            if isinstance(outcome, PutOutcome) and outcome.shard_id is not None and outcome.sequence_number is not None:
                users = self.oracle.rightly_placed(outcome.shard_id, int(outcome.sequence_number))
                self.memory.acknowledged(user.id for user in users)

    def note_ranges(self) -> None:
        """Tell the oracle which hash keys each shard owns, after the stream has changed."""
        shards = self.state.streams[STREAM.name].shards.values()
        self.oracle.ranges.update({shard.shard_id: shard.hash_range for shard in shards})

    async def play(self, _: Simulation) -> None:
        """Play the world to its end."""
        knobs = self.knobs
        self.fleet.start()
        await asyncio.sleep(knobs.settle_s)
        self.oracle.strict_duplicates = knobs.healthy
        self.oracle.calm = knobs.calm
        self.network.set_faults(Service.KINESIS, knobs.kinesis)
        self.network.set_faults(Service.DYNAMODB, knobs.dynamodb)
        self.writers.start()
        operator = Operator(self) if knobs.handler.park_keys else None
        if operator is not None:
            operator.start()
        if knobs.blackout is not None:
            self.sim.at(self.sim.now + _BLACKOUT_AT_S, self._black_out, knobs.blackout)
        await self.chaos.run(knobs.chaos_s)
        self.network.heal()
        self.chaos.end()
        await self._drain()
        if operator is not None:
            await operator.finish()
            self.parking.finish()
        await self._keep_still()
        self.fleet.look()
        await self.fleet.stop()
        self.oracle.finish()
        self.leaving.stored()
        self.streams.finish()
        self.streams.stored()
        self.blobs.finish()

    def _black_out(self, service: Service) -> None:
        """Let a service answer nothing for a while, and watch who goes on calling."""
        self.storms = Storms(self.oracle, service, **_STORM_BOUNDS[service])
        self.network.observe = self.storms.sent
        self.storms.begin(_BLACKOUT_S)
        self.network.outage(service, _BLACKOUT_S)

    async def _keep_still(self) -> None:
        """Let the fleet settle, and then watch that it stays as it is."""
        knobs = self.knobs
        if not knobs.still_s:
            return
        await asyncio.sleep(knobs.still_s)
        self.balance.begin()
        await asyncio.sleep(knobs.still_s)
        by_count = knobs.fleet is FleetKind.KCL2 or knobs.strategy is Strategy.LEASE_COUNT_BASED
        self.balance.end(self.fleet.living(), by_count=by_count)

    async def _drain(self) -> None:
        """Let the producers end and the workers catch up, faults being over; then judge who holds what."""
        end = self.sim.now + self.knobs.quiet_s
        await self.writers.finish()
        while self.sim.now < end and not self._is_drained():  # noqa: ASYNC110 - the oracle judges, it does not signal.
            await asyncio.sleep(_DRAIN_POLL_S)
        await asyncio.sleep(3 * self.knobs.failover_s)
        # P10: twice the fail-over time and twice the longest watch period (2.5 times it), and a little.
        orphaned_s_max = 7 * self.knobs.failover_s + 2
        self.oracle.finish(self.fleet.living(), orphaned_s_max=orphaned_s_max)
        self.streams.finish(self.fleet.living(), orphaned_s_max=orphaned_s_max)
        await asyncio.sleep(max(0.0, end - self.sim.now))  # Idle fleets clean up, report and stay as they are.

    def _is_drained(self) -> bool:
        """Say whether all that was stored is done, every closed shard finished, and every open one leased."""
        return not self.blobs.pending() and all(
            not (oracle.pending() or oracle.holes()) and _are_finished(oracle) for oracle in self.oracles
        )

    @property
    def oracles(self) -> list[Oracle]:
        """The oracles of all streams, the first's first."""
        return [self.oracle, *self.streams.others.values()]

    def run(self) -> Result:
        """Play the world and return what became of it; a broken invariant is in the result, not raised."""
        result = Result(seed=self.knobs.seed, profile=self.knobs.profile)
        with self.sim:
            try:
                self.sim.run(self.play)
            except ViolationError:
                pass
            except SimulationError as error:
                result.error = f"{type(error).__name__}: {error}"
            except Exception as error:  # noqa: BLE001 - any failure of the product is a finding of this seed.
                result.error = _story(error)
            self._fill(result)
        return result

    def _fill(self, result: Result) -> None:
        result.simulated_s = self.sim.now
        result.steps = self.sim.loop.steps
        self.secrets.check("error", result.error)
        for one in self.oracles:
            result.records += len(one.put_ids)
            result.redelivered += one.redelivered
            result.resent += one.resent
            result.violations += one.violations
            result.reached += one.reached
        result.lost = sum(len(one.lost()) for one in self.oracles) if not result.failed else 0
        result.counts = self.network.count
        result.trace = self.sim.trace
        if result.violations:
            result.log = self.log(result.violations[0].where)

    def log(self, where: str) -> list[str]:
        """Return the last events of a shard (or of all), and the last writes to the lease table."""
        everything = [shard for oracle in self.oracles for shard in oracle.shards.values()]
        shards = [shard for shard in everything if shard.shard_id == where] or everything
        lines = [(event[0], " ".join(str(part) for part in event)) for shard in shards for event in shard.log]
        recent = [line for _, line in sorted(lines, key=str)][-200:]
        writes = [line for oracle in self.oracles for line in oracle.table_writes]
        return [*recent, "lease table, last writes:", *writes, *self.fleet.log]


def _are_finished(oracle: Oracle) -> bool:
    """Say whether every closed shard has come to SHARD_END."""
    closed = [shard_id for shard_id, shard in oracle.shards.items() if shard.closed]
    return all(shard_id in oracle.leases and oracle.leases[shard_id].ended for shard_id in closed)


def _stream_options(knobs: Knobs) -> KinesisOptions:
    return KinesisOptions(
        iterator_lifetime_s=knobs.iterator_lifetime_s,
        shard_end=ShardEnd.ON_EMPTY_BATCH if knobs.end_on_empty else ShardEnd.WITH_LAST_BATCH,
        hide_child_shards=knobs.hide_children,
        list_shards_page_max=knobs.shards_page_max,
        limits=Limits.SERVICE if knobs.service_limits else Limits.NONE,
    )


def _story(error: BaseException) -> str:
    """Return an error with the place it came from, groups opened."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_story(inner) for inner in error.exceptions)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
    return f"{type(error).__name__}: {error}{place}"


def run_world(knobs: Knobs, **changes: Any) -> Result:
    """Play one world with some of its knobs changed."""
    return World(replace(knobs, **changes)).run()
