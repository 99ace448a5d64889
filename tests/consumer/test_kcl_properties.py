"""A KCL's `.properties` as a worker's configuration: every key has a meaning or a reason."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import InvalidInput
from shardline.common.metrics.measure import Level
from shardline.common.settings import UnknownSetting
from shardline.consumer import kclpy
from shardline.consumer.config import Fleet, Retrieval
from shardline.consumer.events import SettingsIgnored
from shardline.consumer.fleet.assignment import Strategy
from shardline.consumer.kcl_properties import KCL_KEYS, load_kcl
from shardline.consumer.lineage import Start, StartPoint
from shardline.local.doors.services import LocalServices

from tools.rings import ROOT

if TYPE_CHECKING:
    from shardline.common.events import Event

LEAST = "applicationName = billing\nstreamName = orders\n"


class Processor:
    """A processor that is never called."""

    def process_records(self, process_records_input: object) -> None:
        """Do nothing."""


def test_the_sample_of_kclpy_means_what_it_meant() -> None:
    """The keys of KCLPy's sample file: names, start position, region, and what has no meaning here."""
    loaded = load_kcl(
        "executableName = sample_kclpy_app.py\nstreamName = words\napplicationName = PythonKCLSample\n"
        "AWSCredentialsProvider = DefaultAWSCredentialsProviderChain\nprocessingLanguage = python/3.11\n"
        "initialPositionInStream = TRIM_HORIZON\nregionName = us-east-1\n"
        "failoverTimeMillis = 10000\nworkerId =\nmaxRecords = 0\n"
    )
    settings = loaded.settings
    assert (settings.application.name, settings.stream) == ("PythonKCLSample", "words")
    assert settings.start == Start(StartPoint.TRIM_HORIZON)
    assert settings.connection.arguments() == {"region_name": "us-east-1"}
    assert settings.config.worker_id is None
    assert settings.config.leases.failover_s == 10.0
    assert set(loaded.ignored) == {"executableName", "AWSCredentialsProvider", "processingLanguage"}


def test_every_group_of_keys_arrives() -> None:
    """One key of each kind: times in milliseconds, sizes, enums, tables, tags."""
    settings = load_kcl(
        LEAST + "streamArn = arn:aws:kinesis:eu-central-1:123456789012:stream/orders\n"
        "initialPositionInStreamExtended = 1750000000\nfailoverTimeMillis = 30000\nmaxLeasesForWorker = 7\n"
        "leaseAssignmentStrategy = LEASE_COUNT_BASED\nclientVersionConfig = CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X\n"
        "leaseTableTags = team=data, stage=prod\nleaseTablePitrEnabled = false\ntimeoutInSeconds = 60\n"
        "shutdownGraceMillis = 5000\ncleanupLeasesUponShardCompletion = false\nmetricsLevel = SUMMARY\n"
        "metricsEnabledDimensions = Operation, ShardId\nkinesisEndpoint = https://kinesis.example\n"
        "isGracefulLeaseHandoffEnabled = false\ncoordinatorStateTableName = old\n"
    ).settings
    config = settings.config
    assert settings.stream.startswith("arn:")
    assert settings.start == Start.of(1_750_000_000.0)
    assert (config.leases.failover_s, config.leases.leases_max) == (30.0, 7)
    assert (config.leases.strategy, config.leases.fleet) == (Strategy.LEASE_COUNT_BASED, Fleet.KCL2)
    assert (config.leases.clean_up, config.leases.graceful_hand_off) == (False, False)
    assert config.leases.coordinator_table == "old"
    assert (config.table.tags, config.table.point_in_time_recovery) == ({"team": "data", "stage": "prod"}, False)
    assert (config.delivery.handler_timeout_s, config.delivery.stop_timeout_s) == (60.0, 5.0)
    assert config.metrics is not None
    assert config.metrics.level is Level.SUMMARY
    assert config.metrics.enabled_dimensions == frozenset({"Operation", "ShardId"})
    assert settings.connection.arguments()["kinesis_settings"].endpoint_url == "https://kinesis.example"


