package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// The engine for a caller that waits for its tokens.
@Timeout(60)
class GenerationTest {
    private final MemoryLm model = new MemoryLm(0);

    private Engine start() {
        return Engine.start(EngineConfig.builder("memory", 4096).build(), model);
    }

    private static int[] prompt() {
        return IntStream.range(10, 29).toArray();
    }

    @Test
    void tokensComeInOrderOnTheCallersThreadAndThenTheEnd() throws Exception {
        try (Engine engine = start()) {
            List<Integer> tokens = new ArrayList<>();
            List<Thread> threads = new ArrayList<>();
            RequestOutput.Finish finish = engine.generate(prompt(), SamplingParams.greedy(12))
                    .forEachToken(token -> {
                        tokens.add(token);
                        threads.add(Thread.currentThread());
                    });
            assertThat(finish.reason()).isEqualTo(FinishReason.LENGTH);
            assertThat(finish.promptTokens()).isEqualTo(19);
            assertThat(tokens.stream().mapToInt(Integer::intValue).toArray())
                    .isEqualTo(model.reference(prompt(), 12, 4096));
            assertThat(threads).containsOnly(Thread.currentThread());
        }
    }

    @Test
    void callerThatThrowsEndsTheRequest() {
        try (Engine engine = start()) {
            assertThatThrownBy(() -> engine.generate(prompt(), SamplingParams.greedy(4000))
                            .forEachToken(token -> {
                                throw new IllegalStateException("enough");
                            }))
                    .hasMessage("enough");
            EngineScenarioTest.quiet(engine);
            assertThat(engine.stats().generationTokens()).isLessThan(4000);
        }
    }

    @Test
    void interruptedCallerEndsTheRequest() throws Exception {
        try (Engine engine = start()) {
            CountDownLatch first = new CountDownLatch(1);
            List<Throwable> thrown = new ArrayList<>();
            Thread caller = Thread.ofVirtual().start(() -> {
                try {
                    engine.generate(prompt(), SamplingParams.greedy(4000)).forEachToken(token -> first.countDown());
                } catch (InterruptedException | RuntimeException e) {
                    thrown.add(e);
                }
            });
            first.await();
            caller.interrupt();
            caller.join();
            assertThat(thrown).singleElement().isInstanceOf(InterruptedException.class);
            EngineScenarioTest.quiet(engine);
            assertThat(engine.stats().generationTokens()).isLessThan(4000);
        }
    }

    @Test
    void engineThatClosesIsAnException() {
        Engine engine = start();
        Generation generation = engine.generate(prompt(), SamplingParams.greedy(4000));
        engine.close();
        assertThatThrownBy(() -> generation.forEachToken(token -> {}))
                .isInstanceOf(EngineException.class)
                .hasMessageContaining("was aborted");
    }
}
