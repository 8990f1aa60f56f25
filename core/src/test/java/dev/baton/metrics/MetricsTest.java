package dev.baton.metrics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

class MetricsTest {
    private final Metrics metrics = new Metrics(Map.of("model_name", "tiny", "engine", "0"));

    private String text() {
        return new String(metrics.text(), StandardCharsets.UTF_8);
    }

    @Test
    void namesAndLabelsAreVllms() {
        metrics.gauge("vllm:num_requests_running", "Running.", () -> 3);
        metrics.counter("vllm:request_success", "Done.", "finished_reason")
                .labelValues("stop")
                .inc();
        metrics.facts("vllm:cache_config_info", "Cache.", Map.of("block_size", "16"));
        assertThat(text())
                .contains("# TYPE vllm:num_requests_running gauge\n")
                .contains("vllm:num_requests_running{engine=\"0\",model_name=\"tiny\"} 3.0\n")
                .contains("# TYPE vllm:request_success_total counter\n")
                .contains("vllm:request_success_total{engine=\"0\",finished_reason=\"stop\",model_name=\"tiny\"} 1.0\n")
                .contains("vllm:cache_config_info{block_size=\"16\",engine=\"0\",model_name=\"tiny\"} 1\n");
    }

    @Test
    void callbackCounterIsReadWhenAsked() {
        AtomicLong value = new AtomicLong(5);
        metrics.counter("vllm:prompt_tokens", "Tokens.", value::get);
        assertThat(text()).contains("vllm:prompt_tokens_total{engine=\"0\",model_name=\"tiny\"} 5.0\n");
        value.set(6);
        assertThat(text()).contains("vllm:prompt_tokens_total{engine=\"0\",model_name=\"tiny\"} 6.0\n");
    }

    @Test
    void histogramCountsInclusiveUpperBounds() {
        metrics.histogram("vllm:time_to_first_token_seconds", "TTFT.", 0.001, 0.005, 1)
                .observe(0.005);
        assertThat(text())
                .contains("vllm:time_to_first_token_seconds_bucket{engine=\"0\",model_name=\"tiny\",le=\"0.001\"} 0\n")
                .contains("vllm:time_to_first_token_seconds_bucket{engine=\"0\",model_name=\"tiny\",le=\"0.005\"} 1\n")
                .contains("vllm:time_to_first_token_seconds_bucket{engine=\"0\",model_name=\"tiny\",le=\"+Inf\"} 1\n")
                .contains("vllm:time_to_first_token_seconds_count{engine=\"0\",model_name=\"tiny\"} 1\n");
    }

    @Test
    void gaugesAndHistogramsMayHaveSeveralLabels() {
        Metrics plain = new Metrics(Map.of());
        List<String> names = List.of("role", "engine");
        plain.gauge("up", "Up.", names, Map.of(List.of("decoder", "h:1"), () -> 1));
        plain.histogram("ttft", "TTFT.", names, 0.5, 1)
                .labelValues("decoder", "h:1")
                .observe(0.7);
        assertThat(new String(plain.text(), StandardCharsets.UTF_8))
                .contains("up{engine=\"h:1\",role=\"decoder\"} 1.0\n")
                .contains("ttft_bucket{engine=\"h:1\",role=\"decoder\",le=\"0.5\"} 0\n")
                .contains("ttft_bucket{engine=\"h:1\",role=\"decoder\",le=\"1.0\"} 1\n");
    }

    @Test
    void tokenBucketsRunInOneTwoFive() {
        assertThat(Metrics.oneTwoFive(1024)).containsExactly(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000);
    }

    @Test
    void labelsOfAHistogramKeptElsewhereAreEscaped() {
        Metrics odd = new Metrics(Map.of("model_name", "a\"b\\c"));
        odd.histogram("h", "Help.", new SingleWriterHistogram(1));
        assertThat(new String(odd.text(), StandardCharsets.UTF_8))
                .contains("h_bucket{model_name=\"a\\\"b\\\\c\",le=\"1.0\"} 0\n");
    }

    @Test
    void histogramKeptElsewhereIsReadWhenAsked() {
        SingleWriterHistogram tokens = new SingleWriterHistogram(1, 8, 16);
        metrics.histogram("vllm:iteration_tokens_total", "Tokens a step.", tokens);
        for (int value : new int[] {1, 1, 8, 9, 16, 17, 500}) {
            tokens.observe(value);
        }
        assertThat(text())
                .contains("# TYPE vllm:iteration_tokens_total histogram\n")
                .contains("vllm:iteration_tokens_total_bucket{engine=\"0\",model_name=\"tiny\",le=\"1.0\"} 2\n")
                .contains("vllm:iteration_tokens_total_bucket{engine=\"0\",model_name=\"tiny\",le=\"8.0\"} 3\n")
                .contains("vllm:iteration_tokens_total_bucket{engine=\"0\",model_name=\"tiny\",le=\"16.0\"} 5\n")
                .contains("vllm:iteration_tokens_total_bucket{engine=\"0\",model_name=\"tiny\",le=\"+Inf\"} 7\n")
                .contains("vllm:iteration_tokens_total_count{engine=\"0\",model_name=\"tiny\"} 7\n")
                .contains("vllm:iteration_tokens_total_sum{engine=\"0\",model_name=\"tiny\"} 552.0\n");
    }

    @Test
    void boundsThatDoNotAscendAreRefused() {
        assertThatThrownBy(() -> new SingleWriterHistogram(1, 8, 8)).hasMessageContaining("must ascend");
    }
}
