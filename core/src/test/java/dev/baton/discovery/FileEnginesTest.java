package dev.baton.discovery;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.slf4j.LoggerFactory;

/// A file of engines, as it is written and changed.
@Timeout(60)
class FileEnginesTest {
    private static final Duration INTERVAL = Duration.ofMillis(20);
    private static final String TWO = """
            prefillers:
              - 10.0.0.1:8100
            decoders:
              - address: 10.0.0.3:8200
                weight: 2
            """;

    @TempDir
    Path folder;

    private final FleetRecorder fleet = new FleetRecorder();
    private FileEngines source;

    @AfterEach
    void close() {
        if (source != null) {
            source.close();
        }
    }

    private Path start(String name, String text) throws IOException {
        Path file = Files.writeString(folder.resolve(name), text);
        source = new FileEngines(file, INTERVAL);
        source.start(fleet);
        return file;
    }

    /// Long enough for the file to be read several times.
    private static void letItRead() throws InterruptedException {
        Thread.sleep(INTERVAL.multipliedBy(10));
    }

    @Test
    void listsByRoleAreRead() throws IOException {
        start("engines.yaml", TWO);
        assertThat(fleet.engine("10.0.0.1:8100").role()).isEqualTo(EngineRole.PREFILLER);
        assertThat(fleet.engine("10.0.0.3:8200").role()).isEqualTo(EngineRole.DECODER);
        assertThat(fleet.engine("10.0.0.3:8200").weight()).isEqualTo(2);
    }

    @Test
    void jsonListIsRead() throws IOException {
        start(
                "engines.json",
                "[{\"address\": \"a:1\", \"role\": \"both\"},\n\t{\"address\": \"b:1\", \"role\": \"P\"}]");
        assertThat(fleet.addresses()).containsExactly("a:1", "b:1");
        assertThat(fleet.engine("a:1").role()).isEqualTo(EngineRole.BOTH);
    }

    @Test
    void changesAreFoundAndOnlyThose() throws IOException {
        Path file = start("engines.yaml", TWO);
        Files.writeString(file, TWO.replace("10.0.0.1", "10.0.0.2"));
        fleet.awaitFleet("10.0.0.2:8100", "10.0.0.3:8200");
        Files.writeString(file, "[]");
        fleet.awaitFleet();
        assertThat(fleet.events())
                .startsWith("+10.0.0.1:8100", "+10.0.0.3:8200", "+10.0.0.2:8100", "-10.0.0.1:8100")
                .hasSize(6);
    }

    /// As Kubernetes exchanges the file of a ConfigMap, by a link.
    @Test
    void fileBehindAnExchangedLinkIsFound() throws IOException {
        Path one = Files.writeString(folder.resolve("one"), TWO);
        Path two = Files.writeString(folder.resolve("two"), TWO.replace("10.0.0.1", "10.0.0.2"));
        Files.setLastModifiedTime(two, Files.getLastModifiedTime(one));
        Path link = Files.createSymbolicLink(folder.resolve("engines.yaml"), one);
        source = new FileEngines(link, INTERVAL);
        source.start(fleet);
        fleet.awaitFleet("10.0.0.1:8100", "10.0.0.3:8200");
        Path next = Files.createSymbolicLink(folder.resolve("next"), two);
        Files.move(next, link, StandardCopyOption.ATOMIC_MOVE);
        fleet.awaitFleet("10.0.0.2:8100", "10.0.0.3:8200");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "prefillers: [10.0.0.1:81",
                "decoders:\n\t- a:1",
                "prefilers: [a:1]",
                "decoders: 7",
                "decoders: [7]",
                "decoders: [a]",
                "[a:1]",
                "decoders: [a:1, a:1]",
                "decoders: &x [a:1]\nprefillers: *x",
                "just text"
            })
    void wrongFileKeepsTheLastGoodFleetAndRefusesToStart(String wrong) throws Exception {
        Path file = start("engines.yaml", TWO);
        Files.writeString(file, wrong);
        letItRead();
        assertThat(fleet.events()).hasSize(2);
        Files.writeString(file, "decoders: [b:1]");
        fleet.awaitFleet("b:1");
        Path other = Files.writeString(folder.resolve("other.yaml"), wrong);
        assertThatExceptionOfType(DiscoveryException.class)
                .isThrownBy(() -> new FileEngines(other).start(fleet))
                .withMessageContaining("other.yaml")
                .withMessageNotContaining("\n");
    }

    /// Whoever starts the router first and writes the file then must not have to start it again.
    @ParameterizedTest
    @ValueSource(strings = {"absent", "", " \n"})
    void fileThatIsYetToComeIsWaitedForWithOneWarning(String atTheStart) throws Exception {
        Logger log = (Logger) LoggerFactory.getLogger(FileEngines.class);
        ListAppender<ILoggingEvent> lines = new ListAppender<>();
        lines.start();
        log.addAppender(lines);
        try {
            Path file = folder.resolve("engines.yaml");
            if (!atTheStart.equals("absent")) {
                Files.writeString(file, atTheStart);
            }
            source = new FileEngines(file, INTERVAL);
            source.start(fleet);
            letItRead();
            assertThat(fleet.events()).isEmpty();
            assertThat(lines.list)
                    .singleElement()
                    .extracting(ILoggingEvent::getFormattedMessage)
                    .asString()
                    .contains("engines.yaml", "it is waited for")
                    .doesNotContain("xception");
            Files.writeString(file, TWO);
            fleet.awaitFleet("10.0.0.1:8100", "10.0.0.3:8200");
        } finally {
            log.detachAppender(lines);
        }
    }

    @Test
    void missingFileKeepsTheLastGoodFleet() throws Exception {
        Path file = start("engines.yaml", TWO);
        Files.delete(file);
        letItRead();
        assertThat(fleet.events()).hasSize(2);
        Files.writeString(file, "decoders: [b:1]");
        fleet.awaitFleet("b:1");
    }

    /// Each state of the file is a list of its own, but none of them lasts, unless a busy machine halts the writer.
    @Test
    void fileThatIsBeingWrittenDoesNotCount() throws Exception {
        Path file = folder.resolve("engines.yaml");
        Files.writeString(file, "decoders: [x:1]");
        source = new FileEngines(file, Duration.ofMillis(100));
        source.start(fleet);
        int lasting = 0;
        for (int i = 0; i < 300; i++) {
            Files.writeString(file, "decoders: [d" + i + ":1]");
            long written = System.nanoTime();
            Thread.sleep(5);
            lasting += System.nanoTime() - written > Duration.ofMillis(50).toNanos() ? 1 : 0;
        }
        fleet.awaitFleet("d299:1");
        assertThat(fleet.events())
                .as("without waiting for it to settle about 40; states that lasted: %d", lasting)
                .hasSizeLessThan(9 + 2 * lasting);
    }
}
