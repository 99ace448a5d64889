"""A KCL configuration (the MultiLangDaemon's `.properties` file, `kcl.md` 10 and 12) as a worker's; pure.

Each of the KCL's keys is either a setting of ours, or known and without meaning here, with the reason; anything else is
refused. docs/kcl.md holds the same table in words. As there, a value left empty, 0 or null means the default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from shardline.common.connection import ServiceSettings
from shardline.common.errors import InvalidInput
from shardline.common.metrics.measure import Level
from shardline.common.metrics.settings import MetricsSettings
from shardline.common.settings import Key, Loaded, load, millis_as_s, parse_properties
from shardline.consumer.config import Fleet, Retrieval, WorkerConfig
from shardline.consumer.lineage import Start
from shardline.consumer.retrieval.polling import PollingSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KCL_KEYS", "KclApplication", "KclConnection", "KclReading", "KclSettings", "load_kcl"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KclApplication:
    """Whose configuration it is, and what it reads; `started` is a time in epoch seconds, over `start`."""

    name: str = ""
    stream_name: str = ""
    stream_arn: str = ""
    start: str = "LATEST"
    started: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KclReading:
    """How shards are read: `mode` is FANOUT, POLLING or DEFAULT (polling where a polling key stands, else fan-out)."""

    mode: str = "DEFAULT"
    consumer_name: str | None = None
    page_records: int | None = None
    idle_s: float | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if self.mode.upper() not in ("FANOUT", "POLLING", "DEFAULT"):
            raise InvalidInput("mode", "FANOUT, POLLING or DEFAULT")

    @property
    def retrieval(self) -> Retrieval:
        """How the KCL would read; where it would subscribe by default only, we fall back to polling."""
        mode, polling_keys = self.mode.upper(), (self.page_records, self.idle_s, self.timeout_s)
        if mode == "DEFAULT":
            return Retrieval.POLLING if any(polling_keys) else Retrieval.AUTO
        return Retrieval(mode.lower())

    @property
    def polling(self) -> PollingSettings:
        """The polling settings; a pause longer than our longest becomes the longest."""
        default = PollingSettings()
        idle_s = default.idle_s if self.idle_s is None else self.idle_s
        return PollingSettings(
            idle_s=idle_s,
            idle_s_max=max(idle_s, default.idle_s_max),
            page_records=self.page_records or default.page_records,
            timeout_s=self.timeout_s or default.timeout_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KclConnection:
    """What a KCL configuration says of the way to AWS; `arguments` are those of `Connection`."""

    region: str = ""
    kinesis_endpoint: str = ""
    dynamodb_endpoint: str = ""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `Connection` that mean the same."""
        found: dict[str, Any] = {"region_name": self.region} if self.region else {}
        for service in ("kinesis", "dynamodb"):
            if url := getattr(self, f"{service}_endpoint"):
                found[f"{service}_settings"] = ServiceSettings(endpoint_url=url)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class KclMetrics:
    """What a KCL configuration says of metrics; as there, they are sent unless the level is NONE."""

    level: Level = Level.DETAILED
    upload_s: float = 10.0
    dimensions: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KclSettings:
    """A KCL configuration; `config` is the worker's, without metrics where the level is NONE."""

    application: KclApplication = field(default_factory=KclApplication)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    reading: KclReading = field(default_factory=KclReading)
    connection: KclConnection = field(default_factory=KclConnection)
    metrics: KclMetrics = field(default_factory=KclMetrics)

    def __post_init__(self) -> None:
        if not self.application.name:
            raise InvalidInput("applicationName", "given")
        if not (self.application.stream_name or self.application.stream_arn):
            raise InvalidInput("streamName", "given, or streamArn")
        _ = self.config, self.start

    @property
    def stream(self) -> str:
        """The stream's ARN or name; the ARN where both are given, as in the KCL."""
        return self.application.stream_arn or self.application.stream_name

    @property
    def start(self) -> Start:
        """Where a new application starts; raises `InvalidInput` for a position of another name."""
        started = self.application.started
        return Start.of(self.application.start.upper() if started is None else started)

    @property
    def config(self) -> WorkerConfig:
        """The worker's configuration."""
        metrics = None
        if self.metrics.level is not Level.NONE:
            metrics = MetricsSettings(
                level=self.metrics.level, upload_s=self.metrics.upload_s, enabled_dimensions=self.metrics.dimensions
            )
        return WorkerConfig(
            worker_id=self.worker.worker_id,
            retrieval=self.reading.retrieval,
            consumer_name=self.reading.consumer_name or self.application.name,
            table=self.worker.table,
            leases=self.worker.leases,
            polling=self.reading.polling,
            delivery=self.worker.delivery,
            metrics=metrics,
        )


