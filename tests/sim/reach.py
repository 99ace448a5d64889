"""Rare branches and faults that must have happened (I23): each has a focused seed that reaches it in every `make sim`.

Names are those of the oracle's `reached`, the network's and the chaos' counts, and the product's events.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from tests.sim.knobs import draw
from tests.sim.world import Result, World

if TYPE_CHECKING:
    from collections import Counter

__all__ = ["WANTED", "focused", "missing"]

WANTED: dict[str, tuple[str, int]] = {
    "IteratorExpired": ("clocks and pauses", 3),
    "aggregate stored": ("healthy", 1),
    "applied late": ("late applies", 1),
    "applied twice": ("doubled writes", 3),
    "checkpoint applied, reply lost": ("lost replies", 2),
    "checkpoint inside or at the end of an aggregate": ("healthy", 1),
    "child without its second parent": ("reshard storm", 3),
    "clock": ("clocks and pauses", 2),
    "crash": ("auditor off", 1),
    "delivered after a steal": ("lost replies", 3),
    "delivered again before it was done": ("swarm", 3),
    "empty page before the end": ("swarm", 1),
    "entries failed": ("producer outage", 3),
    "error after applying": ("swarm", 3),
    "error before applying": ("swarm", 3),
    "event fleet.rescued": ("lost replies", 3),
    "event handler.failed": ("swarm", 3),
    "event handler.hung": ("swarm", 2),
    "event lease.cleaned_up": ("reshard storm", 2),
    "event worker.task_failed": ("lost replies", 3),
    "handler slow": ("swarm", 3),
    "hung": ("swarm", 3),
    "late checkpoint applied": ("late applies", 2),
    "late write refused": ("late applies", 3),
    "lease moved: expired": ("lost replies", 3),
    "lease moved: released": ("swarm", 1),
    "lease moved: stolen": ("lost replies", 3),
    "merge": ("reshard storm", 1),
    "misplaced record delivered": ("producer outage", 1),
    "outage dynamodb": ("producer outage", 2),
    "outage kinesis": ("producer outage", 1),
    "own write refused the second time": ("doubled writes", 3),
    "partition dynamodb both": ("late applies", 2),
    "partition dynamodb replies": ("swarm", 3),
    "partition dynamodb requests": ("swarm", 1),
    "partition kinesis replies": ("swarm", 3),
    "partition kinesis requests": ("late applies", 2),
    "pause": ("clocks and pauses", 2),
    "producer closed with records undelivered": ("producer outage", 3),
    "put unknown": ("producer outage", 1),
    "reply lost": ("lost replies", 2),
    "request lost": ("swarm", 1),
    "row deleted": ("reshard storm", 1),
    "shard end told in part": ("reshard storm", 3),
    "shard finished": ("reshard storm", 3),
    "shard listed twice": ("swarm", 3),
    "shard not listed yet": ("reshard storm", 3),
    "slow": ("lost replies", 3),
    "split": ("reshard storm", 3),
    "stale index": ("swarm", 2),
    "stale scan": ("swarm", 2),
    "throttle storm dynamodb": ("producer outage", 1),
    "throttle storm kinesis": ("producer outage", 2),
    "throttled": ("producer outage", 3),
    "time stolen": ("clocks and pauses", 3),
    "unreachable": ("swarm", 3),
    "write refused for a former owner or a slower taker": ("lost replies", 3),
}
"""Branch -> the profile and seed that reach it."""


@cache
def _played(profile: str, seed: int) -> Result:
    return World(draw(seed, profile)).run()


def focused(name: str) -> bool:
    """Say whether the branch's own seed still reaches it."""
    profile, seed = WANTED[name]
    result = _played(profile, seed)
    return bool(result.reached[name] + result.counts[name])


def missing(seen: Counter[str]) -> list[str]:
    """Return the branches that were never reached."""
    return [name for name in WANTED if not seen[name]]
