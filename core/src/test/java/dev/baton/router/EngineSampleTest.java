package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.router.policy.EngineLoad;
import java.time.Duration;
import org.junit.jupiter.api.Test;

/// What is read of an engine's metrics, and what it says of its progress.
class EngineSampleTest {
    private static EngineSample vllm(int steps, int running) {
        return EngineSample.parse("""
                # TYPE vllm:num_requests_running gauge
                vllm:num_requests_running{engine="0",model_name="m"} %d.0
                vllm:num_requests_running{engine="1",model_name="m"} 1.0
                vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
                vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.125
                vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
                vllm:prefix_cache_hits_total{engine="0"} 1.6e+03
                vllm:external_prefix_cache_hits_total{engine="0"} 48.0
                vllm:prompt_tokens_total{engine="0"} 2000.0
                vllm:generation_tokens_total{engine="0"} 100.0
                vllm:iteration_tokens_total_bucket{engine="0",le="1.0"} 7.0
                vllm:iteration_tokens_total_count{engine="0"} %d.0
                process_start_time_seconds 1.7e+09
                """.formatted(running, steps));
    }

    @Test
    void vllmsNamesAreReadAndRanksAdded() {
        EngineSample sample = vllm(9, 3);
        EngineLoad load = sample.load(5);
        assertThat(load).isEqualTo(new EngineLoad(5, 4, 2, 0.5, new EngineLoad.Counts(9, 2000, 100, 1600, 48)));
        assertThat(sample.counts()).isTrue();
        assertThat(sample.idle()).isFalse();
        assertThat(sample.movedSince(vllm(9, 3))).isFalse();
        assertThat(sample.movedSince(vllm(8, 3))).isTrue();
        assertThat(sample.restartedSince(vllm(8, 3))).isFalse();
        assertThat(sample.restartedSince(vllm(10, 3))).isTrue();
    }

    @Test
    void engineThatSaysNothingCountsNothing() {
        assertThat(EngineSample.parse("<html>\nnot metrics {\n")).isEqualTo(EngineSample.NONE);
        assertThat(EngineSample.NONE.counts()).isFalse();
        assertThat(EngineSample.NONE.idle()).isFalse();
    }

    @Test
    void watchAllowsWhatAnEngineHasTakenBefore() {
        long second = Duration.ofSeconds(1).toNanos();
        ProgressWatch watch = new ProgressWatch(Duration.ofSeconds(10), 0);
        assertThat(watch.overdue(10 * second)).isFalse();
        assertThat(watch.overdue(10 * second + 1)).isTrue();
        watch.sign(20 * second);
        assertThat(watch.overdue(60 * second)).as("it took 20 s before").isFalse();
        assertThat(watch.overdue(61 * second)).isTrue();
        watch.nothingToDo(1000 * second);
        watch.sign(2000 * second);
        assertThat(watch.overdue(2081 * second))
                .as("not for ever, whatever it took")
                .isTrue();
        assertThat(new ProgressWatch(Duration.ZERO, 0).overdue(Long.MAX_VALUE)).isFalse();
    }
}
