"""The worker's configuration: frozen, keyword-only, validated on construction, grouped; every knob has a default.

Raises `InvalidInput` naming the field and its allowed range; nothing is sent before a configuration is whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from shardline.common.backoff import Backoff
from shardline.common.checks import check_flag, check_kind, check_mapping, check_number, check_whole, choice_of
from shardline.common.errors import InvalidInput
from shardline.common.limits import AGGREGATE_SUB_RECORDS_MAX
from shardline.consumer.fleet.assignment import Strategy
from shardline.consumer.fleet.startup import Fleet
from shardline.consumer.leases.times import LeaseTimes
from shardline.consumer.retrieval.polling import PollingSettings
from shardline.consumer.streams import TrackingConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardline.common.metrics.settings import MetricsSettings

__all__ = [
    "DeliveryConfig",
    "Fleet",
    "LeaseConfig",
    "Malformed",
    "Retrieval",
    "TableConfig",
    "WorkerConfig",
    "check_application",
]

_TABLE_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{3,255}")
_CONSUMER_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_LEASES_MAX_DEFAULT: Final = 2**31 - 1
_WORKER_ID_LENGTH_MAX: Final = 256
_RESERVED_IDS: Final = ("Leader", "Migration3.0", "TableMigration3.5")


class Retrieval(StrEnum):
    """How shards are read: ``auto`` subscribes where a consumer name is given and the service allows it, else polls."""

    AUTO = "auto"
    POLLING = "polling"
    FANOUT = "fanout"


class Malformed(StrEnum):
    """What becomes of a blob that is meant as an aggregate (magic and checksum match) and is not a whole one."""

    DELIVER_RAW = "deliver_raw"
    PARK = "park"
    RAISE = "raise"


def _seconds(name: str, value: object, low: float, high: float) -> None:
    check_number(name, value, low, high, "seconds")


def _is_text(value: object, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _check_table_name(name: str, value: object) -> None:
    """Raise `InvalidInput` unless `value` can be a table's name (DynamoDB's developer guide, "Naming rules")."""
    if not _is_text(value, _TABLE_NAME):
        raise InvalidInput(name, "3 to 255 characters of a-z A-Z 0-9 _ . -")


def _count(name: str, value: object, low: int, high: int = 2**31 - 1) -> None:
    check_whole(name, value, low, high)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableConfig:
    """How the lease table is made where it does not exist; nothing of it changes an existing table.

    On demand unless both capacities are given. `name` None means the application's name.
    """

    name: str | None = None
    read_capacity: int | None = None
    write_capacity: int | None = None
    point_in_time_recovery: bool = True
    deletion_protection: bool = True
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    create_timeout_s: float = 600.0

    def __post_init__(self) -> None:
        if self.name is not None:
            _check_table_name("table.name", self.name)
        if (self.read_capacity is None) != (self.write_capacity is None):
            raise InvalidInput("table.read_capacity and write_capacity", "given together or not at all")
        for name, value in (("table.read_capacity", self.read_capacity), ("table.write_capacity", self.write_capacity)):
            if value is not None:
                _count(name, value, 1)
        for name in ("point_in_time_recovery", "deletion_protection"):
            check_flag(f"table.{name}", getattr(self, name))
        check_mapping("table.tags", self.tags, "a mapping of names to values")
        _seconds("table.create_timeout_s", self.create_timeout_s, 1, 86_400)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseConfig:
    """Leases: `failover_s` and `call_timeout_s` (at most a third of it; None: that third, 3 s at most) and limits.

    A worker's fail-over time must equal its fleet's, Java workers included: the leader judges everybody by its own.
    `fleet` is the operator's word on what else may run on the lease table; `auto` looks, and refuses where it cannot
    tell. `report_s`, `leader_lease_s` and `leader_heartbeat_s` are the KCL's worker metrics period, lock duration and
    heartbeat; `cpu_metrics` adds the processor load to the report (without it a worker is weighed by throughput, as a
    Java worker outside EC2 and ECS is). The two tables exist only beside workers of KCL 3.0 to 3.4 (None: their names).
    """

    failover_s: float = 10.0
    call_timeout_s: float | None = None
    leases_max: int = _LEASES_MAX_DEFAULT
    steal_max: int = 1
    parent_poll_s: float = 10.0
    audit_s: float = 120.0
    audit_confirmations: int = 3
    clean_up: bool = True
    clean_up_s: float = 60.0
    fleet: Fleet = Fleet.AUTO
    graceful_hand_off: bool = True
    hand_off_timeout_s: float = 30.0
    strategy: Strategy = Strategy.WORKER_UTILIZATION_AWARE
    balance_every_runs: int = 3
    report_s: float = 30.0
    cpu_metrics: bool = False
    version_poll_s: float = 60.0
    leader_lease_s: float = 120.0
    leader_heartbeat_s: float = 30.0
    coordinator_table: str | None = None
    metrics_table: str | None = None

    def __post_init__(self) -> None:
        LeaseTimes(failover_s=self.failover_s, call_timeout_s=self.call_timeout_s)
        object.__setattr__(self, "fleet", choice_of("fleet", self.fleet, Fleet))
        object.__setattr__(self, "strategy", choice_of("strategy", self.strategy, Strategy))
        for name in ("clean_up", "graceful_hand_off", "cpu_metrics"):
            check_flag(name, getattr(self, name))
        for name in ("coordinator_table", "metrics_table"):
            if getattr(self, name) is not None:
                _check_table_name(name, getattr(self, name))
        _count("leases_max", self.leases_max, 1)
        _count("steal_max", self.steal_max, 1)
        _count("audit_confirmations", self.audit_confirmations, 1)
        _seconds("parent_poll_s", self.parent_poll_s, 0.1, 3600)
        _seconds("audit_s", self.audit_s, 1, 86_400)
        _seconds("clean_up_s", self.clean_up_s, 1, 86_400)
        _count("balance_every_runs", self.balance_every_runs, 1)
        for name in ("hand_off_timeout_s", "report_s", "version_poll_s", "leader_lease_s", "leader_heartbeat_s"):
            _seconds(name, getattr(self, name), 0.1, 86_400)
        if self.leader_lease_s < 2 * self.leader_heartbeat_s:
            raise InvalidInput("leader_lease_s", "at least two leader_heartbeat_s", str(self.leader_lease_s))

    @property
    def times(self) -> LeaseTimes:
        """The clockwork that follows from the fail-over time."""
        return LeaseTimes(failover_s=self.failover_s, call_timeout_s=self.call_timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryConfig:
    """Delivery to handlers.

    `checkpoint_s` bounds how old the stored checkpoint may be while records are processed (None: it goes with the next
    renewal, within a third of the fail-over time, at no extra write); `checkpoint_records` asks for one at once after
    so many user records. A failed handler is called again with `retry` back-off, and holds its shard meanwhile. A batch
    holds about `batch_records` user records at most (an aggregate is not torn). `drop_misplaced` is the KCL's rule:
    user records outside the shard's hash range are dropped, and counted, instead of delivered.

    A `malformed` aggregate is delivered as the one record that it came as, and counted (``deliver_raw``); goes to the
    lot of the handler's failure policy at once, whole (``park``); or counts as a failure of the handler at that record,
    `MalformedAggregate`, without a call of it (``raise``).
    """

    checkpoint_s: float | None = None
    checkpoint_records: int | None = None
    retry: Backoff = field(default_factory=lambda: Backoff(first_s=0.2, max_s=30.0, floor=0.5))
    handler_timeout_s: float = 300.0
    stop_timeout_s: float = 30.0
    max_sub_records: int = AGGREGATE_SUB_RECORDS_MAX
    batch_records: int = 10_000
    drop_misplaced: bool = False
    malformed: Malformed = Malformed.DELIVER_RAW

    def __post_init__(self) -> None:
        if self.checkpoint_s is not None:
            _seconds("checkpoint_s", self.checkpoint_s, 0.05, 86_400)
        if self.checkpoint_records is not None:
            _count("checkpoint_records", self.checkpoint_records, 1)
        _seconds("handler_timeout_s", self.handler_timeout_s, 0.1, 86_400 * 7)
        _seconds("stop_timeout_s", self.stop_timeout_s, 0, 86_400)
        _count("max_sub_records", self.max_sub_records, 1)
        _count("batch_records", self.batch_records, 1)
        check_kind("retry", self.retry, Backoff)
        check_flag("drop_misplaced", self.drop_misplaced)
        object.__setattr__(self, "malformed", choice_of("malformed", self.malformed, Malformed))


_GROUPS: Final[Mapping[str, type]] = {
    "table": TableConfig,
    "leases": LeaseConfig,
    "polling": PollingSettings,
    "delivery": DeliveryConfig,
    "tracking": TrackingConfig,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Everything a worker can be told; `worker_id` None makes one that is unique (host, process, random).

    `consumer_name` names the registered consumer of enhanced fan-out (with ``fanout`` None means the application's
    name); `subscriptions_max` is how many shards one worker may subscribe to, the size of that connection pool.
    `metrics` publishes the KCL's metrics, under the application's name unless it names a namespace; None, the default,
    publishes nothing, while `health()` and the events are there all the same.
    """

    worker_id: str | None = None
    retrieval: Retrieval = Retrieval.AUTO
    consumer_name: str | None = None
    subscriptions_max: int = 1000
    table: TableConfig = field(default_factory=TableConfig)
    leases: LeaseConfig = field(default_factory=LeaseConfig)
    polling: PollingSettings = field(default_factory=PollingSettings)
    delivery: DeliveryConfig = field(default_factory=DeliveryConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    metrics: MetricsSettings | None = None

    def __post_init__(self) -> None:
        for name, kind in _GROUPS.items():
            check_kind(name, getattr(self, name), kind)
        object.__setattr__(self, "retrieval", choice_of("retrieval", self.retrieval, Retrieval))
        _count("subscriptions_max", self.subscriptions_max, 1, 100_000)
        if self.consumer_name is not None and not _is_text(self.consumer_name, _CONSUMER_NAME):
            raise InvalidInput("consumer_name", "1 to 128 characters of a-z A-Z 0-9 _ . -")
        if self.metrics is not None:
            from shardline.common.metrics.settings import MetricsSettings  # noqa: PLC0415 - only where it was given.

            check_kind("metrics", self.metrics, MetricsSettings, what="a MetricsSettings or None")
        worker_id = self.worker_id
        if worker_id is None:
            return
        check_kind("worker_id", worker_id, str)
        reserved = worker_id in _RESERVED_IDS or worker_id.startswith("shardId-")
        if reserved or not 1 <= len(worker_id) <= _WORKER_ID_LENGTH_MAX:
            allowed = f"1 to {_WORKER_ID_LENGTH_MAX} characters, no shard id, none of {', '.join(_RESERVED_IDS)}"
            raise InvalidInput("worker_id", allowed)


def check_application(name: object, config: WorkerConfig) -> None:
    """Raise `InvalidInput` unless `name` can be an application's: its lease table is called so, unless `table.name` is.

    The same goes for the tables beside it, whose names begin with the application's.
    """
    if config.table.name is None:
        _check_table_name("application", name)
    elif not (isinstance(name, str) and name):
        raise InvalidInput("application", "a name that is not empty")