@pytest.mark.parametrize(
    ("text", "retrieval", "name"),
    [
        ("", Retrieval.AUTO, "billing"),
        ("retrievalMode = FANOUT\nfanoutConfig.consumerName = mine", Retrieval.FANOUT, "mine"),
        ("retrievalMode = polling", Retrieval.POLLING, "billing"),
        ("maxRecords = 500", Retrieval.POLLING, "billing"),
        ("retrievalMode = FANOUT\nmaxRecords = 500", Retrieval.FANOUT, "billing"),
    ],
)
def test_how_it_reads(text: str, retrieval: Retrieval, name: str) -> None:
    """Polling where it is asked for or a key of polling stands, else enhanced fan-out under the application's name."""
    config = load_kcl(LEAST + text).settings.config
    assert (config.retrieval, config.consumer_name) == (retrieval, name)


def test_long_pauses_are_kept() -> None:
    """A pause above our longest becomes the longest; the floor is the service's five reads per second."""
    polling = load_kcl(LEAST + "idleTimeBetweenReadsInMillis = 1500").settings.config.polling
    assert (polling.idle_s, polling.idle_s_max) == (1.5, 1.5)
    with pytest.raises(InvalidInput, match="idleTimeBetweenReadsInMillis"):
        load_kcl(LEAST + "idleTimeBetweenReadsInMillis = 100")


def test_metrics_can_be_off() -> None:
    """Level NONE publishes nothing; otherwise they go out as the KCL's do."""
    assert load_kcl(LEAST + "metricsLevel = NONE").settings.config.metrics is None
    assert load_kcl(LEAST).settings.config.metrics is not None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("streamName = orders", "applicationName"),
        ("applicationName = billing", "streamName"),
        (LEAST + "failoverTimeMillis = soon", "failoverTimeMillis"),
        (LEAST + "failoverTimeMillis = 1", "failoverTimeMillis"),
        (LEAST + "retrievalMode = MAYBE", "retrievalMode"),
        (LEAST + "initialPositionInStream = SOMEWHERE", "initialPositionInStream"),
        (LEAST + "clientVersionConfig = 4X", "clientVersionConfig"),
        (LEAST + "leaseTableTags = prod", "leaseTableTags"),
        (LEAST + "workerId = Leader", "workerId"),
    ],
)
def test_a_bad_value_names_its_key(text: str, key: str) -> None:
    """The error speaks of the file's key, and never quotes the value."""
    with pytest.raises(InvalidInput, match=key):
        load_kcl(text)


def test_an_unknown_key_is_refused_with_the_nearest() -> None:
    """A misspelt key is not ignored."""
    with pytest.raises(UnknownSetting, match="failoverTimeMillis"):
        load_kcl(LEAST + "failOverTimeMillis = 10000")


def test_every_ignored_key_says_why_and_is_documented() -> None:
    """A key without meaning here has a reason; docs/kcl.md holds each key of the KCL's."""
    assert [name for name, key in KCL_KEYS.items() if key.field is None and not key.note] == []
    text = (ROOT / "docs" / "kcl.md").read_text()
    assert [name for name in KCL_KEYS if f"`{name}`" not in text] == []
    assert set(re.findall(r"^\| `([^`]+)` \| `", text, re.MULTILINE)) == {
        name for name, key in KCL_KEYS.items() if key.field is not None
    }


def test_the_worker_is_made_and_says_what_it_ignores() -> None:
    """`worker_of` gives a worker of that application; the keys without meaning are told in one event."""
    events: list[Event] = []
    text = LEAST + "executableName = app.py"
    worker = kclpy.worker_of(Processor, text, connection=LocalServices(), listeners=[events.append])
    assert worker.application == "billing"
    assert [event.names for event in events if isinstance(event, SettingsIgnored)] == [("executableName",)]
