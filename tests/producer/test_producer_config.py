"""Settings: each range and each contradiction is refused by name; a KPL's file means what it says."""

from __future__ import annotations

import re
from math import inf, nan
from pathlib import Path

import pytest

from shardline.common.connection import Connection, ServiceSettings
from shardline.common.errors import InvalidInput
from shardline.common.limits import MIB
from shardline.common.metrics.measure import Granularity, Level
from shardline.common.settings import UnknownSetting
from shardline.producer.budget import Budget
from shardline.producer.config import (
    BODY_FACTOR,
    Ordering,
    ProducerSettings,
    StreamSettings,
    cannot_drain,
    drained_bytes,
    request_bytes,
)
from shardline.producer.kpl_properties import KPL_KEYS, load_kpl

BAD_STREAM: dict[str, list[object]] = {
    "linger_s": [-0.1, nan, inf, True, "1", 30.0, 31.0],
    "ttl_s": [0, 0.05, -1, nan, inf, 0.1],
    "request_timeout_s": [0, 601, nan],
    "rate_share": [0, -1, nan, inf],
    "aggregate_bytes_max": [63, 10 * 1024 * 1024 + 1, 1.5, True],
    "aggregate_count_max": [0, -1, True],
    "request_bytes_max": [0, 10 * 1024 * 1024 + 1],
    "request_entries_max": [0, 501],
    "record_bytes_max": [0, 10 * 1024 * 1024 + 1, 50_000],
    "buffer_bytes_max": [0, -5],
    "buffer_records_max": [0],
    "ordering": ["by-key", None],
    "on_gap": ["wait"],
    "consumers": ["kpl"],
    "aggregation": [1, "yes"],
    "fail_if_throttled": [0],
    "shard_map_refresh_s": [0, nan],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_STREAM.items() for value in values])
def test_bad_stream_setting_is_refused(name: str, value: object) -> None:
    """A value out of range, of another type, or contradicting another setting is refused."""
    with pytest.raises(InvalidInput):
        StreamSettings(**{name: value})  # type: ignore[arg-type]  # Wrong types are the point.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_bytes_max", 1024),
        ("memory_bytes_max", True),
        ("connections_max", 0),
        ("connections_max", 257),
        ("requests_in_flight_max", 25),
        ("requests_in_flight_max", 0),
        ("fail_kept_max", -1),
    ],
)
def test_bad_producer_setting_is_refused(name: str, value: object) -> None:
    """The same for what streams share."""
    with pytest.raises(InvalidInput, match=name):
        ProducerSettings(**{name: value})  # type: ignore[arg-type]  # Wrong types are the point.


def test_text_is_taken_for_a_choice() -> None:
    """Choices may be given as text."""
    assert StreamSettings(ordering="by_key").ordering is Ordering.BY_KEY  # type: ignore[arg-type]  # Text is allowed.


def test_drain_follows_shards_share_and_ttl() -> None:
    """What a stream takes within the TTL grows with shards, share and TTL; the error names it."""
    settings = StreamSettings(ttl_s=10.0, rate_share=0.5, buffer_bytes_max=10**9)
    assert drained_bytes(settings, 2) == int(2 * 1024 * 1024 * 0.5 * 10 * 0.8)
    assert str(drained_bytes(settings, 2)) in str(cannot_drain(settings, 2))


def test_kpl_file_becomes_settings() -> None:
    """Times, percentages, counts, endpoint and metrics of a KPL file mean the same here."""
    loaded = load_kpl(
        "RecordMaxBufferedTime = 50\nRecordTtl=20000\nRateLimit=80\nAggregationMaxCount=4294967295\n"
        "CollectionMaxSize=9223372036854775807\nMaxConnections=4\nKinesisEndpoint=localhost\nKinesisPort=4567\n"
        "VerifyCertificate=false\nMetricsLevel=summary\nMetricsGranularity=stream\nMinConnections=2\n"
    )
    settings = loaded.settings
    assert (settings.stream.linger_s, settings.stream.ttl_s, settings.stream.rate_share) == (0.05, 20.0, 0.8)
    assert settings.stream.aggregate_count_max is None
    assert settings.stream.request_bytes_max == 10 * 1024 * 1024
    assert settings.producer.connections_max == 4
    assert settings.connection.arguments() == {
        "connect_timeout_s": 6.0,
        "kinesis_settings": ServiceSettings(endpoint_url="https://localhost:4567"),
        "insecure_skip_tls_verification": True,
    }
    assert Connection(**settings.connection.arguments()).settings("kinesis").endpoint_url == "https://localhost:4567"
    assert (settings.metrics.level, settings.metrics.granularity) == (Level.SUMMARY, Granularity.STREAM)
    assert loaded.ignored == ("MinConnections",)


def test_unknown_kpl_key_is_refused() -> None:
    """A key that no KPL has is refused with the nearest one; a bad value names the KPL's key."""
    with pytest.raises(UnknownSetting, match="RecordTtl"):
        load_kpl("RecordTTL=1")
    with pytest.raises(InvalidInput, match="RecordTtl"):
        load_kpl("RecordTtl=1")


def test_every_ignored_kpl_key_says_why() -> None:
    """A key without meaning here has a reason of some words."""
    assert [name for name, key in KPL_KEYS.items() if key.field is None and len(key.note.split()) < 3] == []


def test_the_documentation_tells_of_every_kpl_key() -> None:
    """docs/producer.md holds each of the KPL's keys."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "producer.md").read_text()
    assert [name for name in KPL_KEYS if not re.search(rf"\b{name}\b", text)] == []


def test_requests_are_as_large_as_memory_allows() -> None:
    """Unless it is set, a request's size leaves room for four bodies; beyond 2 MiB it stays."""
    assert [request_bytes(StreamSettings(), mib * MIB) / MIB for mib in (1, 8, 16, 64)] == [0.125, 1, 2, 2]
    assert request_bytes(StreamSettings(request_bytes_max=10 * MIB), MIB) == 10 * MIB
    for mib in (8, 9, 15, 17, 64):
        Budget(mib * MIB).need_body(int(request_bytes(StreamSettings(), mib * MIB) * BODY_FACTOR))
