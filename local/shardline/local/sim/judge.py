"""The judge that every oracle is: the invariants by name, what broke, who is who, and what all predicates share.

A judge knows no object of the product. `violations` holds what broke; the first one also fails the simulation at once.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from typing import TYPE_CHECKING, Final, NamedTuple

from shardline.local.sim.oracles import balance, blobs, leaving, memory, secrets, storms, tokens
from shardline.local.sim.truth import UserId

if TYPE_CHECKING:
    from shardline.local.sim.hosts import Host
    from shardline.local.sim.network import Network
    from shardline.local.sim.simulation import Simulation
    from shardline.local.sim.truth import Lease, Place, ShardTruth

__all__ = ["INVARIANTS", "Judge", "Violation", "ViolationError", "payload", "user_ids"]

INVARIANTS: Final = {
    "I1": "Every acknowledged user record is processed at least once, by unique id.",
    "I2": "In a shard, first deliveries of a key (of all, where handled in turn) come in order, without gaps.",
    "I3": "A checkpoint never covers a record that was not processed; SHARD_END only after all of a closed shard.",
    "I4a": "A checkpoint is applied only for the worker that owns the lease, in the epoch in which it was sent.",
    "I4b": "A stored checkpoint never moves backwards.",
    "I5": "No record of a child shard is delivered before all its parents are at SHARD_END.",
    "I6": "A tenure delivers only what lies after the checkpoint stored when it began, and nothing twice.",
    "I7": "Every put resolves once, truthfully: delivered means it is there, not written means it is not, ever.",
    "I9": "Leases not at SHARD_END always cover every open shard, ancestors counted; no row goes too early.",
    "I10": "Once faults have stopped, every unfinished lease is held by a living worker.",
    "I11": "After a lease is taken by expiry its former owner delivers nothing; after a steal, not for long.",
    "I11b": "A worker delivers only within the fail-over time of the sending of its last write that was applied.",
    "I15": "No acknowledged record lies where a KCL discards it: in a shard that does not own its hash key.",
    "I16": "At most five GetRecords per second and shard from one worker.",
    "dup": "A healthy world (no fault, no reshard, no change of members) delivers nothing twice.",
    "churn": "In a calm fleet leases are renewed in time and never lost: one refused on its own success is no loss.",
    **tokens.INVARIANTS,
    **memory.INVARIANTS,
    **balance.INVARIANTS,
    **leaving.INVARIANTS,
    **blobs.INVARIANTS,
    **storms.INVARIANTS,
    **secrets.INVARIANTS,
}
_MARK: Final = re.compile(rb"<([^|<>]+)\|([^|<>]+)\|(\d+)>")


def payload(user: UserId, padding: int = 0) -> bytes:
    """Return the data of a test's user record: it says who it is, so that no decoder needs to be trusted."""
    return f"<{user.id}|{user.key}|{user.number}>".encode() + b"." * padding


def user_ids(data: bytes) -> list[UserId]:
    """Return the user records inside a Kinesis record, aggregated or not, in order."""
    return [UserId(m[1].decode(), m[2].decode(), int(m[3])) for m in _MARK.finditer(data)]


class Violation(NamedTuple):
    """A broken invariant: which, when (simulated seconds), in which shard or record, and what happened."""

    invariant: str
    at_s: float
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant} at t={self.at_s:.3f} {self.where}: {self.what}"


class ViolationError(AssertionError):
    """An invariant is broken; the run ends here."""

    def __init__(self, violation: Violation) -> None:
        self.violation = violation
        super().__init__(str(violation))


class Judge:
    """What the predicates of one world share; see `oracle.Oracle` for the attributes that a test may set."""

    def __init__(self, simulation: Simulation, network: Network, *, failover_s: float = 10.0) -> None:
        self.simulation = simulation
        self.network = network
        self.failover_s = failover_s
        self.strict_duplicates = False
        self.calm = False
        self.stop_at_first = True
        self.violations: list[Violation] = []
        self.reached: Counter[str] = Counter()
        self.shards: dict[str, ShardTruth] = {}
        self.leases: dict[str, Lease] = {}
        self.places: dict[str, list[Place]] = {}
        """Where the copies of each user record stand in the stream."""
        self.table_writes: deque[str] = deque(maxlen=100)
        self.tokens = tokens.Tokens(self.violate)
        self._workers: dict[Host, str] = {}

    # --- who is who ---

    def identify(self, host: Host, worker_id: str) -> None:
        """Say which worker id a host's worker has: a new one begins, which knows nothing of one before it."""
        self._workers[host] = worker_id
        for shard in self.shards.values():
            shard.tenure_begins(worker_id)

    def worker_of(self, host: Host | None) -> str | None:
        """Return the worker id of a host; None for none."""
        return None if host is None else self._workers.get(host)

    def _sender_id(self) -> str | None:
        sender = self.network.sender
        return None if sender is None or sender.host is None else self._workers.get(sender.host)

    def violate(self, invariant: str, where: str, what: str) -> None:
        """Record a violation; the first one ends the run."""
        violation = Violation(invariant, self.simulation.now, where, what)
        self.violations.append(violation)
        self.simulation.note(str(violation))
        if self.stop_at_first and len(self.violations) == 1:
            self.simulation.loop.failures.append(ViolationError(violation))

    def _duplicate(self, user_id: str, what: str) -> None:
        if self.strict_duplicates:
            self.violate("dup", user_id, what)
