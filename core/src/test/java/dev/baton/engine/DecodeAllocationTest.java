package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import dev.baton.model.ForwardBatch;
import dev.baton.tensor.PagedKv;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The heap memory that the engine's thread allocates while it decodes.
class DecodeAllocationTest {
    private static final int REQUESTS = 4;
    private static final int WARM_UP_TOKENS = 1_500;
    private static final int MEASURED_TOKENS = 1_000;

    /// An `int[1]` of 24 bytes and a [RequestOutput] of 32 for the listener.
    private static final int OUTPUT_BYTES = 56;

    /// A model that reads and writes nothing, so that only the engine is measured.
    private static final class FlatLm extends MemoryLm {
        FlatLm() {
            super(0);
        }

        @Override
        public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
            for (int i = 0; i < batch.numLogits(); i++) {
                for (int token = 0; token < VOCAB; token++) {
                    logits[i * VOCAB + token] = (token * 7 + batch.position(batch.logitsRow(i))) % 13 * 0.1f;
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"0, false", "1, false", "0, true", "1, true"})
    @Timeout(value = 60, unit = TimeUnit.SECONDS)
    void decodingAllocatesNothingButTheOutputs(float temperature, boolean masks) throws InterruptedException {
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        int total = WARM_UP_TOKENS + MEASURED_TOKENS;
        EngineConfig config = EngineConfig.builder("flat", 4_000)
                .blockTokens(16)
                .numBlocks(1_000)
                .maxNumSeqs(REQUESTS)
                .maxNumBatchedTokens(64)
                .maxWaiting(10)
                .stepDeadline(Duration.ofSeconds(10))
                .build();
        SamplingParams.Builder sampling = SamplingParams.builder(total)
                .temperature(temperature)
                .topP(0.9f)
                .topK(5)
                .minP(0.01f)
                .repetitionPenalty(1.1f)
                .presencePenalty(0.1f)
                .frequencyPenalty(0.1f)
                .seed(OptionalLong.of(1))
                .ignoreEos(true)
                .logitBias(Map.of(3, 0.5f));
        if (masks) {
            sampling.constraint(Optional.of(new TurningConstraint(MemoryLm.VOCAB, MemoryLm.EOS, total)))
                    .allowedTokenIds(IntStream.range(0, MemoryLm.VOCAB).boxed().toList())
                    .badWords(List.of(List.of(1, 2, 3), List.of(60)));
        }
        long[] allocated = new long[2];
        CountDownLatch done = new CountDownLatch(REQUESTS);
        try (Engine engine = Engine.start(config, new FlatLm())) {
            for (int r = 0; r < REQUESTS; r++) {
                boolean measuring = r == 0;
                int[] count = new int[1];
                engine.submit(new EngineRequest("r" + r, new int[] {r, 1, 2}, sampling.build()), output -> {
                    count[0]++;
                    if (measuring && count[0] == WARM_UP_TOKENS) {
                        allocated[0] = threads.getCurrentThreadAllocatedBytes();
                    }
                    if (measuring && count[0] == total) {
                        allocated[1] = threads.getCurrentThreadAllocatedBytes();
                    }
                    if (output.finish().isPresent()) {
                        done.countDown();
                    }
                });
            }
            assertThat(done.await(50, TimeUnit.SECONDS)).isTrue();
        }
        double bytesPerToken = (double) (allocated[1] - allocated[0]) / MEASURED_TOKENS / REQUESTS;
        // Beyond the outputs: arrays of tokens and hashes that double now and then.
        assertThat(bytesPerToken).isGreaterThanOrEqualTo(OUTPUT_BYTES * 0.9).isLessThan(OUTPUT_BYTES + 32);
    }
}
