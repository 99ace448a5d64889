"""Planted bugs of leases, shards, delivery and the producer: each breaks one rule; how they are planted: `planting`."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any
from weakref import WeakKeyDictionary

from shardline.common.errors import ServiceError
from shardline.common.ports.lease_store import Absent, Delete, Equals, Update, UpdateItem
from shardline.common.records import LATEST
from shardline.consumer import lineage
from shardline.consumer.driver import cleaning, consumer, sync
from shardline.consumer.driver.context import attempt
from shardline.consumer.driver.sync import ShardSync
from shardline.consumer.leases import row as names
from shardline.consumer.leases.held import HeldLease, Loss
from shardline.consumer.leases.writes import LeaseWrites
from shardline.producer.lane import Lane
from shardline.producer.report import FlushReport
from shardline.producer.router import Router
from shardline.producer.settling import Settler

from tests.sim.planting import Bug

__all__ = ["BUGS"]


# --- leases ---


def _credit_reply(original: Any) -> Any:
    def on_result(self: HeldLease, op: Any, result: Any, now: float) -> None:
        original(self, replace(op, sent_at=now), result, now)

    return on_result


def _credit_read(original: Any) -> Any:
    def on_read(self: HeldLease, item: Any, now: float) -> None:
        self._unresolved_at = now
        original(self, item, now)

    return on_read


def _checkpoint_on_owner(original: Any) -> Any:
    def checkpoint(self: LeaseWrites, row: Any, *arguments: Any, **options: Any) -> UpdateItem:
        write = original(self, row, *arguments, **options)
        values = {name: value for name, value in write.update.set.items() if name != names.COUNTER}
        update = Update(set=values, remove=write.update.remove, add={names.COUNTER: 1})
        return UpdateItem(write.table, write.key, update, (Equals(names.OWNER, row.owner),))

    return checkpoint


def _take_without_counter(original: Any) -> Any:
    def take(self: LeaseWrites, row: Any, me: str, **options: Any) -> UpdateItem:
        write = original(self, row, me, **options)
        owner = Absent(names.OWNER) if row.owner is None else Equals(names.OWNER, row.owner)
        return UpdateItem(write.table, write.key, write.update, (owner,))

    return take


def _restart_credits_itself(original: Any) -> Any:
    def renew_first(self: HeldLease, row: Any) -> None:
        if row.checkpoint_owner is not None:
            original(self, row)
            return
        self._settle(self._unresolved_at)  # type: ignore[arg-type]  # Only an unresolved write is looked for.
        self._acquire(row)

    return renew_first


def _never_expires(_original: Any) -> Any:
    return property(lambda _: inf)


def _stale_checkpoint(original: Any) -> Any:
    first: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()  # By the host's chance: one for each worker.

    def acquire(self: HeldLease, row: Any) -> None:
        seen = first.setdefault(self._random, {})
        original(self, replace(row, checkpoint=seen.setdefault(row.key, row.checkpoint)))

    return acquire


def _spurious_is_loss(original: Any) -> Any:
    def on_result(self: HeldLease, op: Any, result: Any, now: float) -> None:
        original(self, op, result, now)
        if not result.applied and not self.over:
            self._lose(Loss.TAKEN)

    return on_result


# --- lineage ---


def _one_parent_is_enough(original: Any) -> Any:
    def blocking(row: Any, rows: Any) -> Any:
        found = original(row, rows)
        return found if len(found) == len(row.parents) else ()

    return blocking


def _first_parent_only(original: Any) -> Any:
    def leases(children: Any, *arguments: Any, **options: Any) -> Any:
        return [replace_lease(one, parents=one.parents[:1]) for one in original(children, *arguments, **options)]

    return leases


def _children_at_latest(original: Any) -> Any:
    def leases(children: Any, *arguments: Any, **options: Any) -> Any:
        return [replace_lease(one, checkpoint=LATEST) for one in original(children, *arguments, **options)]

    return leases


def replace_lease(lease: Any, **changes: Any) -> Any:
    """Return a new lease with some fields changed, dataclass or named tuple."""
    return lease._replace(**changes) if hasattr(lease, "_replace") else replace(lease, **changes)


def _no_children(_original: Any) -> Any:
    async def create_children(_self: ShardSync, _row: Any, children: Any) -> tuple[str, ...]:
        return tuple(child.shard_id for child in children)

    return create_children


def _one_generation_up(_original: Any) -> Any:
    def done(listed: Any, rows: Any) -> Any:
        parents = {parent for shard in listed.values() if shard.shard_id in rows for parent in shard.parent_shard_ids}
        return frozenset(parent for parent in parents if parent not in rows)

    return done


def _clean_always(_original: Any) -> Any:
    return lambda *_, **_options: True


def _delete_unconditionally(_original: Any) -> Any:
    def delete_finished(self: LeaseWrites, row: Any) -> Delete:
        return Delete(self.table, self._key(row))

    return delete_finished


def _sync_once(original: Any) -> Any:
    async def initialize(self: ShardSync, *arguments: Any) -> None:
        patient = vars(sync)["attempt"]
        setattr(sync, "attempt", _attempt_once)  # noqa: B010 - planted: the type differs on purpose.
        try:
            await original(self, *arguments)
        except ServiceError:
            return
        finally:
            setattr(sync, "attempt", patient)  # noqa: B010 - as above, taken back.

    return initialize


async def _attempt_once(_context: Any, _what: str, call: Any, *, within_s: float) -> Any:
    del within_s
    return await call()


def _first_page_only(_original: Any) -> Any:
    async def list_shards(self: ShardSync, stream: Any, shard_filter: Any = None) -> Any:
        context = self._context
        page = await attempt(
            context,
            "list",
            lambda: context.kinesis.list_shards(stream, shard_filter=shard_filter, timeout_s=10),
            within_s=120,
        )
        return list(page.shards)

    return list_shards


# --- producer ---


def _paired_by_place(original: Any) -> Any:
    def on_answer(self: Settler, request_id: int, outcomes: Any, now: float) -> None:
        original(self, request_id, sorted(outcomes, key=lambda outcome: outcome.error_code is not None), now)

    return on_answer


_KNOWN = ("ProvisionedThroughputExceededException", "InternalFailure", "KMSThrottlingException")


def _unknown_code_drops(original: Any) -> Any:
    def settle(self: Settler, package: Any, outcome: Any, now: float) -> None:
        if outcome.error_code is None or outcome.error_code in _KNOWN:
            original(self, package, outcome, now)

    return settle


def _misplaced_is_fine(_original: Any) -> Any:
    return lambda *_, **_options: True


def _flush_forgets(_original: Any) -> Any:
    async def flush(_self: Lane, _timeout_s: float | None, *, closing: bool = False) -> FlushReport:
        del closing
        return FlushReport([], 0)

    return flush


BUGS: dict[str, Bug] = {
    "validity credited at the reply": Bug(
        ((HeldLease, "on_result", _credit_reply),),
        ("squeezed",),
        "validity credited at the reply",
    ),
    "validity credited on a re-read": Bug(
        ((HeldLease, "on_read", _credit_read),),
        ("squeezed",),
        "validity credited on a re-read",
    ),
    "checkpoint conditioned on owner only": Bug(
        ((LeaseWrites, "checkpoint", _checkpoint_on_owner),), ("late applies", "swarm"), "checkpoint on owner only"
    ),
    "checkpoint conditioned on owner and epoch": Bug((), (), "checkpoint on owner and epoch"),
    "take without the counter": Bug(
        ((LeaseWrites, "take", _take_without_counter),), ("squeezed", "late applies"), "take without the counter"
    ),
    "restart credited from its own send": Bug(
        ((HeldLease, "_renew_first", _restart_credits_itself),),
        ("late restarts",),
        "restart credited from its own send",
    ),
    "no local expiry": Bug(((HeldLease, "valid_until", _never_expires),), ("clocks and pauses", "lost replies")),
    "stale checkpoint at take": Bug(((HeldLease, "_acquire", _stale_checkpoint),), ("lost replies", "auditor off")),
    "child started before one parent": Bug(
        ((consumer, "blocking_parents", _one_parent_is_enough),), ("reshard storm", "auditor off")
    ),
    "adjacent parent ignored": Bug(((sync, "child_leases", _first_parent_only),), ("reshard storm", "auditor off")),
    "child at LATEST": Bug(((sync, "child_leases", _children_at_latest),), ("reshard storm", "auditor off")),
    "no children created": Bug(((ShardSync, "create_children", _no_children),), ("auditor off", "reshard storm")),
    "parent row deleted early": Bug(
        ((cleaning, "may_clean_up", _clean_always), (LeaseWrites, "delete_finished", _delete_unconditionally)),
        ("reshard storm", "auditor off"),
    ),
    "cleaned-up shards known one generation up only": Bug(
        ((lineage, "_done", _one_generation_up),), ("generations", "reshard storm")
    ),
    "initial sync not retried": Bug(((ShardSync, "initialize", _sync_once),), ("hard start",)),
    "first page of ListShards only": Bug(((ShardSync, "list_shards", _first_page_only),), ("auditor off", "swarm")),
    "results paired by position": Bug(((Settler, "on_answer", _paired_by_place),), ("producer outage",)),
    "unknown error code drops the record": Bug(
        ((Settler, "_settle_entry", _unknown_code_drops),), ("producer outage",)
    ),
    "misplaced aggregate acknowledged": Bug(((Router, "owns", _misplaced_is_fine),), ("reshard storm",)),
    "flush forgets what is in flight": Bug(((Lane, "flush", _flush_forgets),), ("producer outage", "healthy")),
    "spurious condition failure taken for a loss": Bug(
        ((HeldLease, "on_result", _spurious_is_loss),), ("doubled writes",)
    ),
}
