package dev.baton.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class WarmUpTest {
    /// A model that takes a while for each token, as one does that is not compiled yet.
    private static final class SlowLm implements CausalLm {
        private final long millisPerToken;
        private final List<Integer> steps = new ArrayList<>();

        SlowLm(long millisPerToken) {
            this.millisPerToken = millisPerToken;
        }

        @Override
        public ModelConfig config() {
            return new ModelConfig(
                    "SlowLm",
                    8,
                    4,
                    4,
                    1,
                    1,
                    1,
                    2,
                    4096,
                    1e-5f,
                    10_000,
                    new RopeScaling.None(),
                    true,
                    DType.F32,
                    List.of(1));
        }

        @Override
        public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
            steps.add(batch.numTokens());
            try {
                Thread.sleep(millisPerToken * batch.numTokens());
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }

        @Override
        public Map<String, String> fingerprint() {
            return Map.of();
        }

        @Override
        public String backend() {
            return "none";
        }

        @Override
        public void close() {}
    }

    @Test
    void slowModelIsLeftAloneAfterTheFirstSmallSteps() {
        SlowLm model = new SlowLm(20);
        WarmUp.run(model, DType.F32, Duration.ofMillis(100));
        assertThat(List.of(1, 2, 4)).startsWith(model.steps.toArray(Integer[]::new));
    }

    @Test
    void fastModelIsRunInEverySizeUntilItGetsNoFaster() {
        SlowLm model = new SlowLm(0);
        Duration took = WarmUp.run(model, DType.F32, Duration.ofMinutes(5));
        assertThat(took).isLessThan(Duration.ofMinutes(5));
        assertThat(model.steps).startsWith(1, 2, 4, 8, 16, 32, 80, 2, 1).hasSizeGreaterThan(6 + 3 * 30);
    }
}
