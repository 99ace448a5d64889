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
    `millis_behind_latest` is what the service said with the last page; `lag_ms` how far the handler is behind the head
    of the stream: pages that wait for it, and time in which nothing is read, are counted. `reading` is what polling
    does (``catching up``, ``at the head``, ``idle``, ``full``, ``failing``, ``ended``), or ``subscribed``; `pause_s`
    the pause that it makes between two reads at the head, grown while pages stay empty; `waiting_records` (Kinesis
    records) and `waiting_bytes` were read and not yet handled.

    `busy_s` is how long the present handler call has lasted, `idle_s` how long ago the last fetch began, `failures` how
    often the present record or batch has failed, `parked_keys` how many partition keys are parked (`park_key`; what was
    released since shows with the key's next record), `stuck_thread` that a handler given up on still runs on a thread
    (the lease is not taken again while it does).
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
    lag_ms: int | None
    reading: str
    pause_s: float | None
    waiting_records: int
    waiting_bytes: int
    busy_s: float
    idle_s: float | None
    failures: int
    parked_keys: int
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
    def lags(self) -> dict[str, int]:
        """The lag of each stream in milliseconds: that of its shard that is farthest behind, among those held here."""
        found: dict[str, int] = {}
        for lease in self.leases:
            if lease.lag_ms is not None:
                found[lease.stream] = max(lease.lag_ms, found.get(lease.stream, 0))
        return found

    @property
    def healthy(self) -> bool:
        """Say whether the worker runs and none of its handlers hangs."""
        return self.running and not any(lease.hung or lease.stuck_thread for lease in self.leases)
