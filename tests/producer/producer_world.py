"""A producer on a simulated host, in front of an in-memory stream behind a faulty network; and what the stream holds.

The oracle reads the stream's own state, so it sees what was stored, not what anybody believes: `positions` by data,
`kcl_sees` what a KCL would deliver (it drops an aggregate whole if one record lies outside the shard's range).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from shardline.common.deaggregation import deaggregate
from shardline.common.events import Events
from shardline.common.ports.kinesis import Stream
from shardline.local.sim import Simulation
from shardline.local.sim.doors import SimServices
from shardline.local.sim.network import Network
from shardline.local.state.core import KinesisState
from shardline.local.tables.core import LeaseTables
from shardline.producer.outcome import Delivered, NotWritten
from shardline.producer.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shardline.common.events import Event
    from shardline.local.state.options import KinesisOptions
    from shardline.producer.config import ProducerSettings, StreamSettings
    from shardline.producer.outcome import Outcome

ORDERS = Stream("orders")


class Stored(NamedTuple):
    """One user record in the stream, in the order in which the stream took it."""

    shard_id: str
    sequence_number: str
    sub_sequence_number: int
    data: bytes
    partition_key: str | None
    headers: dict[str, str]
    aggregated: bool
    kept: bool
    """Whether a KCL delivers it."""


class World:
    """One simulated host with a producer for the stream "orders"."""

    def __init__(
        self,
        seed: int = 1,
        *,
        shards: int = 2,
        options: KinesisOptions | None = None,
        until_s: float = 3600.0,
        on_demand: bool = False,
    ) -> None:
        self.sim = Simulation(seed, until_s=until_s)
        self.network = Network(self.sim)
        self.state = KinesisState(options)
        self.services = SimServices(self.network, self.state, LeaseTables())
        self.events: list[Event] = []
        if shards:
            self.state.create_stream("orders", None if on_demand else shards, on_demand=on_demand, now=self.sim.wall_s)

    def producer(
        self,
        settings: StreamSettings | None = None,
        producer_settings: ProducerSettings | None = None,
        **more: Any,
    ) -> Producer:
        """Return a producer for the stream, not yet open."""
        return Producer(
            ORDERS,
            settings,
            connection=self.services,
            producer_settings=producer_settings,
            events=Events(self.events.append),
            runtime=self.sim.runtime,
            **more,
        )

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        """Run `main` on the host, in virtual time."""

        async def on_host(_: Simulation) -> None:
            await main()

        with self.sim:
            self.sim.run(on_host)

    def run_with(
        self,
        main: Callable[[Producer], Awaitable[None]],
        settings: StreamSettings | None = None,
        producer_settings: ProducerSettings | None = None,
    ) -> None:
        """Run `main` with an open producer, and leave its context."""

        async def opened() -> None:
            async with self.producer(settings, producer_settings) as producer:
                await main(producer)

        self.run(opened)

    def split(self, index: int = 0) -> None:
        """Split the open shard number `index` in the middle."""
        shard = self.state.streams["orders"].open[index]
        middle = (shard.hash_range.start + shard.hash_range.end) // 2 + 1
        self.state.split_shard(ORDERS, shard.shard_id, str(middle), now=self.sim.wall_s)

    def merge(self, index: int = 0) -> None:
        """Merge the open shards number `index` and `index` + 1."""
        lower, upper = self.state.streams["orders"].open[index : index + 2]
        self.state.merge_shards(ORDERS, lower.shard_id, upper.shard_id, now=self.sim.wall_s)

    @property
    def stored(self) -> list[Stored]:
        """Every user record of the stream, by shard and within it by sequence."""
        found: list[Stored] = []
        for log in self.state.streams["orders"].shards.values():
            records, _, _ = log.read(0, 10**9, 2**60)
            for record in records:
                hash_range = (log.hash_range.start, log.hash_range.end)
                users = deaggregate(record.data, record.partition_key, hash_range=hash_range)
                whole = list(users)
                kept = not any(one.misplaced for one in whole)
                found += [
                    Stored(
                        log.shard_id,
                        record.sequence_number,
                        one.sub_sequence_number,
                        one.data,
                        one.partition_key,
                        dict(one.headers),
                        users.aggregated,
                        kept,
                    )
                    for one in whole
                ]
        return found

    def data(self) -> list[bytes]:
        """Return the data of every user record in the stream."""
        return [one.data for one in self.stored]

    def kcl_sees(self) -> set[bytes]:
        """Return the data that a KCL delivers."""
        return {one.data for one in self.stored if one.kept}

    def named(self, name: str) -> list[Event]:
        """Return the events of one name."""
        return [event for event in self.events if event.name == name]

    def lies(self, told: dict[bytes, Outcome | None], *, consumers_check: bool = True) -> list[str]:
        """Return every outcome that is not true of the stream (I7); data must be unique. Call when all has landed."""
        places: dict[bytes, set[tuple[str, str, int]]] = {}
        kept = self.kcl_sees()
        for one in self.stored:
            places.setdefault(one.data, set()).add((one.shard_id, one.sequence_number, one.sub_sequence_number))
        lies: list[str] = []
        for data, outcome in told.items():
            if outcome is None:
                lies.append(f"{data!r} was never resolved")
            elif isinstance(outcome, Delivered):
                place = (outcome.shard_id, outcome.sequence_number, outcome.sub_sequence_number)
                if place not in places.get(data, ()):
                    lies.append(f"{data!r} is not at {outcome}")
                elif consumers_check and data not in kept:
                    lies.append(f"{data!r} was acknowledged where a KCL drops it")
            elif isinstance(outcome, NotWritten) and data in places:
                lies.append(f"{data!r} is in the stream: {outcome}")
        return lies
