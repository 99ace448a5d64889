"""Configuration: out-of-range values are refused before anything is sent, naming the field and its range (F41)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import InvalidInput
from shardline.consumer.config import DeliveryConfig, LeaseConfig, TableConfig, WorkerConfig
from shardline.consumer.leases.times import LeaseTimes

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: LeaseConfig(failover_s=0), "failover_s"),
        (lambda: LeaseConfig(failover_s=float("nan")), "failover_s"),
        (lambda: LeaseConfig(failover_s=10, call_timeout_s=3.34), "call_timeout_s"),
        (lambda: LeaseConfig(failover_s=3, call_timeout_s=60), "call_timeout_s"),
        (lambda: LeaseConfig(call_timeout_s=0), "call_timeout_s"),
        (lambda: LeaseConfig(leases_max=0), "leases_max"),
        (lambda: LeaseConfig(leases_max=True), "leases_max"),
        (lambda: LeaseConfig(steal_max=-1), "steal_max"),
        (lambda: LeaseConfig(parent_poll_s=0), "parent_poll_s"),
        (lambda: LeaseConfig(audit_confirmations=0), "audit_confirmations"),
        (lambda: TableConfig(name="a"), "table.name"),
        (lambda: TableConfig(name="white space"), "table.name"),
        (lambda: TableConfig(read_capacity=5), "read_capacity"),
        (lambda: TableConfig(read_capacity=0, write_capacity=1), "read_capacity"),
        (lambda: DeliveryConfig(checkpoint_s=0), "checkpoint_s"),
        (lambda: DeliveryConfig(checkpoint_records=0), "checkpoint_records"),
        (lambda: DeliveryConfig(handler_timeout_s=float("inf")), "handler_timeout_s"),
        (lambda: DeliveryConfig(stop_timeout_s=-1), "stop_timeout_s"),
        (lambda: DeliveryConfig(batch_records=0), "batch_records"),
        (lambda: DeliveryConfig(max_sub_records=0), "max_sub_records"),
        (lambda: WorkerConfig(worker_id=""), "worker_id"),
        (lambda: WorkerConfig(worker_id="x" * 257), "worker_id"),
        (lambda: WorkerConfig(worker_id="Leader"), "worker_id"),
        (lambda: WorkerConfig(worker_id="shardId-000000000000"), "worker_id"),
    ],
)
def test_values_out_of_range_are_refused(make: Callable[[], object], field: str) -> None:
    """Each refusal says which field and what it may be."""
    with pytest.raises(InvalidInput) as refused:
        make()
    assert field in refused.value.field


def test_the_periods_follow_from_the_fail_over_time() -> None:
    """The KCL's formulas less its epsilon, so that a lease costs three writes; a call's budget is a third of it."""
    times = LeaseConfig(failover_s=10).times
    assert times.renew_s == pytest.approx(10 / 3)
    assert (times.take_s, times.assign_s) == (20.05, 20)
    assert times.discover_s == 10
    assert (times.timeout_s, times.valid_s) == (3.0, 9.5)
    quick = LeaseTimes(failover_s=3)
    assert quick.timeout_s == 1.0
    assert quick.renew_s == pytest.approx(1.0)
    assert LeaseTimes(failover_s=3, call_timeout_s=0.5).timeout_s == 0.5


def test_a_renewal_and_its_retry_fit_into_the_lease() -> None:
    """For any fail-over time: a hung renewal and the read after it still end before the lease may expire."""
    for failover_s in (0.1, 1.0, 3.0, 10.0, 60.0, 86_400.0):
        times = LeaseTimes(failover_s=failover_s)
        assert times.renew_s > 0
        assert times.renew_s + times.timeout_s < times.valid_s
