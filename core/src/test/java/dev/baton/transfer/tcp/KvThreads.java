package dev.baton.transfer.tcp;

import static org.awaitility.Awaitility.await;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/// After each test: every thread of every connector has ended, and no more sockets are open than before.
public final class KvThreads implements BeforeEachCallback, AfterEachCallback {
    private static final Path DESCRIPTORS = Path.of("/proc/self/fd");

    private long socketsBefore;

    @Override
    public void beforeEach(ExtensionContext context) throws IOException {
        SocketChannel.open().close(); // the JDK opens a socket of its own with the first one, and keeps it
        socketsBefore = openSockets();
    }

    @Override
    public void afterEach(ExtensionContext context) {
        await("threads left").atMost(Duration.ofSeconds(20)).until(KvThreads::running, List::isEmpty);
        await("sockets left").atMost(Duration.ofSeconds(20)).until(() -> openSockets() <= socketsBefore);
    }

    static List<String> running() {
        return Thread.getAllStackTraces().keySet().stream()
                .map(Thread::getName)
                .filter(name -> name.startsWith("baton-kv-"))
                .toList();
    }

    /// Sockets that this process has open; 0 where the system does not say.
    static long openSockets() {
        if (!Files.isDirectory(DESCRIPTORS)) {
            return 0;
        }
        try (Stream<Path> descriptors = Files.list(DESCRIPTORS)) {
            return descriptors.filter(KvThreads::isSocket).count();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static boolean isSocket(Path descriptor) {
        try {
            return Files.readSymbolicLink(descriptor).toString().startsWith("socket:");
        } catch (IOException e) {
            return false; // closed meanwhile
        }
    }
}
