package shardline;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * The process that started this one, spoken to as the demo's children do (shardline.cli.demo.child, messages): the
 * first line of standard input holds the settings, each further line is a word; a message is a JSON array in one line.
 * Standard input is the leash: its end is the word "stop".
 */
final class Parent {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final PrintStream out = System.out;
    private final BlockingQueue<String> words = new LinkedBlockingQueue<>();
    final JsonNode settings;

    Parent() throws IOException {
        System.setOut(System.err); // A stray print must not look like a message.
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        settings = JSON.readTree(in.readLine());
        Thread listener = new Thread(() -> listen(in), "parent");
        listener.setDaemon(true);
        listener.start();
    }

    private void listen(BufferedReader in) {
        try {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                words.add(line);
            }
        } catch (IOException gone) {
            System.err.println("the parent's pipe broke: " + gone);
        }
        words.add("stop");
    }

    String word() throws InterruptedException {
        return words.take();
    }

    /** The machine's monotonic clock in seconds: on Linux the same that Python's time.monotonic() reads. */
    private static double now() {
        return System.nanoTime() / 1e9;
    }

    /** Write one message, whole, before this returns; without a parent there is nobody to work for. */
    synchronized void say(String kind, Object... rest) {
        Object[] message = new Object[rest.length + 2];
        message[0] = kind;
        message[1] = now();
        System.arraycopy(rest, 0, message, 2, rest.length);
        try {
            out.println(JSON.writeValueAsString(message));
        } catch (IOException wrong) {
            throw new IllegalStateException(wrong);
        }
        out.flush();
        if (out.checkError()) {
            Runtime.getRuntime().halt(1);
        }
    }

    void ready() {
        say("ready", "");
    }

    void done() {
        say("done", Map.of());
    }

    static String text(Object value) throws IOException {
        return JSON.writeValueAsString(value);
    }

    static JsonNode parse(byte[] data) throws IOException {
        return JSON.readTree(data);
    }
}
