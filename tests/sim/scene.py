"""The scene of the oracles' tests: a stream, its leases held by worker A, and the oracle watching."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.common.ports.lease_store import Key, Put, TableSpec, Update, UpdateItem
from shardline.common.records import KinesisRecord, Position
from shardline.local.sim import Simulation
from shardline.local.sim.network import Network, Sender, Service
from shardline.local.sim.oracle import Oracle, payload
from shardline.local.sim.truth import UserId
from shardline.local.state.core import KinesisState
from shardline.local.state.events import RecordStored
from shardline.local.tables.core import LeaseTables

from tests.sim.outsiders import MAGIC

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Value

__all__ = ["FIRST", "SECOND", "STREAM", "Scene"]

STREAM = Stream("orders")
FIRST, SECOND = "shardId-000000000000", "shardId-000000000001"


class Scene:
    """A stream of one shard, its lease held by worker A, and the oracle watching."""

    def __init__(self, shards: int = 1) -> None:
        self.sim = Simulation(1)
        self.network = Network(self.sim)
        self.oracle = Oracle(self.sim, self.network)
        self.oracle.stop_at_first = False
        self.state = KinesisState(sink=self.oracle.sink)
        self.tables = LeaseTables(sink=self.oracle.sink)
        self.hosts = {name: self.sim.host(name) for name in "AB"}
        for name, host in self.hosts.items():
            self.oracle.identify(host, name)
        self.state.create_stream("orders", shards, now=self.sim.wall_s)
        self.tables.create_table(TableSpec(name="leases", key_attribute="leaseKey"), self.sim.wall_s)
        for number in range(shards):
            self.lease(f"shardId-{number:012d}", "A")

    def lease(self, shard_id: str, owner: str) -> None:
        """Write a lease row at TRIM_HORIZON."""
        row: dict[str, Value] = {
            "leaseKey": shard_id,
            "leaseCounter": 1,
            "checkpoint": "TRIM_HORIZON",
            "leaseOwner": owner,
        }
        self.tables.write(Put("leases", row), self.sim.wall_s)

    def put(self, *names: str, key: str = "k") -> list[tuple[UserId, Position]]:
        """Store one Kinesis record with a user record for each name."""
        numbers = range(len(self.oracle.places), len(self.oracle.places) + len(names))
        users = [UserId(name, key, number) for name, number in zip(names, numbers, strict=True)]
        data = b"".join(payload(user) for user in users)
        (outcome,) = self.state.put_records(STREAM, [PutEntry(data, key, "1")], now=self.sim.wall_s)
        assert outcome.sequence_number is not None
        return [(user, Position(int(outcome.sequence_number), sub)) for sub, user in enumerate(users)]

    def stored(self, *names: str, aggregated: bool = False) -> list[tuple[UserId, Position]]:
        """Store one Kinesis record whose key the service drops, as it does where it places records itself."""
        users = [UserId(name, "k", number) for number, name in enumerate(names)]
        number = len(self.oracle.shards[FIRST].records) + 1
        data = (MAGIC if aggregated else b"") + b"".join(payload(user) for user in users)
        record = KinesisRecord(str(number), data, None, self.sim.wall_s)
        self.oracle.sink(RecordStored(self.sim.now, STREAM.name, FIRST, number, b"", record))
        return [(user, Position(number, sub)) for sub, user in enumerate(users)]

    def write(self, worker: str, shard_id: str = FIRST, *, sent_s: float | None = None, **values: Value) -> None:
        """Apply an update of a lease row that a worker sent."""
        sent = self.sim.now if sent_s is None else sent_s
        self.network.sender = Sender(self.hosts[worker], Service.DYNAMODB, "UpdateItem", sent)
        update = Update(set=values, add={} if "leaseCounter" in values else {"leaseCounter": 1})
        self.tables.write(UpdateItem("leases", Key("leaseKey", shard_id), update), self.sim.wall_s)
        self.network.sender = None

    def handle(self, worker: str, record: tuple[UserId, Position], token: int = 1, shard_id: str = FIRST) -> None:
        """Deliver a record and finish it."""
        user, position = record
        self.oracle.delivered(worker, shard_id, position, token, user)
        self.oracle.processed(worker, shard_id, position, token, user)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.sim.loop.now += seconds

    @property
    def broken(self) -> set[str]:
        """The invariants that broke."""
        return {violation.invariant for violation in self.oracle.violations}
