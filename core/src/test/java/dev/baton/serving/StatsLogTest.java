package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.engine.BlockUsage;
import dev.baton.engine.EngineStats;
import org.junit.jupiter.api.Test;

class StatsLogTest {
    private static EngineStats stats(int running, long prompt, long generated) {
        return new EngineStats(
                running, 1, 0, 0, new BlockUsage(50, 20, 30, 100), 0, 0, 100, 71, 200, 200, prompt, generated, 0, 0, 0);
    }

    private static final EngineStats IDLE =
            new EngineStats(0, 0, 0, 0, new BlockUsage(100, 0, 0, 100), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

    @Test
    void lineIsVllms() {
        StatsLog log = new StatsLog(IDLE, 0, true);
        assertThat(log.line(stats(2, 1000, 55), 10_000_000_000L))
                .contains("Engine 000: Avg prompt throughput: 100.0 tokens/s, "
                        + "Avg generation throughput: 5.5 tokens/s, Running: 2 reqs, Waiting: 1 reqs, "
                        + "GPU KV cache usage: 30.0%, Prefix cache hit rate: 71.0%, "
                        + "External prefix cache hit rate: 100.0%");
    }

    @Test
    void nothingIsWrittenWithoutTrafficExceptOnceAfterIt() {
        StatsLog log = new StatsLog(IDLE, 0, false);
        assertThat(log.line(IDLE, 10)).isEmpty();
        assertThat(log.line(stats(1, 10, 1), 20)).isPresent();
        EngineStats after =
                new EngineStats(0, 0, 0, 0, new BlockUsage(100, 0, 0, 100), 0, 0, 100, 71, 200, 200, 10, 1, 0, 0, 0);
        assertThat(log.line(after, 30))
                .hasValueSatisfying(line ->
                        assertThat(line).contains("throughput: 0.0 tokens/s").doesNotContain("External"));
        assertThat(log.line(after, 40)).isEmpty();
    }
}
