"""What others do to a world's stream and table: foreign producers, an operator with his hands in the lease table."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from shardline.common.aggregation import AggregateBuilder
from shardline.common.hashing import hash_key
from shardline.common.ports.kinesis import Distribution, PutEntry, Stream
from shardline.common.ports.lease_store import Key, Update, UpdateItem
from shardline.common.records import Position
from shardline.consumer.leases import row as names
from shardline.local.sim.oracle import payload
from shardline.local.sim.oracles.secrets import CANARY
from shardline.local.sim.truth import Place, UserId
from shardline.local.state.refusal import Refusal

if TYPE_CHECKING:
    from random import Random

    from shardline.common.ports.lease_store import Value
    from shardline.local.sim.truth import Lease

    from tests.sim.world import World

__all__ = ["MAGIC", "Outsiders"]

MAGIC: Final = bytes.fromhex("f3899ac2")
_STREAM: Final = Stream("orders")
_TABLE: Final = "billing"


def _sealed(message: bytes) -> bytes:
    return MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest()


_KEY: Final = b"\x0a\x01k"
_RECORD: Final = b"\x1a\x08\x08\x00\x1a\x04data"
_MALFORMED: Final = (
    b"",  # A valid checksum over nothing.
    _KEY + b"\x1a\x08\x08\x07\x1a\x04data",  # An index of a key that is not there, in the first record,
    _KEY + _RECORD + b"\x1a\x08\x08\x07\x1a\x04data",  # or in the second.
    _KEY + _RECORD + b"\x1a\x7fdata",  # A length past the end.
    _KEY + b"\x1a\x02\x08\x00",  # A record without data.
)


class Outsiders:
    """Acts on the world past the product."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random: Random = world.sim.random
        self._count = 0

    # --- foreign producers -------------------------------------------------------------------------------------------

    def garbage(self) -> None:
        """Store a record that looks like an aggregate and is none."""
        world = self._world
        data = _sealed(self._random.choice(_MALFORMED))
        outcome = self._put(PutEntry(data, "garbage", str(self._random.getrandbits(128))))
        if outcome is not None:
            world.network.count["malformed aggregate stored"] += 1
            world.blobs.stored(outcome.shard_id, outcome.position.sequence_number, data)

    def naive(self) -> None:
        """Store an aggregate whose records belong anywhere: its producer knows no shards."""
        builder = AggregateBuilder()
        users: list[UserId] = []
        for _ in range(self._random.randint(2, 5)):
            self._count += 1
            key = f"{CANARY}-n{self._count}"
            users.append(UserId(f"n-{self._count}", key, 1))
            assert builder.try_append(key, payload(users[-1]))
        sealed = builder.seal()
        for user in users:
            self._world.oracle.putting(user)
        outcome = self._put(PutEntry(sealed.data, "naive", str(hash_key(users[0].key))))
        for sub, user in enumerate(users):
            if outcome is None:
                self._world.oracle.outcome(user, "not written")
            else:
                place = Place(outcome.shard_id, Position(outcome.position.sequence_number, sub))
                self._world.oracle.outcome(user, "delivered", place, judged=False)
        self._world.network.count["naive aggregate stored"] += 1

    def _put(self, entry: PutEntry) -> Place | None:
        (outcome,) = self._world.state.put_records(_STREAM, [entry], now=self._world.sim.wall_s)
        if outcome.sequence_number is None or outcome.shard_id is None:
            return None
        return Place(outcome.shard_id, Position(int(outcome.sequence_number), 0))

    # --- an operator -------------------------------------------------------------------------------------------------

    def edit_row(self) -> None:
        """Take a lease from its owner by hand; half of the times it also goes back to the beginning."""
        lease = self._some_lease()
        if lease is None:
            return
        values: dict[str, Value] = {}
        if self._random.random() < 0.5:
            values = {names.CHECKPOINT: "TRIM_HORIZON", names.CHECKPOINT_SUB: 0}
            self._world.network.count["checkpoint set back by hand"] += 1
        gone = frozenset({names.OWNER, names.CHECKPOINT_OWNER})
        update = Update(set=values, remove=gone, add={names.COUNTER: 1})
        self._world.network.count["lease row edited by hand"] += 1
        self._world.tables.write(UpdateItem(_TABLE, Key(names.LEASE_KEY, lease.key), update), self._world.sim.wall_s)

    def _some_lease(self) -> Lease | None:
        leases = [lease for lease in self._world.oracle.leases.values() if lease.present and not lease.ended]
        return self._random.choice(leases) if leases else None

    def switch(self) -> None:
        """Change who places records: the stream, or their partition keys."""
        stream = self._world.state.streams[_STREAM.name]
        to_auto = stream.distribution is not Distribution.AUTO
        try:
            self._world.state.set_distribution(
                _STREAM, Distribution.AUTO if to_auto else Distribution.USER_PARTITION_KEY, now=self._world.sim.wall_s
            )
        except Refusal:
            return
        self._world.network.count["record distribution switched"] += 1
