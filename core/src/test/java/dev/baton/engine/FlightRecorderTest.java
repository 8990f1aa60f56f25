package dev.baton.engine;

import static dev.baton.metrics.FlightRecord.named;
import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.metrics.FlightRecord;
import dev.baton.transfer.KvTransferParams;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Queue;
import java.util.Random;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/// The events that the engine leaves in the JDK's flight recorder.
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class FlightRecorderTest {
    private static int[] prompt(int seed, int length) {
        return EngineScenarioTest.prompt(new Random(seed), length, length);
    }

    private static EngineConfig.Builder config(int numBlocks) {
        return EngineConfig.builder("memory", 64)
                .blockTokens(4)
                .numBlocks(numBlocks)
                .maxNumSeqs(4)
                .maxNumBatchedTokens(16);
    }

    @Test
    void stepsPreemptionsAndTransfersAreRecorded() throws InterruptedException {
        Queue<RecordedEvent> events = new ConcurrentLinkedQueue<>();
        try (RecordingStream stream = new RecordingStream()) {
            for (String name : List.of("dev.baton.EngineStep", "dev.baton.Preemption", "dev.baton.KvTransfer")) {
                stream.enable(name).withoutThreshold();
            }
            stream.setReuse(false);
            stream.onEvent(events::add);
            stream.startAsync();
            long steps = preemptingEngine();
            handOff();
            stream.stop();
            await().atMost(Duration.ofSeconds(20))
                    .untilAsserted(
                            () -> assertThat(named(events, "EngineStep")).hasSizeGreaterThanOrEqualTo((int) steps));
        }
        List<RecordedEvent> steps = named(events, "EngineStep");
        assertThat(steps).allSatisfy(step -> {
            assertThat(step.getInt("requests")).isBetween(1, 4);
            assertThat(step.getInt("tokens")).isBetween(step.getInt("requests"), 16);
            assertThat(step.getDuration()).isPositive();
            assertThat(step.getThread().getJavaName()).isEqualTo("baton-engine");
        });
        assertThat(steps).anySatisfy(step -> assertThat(step.getInt("tokens")).isEqualTo(16));
        assertThat(steps)
                .anySatisfy(step -> assertThat(step.getInt("preempted")).isPositive());
        assertThat(steps).anySatisfy(step -> assertThat(step.getInt("waiting")).isPositive());
        assertThat(named(events, "Preemption")).isNotEmpty().allSatisfy(preemption -> {
            assertThat(preemption.getString("request")).startsWith("r");
            assertThat(preemption.getInt("computedTokens")).isPositive();
        });
        assertThat(named(events, "KvTransfer")).hasSize(1).allSatisfy(transfer -> {
            assertThat(transfer.getString("request")).isEqualTo("handed over");
            assertThat(transfer.getString("outcome")).isEqualTo("arrived");
            assertThat(transfer.getString("peer")).startsWith("P (");
            assertThat(transfer.getInt("tokens")).isEqualTo(11);
            assertThat(transfer.getInt("blocks")).isEqualTo(3);
            assertThat(transfer.getLong("bytes")).isPositive();
            assertThat(transfer.getDuration()).isPositive();
        });
    }

    @Test
    void leasesAreRecordedAlsoThoseThatNobodyCameFor(@TempDir Path dir) throws IOException {
        try (FlightRecord record = new FlightRecord(dir, "KvLease")) {
            handOff();
            try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 1);
                    Engine prefiller = connected(network, "P")) {
                prefiller.submit(
                        new EngineRequest(
                                "forgotten", prompt(7, 11), SamplingParams.greedy(1), KvTransferParams.REMOTE_DECODE),
                        new Collected());
                await().atMost(Duration.ofSeconds(20))
                        .untilAsserted(() ->
                                assertThat(named(record.events(), "KvLease")).hasSize(2));
            }
            assertThat(named(record.events(), "KvLease"))
                    .allSatisfy(lease -> {
                        assertThat(lease.getInt("blocks")).isEqualTo(3);
                        assertThat(lease.getDuration()).isPositive();
                    })
                    .extracting(lease -> lease.getString("request") + " " + lease.getBoolean("expired"))
                    .containsExactlyInAnyOrder("handed over false", "forgotten true");
        }
    }

    /// @return the steps that it took
    private static long preemptingEngine() {
        SlowLm slow = new SlowLm();
        try (Engine engine = Engine.start(config(10).build(), slow)) {
            Collected[] answers = new Collected[4];
            for (int i = 0; i < answers.length; i++) {
                answers[i] = new Collected();
                engine.submit(new EngineRequest("r" + i, prompt(i, 9), SamplingParams.greedy(15)), answers[i]);
            }
            slow.go.countDown();
            for (Collected answer : answers) {
                assertThat(answer.await().reason()).isEqualTo(FinishReason.LENGTH);
            }
            EngineScenarioTest.quiet(engine);
            assertThat(engine.stats().preemptions()).isPositive();
            return engine.stats().steps();
        }
    }

    private static Engine connected(MemoryNetwork network, String engineId) {
        return Engine.start(
                config(32)
                        .kvTransfer(Optional.of(EngineScenarioTest.transfer(engineId)))
                        .build(),
                new MemoryLm(0),
                network.factory());
    }

    private static void handOff() {
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 30_000);
                Engine prefiller = connected(network, "P");
                Engine decoder = connected(network, "D")) {
            Collected first = new Collected();
            prefiller.submit(
                    new EngineRequest(
                            "handed over", prompt(7, 11), SamplingParams.greedy(1), KvTransferParams.REMOTE_DECODE),
                    first);
            Collected rest = new Collected();
            decoder.submit(
                    new EngineRequest(
                            "handed over",
                            prompt(7, 11),
                            SamplingParams.greedy(4),
                            first.await().kvTransferParams()),
                    rest);
            rest.await();
            EngineScenarioTest.quiet(decoder);
            EngineScenarioTest.quiet(prefiller);
        }
    }
}
