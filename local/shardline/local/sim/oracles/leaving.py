"""Leaving: a worker that is asked to stop stores what it processed, gives its leases back, and is gone, whole."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardline.local.sim.hosts import Host
    from shardline.local.sim.judge import Judge
    from shardline.local.sim.truth import Lease

__all__ = ["INVARIANTS", "Leaving"]

INVARIANTS: Final = {
    "I13": "A worker that leaves in order has stored all it processed, given its leases back, and is gone in its time.",
    "I18": "Whoever has left leaves nothing that runs behind: no task, no thread, no timer, no subscription.",
}

_LAST_S: Final = 1.0
_NOTHING: Final[Mapping[str, float]] = MappingProxyType({})


class Leaving:
    """Judges workers and producers that have left."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def left(
        self,
        worker_id: str,
        *,
        took_s: float,
        within_s: float,
        began_s: float | None = None,
        stuck: Mapping[str, float] = _NOTHING,
    ) -> None:
        """Judge a worker that has left, no fault being in the way: how long it took, what it still holds.

        It gives back all that the table says is its own, but for what it was assigned in its last second. Who takes
        leases by itself (KCL 2.x) and finds none that way, says when it `began_s`: it gives back those of which a write
        of its was applied since; what an earlier process of its name held is taken as from the dead. `stuck` says since
        when a call of its handler hangs on a shard's thread, or hung for longer than it might: such a lease runs out,
        for nobody can end a thread, and a successor would have worked beside it.
        """
        if took_s > within_s:
            self._judge.violate("I13", worker_id, f"took {took_s:.1f} s to leave, and had {within_s:.1f} s")
        for lease in self._judge.leases.values():
            if not lease.present or lease.ended or lease.owner != worker_id:
                continue
            held_s = lease.epochs[-1].started.at_s
            if stuck.get(lease.shard_id, -1.0) >= held_s:
                self._judge.reached["left with a handler that hangs"] += 1
            elif self._unknown(lease, held_s, began_s):
                self._judge.reached["left before it knew of a lease"] += 1
            else:
                self._judge.violate("I13", lease.key, f"still belongs to {worker_id}, who has left")

    def _unknown(self, lease: Lease, held_s: float, began_s: float | None) -> bool:
        if began_s is not None:
            return lease.sent_s < max(held_s, began_s)
        return lease.sent_s < held_s and held_s > self._judge.simulation.now - _LAST_S

    def stored(self) -> None:
        """Judge the checkpoints once all have left: nothing that was processed comes again."""
        for lease in self._judge.leases.values():
            shard = self._judge.shards.get(lease.shard_id)
            if shard is None or not lease.present:
                continue
            # What is gone from the stream cannot come again, whether it was processed, or trimmed unread.
            done = shard.first_not_done() - 1
            if done >= shard.trimmed and shard.positions[done] > lease.checkpoint:
                what = f"{shard.positions[done]} was processed, and {lease.checkpoint} is stored"
                self._judge.violate("I13", lease.key, what)

    def gone(self, host: Host, *, threads: int = 0, subscriptions: int = 0) -> None:
        """Judge what a host's program left behind when it returned; how many of these still run there."""
        tasks = [task.get_name() for task in host.loop.tasks_of(host)]
        if tasks:
            self._judge.violate("I18", host.name, f"left behind: {', '.join(tasks[:5])}")
        timers = host.loop.timers_of(host)
        if timers:
            self._judge.violate("I18", host.name, f"left {timers} timers behind")
        if threads or subscriptions:
            self._judge.violate("I18", host.name, f"left {threads} threads and {subscriptions} subscriptions behind")
