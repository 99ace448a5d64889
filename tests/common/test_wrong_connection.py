"""What newcomers get wrong with a connection, metrics, and the local endpoint: refused by name where it is given."""

from __future__ import annotations

from typing import Any

import pytest

from shardline.common import Connection, ServiceSettings
from shardline.common.errors import InvalidInput
from shardline.common.metrics import EmfSink, MetricsSettings
from shardline.consumer import Pace
from shardline.local import KinesisOptions, LocalEndpoint, ProxyFault
from shardline.local.state.options import Limits


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Connection, "credentials", ("a", "b")),
        (Connection, "connect_timeout_s", "5"),
        (Connection, "endpoint_url", 5),
        (Connection, "region_name", 5),
        (Connection, "ca_bundle", 5),
        (Connection, "kinesis_settings", {"endpoint_url": "http://localhost:1"}),
        (ServiceSettings, "profile", 5),
        (ServiceSettings, "insecure_plain_http", "yes"),
        (MetricsSettings, "sink", EmfSink),
        (MetricsSettings, "dimensions", ["a"]),
        (MetricsSettings, "series_max", "3"),
        (Pace, "records_per_s", "5"),
        (KinesisOptions, "iterator_lifetime_s", "1"),
        (KinesisOptions, "limits", "servic"),
        (KinesisOptions, "null", 1),
    ],
)
def test_a_value_of_another_kind(kind: Any, field: str, value: object) -> None:
    """The error names the field, not what a line far away tried with it; it repeats no value."""
    with pytest.raises(InvalidInput) as refused:
        kind(**{field: value})
    assert refused.value.field == field
    assert repr(value) not in str(refused.value)


def test_metrics_levels_and_depths() -> None:
    """A text is looked up in any case, anything else refused."""
    for wrong in ("loud", 3):
        with pytest.raises(InvalidInput, match="metrics_level"):
            MetricsSettings(level=wrong)  # type: ignore[arg-type]  # Wrong on purpose.
        with pytest.raises(InvalidInput, match="metrics_granularity"):
            MetricsSettings(granularity=wrong)  # type: ignore[arg-type]  # Wrong on purpose.


def test_the_local_endpoint() -> None:
    """Streams are names with numbers of shards; a text that means a choice is that choice."""
    for streams in ("orders", {"orders": "4"}, {"orders": 0}):
        with pytest.raises(InvalidInput, match="streams"):
            LocalEndpoint(streams)  # type: ignore[arg-type]  # Wrong on purpose.
    with pytest.raises(InvalidInput, match="direction"):
        ProxyFault(direction="x")  # type: ignore[arg-type]  # Wrong on purpose.
    assert KinesisOptions(limits="service").limits is Limits.SERVICE  # type: ignore[arg-type]  # Text on purpose.
