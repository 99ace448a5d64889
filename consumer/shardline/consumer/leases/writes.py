"""Writes on lease rows as values: conditions and updates of `kcl.md` 2, in the forms of design.md.

Invariants: every write is conditional; renew, take and checkpoint on `leaseCounter` as read; assign, hand-off and evict
on `leaseOwner` and `checkpointOwner` as read; meta-information on existence. Every write of an owner adds exactly one
to the counter. Only `create` puts a whole item; all others name single attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shardline.common.ports.lease_store import Absent, Delete, Equals, Exists, Key, Put, Update, UpdateItem
from shardline.common.records import SHARD_END, TRIM_HORIZON
from shardline.consumer.leases import row as names
from shardline.consumer.leases.row import LEASE_KEY, LeaseRow, NewLease, Pending, new_item

if TYPE_CHECKING:
    from shardline.common.hashing import HashRange, Shard
    from shardline.common.ports.lease_store import Condition, Value
    from shardline.common.records import Position
    from shardline.consumer.fleet.startup import Place

__all__ = ["LeaseWrites"]


def _as_read(attribute: str, value: str | None) -> Equals | Absent:
    return Absent(attribute) if value is None else Equals(attribute, value)


def _owners_as_read(row: LeaseRow) -> Condition:
    return (
        _as_read(names.OWNER, row.owner),
        _as_read(names.CHECKPOINT_OWNER, row.checkpoint_owner),
        Exists(LEASE_KEY),
    )


def _is_switch(row: LeaseRow, new_owner: str) -> bool:
    """Say whether taking or assigning counts as an owner switch (`kcl.md` 2.2)."""
    return (row.owner is not None and row.owner != new_owner) or row.checkpoint_owner == new_owner


@dataclass(frozen=True, slots=True)
class LeaseWrites:
    """Builds the writes on the lease rows of one table."""

    table: str

    def create(self, lease: NewLease) -> Put:
        """Create the lease unless a row of that key exists."""
        return Put(self.table, new_item(lease), (Absent(LEASE_KEY),))

    def renew(self, row: LeaseRow, throughput_kbps: float | None = None) -> UpdateItem:
        """Add one to the counter; while no hand-off is known, also on condition that none has begun."""
        return UpdateItem(self.table, self._key(row), Update(set=self._beat(row, throughput_kbps)), self._own(row))

    def checkpoint(
        self, row: LeaseRow, position: Position, throughput_kbps: float | None = None, pending: Pending | None = None
    ) -> UpdateItem:
        """Store a checkpoint (and a prepared one, or remove it), which also renews; conditions as `renew`."""
        values = self._beat(row, throughput_kbps)
        values[names.CHECKPOINT] = position.text
        values[names.CHECKPOINT_SUB] = 0 if position.is_sentinel else position.sub_sequence_number
        values[names.OWNER_SWITCHES] = 0
        remove = {names.PENDING, names.PENDING_SUB, names.PENDING_STATE}
        if pending is not None:
            values[names.PENDING] = pending.position.text
            values[names.PENDING_SUB] = 0 if pending.position.is_sentinel else pending.position.sub_sequence_number
            remove -= {names.PENDING, names.PENDING_SUB}
            if pending.state is not None:
                values[names.PENDING_STATE] = pending.state
                remove.discard(names.PENDING_STATE)
        update = Update(set=values, remove=frozenset(remove))
        return UpdateItem(self.table, self._key(row), update, self._own(row))

    def take(self, row: LeaseRow, me: str, *, rescue: bool = False) -> UpdateItem:
        """Make `me` the owner, on condition of the counter; a rescue also on both owners as read."""
        add = {names.OWNER_SWITCHES: 1} if _is_switch(row, me) else {}
        update = Update(
            set={names.COUNTER: row.counter + 1, names.OWNER: me},
            remove=frozenset({names.CHECKPOINT_OWNER}),
            add=add,
        )
        condition: Condition = (Equals(names.COUNTER, row.counter),)
        if rescue:
            condition = (
                *condition,
                _as_read(names.OWNER, row.owner),
                _as_read(names.CHECKPOINT_OWNER, row.checkpoint_owner),
            )
        return UpdateItem(self.table, self._key(row), update, condition)

    def hand_off(self, row: LeaseRow, new_owner: str) -> UpdateItem:
        """Begin a graceful hand-off (leader): the next owner moves in, the present one is parked, counter untouched."""
        assert row.owner is not None, "a hand-off needs a present owner"
        return UpdateItem(
            self.table,
            self._key(row),
            Update(set={names.OWNER: new_owner, names.CHECKPOINT_OWNER: row.owner}),
            (Equals(names.OWNER, row.owner), Absent(names.CHECKPOINT_OWNER), Exists(LEASE_KEY)),
        )

    def assign(self, row: LeaseRow, new_owner: str) -> UpdateItem:
        """Assign directly (leader), or complete a hand-off (present owner)."""
        add = {names.COUNTER: 1}
        if _is_switch(row, new_owner):
            add[names.OWNER_SWITCHES] = 1
        update = Update(set={names.OWNER: new_owner}, remove=frozenset({names.CHECKPOINT_OWNER}), add=add)
        return UpdateItem(self.table, self._key(row), update, _owners_as_read(row))

    def evict(self, row: LeaseRow) -> UpdateItem:
        """Give the lease back: without a hand-off it is left unowned, in one the next owner gets it."""
        gone = {names.CHECKPOINT_OWNER} if row.checkpoint_owner else {names.OWNER, names.CHECKPOINT_OWNER}
        update = Update(remove=frozenset(gone), add={names.COUNTER: 1})
        return UpdateItem(self.table, self._key(row), update, _owners_as_read(row))

    def children(self, row: LeaseRow, children: tuple[str, ...]) -> UpdateItem:
        """Note the children of a finished shard; counter untouched."""
        return self._meta(row, {names.CHILDREN: frozenset(children)})

    def hash_range(self, row: LeaseRow, hash_range: HashRange) -> UpdateItem:
        """Fill in a missing hash range; counter untouched."""
        return self._meta(row, {names.HASH_START: str(hash_range.start), names.HASH_END: str(hash_range.end)})

    def delete_finished(self, row: LeaseRow) -> Delete:
        """Delete a finished shard's lease as read: same counter, still at SHARD_END."""
        condition = (Equals(names.COUNTER, row.counter), Equals(names.CHECKPOINT, SHARD_END.text))
        return Delete(self.table, self._key(row), condition)

    def delete_former(self, row: LeaseRow) -> Delete:
        """Delete the lease of a stream that is no longer ours: same counter, same owners as read."""
        condition = (Equals(names.COUNTER, row.counter), *_owners_as_read(row)[:2])
        return Delete(self.table, self._key(row), condition)

    def begin_again(self, row: LeaseRow, shard: Shard, stream_mark: str | None) -> UpdateItem:
        """Set a row that outlived its stream to the beginning of the shard that bears its name now, and unown it.

        In place, because the counter must go on: whoever still holds the old stream's lease fails at it. Conditional
        on the counter and both owners as read.
        """
        values: dict[str, Value] = {
            names.COUNTER: row.counter + 1,
            names.CHECKPOINT: TRIM_HORIZON.text,
            names.CHECKPOINT_SUB: 0,
            names.OWNER_SWITCHES: 0,
            names.HASH_START: str(shard.hash_range.start),
            names.HASH_END: str(shard.hash_range.end),
        }
        gone = {names.OWNER, names.CHECKPOINT_OWNER, names.CHILDREN, names.LATEST_PIN}
        gone |= {names.PENDING, names.PENDING_SUB, names.PENDING_STATE}
        if shard.parent_shard_ids:
            values[names.PARENTS] = frozenset(shard.parent_shard_ids)
        else:
            gone.add(names.PARENTS)
        if stream_mark is not None:
            values[names.STREAM_MARK] = stream_mark
        else:
            gone.add(names.STREAM_MARK)
        condition = (Equals(names.COUNTER, row.counter), *_owners_as_read(row))
        return UpdateItem(self.table, self._key(row), Update(set=values, remove=frozenset(gone)), condition)

    def delete_stream_info(self, place: Place, stream_name: str) -> Delete:
        """Delete a former stream's own item, which a KCL leader may have written (`kcl.md` 4.2); nothing else."""
        return Delete(place.table, Key(place.key_attribute, stream_name), (Equals(names.ENTITY_TYPE, "STREAM"),))

    def _key(self, row: LeaseRow) -> Key:
        return Key(LEASE_KEY, row.key)

    def _own(self, row: LeaseRow) -> Condition:
        counter = Equals(names.COUNTER, row.counter)
        return (counter,) if row.checkpoint_owner else (counter, Absent(names.CHECKPOINT_OWNER))

    def _beat(self, row: LeaseRow, throughput_kbps: float | None) -> dict[str, Value]:
        values: dict[str, Value] = {names.COUNTER: row.counter + 1}
        if throughput_kbps is not None:
            values[names.THROUGHPUT] = throughput_kbps
        return values

    def _meta(self, row: LeaseRow, values: dict[str, Value]) -> UpdateItem:
        return UpdateItem(self.table, self._key(row), Update(set=values), (Exists(LEASE_KEY),))
