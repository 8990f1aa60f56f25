package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.slf4j.LoggerFactory;

/// What the log says of engines that come and go.
class UpstreamTest {
    private final Logger log = (Logger) LoggerFactory.getLogger(Upstream.class);
    private final ListAppender<ILoggingEvent> lines = new ListAppender<>();

    @BeforeEach
    void listen() {
        lines.start();
        log.addAppender(lines);
    }

    @AfterEach
    void stopListening() {
        log.detachAppender(lines);
    }

    private List<String> said() {
        return lines.list.stream()
                .map(line -> line.getLevel() + " " + line.getFormattedMessage())
                .toList();
    }

    private static Upstream engine() {
        return new Upstream(
                EngineInfo.of(new EngineAddress("h", 1), EngineRole.DECODER),
                HealthConfig.defaults(),
                new RecordingWatcher());
    }

    private static void failProbe(Upstream engine) {
        engine.probeFailed(Upstream.Miss.REFUSED, 3, Duration.ofSeconds(3), "no answer");
    }

    @Test
    void engineThatIsNotUpAtTheFirstProbeIsSaidOnceUntilItIs() {
        Upstream engine = engine();
        assertThat(engine.state()).as("nothing is known before").isEqualTo(Upstream.State.UNKNOWN);
        failProbe(engine);
        assertThat(engine.state()).isEqualTo(Upstream.State.DOWN);
        assertThat(said()).containsExactly("WARN decoder h:1 is not up yet: no answer");
        failProbe(engine);
        engine.probeSucceeded();
        engine.probeSucceeded();
        failProbe(engine);
        failProbe(engine);
        engine.probeSucceeded();
        assertThat(said().subList(1, said().size()))
                .containsExactly(
                        "INFO decoder h:1 is UP, was DOWN: its health probe succeeded",
                        "WARN decoder h:1 is DOWN, was UP: no answer",
                        "INFO decoder h:1 is UP, was DOWN: its health probe succeeded");
    }

    @Test
    void engineThatDoesNotAnswerInTimeIsSaidToBeNotUpOnce() {
        Upstream engine = engine();
        for (int i = 0; i < 5; i++) {
            engine.probeFailed(Upstream.Miss.LATE, 3, Duration.ofSeconds(3), "late");
        }
        assertThat(engine.state()).isEqualTo(Upstream.State.DOWN);
        assertThat(said()).containsExactly("WARN decoder h:1 is not up yet: late");
    }

    @Test
    void firstSignOfLifeMakesAnEngineUp() {
        Upstream probed = engine();
        probed.probeSucceeded();
        Upstream asked = engine();
        asked.succeeded();
        for (Upstream engine : List.of(probed, asked)) {
            assertThat(engine.state()).isEqualTo(Upstream.State.UP);
            assertThat(engine.weight()).as("its weight rises").isLessThan(0.5);
        }
        assertThat(said())
                .containsExactly(
                        "INFO decoder h:1 is UP: its health probe succeeded",
                        "INFO decoder h:1 is UP: a request succeeded");
    }

    @Test
    void engineIsDrainedWhenNoRequestIsBoundToIt() {
        Upstream engine = engine();
        AtomicInteger drained = new AtomicInteger();
        engine.reserve();
        engine.reserve();
        engine.drain(drained::incrementAndGet);
        engine.release();
        assertThat(engine.drained()).isFalse();
        assertThat(drained).hasValue(0);
        engine.release();
        assertThat(engine.drained()).isTrue();
        engine.reserve();
        engine.release();
        assertThat(drained).hasValue(1);
    }

    @Test
    void missingHandoffIsSaidOnceUntilItChanges() {
        Upstream engine = engine();
        engine.handedOff();
        engine.handedNothingOff("a");
        engine.handedNothingOff("b");
        engine.handedOff();
        engine.handedNothingOff("c");
        assertThat(said()).hasSize(3).element(1).asString().startsWith("INFO");
    }
}
