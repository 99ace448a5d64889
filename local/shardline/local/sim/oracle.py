"""The oracle: the invariants of `reliability.md` as predicates over what truly happened, each judged as it happens.

It sits inside the fake stream and the fake table (their event sinks) and in the test's own producers and handlers; it
knows no object of the product. `violations` holds what broke; the first one also fails the simulation at once.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from typing import TYPE_CHECKING, Final, NamedTuple

from shardline.common.hashing import hash_key
from shardline.common.records import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Position
from shardline.local.sim.network import Fault
from shardline.local.sim.truth import Epoch, Lease, Place, ShardTruth, Started, Tenure, UserId, row_position
from shardline.local.state import events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shardline.common.hashing import HashRange
    from shardline.local.sim.hosts import Host
    from shardline.local.sim.network import Network
    from shardline.local.sim.simulation import Simulation

__all__ = ["INVARIANTS", "Oracle", "Violation", "ViolationError", "payload"]

INVARIANTS: Final = {
    "I1": "Every acknowledged user record is processed at least once, by unique id.",
    "I2": "Within a shard, first deliveries of a key's records come in sequence order, without gaps.",
    "I3": "A checkpoint never covers a record that was not processed; SHARD_END only after all of a closed shard.",
    "I4a": "A checkpoint is applied only for the worker that owns the lease, in the epoch in which it was sent.",
    "I4b": "A stored checkpoint never moves backwards.",
    "I5": "No record of a child shard is delivered before all its parents are at SHARD_END.",
    "I6": "A tenure delivers only what lies after the checkpoint stored when it began, and nothing twice.",
    "I7": "Every put resolves once, truthfully: delivered means it is there, not written means it is not, ever.",
    "I9": "Leases not at SHARD_END always cover every open shard, ancestors counted; no row goes too early.",
    "I10": "Once faults have stopped, every unfinished lease is held by a living worker.",
    "I11": "After a lease is taken by expiry its former owner delivers nothing; after a steal, not for long.",
    "I15": "No acknowledged record lies where a KCL discards it: in a shard that does not own its hash key.",
    "I16": "At most five GetRecords per second and shard from one worker.",
    "dup": "A healthy world (no fault, no reshard, no change of members) delivers nothing twice.",
    "calm": "A condition that failed on a worker's own doubled write is no loss: no lease moves in a calm fleet.",
}
_READS_PER_S: Final = 5
_MARK: Final = re.compile(rb"<([^|<>]+)\|([^|<>]+)\|(\d+)>")
_EXPIRY_SLACK_S: Final = 0.05


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


class Oracle:
    """Judges one world with one stream and one lease table.

    `failover_s` is the fleet's. `reached` counts rare branches by name (I23); `redelivered` and `resent` are the two
    kinds of duplicates. `strict_duplicates` makes any of them a violation (healthy worlds), `ordered` asks for each
    key's first copies in call order (a `by_key` producer).
    """

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
        self.outcomes: dict[str, tuple[str, Place | None]] = {}
        self.put_ids: dict[str, float] = {}
        self.ranges: dict[str, HashRange] = {}
        """Hash range of each shard whose placement is to be judged (I15): an acknowledged record must belong there."""
        self.processed_ids: set[str] = set()
        self.excused_ids: set[str] = set()
        self.redelivered = 0
        self.resent = 0
        self.deliveries = 0
        self.table_writes: deque[str] = deque(maxlen=100)
        self._workers: dict[Host, str] = {}
        self._tenures: dict[tuple[str, str, int], Tenure] = {}
        self._covered = False
        self._reads: dict[tuple[str, str], deque[float]] = {}

    # --- who is who ---

    def identify(self, host: Host, worker_id: str) -> None:
        """Say which worker id a host's worker has."""
        self._workers[host] = worker_id

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

    # --- the stream and the table ---

    def sink(self, event: events.StateEvent) -> None:
        """Take an event of the fake stream or table, at the moment it applies."""
        if isinstance(event, events.ItemApplied):
            self._item_applied(event)
        elif isinstance(event, events.RecordStored):
            self._record_stored(event)
        elif isinstance(event, events.RecordsRead):
            self._records_read(event)
        elif isinstance(event, events.ConditionFailed):
            self._condition_failed(event)
        elif isinstance(event, events.ShardOpened):
            self.shards[event.shard_id] = ShardTruth(event.shard_id, event.parents)
            if len(event.parents) > 1:
                self.reached["merge"] += 1
        elif isinstance(event, events.ShardClosed):
            self.shards[event.shard_id].closed = True
            self.reached["shard closed"] += 1
        elif isinstance(event, events.RecordsTrimmed):
            self._trimmed(event)

    def _record_stored(self, event: events.RecordStored) -> None:
        shard = self.shards[event.shard_id]
        users = user_ids(event.record.data)
        if len(users) > 1:
            self.reached["aggregate stored"] += 1
        for sub, user in enumerate(users):
            position = Position(event.number, sub)
            shard.add(user, position)
            places = self.places.setdefault(user.id, [])
            if places:
                self.resent += 1
                self._duplicate(user.id, "is in the stream twice")
            places.append(Place(event.shard_id, position))
        self.simulation.note(f"{event.at_s} stored {event.shard_id} {event.number} {len(users)}")

    def _trimmed(self, event: events.RecordsTrimmed) -> None:
        shard = self.shards[event.shard_id]
        upto = sum(1 for position in shard.positions if position.sequence_number <= event.last)
        lost = shard.excuse(upto)
        self.excused_ids.update(user.id for user in lost)
        if lost:
            self.reached["trimmed before it was processed"] += 1

    def _records_read(self, event: events.RecordsRead) -> None:
        sender = self.network.sender
        if sender is None or sender.host is None or sender.fault is not Fault.NONE:
            return
        reads = self._reads.setdefault((sender.host.name, event.shard_id), deque(maxlen=_READS_PER_S + 1))
        reads.append(sender.sent_s)
        if len(reads) > _READS_PER_S and reads[-1] - reads[0] < 1.0 - _EXPIRY_SLACK_S:
            self.violate("I16", event.shard_id, f"{len(reads)} GetRecords within {reads[-1] - reads[0]:.3f} s")

    # --- the lease table ---

    def _condition_failed(self, event: events.ConditionFailed) -> None:
        sender = self.network.sender
        if sender is None:
            return
        if sender.fault is Fault.LATE:
            self.reached["late write refused"] += 1
        elif sender.fault is Fault.TWICE:
            self.reached["own write refused the second time"] += 1
        lease = self.leases.get(event.key)
        if lease is not None and lease.present and self._sender_id() != lease.owner:
            self.reached["write refused for a former owner or a slower taker"] += 1

    def _item_applied(self, event: events.ItemApplied) -> None:
        before, after = event.before, event.after
        item = after if after is not None else before
        if item is None or item.get("entityType", "LEASE") != "LEASE" or "checkpoint" not in item:
            return
        lease = self.leases.setdefault(event.key, Lease(event.key, str(item.get("shardId", event.key))))
        if after is None:
            self._row_deleted(lease)
        elif before is None:
            self._row_created(lease, after)
        else:
            self._row_changed(lease, before, after)
        shown = "deleted" if after is None else f"{lease.counter} {lease.checkpoint} {lease.owner}"
        line = f"t={self.simulation.now:.6f} {event.key} {shown} by {self._sender_id()}"
        self.table_writes.append(line)
        self.simulation.note(line)

    def _row_created(self, lease: Lease, after: Mapping[str, object]) -> None:
        if lease.epochs:
            self.reached["row created again"] += 1
        lease.present, lease.ended = True, False
        lease.counter, lease.checkpoint = _counter(after), row_position(after)
        lease.changed_s = self.simulation.now
        lease.epochs.append(Epoch(_owner(after), Started("free", self.simulation.now), lease.checkpoint))
        lease.remember()
        shard = self.shards.get(lease.shard_id)
        if shard is not None and lease.checkpoint in {LATEST, AT_TIMESTAMP}:
            self.excused_ids.update(user.id for user in shard.excuse(len(shard.records)))
        if not self._covered:
            self._covered = not self._holes()

    def _row_deleted(self, lease: Lease) -> None:
        if not lease.ended and self._sender_id() is not None:
            self.violate("I9", lease.key, "its row was deleted before SHARD_END")
        elif lease.ended and self._sender_id() is not None:
            self._check_children_began(lease)
        lease.forget()
        lease.epochs.append(Epoch(None, Started("free", self.simulation.now), lease.checkpoint))
        self.reached["row deleted"] += 1
        self._check_coverage(lease.key)

    def _check_children_began(self, lease: Lease) -> None:
        for shard in self.shards.values():
            if lease.shard_id in shard.parents:
                child = self.leases.get(shard.shard_id)
                if child is None or (child.present and child.checkpoint in {TRIM_HORIZON, AT_TIMESTAMP}):
                    self.violate("I9", lease.key, f"its row was deleted before its child {shard.shard_id} began")

    def _row_changed(self, lease: Lease, before: Mapping[str, object], after: Mapping[str, object]) -> None:
        now, stored = self.simulation.now, row_position(after)
        old_owner, new_owner = _owner(before), _owner(after)
        if stored != lease.checkpoint:
            self._checkpointed(lease, old_owner, stored)
        since_s = now - lease.changed_s
        counter = _counter(after)
        if counter != lease.counter:
            lease.changed_s = now
        lease.counter, lease.checkpoint = counter, stored
        lease.remember()
        if old_owner != new_owner:
            given = new_owner is None or before.get("checkpointOwner") == self._sender_id()
            self._moved(lease, old_owner, new_owner, since_s, given=given)
        if stored == SHARD_END and not lease.ended:
            lease.ended = True
            self.reached["shard finished"] += 1
            self._check_coverage(lease.key)

    def _moved(self, lease: Lease, old: str | None, new: str | None, since_s: float, *, given: bool) -> None:
        if old is None:
            kind = "free"
        elif given and self._sender_id() == old:
            kind = "released"
        else:
            kind = "expired" if since_s > self.failover_s - _EXPIRY_SLACK_S else "stolen"
        lease.epochs.append(Epoch(new, Started(kind, self.simulation.now), lease.checkpoint))
        lease.moves += 1
        self.reached[f"lease moved: {kind}"] += 1
        if self.calm and kind in {"expired", "stolen"}:
            self.violate("calm", lease.key, f"moved from {old} to {new} ({kind})")

    def _checkpointed(self, lease: Lease, owner: str | None, stored: Position) -> None:
        sender, writer = self.network.sender, self._sender_id()
        if stored < lease.checkpoint:
            self.violate("I4b", lease.key, f"went back from {lease.checkpoint} to {stored}")
        if writer is not None and sender is not None:
            if writer != owner:
                self.violate("I4a", lease.key, f"{writer} stored {stored}, and {owner} owns the lease")
            elif lease.epochs and lease.epochs[-1].started.at_s > sender.sent_s:
                self.violate("I4a", lease.key, f"{writer} stored {stored}, sent in an earlier epoch")
            if sender.fault is Fault.LATE:
                self.reached["late checkpoint applied"] += 1
            elif sender.fault in {Fault.REPLY_LOST, Fault.ERROR_AFTER}:
                self.reached["checkpoint applied, reply lost"] += 1
        shard = self.shards.get(lease.shard_id)
        if shard is not None:
            self._check_covered_by(shard, stored)
        if stored.sub_sequence_number > 0:
            self.reached["checkpoint inside or at the end of an aggregate"] += 1

    def _check_covered_by(self, shard: ShardTruth, stored: Position) -> None:
        first = shard.first_not_done()
        if stored == SHARD_END and not shard.closed:
            self.violate("I3", shard.shard_id, "SHARD_END was stored for an open shard")
        elif first < len(shard.positions) and shard.positions[first] <= stored:
            missing = shard.records[first].id
            self.violate(
                "I3", shard.shard_id, f"{stored} was stored, {missing} at {shard.positions[first]} is not done"
            )

    def _holes(self) -> list[str]:
        """Return the open shards that neither a lease of their own nor one of an ancestor stands for."""
        return [s.shard_id for s in self.shards.values() if not s.closed and not self._stands_for(s.shard_id)]

    def _stands_for(self, shard_id: str) -> bool:
        lease = self.leases.get(shard_id)
        if lease is not None and lease.present and not lease.ended:
            return True
        shard = self.shards.get(shard_id)
        return shard is not None and any(self._stands_for(parent) for parent in shard.parents)

    def _check_coverage(self, key: str) -> None:
        holes = self._holes() if self._covered else []
        if holes:
            self.violate("I9", key, f"no unfinished lease stands for {', '.join(holes)}")

    # --- producers ---

    def putting(self, user: UserId) -> None:
        """Note that a test's producer is about to put a record."""
        self.put_ids[user.id] = self.simulation.now

    def outcome(self, user: UserId, kind: str, place: Place | None = None) -> None:
        """Take what became of a put: ``delivered`` (with its place), ``not written`` or ``unknown``."""
        if user.id in self.outcomes:
            self.violate("I7", user.id, f"resolved twice: {self.outcomes[user.id][0]}, then {kind}")
        self.outcomes[user.id] = (kind, place)
        self.reached[f"put {kind}"] += 1
        if kind == "delivered" and place is not None:
            self._check_placement(user, place)
        if kind == "delivered" and place not in self.places.get(user.id, ()):
            self.violate(
                "I7", user.id, f"called delivered at {place}, and is at {self.places.get(user.id, 'no place')}"
            )

    def flushed(self, users: Iterable[UserId]) -> None:
        """Take that a flush reported nothing pending: every put of `users` must be resolved."""
        for user in users:
            if user.id not in self.outcomes:
                self.violate("I7", user.id, "is not resolved, and a flush said that nothing was pending")

    def _check_placement(self, user: UserId, place: Place) -> None:
        within = self.ranges.get(place.shard_id)
        if within is not None and hash_key(user.key) not in within:
            self.violate("I15", user.id, f"called delivered in {place.shard_id}, which does not own its key")

    # --- handlers ---

    def delivered(self, worker: str, shard_id: str, position: Position, token: int, user: UserId) -> None:
        """Take one delivery to a handler: called first thing in the handler."""
        self.deliveries += 1
        shard = self.shards[shard_id]
        index = shard.index_of.get(position)
        shard.log.append((self.simulation.now, "delivered", worker, token, position, user.id))
        if index is None or shard.records[index].id != user.id:
            self.violate("I2", shard_id, f"{user.id} was delivered as {position}, which is not its place")
            return
        self._check_owner(worker, shard_id, position)
        self._check_tenure(worker, shard_id, position, token)
        if shard.delivered[index]:
            self._again(shard, index, user)
            return
        if not any(shard.delivered):
            self._check_parents(shard)
        expected = shard.expected_of(user.key)
        if expected != index:
            due = None if expected is None else shard.records[expected].id
            self.violate("I2", shard_id, f"{user.id} was delivered first, {due} of its key is due")
        shard.delivered[index] = 1

    def _again(self, shard: ShardTruth, index: int, user: UserId) -> None:
        if shard.done[index]:
            self.redelivered += 1
            self._duplicate(user.id, "was processed twice")
        else:
            self.reached["delivered again before it was done"] += 1

    def _duplicate(self, user_id: str, what: str) -> None:
        if self.strict_duplicates:
            self.violate("dup", user_id, what)

    def _check_owner(self, worker: str, shard_id: str, position: Position) -> None:
        lease = self.leases.get(shard_id)
        if lease is None or lease.owner == worker:
            return
        epoch = lease.superseded(worker)
        if epoch is None:
            return
        late_s = self.simulation.now - epoch.started.at_s
        if epoch.started.kind in {"expired", "released"} or late_s > self.failover_s:
            what = (
                f"{worker} delivered {position} {late_s:.3f} s after {epoch.owner} had the lease ({epoch.started.kind})"
            )
            self.violate("I11", shard_id, what)
        else:
            self.reached["delivered after a steal"] += 1

    def _check_tenure(self, worker: str, shard_id: str, position: Position, token: int) -> None:
        tenure = self._tenures.get((worker, shard_id, token))
        if tenure is None:
            lease = self.leases.get(shard_id)
            began = lease.checkpoint_at(token) if lease is not None and token else None
            tenure = self._tenures[worker, shard_id, token] = Tenure(began)
        if tenure.began is not None and not tenure.began.is_sentinel and position <= tenure.began:
            self.violate("I6", shard_id, f"{worker} delivered {position}, its tenure began after {tenure.began}")
        if tenure.done is not None and position <= tenure.done:
            self.violate("I6", shard_id, f"{worker} delivered {position} again after it had processed {tenure.done}")

    def _check_parents(self, shard: ShardTruth) -> None:
        for parent_id in shard.parents:
            parent, lease = self.shards.get(parent_id), self.leases.get(parent_id)
            if parent is None or (lease is not None and lease.ended):
                continue
            if parent.first_not_done() < len(parent.records) or (lease is not None and lease.present):
                self.violate("I5", shard.shard_id, f"delivered before its parent {parent_id} was finished")

    def processed(self, worker: str, shard_id: str, position: Position, token: int, user: UserId) -> None:
        """Take that a handler is done with a record: called last thing before it returns."""
        shard = self.shards[shard_id]
        shard.log.append((self.simulation.now, "processed", worker, token, position, user.id))
        index = shard.index_of.get(position)
        if index is not None:
            shard.done[index] = 1
        self.processed_ids.add(user.id)
        tenure = self._tenures.get((worker, shard_id, token))
        if tenure is not None and (tenure.done is None or position > tenure.done):
            tenure.done = position
        self.simulation.note(f"{self.simulation.now} processed {worker} {shard_id} {position}")

    def parked(self, shard_id: str, position: Position, user: UserId) -> None:
        """Take that a record was parked, or skipped on purpose: it counts as done."""
        shard = self.shards[shard_id]
        index = shard.index_of[position]
        shard.done[index] = shard.delivered[index] = 1
        self.excused_ids.add(user.id)

    # --- the end ---

    def lost(self) -> list[str]:
        """Return the acknowledged records that were not processed, nor excused."""
        return [
            user_id
            for user_id, (kind, _) in self.outcomes.items()
            if kind == "delivered" and user_id not in self.processed_ids and user_id not in self.excused_ids
        ]

    def pending(self) -> int:
        """Return how many stored user records are not done yet."""
        return sum(len(s.done) - sum(s.done) for s in self.shards.values())

    def finish(self, alive: Iterable[str] | None = None, *, orphaned_s_max: float = 0.0, settled: bool = True) -> None:
        """Judge the end of a run: nothing lost, no lie told, every lease in living hands (`alive` worker ids).

        A lease may be in nobody's hands for `orphaned_s_max` seconds after its last change (the bound of P10).
        `settled` says that producers are closed and late requests have landed.
        """
        for user_id in self.lost():
            places = self.places.get(user_id, [])
            self.violate("I1", user_id, f"acknowledged and never processed; it is at {places}")
        if settled:
            self._check_outcomes()
        if alive is not None:
            living = set(alive)
            for lease in self.leases.values():
                orphaned_s = self.simulation.now - lease.changed_s
                if lease.present and not lease.ended and lease.owner not in living and orphaned_s > orphaned_s_max:
                    self.violate("I10", lease.key, f"is held by {lease.owner}, who does not live")

    def _check_outcomes(self) -> None:
        for user_id in self.put_ids:
            kind, place = self.outcomes.get(user_id, ("open", None))
            places = self.places.get(user_id, [])
            if kind == "open":
                self.violate("I7", user_id, "its put was never resolved")
            elif kind == "not written" and places:
                self.violate("I7", user_id, f"called not written, and is at {places}")
            elif kind == "delivered" and place not in places:
                self.violate("I7", user_id, f"called delivered at {place}, and is at {places}")


def _counter(item: Mapping[str, object]) -> int:
    counter = item.get("leaseCounter", 0)
    return counter if isinstance(counter, int) else 0


def _owner(item: Mapping[str, object]) -> str | None:
    owner = item.get("checkpointOwner") or item.get("leaseOwner")
    return None if owner is None else str(owner)
