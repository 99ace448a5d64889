"""The oracle: the invariants of `reliability.md` as predicates over what truly happened, each judged as it happens.

It sits inside the fake stream and the fake table (their event sinks) and in the test's own producers and handlers; it
knows no object of the product. Rows are judged in `rows`; what all predicates share is in `judge`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING, Final

from shardline.common.hashing import hash_key
from shardline.common.records import Position
from shardline.local.sim.judge import INVARIANTS, Violation, ViolationError, payload, user_ids
from shardline.local.sim.network import Fault
from shardline.local.sim.rows import EXPIRY_SLACK_S, RowJudge
from shardline.local.sim.truth import Place, ShardTruth, Tenure, UserId
from shardline.local.state import events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.common.hashing import HashRange
    from shardline.local.sim.network import Network
    from shardline.local.sim.simulation import Simulation
    from shardline.local.sim.truth import Lease

__all__ = ["INVARIANTS", "Oracle", "Violation", "ViolationError", "payload", "user_ids"]

_READS_PER_S: Final = 5
_MAGIC: Final = bytes.fromhex("f3899ac2")


class Oracle(RowJudge):
    """Judges one world with one stream and one lease table.

    `failover_s` is the fleet's. `reached` counts rare branches by name (I23); `redelivered` and `resent` are the two
    kinds of duplicates. `strict_duplicates` makes any of them a violation (healthy worlds), `calm` any lease that
    moves; `stop_at_first` lets the first violation end the run.
    """

    def __init__(self, simulation: Simulation, network: Network, *, failover_s: float = 10.0) -> None:
        super().__init__(simulation, network, failover_s=failover_s)
        self.outcomes: dict[str, tuple[str, Place | None]] = {}
        self.put_ids: dict[str, float] = {}
        self.ranges: dict[str, HashRange] = {}
        """Hash range of each shard whose placement is to be judged (I15): an acknowledged record must belong there."""
        self.auto = False
        """Whether the stream places records itself: plain ones then lie anywhere, and aggregates must not."""
        self.in_turn = False
        """Whether handlers take one record after another, so that all of a shard come in order, whatever their keys."""
        self.processed_ids: set[str] = set()
        self.redelivered = 0
        self.resent = 0
        self.deliveries = 0
        self._tenures: dict[tuple[str, str, int, int], Tenure] = {}
        """By worker, shard, life of the row, token."""
        self._aggregates: set[tuple[str, int]] = set()
        self._reads: dict[tuple[str, str], deque[float]] = {}

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
            shard = self.shards[event.shard_id]
            shard.closed, shard.closed_s = True, event.at_s
            self.reached["shard closed"] += 1
        elif isinstance(event, events.RecordsTrimmed):
            self._trimmed(event)

    def _record_stored(self, event: events.RecordStored) -> None:
        shard = self.shards[event.shard_id]
        users = user_ids(event.record.data)
        if len(users) > 1:
            self.reached["aggregate stored"] += 1
        aggregated = event.record.data.startswith(_MAGIC)
        if self.auto and aggregated:
            self._aggregates.add((event.shard_id, event.number))
        for sub, user in enumerate(users):
            position = Position(event.number, sub)
            shard.add(user, position, keyless=event.record.partition_key is None and not aggregated)
            places = self.places.setdefault(user.id, [])
            if places:
                self.resent += 1
                self._duplicate(user.id, "is in the stream twice")
            places.append(Place(event.shard_id, position))
        self.simulation.note(f"{event.at_s} stored {event.shard_id} {event.number} {len(users)}")

    def rightly_placed(self, shard_id: str, number: int) -> list[UserId]:
        """Return the user records of a Kinesis record, if no reader would discard any of them for its place."""
        shard = self.shards[shard_id]
        first = shard.index_of.get(Position(number, 0))
        if first is None:
            return []
        last = bisect_right(shard.positions, number, first, key=lambda position: position.sequence_number)
        users, within = shard.records[first:last], self.ranges.get(shard_id)
        if within is None or not self._is_ranged(Place(shard_id, Position(number, 0))):
            return users
        return users if all(hash_key(user.key) in within for user in users) else []

    def _trimmed(self, event: events.RecordsTrimmed) -> None:
        shard = self.shards[event.shard_id]
        upto = shard.trimmed = sum(1 for position in shard.positions if position.sequence_number <= event.last)
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
        if len(reads) > _READS_PER_S and reads[-1] - reads[0] < 1.0 - EXPIRY_SLACK_S:
            self.violate("I16", event.shard_id, f"{len(reads)} GetRecords within {reads[-1] - reads[0]:.3f} s")

    # --- producers ---

    def putting(self, user: UserId) -> None:
        """Note that a test's producer is about to put a record."""
        self.put_ids[user.id] = self.simulation.now

    def outcome(self, user: UserId, kind: str, place: Place | None = None, *, judged: bool = True) -> None:
        """Take what became of a put: ``delivered`` (with its place), ``not written`` or ``unknown``.

        Unless `judged`, it may lie in a shard that does not own its key: its producer is not ours.
        """
        if user.id in self.outcomes:
            self.violate("I7", user.id, f"resolved twice: {self.outcomes[user.id][0]}, then {kind}")
        self.outcomes[user.id] = (kind, place)
        self.reached[f"put {kind}"] += 1
        if kind == "delivered" and place is not None and judged and self._is_ranged(place):
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

    def _is_ranged(self, place: Place) -> bool:
        """Say whether a KCL looks at where a record lies: only at those in aggregates."""
        return not self.auto or (place.shard_id, place.position.sequence_number) in self._aggregates

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
        self._check_tenure(worker, shard, index, token)
        if shard.delivered[index]:
            self._again(shard, index, user)
            return
        if not any(shard.delivered):
            self._check_parents(shard)
        due = shard.due(worker, index, in_turn=self.in_turn)
        if due != index:
            whose = "the shard" if self.in_turn else "its key"
            what = f"{user.id} at {position} was delivered first, {shard.records[due].id} of {whose} is due"
            self.violate("I2", shard_id, f"{what}, at {shard.positions[due]}")
        shard.delivered[index] = 1

    def _again(self, shard: ShardTruth, index: int, user: UserId) -> None:
        if shard.done[index]:
            self.redelivered += 1
            self._duplicate(user.id, "was processed twice")
        else:
            self.reached["delivered again before it was done"] += 1

    def _check_owner(self, worker: str, shard_id: str, position: Position) -> None:
        lease = self.leases.get(shard_id)
        if lease is None:
            return
        if lease.owner == worker:
            self._check_validity(lease, worker, position)
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

    def _check_validity(self, lease: Lease, worker: str, position: Position) -> None:
        since_s = self.simulation.now - lease.sent_s
        if since_s > self.failover_s + EXPIRY_SLACK_S:
            what = f"{worker} delivered {position} {since_s:.3f} s after it had sent the last write that was applied"
            self.violate("I11b", lease.key, what)

    def _check_tenure(self, worker: str, shard: ShardTruth, index: int, token: int) -> None:
        shard_id, position = shard.shard_id, shard.positions[index]
        tenure = self._tenure(worker, shard_id, token)
        if tenure.began is not None and not tenure.began.is_sentinel and position <= tenure.began:
            self.violate("I6", shard_id, f"{worker} delivered {position}, its tenure began after {tenure.began}")
        if shard.under[index] == tenure.serial:
            self.violate("I6", shard.shard_id, f"{worker} delivered {position} again after it had processed it")

    def _tenure(self, worker: str, shard_id: str, token: int) -> Tenure:
        """Return a worker's tenure; the token alone does not name it, for a row that is created again counts anew."""
        lease = self.leases.get(shard_id)
        life = 0 if lease is None else lease.life_of(worker)
        tenure = self._tenures.get((worker, shard_id, life, token))
        if tenure is None:
            known = lease is not None and token and life == lease.lives
            began = lease.checkpoint_at(token) if lease is not None and known else None
            self.tokens.began(lease, shard_id, worker, token)
            tenure = self._tenures[worker, shard_id, life, token] = Tenure(len(self._tenures) + 1, began)
        return tenure

    def _check_parents(self, shard: ShardTruth) -> None:
        for parent_id in shard.parents:
            parent, lease = self.shards.get(parent_id), self.leases.get(parent_id)
            if parent is None or (lease is not None and lease.ended):
                continue
            if parent.first_not_done() < len(parent.records) or (lease is not None and lease.present):
                self.violate("I5", shard.shard_id, f"delivered before its parent {parent_id} was finished")

    def processed(
        self, worker: str, shard_id: str, position: Position, token: int, user: UserId, *, cancelled: bool = False
    ) -> None:
        """Take that a handler is done with a record: called last thing before it returns.

        `cancelled`: it had been told to stop. The result of a superseded handler counts for nothing.
        """
        shard = self.shards[shard_id]
        index = shard.index_of.get(position)
        if cancelled or self.is_late(worker, shard_id, token):
            self.reached["late result of a superseded handler"] += 1
            shard.log.append((self.simulation.now, "late", worker, token, position, user.id))
            if index is not None:
                shard.late.add((worker, index))
            return
        shard.log.append((self.simulation.now, "processed", worker, token, position, user.id))
        if index is not None:
            shard.done[index] = 1
            shard.under[index] = self._tenure(worker, shard_id, token).serial
        self.processed_ids.add(user.id)
        self.simulation.note(f"{self.simulation.now} processed {worker} {shard_id} {position}")

    def parking(self, worker: str, shard_id: str, position: Position) -> None:
        """Take that a worker hands a record to its lot, which it may only where it might call its handler."""
        self._check_owner(worker, shard_id, position)

    def parked(self, worker: str, shard_id: str, position: Position, data: bytes) -> None:
        """Take that a record joined a worker's lot, with these bytes: it counts as done.

        Unless the worker was superseded while the lot took it: its successor handles it, or parks it again.
        """
        shard = self.shards[shard_id]
        index = shard.index_of[position]
        user = shard.records[index]
        if user_ids(data) != [user]:
            self.violate("I1", shard_id, f"what was parked as {position} is not {user.id} whole")
        self.reached["record parked"] += 1
        if self.is_superseded(worker, shard_id):
            self.reached["record joined the lot late"] += 1
            shard.late.add((worker, index))
            return
        shard.done[index] = shard.delivered[index] = 1
        self.excused_ids.add(user.id)

    def is_late(self, worker: str, shard_id: str, token: int) -> bool:
        """Say whether a result comes from a superseded handler."""
        return self.tokens.is_late(self.leases.get(shard_id), shard_id, worker, token)

    def is_superseded(self, worker: str, shard_id: str) -> bool:
        """Say whether somebody else owns the lease that the worker had."""
        lease = self.leases.get(shard_id)
        return lease is not None and lease.owner not in {None, worker}

    def sought(self, worker: str, shard_id: str, token: int, first: Position) -> None:
        """Take that a worker was told to read from `first` on: what it delivers again from there is no fault (I6)."""
        self.reached["sought"] += 1
        shard, tenure = self.shards[shard_id], self._tenure(worker, shard_id, token)
        if tenure.began is not None and first <= tenure.began:
            tenure.began = None
        for index, position in enumerate(shard.positions):
            if position >= first and shard.under[index] == tenure.serial:
                shard.under[index] = 0

    def skipped(self, shard_id: str, after: Position | None, before: Position) -> None:
        """Take a skip that was asked for and told: what lies between counts as parked (I1, I3)."""
        self.reached["skipped on purpose"] += 1
        shard = self.shards[shard_id]
        for index, position in enumerate(shard.positions):
            if (after is None or position > after) and position < before and not shard.done[index]:
                shard.done[index] = shard.delivered[index] = 1
                self.excused_ids.add(shard.records[index].id)

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
        if alive is not None:
            living = set(alive)
            self._check_holes()
            for lease in self.leases.values():
                orphaned_s = self.simulation.now - lease.changed_s
                if lease.present and not lease.ended and lease.owner not in living and orphaned_s > orphaned_s_max:
                    self.violate("I10", lease.key, f"is held by {lease.owner}, who does not live")
        for user_id in self.lost():
            places = self.places.get(user_id, [])
            self.violate("I1", user_id, f"acknowledged and never processed; it is at {places}")
        if settled:
            self._check_outcomes()

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
