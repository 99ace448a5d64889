"""A KPL configuration (`.properties` file, `kpl.md` 6) as our settings; docs/producer.md holds the same table in words.

Each of the KPL's keys is either a setting of ours, or known and without meaning here, with the reason; anything else is
refused. What the KPL takes for the whole instance holds for every stream here unless a stream says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from shardline.common.checks import check_whole
from shardline.common.connection import ServiceSettings
from shardline.common.errors import InvalidInput
from shardline.common.metrics.measure import Granularity, Level
from shardline.common.settings import Key, Loaded, load, millis_as_s, parse_properties
from shardline.producer.config import ProducerSettings, StreamSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KPL_KEYS", "KplConnection", "KplMetrics", "KplSettings", "load_kpl"]

_HOST = re.compile(r"[A-Za-z0-9.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class KplConnection:
    """What a KPL configuration says of the way to AWS; `arguments` are those of `Connection`."""

    region: str = ""
    kinesis_endpoint: str = ""
    kinesis_port: int = 443
    cloudwatch_endpoint: str = ""
    cloudwatch_port: int = 443
    verify_certificate: bool = True
    ca_file: str = ""
    connect_timeout_s: float = 6.0
    proxy_host: str = ""
    proxy_port: int = 443
    proxy_user_name: str = ""
    proxy_password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for name in ("kinesis_endpoint", "cloudwatch_endpoint"):
            if not _HOST.fullmatch(getattr(self, name)):
                raise InvalidInput(name, "a host name or IP address, without scheme and path")
        for name in ("kinesis_port", "cloudwatch_port", "proxy_port"):
            check_whole(name, getattr(self, name), 1, 65_535)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `Connection` that mean the same."""
        found: dict[str, Any] = {"connect_timeout_s": self.connect_timeout_s}
        if self.region:
            found["region_name"] = self.region
        if self.kinesis_endpoint:
            found["kinesis_settings"] = ServiceSettings(
                endpoint_url=f"https://{self.kinesis_endpoint}:{self.kinesis_port}"
            )
        if self.cloudwatch_endpoint:
            url = f"https://{self.cloudwatch_endpoint}:{self.cloudwatch_port}"
            found["cloudwatch_settings"] = ServiceSettings(endpoint_url=url)
        if not self.verify_certificate:
            found["insecure_skip_tls_verification"] = True
        if self.ca_file:
            found["ca_bundle"] = self.ca_file
        if self.proxy_host:
            who = f"{self.proxy_user_name}:{self.proxy_password}@" if self.proxy_user_name else ""
            found["proxy_url"] = f"http://{who}{self.proxy_host}:{self.proxy_port}"
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class KplMetrics:
    """What a KPL configuration says of metrics."""

    level: Level = Level.DETAILED
    granularity: Granularity = Granularity.SHARD
    namespace: str = "KinesisProducerLibrary"
    interval_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KplSettings:
    """A KPL configuration: settings of the producer, of each stream, of connection and metrics."""

    producer: ProducerSettings = field(default_factory=ProducerSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    connection: KplConnection = field(default_factory=KplConnection)
    metrics: KplMetrics = field(default_factory=KplMetrics)


def _percent(text: str) -> float:
    return int(text.strip()) / 100


def _count(text: str) -> int | None:
    """Return a count, None for the KPL's own "no limit"."""
    count = int(text.strip())
    return None if count >= 2**32 - 1 else count


def _ignored(note: str) -> Key:
    return Key(None, note=note)


KPL_KEYS: Final[Mapping[str, Key]] = {
    "AggregationEnabled": Key("stream.aggregation"),
    "AggregationMaxCount": Key("stream.aggregate_count_max", _count),
    "AggregationMaxSize": Key("stream.aggregate_bytes_max"),
    "CollectionMaxCount": Key("stream.request_entries_max"),
    "CollectionMaxSize": Key("stream.request_bytes_max", lambda text: min(int(text.strip()), 10 * 1024 * 1024)),
    "FailIfThrottled": Key("stream.fail_if_throttled"),
    "MaxUserRecordSize": Key("stream.record_bytes_max"),
    "RateLimit": Key("stream.rate_share", _percent),
    "RecordMaxBufferedTime": Key("stream.linger_s", millis_as_s),
    "RecordTtl": Key("stream.ttl_s", millis_as_s),
    "RequestTimeout": Key("stream.request_timeout_s", millis_as_s),
    "MaxConnections": Key("producer.connections_max"),
    "Region": Key("connection.region"),
    "KinesisEndpoint": Key("connection.kinesis_endpoint"),
    "KinesisPort": Key("connection.kinesis_port"),
    "CloudwatchEndpoint": Key("connection.cloudwatch_endpoint"),
    "CloudwatchPort": Key("connection.cloudwatch_port"),
    "VerifyCertificate": Key("connection.verify_certificate"),
    "CaCertFile": Key("connection.ca_file"),
    "ConnectTimeout": Key("connection.connect_timeout_s", millis_as_s),
    "ProxyHost": Key("connection.proxy_host"),
    "ProxyPort": Key("connection.proxy_port"),
    "ProxyUserName": Key("connection.proxy_user_name"),
    "ProxyPassword": Key("connection.proxy_password"),
    "MetricsLevel": Key("metrics.level", Level.parse),
    "MetricsGranularity": Key("metrics.granularity", Granularity.parse),
    "MetricsNamespace": Key("metrics.namespace"),
    "MetricsUploadDelay": Key("metrics.interval_s", millis_as_s),
    "CaCertPath": _ignored("a directory of hashed certificates: the platform's trust store, or CaCertFile"),
    "CredentialsRefreshDelay": _ignored("the SDK renews credentials before they expire"),
    "DaemonHealthCheckTimeoutMs": _ignored("there is no daemon"),
    "DescribeStreamSummaryIntervalMs": _ignored("asked every minute, and at once when answers suggest it"),
    "EnableCoreDumps": _ignored("there is no native process"),
    "EnableDaemonHealthCheck": _ignored("there is no daemon"),
    "EnableOldestFutureTracker": _ignored("the oldest record's age costs nothing here: always on"),
    "GlueSchemaRegistryPropertiesFilePath": _ignored("a Codec takes the place of the serializer hook"),
    "LogLevel": _ignored("the application's logging decides"),
    "MinConnections": _ignored("without effect in the KPL too"),
    "NativeExecutable": _ignored("there is no native process"),
    "RecordDistributionStrategyDefault": _ignored("found out from the stream itself"),
    "ReturnUserRecordOnFailure": _ignored("failed records are always returned"),
    "StsEndpoint": _ignored("without effect in the KPL since 1.0.5"),
    "StsPort": _ignored("without effect in the KPL since 1.0.5"),
    "TempDirectory": _ignored("nothing is extracted"),
    "ThreadingModel": _ignored("one loop, no thread per request"),
    "ThreadPoolSize": _ignored("one loop, no thread per request"),
    "UserRecordTimeoutInMillis": _ignored("ttl_s counts from put and holds everywhere; time out the wait yourself"),
}


def load_kpl(properties: str) -> Loaded[KplSettings]:
    """Return the settings that a KPL's `.properties` text means, and the keys that have no meaning here.

    Raises `UnknownSetting` for a key that no KPL has, `InvalidInput` naming the key for a value out of range.
    """
    return load(KplSettings, parse_properties(properties), KPL_KEYS, source="KPL properties")
