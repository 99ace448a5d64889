package shardline;

import com.fasterxml.jackson.databind.JsonNode;
import java.lang.reflect.InvocationTargetException;
import java.net.URI;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.client.builder.AwsAsyncClientBuilder;
import software.amazon.awssdk.awscore.client.builder.AwsClientBuilder;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.leases.Lease;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.metrics.MetricsLevel;
import software.amazon.kinesis.processor.ShardRecordProcessorFactory;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * One KCL worker that polls. With "work": "count" it counts user records, for `make bench-java`; with "work":
 * "tell" it tells its parent what each processor was given, before it checkpoints, for `make interop`.
 *
 * Defaults of the KCL hold except for what the settings say: fail-over time, how often shards are looked at when it
 * starts and on parents that have not ended, and no CloudWatch. Outside EC2 and ECS it has no worker metrics.
 */
public final class Kcl {
    private static final int STOP_S = 40;

    private Kcl() {}

    public static void main(String[] args) throws Exception {
        Parent parent = new Parent();
        Marks marks = new Marks(parent);
        boolean counts = parent.settings.get("work").asText().equals("count");
        Scheduler scheduler = scheduler(
                parent.settings, counts ? () -> new CountingProcessor(marks) : () -> new TellingProcessor(parent));
        Thread running = new Thread(scheduler, "scheduler");
        running.start();
        parent.ready();
        for (String word = parent.word(); !word.equals("stop"); word = parent.word()) {
            tellRows(parent, scheduler);
        }
        scheduler.startGracefulShutdown().get(STOP_S, TimeUnit.SECONDS);
        running.join(TimeUnit.SECONDS.toMillis(STOP_S));
        parent.done();
        System.exit(0);
    }

    /** Tell every lease as this KCL reads it from the table: what "rows" asks for. */
    private static void tellRows(Parent parent, Scheduler scheduler) throws Exception {
        List<Map<String, Object>> rows = new ArrayList<>();
        for (Lease lease : scheduler.leaseRefresher().listLeases()) {
            Map<String, Object> row = new HashMap<>();
            row.put("key", lease.leaseKey());
            row.put("owner", lease.leaseOwner());
            row.put("counter", lease.leaseCounter());
            row.put("checkpoint", String.valueOf(lease.checkpoint().sequenceNumber()));
            row.put("sub", lease.checkpoint().subSequenceNumber());
            row.put("parents", new TreeSet<>(lease.parentShardIds()));
            row.put("children", new TreeSet<>(lease.childShardIds()));
            row.put("start", String.valueOf(lease.hashKeyRangeForLease().startingHashKey()));
            row.put("end", String.valueOf(lease.hashKeyRangeForLease().endingHashKey()));
            rows.add(row);
        }
        parent.say("note", "rows " + Parent.text(rows));
    }

    private static Scheduler scheduler(JsonNode settings, ShardRecordProcessorFactory factory) throws Exception {
        KinesisAsyncClient kinesis = client(KinesisAsyncClient.builder(), settings);
        ConfigsBuilder configs = new ConfigsBuilder(
                new SingleStreamTracker(
                        settings.get("stream").asText(),
                        InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON)),
                settings.get("application").asText(),
                kinesis,
                client(DynamoDbAsyncClient.builder(), settings),
                client(CloudWatchAsyncClient.builder(), settings),
                settings.get("name").asText(),
                factory);
        return new Scheduler(
                configs.checkpointConfig(),
                configs.coordinatorConfig()
                        .parentShardPollIntervalMillis(settings.get("parent_poll_ms").asLong()),
                leases(configs, settings),
                configs.lifecycleConfig(),
                configs.metricsConfig().metricsLevel(MetricsLevel.NONE),
                configs.processorConfig(),
                configs.retrievalConfig()
                        .retrievalSpecificConfig(new PollingConfig(settings.get("stream").asText(), kinesis)));
    }

    private static LeaseManagementConfig leases(ConfigsBuilder configs, JsonNode settings) throws Exception {
        LeaseManagementConfig leases = configs.leaseManagementConfig()
                .failoverTimeMillis(settings.get("failover_ms").asLong())
                .shardSyncIntervalMillis(settings.get("shard_sync_ms").asLong());
        try { // Since 3.0: without it the KCL asks the instance metadata address, which is fixed.
            Object utilization = leases.getClass().getMethod("workerUtilizationAwareAssignmentConfig").invoke(leases);
            utilization.getClass().getMethod("disableWorkerMetrics", boolean.class).invoke(utilization, true);
        } catch (NoSuchMethodException before30) {
            System.err.println("this KCL has no worker metrics");
        } catch (InvocationTargetException failed) {
            throw new IllegalStateException(failed.getCause());
        }
        return leases;
    }

    private static <B extends AwsClientBuilder<B, C> & AwsAsyncClientBuilder<B, C>, C> C client(B builder, JsonNode settings) {
        return builder.region(Region.US_EAST_1)
                .endpointOverride(URI.create(settings.get("url").asText()))
                .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("a", "b")))
                .httpClientBuilder(NettyNioAsyncHttpClient.builder()
                        .maxConcurrency(100)
                        .protocol(Protocol.HTTP1_1)) // The default for http:// is HTTP/2 in clear text.
                .build();
    }
}
