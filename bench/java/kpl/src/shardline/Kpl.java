package shardline;

import com.fasterxml.jackson.databind.JsonNode;
import com.google.common.util.concurrent.FutureCallback;
import com.google.common.util.concurrent.Futures;
import com.google.common.util.concurrent.MoreExecutors;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Random;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecordFailedException;
import software.amazon.kinesis.producer.UserRecordResult;

/**
 * The KPL, told by its parent what to put: "go N" puts N user records, each with a callback, and ends the turn when all
 * of them are acknowledged. With "first_id" the records are numbered events of the demo, and each acknowledgement is
 * told; without, they are "data_bytes" random bytes.
 */
public final class Kpl {
    private static final int KEYS = 1_000;
    private static final int DATA_KINDS = 512;
    private static final int OUTSTANDING_MAX = 20_000;

    private final Parent parent;
    private final KinesisProducer producer;
    private final String stream;
    private final boolean numbered;
    private final AtomicLong failed = new AtomicLong();
    private final Semaphore free = new Semaphore(OUTSTANDING_MAX);
    private final String[] keys = new String[KEYS];
    private final byte[][] data = new byte[DATA_KINDS][];
    private final Random random = new Random(20);
    private long next;

    private Kpl(Parent parent) {
        this.parent = parent;
        JsonNode settings = parent.settings;
        stream = settings.get("stream").asText();
        numbered = settings.has("first_id");
        next = settings.path("first_id").asLong();
        for (int i = 0; i < KEYS; i++) {
            keys[i] = String.format("user-%08d", i);
        }
        for (int i = 0; i < DATA_KINDS; i++) {
            data[i] = new byte[settings.path("data_bytes").asInt()];
            random.nextBytes(data[i]);
        }
        producer = new KinesisProducer(configuration(settings));
    }

    private static KinesisProducerConfiguration configuration(JsonNode settings) {
        return new KinesisProducerConfiguration()
                .setKinesisEndpoint(settings.get("host").asText())
                .setKinesisPort(settings.get("port").asLong())
                .setCaCertFile(settings.get("ca_bundle").asText())
                .setRegion("us-east-1")
                .setCredentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("a", "b")))
                .setMetricsLevel("none")
                .setRateLimit(1_000_000) // Ours is unlimited too: the endpoint has no limit.
                .setThreadingModel(KinesisProducerConfiguration.ThreadingModel.POOLED)
                .setTempDirectory(settings.get("folder").asText())
                .setLogLevel("warning");
    }

    public static void main(String[] args) throws Exception {
        Parent parent = new Parent();
        Kpl kpl = new Kpl(parent);
        try {
            parent.ready();
            for (String word = parent.word(); !word.equals("stop"); word = parent.word()) {
                kpl.turn(Long.parseLong(word.substring("go ".length())));
            }
        } finally {
            kpl.producer.destroy();
        }
        parent.done();
        System.exit(0);
    }

    private void turn(long records) throws InterruptedException {
        for (long i = 0; i < records; i++) {
            free.acquire();
            put();
        }
        producer.flush();
        free.acquire(OUTSTANDING_MAX);
        free.release(OUTSTANDING_MAX);
        if (failed.get() > 0) {
            throw new IllegalStateException(failed.get() + " records failed");
        }
        parent.say("note", "turn over");
    }

    private void put() {
        long id = next++;
        String key = keys[random.nextInt(KEYS)];
        byte[] bytes = numbered ? event(id, key) : data[(int) (id % DATA_KINDS)];
        Futures.addCallback(
                producer.addUserRecord(stream, key, ByteBuffer.wrap(bytes)),
                new FutureCallback<UserRecordResult>() {
                    @Override
                    public void onSuccess(UserRecordResult result) {
                        if (numbered) {
                            acknowledge(result, id);
                        }
                        free.release();
                    }

                    @Override
                    public void onFailure(Throwable failure) {
                        failed.incrementAndGet();
                        System.err.println("record " + id + " failed: " + failure);
                        if (failure instanceof UserRecordFailedException) {
                            ((UserRecordFailedException) failure).getResult().getAttempts()
                                    .forEach(one -> System.err.println(one.getErrorCode() + " " + one.getErrorMessage()));
                        }
                        free.release();
                    }
                },
                MoreExecutors.directExecutor());
    }

    private void acknowledge(UserRecordResult result, long id) {
        BigInteger sequenceNumber = new BigInteger(result.getSequenceNumber());
        parent.say("acknowledged", result.getShardId(), sequenceNumber, 0, 0, new long[] {id});
    }

    private static byte[] event(long id, String key) {
        return ("{\"id\":" + id + ",\"user_id\":\"" + key + "\",\"page\":\"/home\",\"action\":\"view\"}")
                .getBytes(StandardCharsets.UTF_8);
    }
}
