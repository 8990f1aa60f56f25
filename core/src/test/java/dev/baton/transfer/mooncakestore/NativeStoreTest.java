package dev.baton.transfer.mooncakestore;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.mooncakestore.ObjectStore.Piece;
import dev.baton.transfer.tcp.KvThreads;
import dev.baton.wire.FreePorts;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Mooncake's library in this process; skipped, with the reason, where it is not.
@ExtendWith(KvThreads.class)
@Timeout(120)
class NativeStoreTest {
    private static final Duration LONG = Duration.ofSeconds(20);
    private static final Duration SHORT = Duration.ofSeconds(1);
    private static final Duration SOON = Duration.ofSeconds(5);
    private static final int BYTES = 1 << 20;

    private Path library = Path.of("");

    @BeforeAll
    static void loadLibrary() {
        MooncakeCluster.loadLibrary();
    }

    @BeforeEach
    void needLibrary() {
        library = MooncakeCluster.sharedObject();
    }

    private NativeStore.Opener opener(String master, Duration startTimeout, Duration timeout) {
        return new NativeStore.Opener(
                new NativeStore.Library(library),
                new Cluster(master, "P2PHANDSHAKE", "tcp", "", 0, 16 << 20),
                "127.0.0.1",
                startTimeout,
                timeout);
    }

    private static Duration since(long nanos) {
        return Duration.ofNanos(System.nanoTime() - nanos);
    }

    @Test
    void masterThatIsNotThereIsNamedAtOnce() throws IOException {
        NativeStore.Opener opener = opener("127.0.0.1:" + FreePorts.next(), LONG, LONG);
        long start = System.nanoTime();
        assertThatThrownBy(() -> opener.open(BYTES))
                .isInstanceOf(IOException.class)
                .hasMessageContaining("cannot be reached")
                .hasMessageContaining("127.0.0.1:");
        assertThat(since(start)).isLessThan(SOON);
    }

    @Test
    void joiningTheClusterOfAMasterThatHangsEnds() throws IOException {
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20)) {
            NativeStore.Opener opener = opener(cluster.master(), SHORT, LONG);
            cluster.signalMaster("STOP");
            long start = System.nanoTime();
            assertThatThrownBy(() -> opener.open(BYTES))
                    .isInstanceOf(IOException.class)
                    .hasMessageContaining("longer than 1000 ms");
            assertThatThrownBy(() -> opener.open(BYTES)).hasMessageContaining("still tries");
            assertThat(since(start)).isLessThan(SOON);

            cluster.signalMaster("CONT");
            Awaitility.await()
                    .ignoreExceptionsInstanceOf(IOException.class)
                    .atMost(LONG.multipliedBy(3))
                    .untilAsserted(() -> {
                        try (ObjectStore store = opener.open(BYTES)) {
                            assertThat(store.exist(List.of("none"))).containsExactly(0);
                        }
                    });
        }
    }

    @Test
    void callToAMasterThatHangsEnds() throws IOException {
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20)) {
            long start;
            try (ObjectStore store = opener(cluster.master(), LONG, SHORT).open(BYTES)) {
                assertThat(store.put(List.of(new Piece("a", 0, BYTES)))).containsExactly(0);
                cluster.signalMaster("STOP");
                start = System.nanoTime();
                assertThatThrownBy(() -> store.get(List.of(new Piece("a", 0, BYTES))))
                        .isInstanceOf(IOException.class)
                        .hasMessageContaining("longer than 1000 ms");
            } // the call is still under way, in memory that is still there
            assertThat(since(start)).isLessThan(SOON);
            cluster.signalMaster("CONT");
        }
    }

    /// The library waits for signals itself, and ends the process when it gets one.
    @ParameterizedTest
    @CsvSource({"TERM, 143", "INT, 130", "HUP, 129", ", 0"})
    void processEndsAsItWouldWithoutTheLibrary(String signal, int status) throws Exception {
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20)) {
            Process process = new ProcessBuilder(
                            Path.of(System.getProperty("java.home"), "bin", "java")
                                    .toString(),
                            "-XX:+UseSerialGC",
                            "-Xmx128m",
                            "--enable-native-access=ALL-UNNAMED",
                            "-cp",
                            System.getProperty("java.class.path"),
                            NativeStoreMain.class.getName(),
                            library.toString(),
                            cluster.master())
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
            try (BufferedReader out = process.inputReader(StandardCharsets.UTF_8)) {
                String before = next(out);
                assertThat(next(out)).isEqualTo(before.replace("before", "after"));
                assertThat(next(out)).isEqualTo("put 0");
                if (signal == null) {
                    process.outputWriter().close();
                    assertThat(next(out)).isEqualTo("end");
                } else {
                    new ProcessBuilder("kill", "-" + signal, Long.toString(process.pid()))
                            .start()
                            .waitFor();
                }
                assertThat(next(out)).isEqualTo("hook");
                assertThat(process.waitFor(LONG.toSeconds(), TimeUnit.SECONDS)).isTrue();
                assertThat(process.exitValue()).isEqualTo(status);
            } finally {
                process.destroyForcibly();
            }
        }
    }

    /// What the process says next; the library writes to the same place.
    private static String next(BufferedReader out) throws IOException {
        List<String> log = new ArrayList<>();
        for (String line = out.readLine(); line != null; line = out.readLine()) {
            if (line.startsWith("= ")) {
                return line.substring(2);
            }
            log.add(line);
        }
        throw new IOException("the process has ended: " + log);
    }
}
