package shardline;

import com.fasterxml.jackson.databind.JsonNode;

/** Counts the user records of all processors, and tells the parent when the count passes each mark of "marks". */
final class Marks {
    private final Parent parent;
    private final JsonNode marks;
    private long count;
    private int passed;

    Marks(Parent parent) {
        this.parent = parent;
        this.marks = parent.settings.path("marks");
    }

    synchronized void add(long records) {
        count += records;
        while (passed < marks.size() && count >= marks.get(passed).asLong()) {
            parent.say("note", String.valueOf(count));
            passed++;
        }
    }
}
