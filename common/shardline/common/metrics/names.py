"""The metrics of the originals, as tables: names, units and levels exactly as KPL and KCL publish them.

Sources: `kpl.md` 7.1 (KPL 1.0.7: metrics.md and the code) and `kcl.md` 9 (KCL 3.5.1). The KPL's `UnhealthyDaemon` and
`Test` have no meaning here. Prometheus and OpenTelemetry names follow from these by rule (`prometheus`, `otel`).
"""

from __future__ import annotations

from typing import Final

from shardline.common.metrics.measure import Kind, Level, Metric, Unit

_S, _D = Level.SUMMARY, Level.DETAILED


# --- the KPL's; dimensions ErrorCode, StreamName, ShardId, rolled up ---
class Kpl:
    """What a producer publishes, under the namespace ``KinesisProducerLibrary`` unless configured."""

    NAMESPACE: Final = "KinesisProducerLibrary"
    USER_RECORDS_RECEIVED = Metric("UserRecordsReceived", Unit.COUNT, _D)
    USER_RECORDS_PENDING = Metric("UserRecordsPending", Unit.COUNT, _D, Kind.GAUGE)
    USER_RECORDS_PUT = Metric("UserRecordsPut", Unit.COUNT, _S)
    USER_RECORDS_DATA_PUT = Metric("UserRecordsDataPut", Unit.BYTES, _D)
    USER_RECORD_EXPIRED = Metric("UserRecordExpired", Unit.COUNT, _S)
    BUFFERING_TIME = Metric("BufferingTime", Unit.MILLISECONDS, _S, Kind.SUMMARY)
    RETRIES_PER_RECORD = Metric("RetriesPerRecord", Unit.COUNT, _D, Kind.SUMMARY)
    KINESIS_RECORDS_PUT = Metric("KinesisRecordsPut", Unit.COUNT, _S)
    KINESIS_RECORDS_DATA_PUT = Metric("KinesisRecordsDataPut", Unit.BYTES, _D)
    ERRORS_BY_CODE = Metric("ErrorsByCode", Unit.COUNT, _S)
    ALL_ERRORS = Metric("AllErrors", Unit.COUNT, _S)
    REQUEST_TIME = Metric("RequestTime", Unit.MILLISECONDS, _D, Kind.SUMMARY)
    USER_RECORDS_PER_KINESIS_RECORD = Metric("UserRecordsPerKinesisRecord", Unit.COUNT, _D, Kind.SUMMARY)
    KINESIS_RECORDS_PER_REQUEST = Metric("KinesisRecordsPerPutRecordsRequest", Unit.COUNT, _D, Kind.SUMMARY)
    USER_RECORDS_PER_REQUEST = Metric("UserRecordsPerPutRecordsRequest", Unit.COUNT, _D, Kind.SUMMARY)
    # Ours beside them: unknown outcomes and misplaced aggregates have no name in the KPL.
    USER_RECORDS_UNKNOWN = Metric("UserRecordsUnknown", Unit.COUNT, _S)
    AGGREGATES_MISPLACED = Metric("AggregatesMisplaced", Unit.COUNT, _D)
    OLDEST_RECORD_AGE = Metric("OldestRecordAge", Unit.MILLISECONDS, _D, Kind.GAUGE)


# --- the KCL's; dimension Operation on all, and WorkerIdentifier, StreamId, ShardId where it says so ---
def _count(name: str, level: Level = _S) -> Metric:
    return Metric(name, Unit.COUNT, level)


def _state(name: str, level: Level = _S, unit: Unit = Unit.COUNT) -> Metric:
    return Metric(name, unit, level, Kind.GAUGE)


def _time(name: str, level: Level = _S) -> Metric:
    return Metric(name, Unit.MILLISECONDS, level, Kind.SUMMARY)


def _called(name: str, level: Level) -> tuple[Metric, Metric]:
    """Return the pair that the KCL writes for a call: ``NAME.Success`` (0 or 1) and ``NAME.Time``."""
    prefix = f"{name}." if name else ""
    return Metric(f"{prefix}Success", Unit.COUNT, level), _time(f"{prefix}Time", level)


