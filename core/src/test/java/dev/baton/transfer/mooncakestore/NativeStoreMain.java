package dev.baton.transfer.mooncakestore;

import dev.baton.transfer.mooncakestore.ObjectStore.Piece;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;

/// Has a client of a cluster in its process, with a value, until its standard input or the process ends.
final class NativeStoreMain {
    private static final Duration LONG = Duration.ofSeconds(60);

    private NativeStoreMain() {}

    public static void main(String[] arguments) throws IOException {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> say("hook")));
        say("blocked before " + blockedSignals());
        ObjectStore store = new NativeStore.Opener(
                        new NativeStore.Library(Path.of(arguments[0])),
                        MooncakeStoreOptions.from(Map.of("master_server_address", arguments[1]), "m", Map.of())
                                .cluster(),
                        "127.0.0.1",
                        LONG,
                        LONG)
                .open(1 << 20);
        say("blocked after " + blockedSignals());
        say("put " + store.put(List.of(new Piece("of-another-process", 0, 1 << 20)))[0]);
        int _ = System.in.read();
        say("end"); // and the client is still open
    }

    /// The signals that this thread, and all processes that it starts, do not get.
    private static String blockedSignals() throws IOException {
        return Files.readAllLines(Path.of("/proc/thread-self/status")).stream()
                .filter(line -> line.startsWith("SigBlk:"))
                .findFirst()
                .orElse("");
    }

    private static void say(String words) {
        System.out.println("= " + words);
    }
}
