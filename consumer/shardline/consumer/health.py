"""What a worker tells of itself: values for probes and people, taken without waiting for anything."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Health", "LeaseHealth"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseHealth:
    """One held lease, and where its shard stands.

    `position` is how far the handler is done in what it reads now (empty: with nothing yet), `checkpoint` what is
    stored; after a seek back the first lies below the second. `paused` says that a pause is ordered; `state` is
    ``paused`` once nothing runs any more.
    `busy_s` is how long the present handler call has lasted, `idle_s` how long ago the last fetch began, `failures` how
    often the present record or batch has failed, `stuck_thread` that a handler given up on still runs on a thread (the
    lease is not taken again while it does).
    """

    lease: str
    stream: str
    shard_id: str
    state: str
    paused: bool
    token: int
    valid: bool
    checkpoint: str
    position: str
    millis_behind_latest: int | None
    busy_s: float
    idle_s: float | None
    failures: int
    hung: bool
    stuck_thread: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A worker's state: `healthy` unless a handler hangs or a thread is stuck."""

    worker_id: str
    running: bool
    leads: bool
    leases: tuple[LeaseHealth, ...]

    @property
    def healthy(self) -> bool:
        """Say whether the worker runs and none of its handlers hangs."""
        return self.running and not any(lease.hung or lease.stuck_thread for lease in self.leases)