_FLEETS: Final = {
    "CLIENT_VERSION_CONFIG_3X": Fleet.AUTO,
    "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X": Fleet.KCL2,
    "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1": Fleet.KCL2,
}


def _fleet(text: str) -> Fleet:
    if text.strip() not in _FLEETS:
        raise ValueError(f"one of {', '.join(_FLEETS)}")
    return _FLEETS[text.strip()]


def _dimensions(text: str) -> frozenset[str] | None:
    """Return the metrics' dimensions, None for ALL."""
    names = frozenset(part.strip() for part in text.split(",") if part.strip())
    return None if "ALL" in names else names


def _tags(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError("key=value, key=value")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _ignored(note: str) -> Key:
    return Key(None, note=note)


_LAYOUT = "only beside a fleet of KCL 3.0 to 3.4, whose tables are used as they stand"
_CREDENTIALS = "the SDK's own chain, or the session, profile, role or credentials of a Connection"
_RETRIED = "calls are retried with back-off for as long as it takes, a lease's within its time"

KCL_KEYS: Final[Mapping[str, Key]] = {
    "applicationName": Key("application.name"),
    "streamName": Key("application.stream_name"),
    "streamArn": Key("application.stream_arn"),
    "initialPositionInStream": Key("application.start"),
    "initialPositionInStreamExtended": Key("application.started"),
    "workerId": Key("worker.worker_id"),
    "tableName": Key("worker.table.name"),
    "initialLeaseTableReadCapacity": _ignored("made on demand; TableConfig has both capacities"),
    "initialLeaseTableWriteCapacity": _ignored("made on demand; TableConfig has both capacities"),
    "billingMode": _ignored("made on demand; TableConfig has both capacities"),
    "leaseTablePitrEnabled": Key("worker.table.point_in_time_recovery"),
    "leaseTableDeletionProtectionEnabled": Key("worker.table.deletion_protection"),
    "leaseTableTags": Key("worker.table.tags", _tags),
    "failoverTimeMillis": Key("worker.leases.failover_s", millis_as_s),
    "maxLeasesForWorker": Key("worker.leases.leases_max"),
    "maxLeasesToStealAtOneTime": Key("worker.leases.steal_max"),
    "parentShardPollIntervalMillis": Key("worker.leases.parent_poll_s", millis_as_s),
    "leasesRecoveryAuditorExecutionFrequencyMillis": Key("worker.leases.audit_s", millis_as_s),
    "leasesRecoveryAuditorInconsistencyConfidenceThreshold": Key("worker.leases.audit_confirmations"),
    "cleanupLeasesUponShardCompletion": Key("worker.leases.clean_up"),
    "isGracefulLeaseHandoffEnabled": Key("worker.leases.graceful_hand_off"),
    "gracefulLeaseHandoffTimeoutMillis": Key("worker.leases.hand_off_timeout_s", millis_as_s),
    "leaseAssignmentStrategy": Key("worker.leases.strategy"),
    "varianceBalancingFrequency": Key("worker.leases.balance_every_runs"),
    "workerMetricsReporterFreqInMillis": Key("worker.leases.report_s", millis_as_s),
    "dynamoDbLockBasedLeaderLeaseDurationInMillis": Key("worker.leases.leader_lease_s", millis_as_s),
    "dynamoDbLockBasedLeaderHeartbeatPeriodInMillis": Key("worker.leases.leader_heartbeat_s", millis_as_s),
    "coordinatorStateTableName": Key("worker.leases.coordinator_table"),
    "workerMetricsTableName": Key("worker.leases.metrics_table"),
    "clientVersionConfig": Key("worker.leases.fleet", _fleet),
    "timeoutInSeconds": Key("worker.delivery.handler_timeout_s"),
    "shutdownGraceMillis": Key("worker.delivery.stop_timeout_s", millis_as_s),
    "retrievalMode": Key("reading.mode"),
    "fanoutConfig.consumerName": Key("reading.consumer_name"),
    "maxRecords": Key("reading.page_records"),
    "idleTimeBetweenReadsInMillis": Key("reading.idle_s", millis_as_s),
    "kinesisRequestTimeout": Key("reading.timeout_s", millis_as_s),
    "regionName": Key("connection.region"),
    "kinesisEndpoint": Key("connection.kinesis_endpoint"),
    "dynamoDBEndpoint": Key("connection.dynamodb_endpoint"),
    "metricsLevel": Key("metrics.level", Level.parse),
    "metricsBufferTimeMillis": Key("metrics.upload_s", millis_as_s),
    "metricsEnabledDimensions": Key("metrics.dimensions", _dimensions),
    "executableName": _ignored("the processor is given as a class"),
    "processingLanguage": _ignored("Python"),
    "maxActiveThreads": _ignored("each shard's processor has a thread when it needs one"),
    "AwsCredentialsProvider": _ignored(_CREDENTIALS),
    "AwsCredentialsProviderDynamoDB": _ignored(_CREDENTIALS),
    "AwsCredentialsProviderCloudWatch": _ignored(_CREDENTIALS),
    "AWSCredentialsProvider": _ignored(_CREDENTIALS),
    "fanoutConfig.consumerArn": _ignored("a consumer is registered, or found, by its name"),
    "fanoutConfig.maxDescribeStreamSummaryRetries": _ignored(_RETRIED),
    "fanoutConfig.maxDescribeStreamConsumerRetries": _ignored(_RETRIED),
    "fanoutConfig.registerStreamConsumerRetries": _ignored(_RETRIED),
    "fanoutConfig.retryBackoffMillis": _ignored(_RETRIED),
    "millisBehindLatestThresholdForReducedTps": _ignored("the pause adapts: none behind the head, longer when idle"),
    "maxPendingProcessRecordsInput": _ignored("read ahead is bounded by records and bytes"),
    "maxGetRecordsThreadPool": _ignored("without effect in the KCL too"),
    "retryGetRecordsInSeconds": _ignored("without effect in the KCL too"),
    "callProcessRecordsEvenForEmptyRecordList": _ignored("a processor is called when there are records"),
    "validateSequenceNumberBeforeCheckpointing": _ignored("every checkpoint is checked"),
    "skipShardSyncAtWorkerInitializationIfLeasesExist": _ignored("a start with leases costs one scan"),
    "ignoreUnexpectedChildShards": _ignored("children are told by their parent's end, and checked"),
    "taskBackoffTimeMillis": _ignored("DeliveryConfig.retry: from 0.2 s, doubling to 30 s"),
    "logWarningForTaskAfterMillis": _ignored("health() and handler_timeout_s tell what lasts too long"),
    "shardSyncIntervalMillis": _ignored("children are created by their parent's end, holes by the audit"),
    "shardConsumerDispatchPollIntervalMillis": _ignored("nothing is polled to see whether there is work"),
    "leaseAssignmentIntervalMillis": _ignored("twice the fail-over time, as by default"),
    "epsilonMillis": _ignored("validity counts from the send time of a write known to be applied"),
    "enablePriorityLeaseAssignment": _ignored("as the 2.x taker does by default"),
    "maxLeaseRenewalThreads": _ignored("one loop, no thread per renewal"),
    "leaseTableScanTotalSegments": _ignored("pages are read one after another"),
    "consistentReads": _ignored("consistent where it matters"),
    "dynamoDbRequestTimeout": _ignored("a third of the fail-over time, 3 s at most (LeaseConfig.call_timeout_s)"),
    "listShardsBackoffTimeInMillis": _ignored(_RETRIED),
    "maxListShardsRetryAttempts": _ignored(_RETRIED),
    "maxInitializationAttempts": _ignored(_RETRIED),
    "schedulerInitializationBackoffTimeMillis": _ignored(_RETRIED),
    "metricsMaxQueueSize": _ignored("metrics are summed up, not queued"),
    "inMemoryWorkerMetricsCaptureFrequencyMillis": _ignored("as by default"),
    "noOfPersistedMetricsPerWorkerMetrics": _ignored("ten, as by default"),
    "disableWorkerMetrics": _ignored("LeaseConfig.cpu_metrics, off by default"),
    "maxThroughputPerHostKBps": _ignored("no limit, as by default"),
    "dampeningPercentage": _ignored("60, as by default"),
    "reBalanceThresholdPercentage": _ignored("10, as by default"),
    "allowThroughputOvershoot": _ignored("yes, as by default"),
    "staleWorkerMetricsEntryCleanupDuration": _ignored("a day, as by default"),
    "workerMetricsEMAAlpha": _ignored("0.5, as by default"),
    "migrateAllEntitiesToLeaseTable": _ignored("a Java leader's to do; its progress is honoured"),
    "tableMigrationCompleteBakeTimeSeconds": _ignored("a Java leader's to do; its progress is honoured"),
    **{
        f"{table}{what}": _ignored(_LAYOUT)
        for table in ("coordinatorStateTable", "workerMetricsTable")
        for what in (
            "BillingMode",
            "ReadCapacity",
            "WriteCapacity",
            "PointInTimeRecoveryEnabled",
            "DeletionProtectionEnabled",
            "Tags",
        )
    },
}

_UNSET = frozenset({"", "0", "null"})


def load_kcl(properties: str) -> Loaded[KclSettings]:
    """Return the settings that a KCL's `.properties` text means, and the keys that have no meaning here.

    Raises `UnknownSetting` for a key that no KCL has, `InvalidInput` naming the key for a value out of range.
    """
    values = {name: text for name, text in parse_properties(properties).items() if text.strip().lower() not in _UNSET}
    return load(KclSettings, values, KCL_KEYS, source="KCL properties")
