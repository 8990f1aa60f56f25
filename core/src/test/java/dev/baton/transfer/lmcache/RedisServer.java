package dev.baton.transfer.lmcache;

import dev.baton.wire.FreePorts;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Assumptions;

/// A real Redis of the machine's: that of `REDIS_SERVER`, or the one on the path.
final class RedisServer implements AutoCloseable {
    private final Process process;
    final int port;

    /// Skips the test where there is none.
    RedisServer(Path folder, String... settings) throws IOException {
        Optional<Path> found = Stream.concat(
                        Stream.ofNullable(System.getenv("REDIS_SERVER")).map(Path::of),
                        Arrays.stream(System.getenv("PATH").split(File.pathSeparator))
                                .map(path -> Path.of(path, "redis-server")))
                .filter(Files::isExecutable)
                .findFirst();
        Assumptions.assumeTrue(found.isPresent(), "there is no redis-server on this machine (Debian: redis-server)");
        port = FreePorts.next();
        List<String> command = new ArrayList<>(List.of(
                found.orElseThrow().toString(), "--bind", "127.0.0.1", "--port", Integer.toString(port), "--save", ""));
        command.addAll(List.of("--appendonly", "no", "--dir", folder.toString()));
        command.addAll(List.of(settings));
        process = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve("redis.log").toFile())
                .start();
        Awaitility.await().atMost(Duration.ofSeconds(20)).until(() -> {
            try (java.net.Socket socket = new java.net.Socket("127.0.0.1", port)) {
                return socket.isConnected();
            } catch (IOException e) {
                return !process.isAlive();
            }
        });
        if (!process.isAlive()) {
            throw new IOException("redis-server did not start: " + Files.readString(folder.resolve("redis.log")));
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