class Operation:
    """Values of the dimension ``Operation``."""

    PROCESS_TASK: Final = "ProcessTask"
    APPLICATION_TRACKER: Final = "ApplicationTracker"
    INITIALIZE_TASK: Final = "InitializeTask"
    SHUTDOWN_TASK: Final = "ShutdownTask"
    SHARD_SYNC_TASK: Final = "ShardSyncTask"
    PERIODIC_SHARD_SYNC: Final = "PeriodicShardSyncManager"
    RENEW_ALL_LEASES: Final = "RenewAllLeases"
    LEASE_RENEWER_INITIALIZE: Final = "LeaseRenewerInitialize"
    LEASE_DISCOVERY: Final = "LeaseDiscovery"
    TAKE_LEASES: Final = "TakeLeases"
    LEASE_ASSIGNMENT: Final = "LeaseAssignmentManager"
    WORKER_METRIC_STATS: Final = "WorkerMetricStatsReporter"
    WORKER_METRICS: Final = "WorkerMetrics"
    LEADER_DECIDER: Final = "LeaderDecider"
    MIGRATION: Final = "Migration"
    TABLE_MIGRATION: Final = "TableMigration"
    INITIALIZE: Final = "Scheduler:Initialize"
    MULTI_STREAM: Final = "MultiStreamTracker"


