"""Rare branches and faults that must have happened (I23): each has a focused seed of its own in every `make sim`.

Names are those of the oracle's `reached`, the network's and the chaos' counts, and the product's events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections import Counter

    from tests.sim.world import Result

__all__ = ["SEEDS", "WANTED", "missing", "reached_by", "wanted_of"]

WANTED: dict[str, str] = {
    "aggregate stored": "healthy",
    "applied late": "late applies",
    "applied twice": "doubled writes",
    "cancellation swallowed": "superseded",
    "checkpoint applied, reply lost": "lost replies",
    "checkpoint inside or at the end of an aggregate": "healthy",
    "checkpoint set back by hand": "operator",
    "child without its second parent": "reshard storm",
    "clock": "clocks and pauses",
    "crash": "auditor off",
    "delivered after a steal": "lost replies",
    "delivered again before it was done": "swarm",
    "empty page before the end": "swarm",
    "entries failed": "producer outage",
    "error after applying": "swarm",
    "error before applying": "swarm",
    "event fleet.rescued": "lost replies",
    "event handler.failed": "swarm",
    "event handler.hung": "hung handlers",
    "event key.loaded": "parked keys",
    "event key.released": "parked keys",
    "event lease.cleaned_up": "reshard storm",
    "event shard.position_trimmed": "retention",
    "event worker.task_failed": "lost replies",
    "handler blocked its thread": "superseded",
    "handler failed at a poison record": "parked keys",
    "handler hung on its thread": "hung handlers",
    "handler process killed": "processes",
    "handler process ran on without its worker": "processes",
    "handler slow": "swarm",
    "hung": "swarm",
    "IteratorExpired": "clocks and pauses",
    "lease of a former stream deleted": "several streams",
    "late checkpoint applied": "late applies",
    "late result of a superseded handler": "superseded",
    "late write refused": "late applies",
    "lease moved: expired": "lost replies",
    "lease moved: released": "swarm",
    "lease moved: stolen": "lost replies",
    "lease row edited by hand": "operator",
    "malformed aggregate delivered whole": "foreign records",
    "lost reply resolved as applied": "lost replies",
    "merge": "reshard storm",
    "misplaced record delivered": "producer outage",
    "naive aggregate stored": "foreign records",
    "outage dynamodb": "cut off",
    "outage kinesis": "cut off",
    "own write refused the second time": "doubled writes",
    "parked keys of a finished shard deleted": "parked keys",
    "parking failed": "parked keys",
    "partition dynamodb both": "cut off",
    "partition dynamodb replies": "cut off",
    "partition dynamodb requests": "cut off",
    "partition kinesis both": "cut off",
    "partition kinesis replies": "cut off",
    "partition kinesis requests": "cut off",
    "pause": "clocks and pauses",
    "process died": "processes",
    "producer's buffer full": "producer stall",
    "put unknown": "producer outage",
    "quiet time judged": "rolling",
    "record distribution switched": "AUTO",
    "record followed its key": "parked keys",
    "record parked": "superseded",
    "record replayed": "parked keys",
    "replay cut short": "parked keys",
    "reply lost": "lost replies",
    "reply slow": "squeezed",
    "request lost": "swarm",
    "row deleted": "reshard storm",
    "shard end told in part": "reshard storm",
    "shard finished": "reshard storm",
    "shard listed twice": "swarm",
    "shard not found although it exists": "cut off",
    "shard not listed yet": "reshard storm",
    "slow": "lost replies",
    "split": "reshard storm",
    "squeeze": "squeezed",
    "stale index": "swarm",
    "stream left": "several streams",
    "stream taken up again": "several streams",
    "stale scan": "swarm",
    "subscription broken": "fan-out",
    "throttle storm dynamodb": "cut off",
    "throttle storm kinesis": "cut off",
    "throttled": "cut off",
    "time stolen": "clocks and pauses",
    "trimmed before it was processed": "retention",
    "unreachable": "cut off",
    "worker left": "rolling",
    "write refused for a former owner or a slower taker": "lost replies",
}
"""Branch -> the profile whose first seeds reach it."""
SEEDS: Final = range(1, 7)
"""The seeds of a branch's own profile that may reach it."""


def wanted_of(profile: str) -> set[str]:
    """Return the branches that a profile's first seeds have to reach."""
    return {name for name, own in WANTED.items() if own == profile}


def reached_by(result: Result) -> set[str]:
    """Return the branches that a world reached."""
    return {name for name in WANTED if result.reached[name] + result.counts[name]}


def missing(seen: Counter[str]) -> list[str]:
    """Return the branches that were never reached."""
    return [name for name in WANTED if not seen[name]]
