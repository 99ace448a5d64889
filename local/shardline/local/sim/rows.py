"""The oracle's predicates over the lease table: each row's life, judged at the moment a write applies (I3, I4, I9).

A row is identified by its key alone; meta-information and other entities of the table are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shardline.common.records import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Position
from shardline.local.sim.judge import Judge
from shardline.local.sim.network import Fault
from shardline.local.sim.truth import Lease, ShardTruth, Started, row_position

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardline.local.sim.network import Network
    from shardline.local.sim.simulation import Simulation
    from shardline.local.state import events

__all__ = ["RowJudge"]

EXPIRY_SLACK_S: Final = 0.05
_STILL_SHARE: Final = 0.7
"""Of the fail-over time: a lease that is held is renewed in a third of it, and once more where that failed."""


class RowJudge(Judge):
    """Judges the lease table's writes; `excused_ids` are records that nobody needs to process."""

    def __init__(self, simulation: Simulation, network: Network, *, failover_s: float = 10.0) -> None:
        super().__init__(simulation, network, failover_s=failover_s)
        self.excused_ids: set[str] = set()
        self.retention_s = float("inf")
        self._covered = False

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
        if lease.cleaned_up and self._sender_id() is not None and self._is_proven_done(lease.shard_id):
            self.violate("I6", lease.key, "its row was created again after the finished shard's lease was cleaned up")
        lease.present, lease.ended, lease.cleaned_up = True, False, False
        lease.lives += 1
        lease.counter, lease.checkpoint = _counter(after), row_position(after)
        lease.changed_s = lease.sent_s = self.simulation.now
        lease.begin(_owner(after), Started("free", self.simulation.now))
        lease.remember()
        shard = self.shards.get(lease.shard_id)
        if shard is not None and lease.checkpoint in {LATEST, AT_TIMESTAMP}:
            self.excused_ids.update(user.id for user in shard.excuse(len(shard.records)))
        if not self._covered:
            self._covered = not self.holes()

    def _row_deleted(self, lease: Lease) -> None:
        if not lease.ended and self._sender_id() is not None:
            self.violate("I9", lease.key, "its row was deleted before SHARD_END")
        elif lease.ended and self._sender_id() is not None:
            self._check_children_began(lease)
            lease.cleaned_up = True
        lease.forget()
        lease.begin(None, Started("free", self.simulation.now))
        self.reached["row deleted"] += 1
        if self._sender_id() is None:
            self._covered = False  # An operator did it: until a repair is done, nobody promises anything.
        self._check_coverage(lease.key)

    def _check_children_began(self, lease: Lease) -> None:
        for shard in self.shards.values():
            if lease.shard_id in shard.parents and not self._is_over(shard):
                child = self.leases.get(shard.shard_id)
                if child is None or (child.present and child.checkpoint in {TRIM_HORIZON, AT_TIMESTAMP}):
                    self.violate("I9", lease.key, f"its row was deleted before its child {shard.shard_id} began")

    def _is_over(self, shard: ShardTruth) -> bool:
        """Say whether retention took the shard with all that was in it: nobody can begin it, or is told of it."""
        return self.simulation.wall_s - shard.closed_s >= self.retention_s

    def _row_changed(self, lease: Lease, before: Mapping[str, object], after: Mapping[str, object]) -> None:
        now, stored = self.simulation.now, row_position(after)
        old_owner, new_owner = _owner(before), _owner(after)
        if stored != lease.checkpoint:
            self._checkpointed(lease, old_owner, stored)
        since_s = now - lease.changed_s
        counter = _counter(after)
        if self.calm and since_s > _STILL_SHARE * self.failover_s:
            self._check_held(lease, since_s)
        sender = self.network.sender
        if sender is not None and self._sender_id() is not None:
            self.tokens.changed(lease, new_owner if old_owner != new_owner else None, counter)
            if counter != lease.counter and self._sender_id() == new_owner:
                lease.sent_s = sender.sent_s
            self._note_lost_reply(lease, sender.fault, still_owner=new_owner == self._sender_id())
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

    def _note_lost_reply(self, lease: Lease, fault: Fault, *, still_owner: bool) -> None:
        """Count a worker that goes on as the owner after a write of his was applied and its reply lost."""
        me = self._sender_id()
        if still_owner and lease.reply_lost_to == me:
            self.reached["lost reply resolved as applied"] += 1
        lost = fault in {Fault.REPLY_LOST, Fault.ERROR_AFTER, Fault.HUNG}
        lease.reply_lost_to = me if lost and still_owner else None

    def _check_held(self, lease: Lease, since_s: float) -> None:
        """Judge a lease that stood still, unless its owner had not begun to hold it (it was handed over)."""
        if lease.sent_s >= lease.epochs[-1].started.at_s and lease.owner is not None:
            self.violate("churn", lease.key, f"{lease.owner} did not renew it for {since_s:.1f} s, and was not away")

    def _moved(self, lease: Lease, old: str | None, new: str | None, since_s: float, *, given: bool) -> None:
        if old is None:
            kind = "free"
        elif given and self._sender_id() == old:
            kind = "released"
        else:
            kind = "expired" if since_s > self.failover_s - EXPIRY_SLACK_S else "stolen"
        lease.begin(new, Started(kind, self.simulation.now))
        if new is not None and lease.shard_id in self.shards:
            self.shards[lease.shard_id].tenure_begins(new)
        lease.moves += 1
        self.reached[f"lease moved: {kind}"] += 1
        if self.calm and kind in {"expired", "stolen"}:
            self.violate("churn", lease.key, f"moved from {old} to {new} ({kind})")

    def _checkpointed(self, lease: Lease, owner: str | None, stored: Position) -> None:
        sender, writer = self.network.sender, self._sender_id()
        if stored < lease.checkpoint and writer is None:
            self.reached["checkpoint set back by hand"] += 1
        elif stored < lease.checkpoint:
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

    def holes(self) -> list[str]:
        """Return the open shards that neither a lease of their own nor one of an ancestor stands for."""
        return [s.shard_id for s in self.shards.values() if not s.closed and not self._stands_for(s.shard_id)]

    def _stands_for(self, shard_id: str) -> bool:
        lease = self.leases.get(shard_id)
        if lease is not None and lease.present and not lease.ended:
            return True
        shard = self.shards.get(shard_id)
        return shard is not None and any(self._stands_for(parent) for parent in shard.parents)

    def _is_proven_done(self, shard_id: str) -> bool:
        """Say whether a descendant has a row, which says that the shard is finished; an operator may have taken all."""
        children = [one.shard_id for one in self.shards.values() if shard_id in one.parents]
        leases = [self.leases[one] for one in children if one in self.leases]
        return any(one.present for one in leases) or any(self._is_proven_done(one) for one in children)

    def _check_holes(self) -> None:
        for shard_id in self.holes():
            self.violate("I9", shard_id, "no unfinished lease stands for it in the end")

    def _check_coverage(self, key: str) -> None:
        if self._covered and self._sender_id() is None:
            self._covered = not self.holes()  # An operator's doing; the fleet's to mend.
        holes = self.holes() if self._covered else []
        if holes:
            self.violate("I9", key, f"no unfinished lease stands for {', '.join(holes)}")


def _counter(item: Mapping[str, object]) -> int:
    counter = item.get("leaseCounter", 0)
    return counter if isinstance(counter, int) else 0


def _owner(item: Mapping[str, object]) -> str | None:
    owner = item.get("checkpointOwner") or item.get("leaseOwner")
    return None if owner is None else str(owner)
