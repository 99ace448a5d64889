package shardline;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.retrieval.KinesisClientRecord;

/** Tells the parent which records it was given, whole, before it checkpoints: the words of the demo's worker. */
final class TellingProcessor implements ShardRecordProcessor {
    private final Parent parent;
    private String shardId;

    TellingProcessor(Parent parent) {
        this.parent = parent;
    }

    @Override
    public void initialize(InitializationInput input) {
        shardId = input.shardId();
        parent.say("started", shardId, String.valueOf(input.extendedSequenceNumber()));
    }

    @Override
    public void processRecords(ProcessRecordsInput input) {
        if (!input.records().isEmpty()) {
            List<Object[]> records = new ArrayList<>();
            for (KinesisClientRecord record : input.records()) {
                records.add(told(record));
            }
            parent.say("delivered", shardId, 0, records, Map.of(), 0);
        }
        checkpoint(input.checkpointer());
    }

    private static Object[] told(KinesisClientRecord record) {
        byte[] data = new byte[record.data().remaining()];
        record.data().duplicate().get(data);
        return new Object[] {
            new BigInteger(record.sequenceNumber()),
            record.subSequenceNumber(),
            new long[] {id(data, record.partitionKey())},
            new String[] {record.partitionKey()}
        };
    }

    /** Return the event's number, or -1 where the bytes are not an event of that key. */
    private static long id(byte[] data, String partitionKey) {
        try {
            JsonNode event = Parent.parse(data);
            return event.path("user_id").asText().equals(partitionKey) ? event.path("id").asLong(-1) : -1;
        } catch (IOException notJson) {
            return -1;
        }
    }

    private void checkpoint(RecordProcessorCheckpointer checkpointer) {
        try {
            checkpointer.checkpoint();
        } catch (ShutdownException gone) {
            parent.say("note", shardId + ": checkpoint refused, the lease is gone");
        } catch (InvalidStateException broken) {
            throw new IllegalStateException(broken);
        }
    }

    @Override
    public void leaseLost(LeaseLostInput input) {
        parent.say("stopped", shardId, "lease lost");
    }

    @Override
    public void shardEnded(ShardEndedInput input) {
        checkpoint(input.checkpointer());
        parent.say("ended", shardId);
    }

    @Override
    public void shutdownRequested(ShutdownRequestedInput input) {
        checkpoint(input.checkpointer());
        parent.say("note", shardId + ": shutdown requested");
    }
}
