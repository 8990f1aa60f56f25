package dev.baton.transfer.lmcache;

import dev.baton.wire.FreePorts;
import java.io.IOException;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Assumptions;

/// LMCache's own `lm://` server, run by the Python that `LMCACHE_PYTHON` names.
final class RealLmServer implements AutoCloseable {
    private final Process process;
    final int port;

    /// Skips the test where there is none.
    RealLmServer(Path folder) throws IOException {
        String python = System.getenv("LMCACHE_PYTHON");
        Assumptions.assumeTrue(python != null, "LMCACHE_PYTHON names no Python that has LMCache");
        port = FreePorts.next();
        Path log = folder.resolve("lmcache.log");
        ProcessBuilder command =
                new ProcessBuilder(python, "-m", "lmcache.v1.server", "127.0.0.1", Integer.toString(port));
        command.environment().put("LMCACHE_TRACK_USAGE", "false");
        command.environment().put("DO_NOT_TRACK", "1");
        process = command.redirectErrorStream(true).redirectOutput(log.toFile()).start();
        Awaitility.await().atMost(Duration.ofMinutes(3)).until(() -> {
            try (Socket socket = new Socket("127.0.0.1", port)) {
                return socket.isConnected();
            } catch (IOException e) {
                return !process.isAlive();
            }
        });
        if (!process.isAlive()) {
            throw new IOException("LMCache's server did not start: " + Files.readString(log));
        }
    }

    @Override
    public void close() {
        process.destroyForcibly();
        try {
            process.waitFor(10, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