class Kcl:
    """What a worker publishes, under its application's name as the namespace."""

    SUCCESS, TIME = _called("", _S)
    # ProcessTask
    RECORDS_PROCESSED = _count("RecordsProcessed")
    DATA_BYTES_PROCESSED = Metric("DataBytesProcessed", Unit.BYTES, _S)
    MILLIS_BEHIND_LATEST = _state("MillisBehindLatest", unit=Unit.MILLISECONDS)
    PROCESS_RECORDS_TIME = _time("RecordProcessor.processRecords.Time")
    GET_RECORDS_SUCCESS, GET_RECORDS_TIME = _called("KinesisDataFetcher.getRecords", _D)
    GET_SHARD_ITERATOR_SUCCESS, GET_SHARD_ITERATOR_TIME = _called("KinesisDataFetcher.getShardIterator", _D)
    EXPIRED_ITERATOR = _count("ExpiredIterator")
    UPDATE_LEASE_SUCCESS, UPDATE_LEASE_TIME = _called("UpdateLease", _D)
    # InitializeTask, ShutdownTask, ShardSyncTask
    INITIALIZE_TIME = _time("RecordProcessor.initialize.Time")
    SHUTDOWN_TIME = _time("RecordProcessor.shutdown.Time")
    CREATE_LEASE_SUCCESS, CREATE_LEASE_TIME = _called("CreateLease", _D)
    MISSING_MERGE_PARENT = _count("MissingMergeParent")
    MISSING_MERGE_PARENT_LEASE = _count("MissingMergeParentLease")
    SYNC_SHARDS_SUCCESS = _count("SyncShards.Success", _D)
    # PeriodicShardSyncManager
    STREAMS_WITH_PARTIAL_LEASES = _state("NumStreamsWithPartialLeases")
    STREAMS_TO_SYNC = _state("NumStreamsToSync")
    SKIPPED_SHARD_SYNC_TASK = _count("NumSkippedShardSyncTask")
    # RenewAllLeases, LeaseRenewerInitialize
    CURRENT_LEASES = _state("CurrentLeases")
    LOST_LEASES = _count("LostLeases")
    RENEW_LEASE_SUCCESS, RENEW_LEASE_TIME = _called("RenewLease", _D)
    FAULT = _count("Fault", _D)
    # LeaseDiscovery
    LIST_LEASE_KEYS_TIME = _time("ListLeaseKeysForWorker.Time", _D)
    FETCH_NEW_LEASES_TIME = _time("FetchNewLeases.Time", _D)
    NEW_LEASES_DISCOVERED = _count("NewLeasesDiscovered", _D)
    OWNER_MISMATCH = _count("OwnerMismatch", _D)
    GET_LEASE_ERROR = _count("GetLease:Error")
    # TakeLeases, LeaseAssignmentManager
    TOTAL_LEASES = _state("TotalLeases", _D)
    TOTAL_LEASES_ASSIGNED = _state("TotalLeases")
    EXPIRED_LEASES = _state("ExpiredLeases")
    LEASE_SPILLOVER = _state("LeaseSpillover")
    NUM_WORKERS = _state("NumWorkers")
    VERY_OLD_LEASES = _state("VeryOldLeases")
    TAKEN_LEASES = _count("TakenLeases")
    UNTAKEN_LEASES = _count("UntakenLeases")
    LEASES_TO_TAKE = _state("LeasesToTake", _D)
    NEEDED_LEASES = _state("NeededLeases", _D)
    LIST_LEASES_SUCCESS, LIST_LEASES_TIME = _called("ListLeases", _D)
    TAKE_LEASE_SUCCESS, TAKE_LEASE_TIME = _called("TakeLease", _D)
    LEASES_REASSIGNED = _count("NumOfLeasesReassignment")
    WORKERS_WITH_INVALID_ENTRY = _state("NumWorkersWithInvalidEntry")
    WORKERS_WITH_FAILING_METRIC = _state("NumWorkersWithFailingWorkerMetric")
    LEASE_DESERIALIZATION_FAILURES = _count("LeaseDeserializationFailureCount")
    FORCE_LEADER_RELEASE = _count("ForceLeaderRelease")
    LOAD_TIME = _time("LeaseAndWorkerMetricsLoad.Time", _D)
    ASSIGN_TIME = _time("AssignExpiredOrUnassignedLeases.Time", _D)
    BALANCE_TIME = _time("BalanceWorkerVariance.Time", _D)
    PARALLEL_ASSIGN_SUCCESS, PARALLEL_ASSIGN_TIME = _called("ParallelyAssignLeases", _D)
    FAILED_ASSIGNMENTS = _count("FailedAssignmentCount", _D)
    # WorkerMetricStatsReporter, WorkerMetrics, LeaderDecider
    REPORTER_FAILURE = _count("InMemoryMetricStatsReporterFailure")
    FLEET_MIN_SUPPORT_CODE = _state("FleetMinSupportCode", unit=Unit.NONE)
    IS_LEADER = _state("LeaderDecider:IsLeader", _D)
    # Migration, TableMigration
    CURRENT_STATE_3X = _state("CurrentState:3xWorker")
    CURRENT_STATE_2X_COMPATIBLE = _state("CurrentState:2xCompatibleWorker")
    GSI_READY = _state("GsiReadyStatus")
    WORKER_METRICS_READY = _state("WorkerMetricsReadyStatus")
    MIGRATION_FAULT = _count("Fault")
    TABLE_MIGRATION_STATUS = _state("StatusOrdinal", unit=Unit.NONE)
    # Scheduler:Initialize, MultiStreamTracker
    SCHEDULER_INITIALIZE_SUCCESS = _count("Initialize.Success")
    ACTIVE_STREAMS = _state("ActiveStreams.Count")
    STREAMS_PENDING_DELETION = _state("StreamsPendingDeletion.Count")
    NON_EXISTING_STREAM_DELETE = _count("NonExistingStreamDelete.Count")
    DELETED_STREAMS = _count("DeletedStreams.Count")
    # Ours beside them: what the KCL drops without a count.
    RECORDS_PARKED = _count("RecordsParked")
    KEYS_PARKED = _count("KeysParked")
    RECORDS_MISPLACED = _count("RecordsMisplaced")
    RECORDS_MALFORMED = _count("RecordsMalformed")
    RECORDS_LOST_TO_RETENTION = _count("RecordsLostToRetention")
    CONSUMERS_LOST = _count("ConsumersLost")
    STREAMS_GONE = _count("StreamsGone")
    STREAMS_RECREATED = _count("StreamsRecreated")


def create_lease_by_position(position: str) -> Metric:
    """Return ``CreateLease_POSITION.Success`` for TRIM_HORIZON, LATEST, AT_TIMESTAMP or SEQUENCE_NUMBER."""
    return Metric(f"CreateLease_{position}.Success", Unit.COUNT, _D)


def metrics_of(table: type) -> dict[str, Metric]:
    """Return constant name -> metric, of `Kpl` or `Kcl`."""
    return {name: value for name, value in vars(table).items() if isinstance(value, Metric)}
