package shardline;

import java.util.concurrent.TimeUnit;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.retrieval.KinesisClientRecord;

/** Touches every record, and checkpoints as seldom as our worker does: with every renewal. */
final class CountingProcessor implements ShardRecordProcessor {
    private static final long CHECKPOINT_NS = TimeUnit.MILLISECONDS.toNanos(3_333);

    private final Marks marks;
    private long checkpointed = System.nanoTime();
    private long bytes;

    CountingProcessor(Marks marks) {
        this.marks = marks;
    }

    @Override
    public void initialize(InitializationInput input) {}

    @Override
    public void processRecords(ProcessRecordsInput input) {
        try {
            for (KinesisClientRecord record : input.records()) {
                bytes += record.data().remaining() + record.partitionKey().length();
            }
            marks.add(input.records().size());
            if (System.nanoTime() - checkpointed > CHECKPOINT_NS) {
                checkpointed = System.nanoTime();
                input.checkpointer().checkpoint();
            }
        } catch (InvalidStateException | ShutdownException failure) {
            throw new IllegalStateException("after " + bytes + " bytes", failure);
        }
    }

    @Override
    public void leaseLost(LeaseLostInput input) {}

    @Override
    public void shardEnded(ShardEndedInput input) {}

    @Override
    public void shutdownRequested(ShutdownRequestedInput input) {}
}
