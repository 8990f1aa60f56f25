package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineRole;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

/// The sums over engines.
class FleetMetricsTest {
    private static final EngineAddress A = new EngineAddress("a", 1);
    private static final EngineAddress B = new EngineAddress("b", 1);

    private final FleetMetrics fleet = new FleetMetrics(Duration.ofMinutes(1));

    private static String counter(double value) {
        return """
                # HELP vllm:prompt_tokens_total Number of prefill tokens processed.
                # TYPE vllm:prompt_tokens_total counter
                vllm:prompt_tokens_total{engine="0",model_name="m"} %s
                # TYPE vllm:prompt_tokens_created gauge
                vllm:prompt_tokens_created{engine="0",model_name="m"} 1.7e9
                # TYPE process_resident_memory_bytes gauge
                process_resident_memory_bytes 5.0
                """.formatted(value);
    }

    private static String histogram(String name, List<String> bounds, List<Integer> counts, double sum) {
        StringBuilder text = new StringBuilder("# TYPE " + name + " histogram\n");
        for (int i = 0; i < bounds.size(); i++) {
            text.append("%s_bucket{le=\"%s\",model_name=\"m\"} %d\n".formatted(name, bounds.get(i), counts.get(i)));
        }
        text.append("%s_count{model_name=\"m\"} %d\n".formatted(name, counts.getLast()));
        text.append("%s_sum{model_name=\"m\"} %s\n".formatted(name, sum));
        return text.toString();
    }

    private void say(EngineAddress engine, EngineRole role, String text) {
        fleet.scraped(engine, role, text, false);
    }

    private String text() {
        return new String(fleet.text(), StandardCharsets.UTF_8);
    }

    @Test
    void countersAreSummedByRoleAndLabels() {
        say(A, EngineRole.PREFILLER, counter(10));
        say(B, EngineRole.PREFILLER, counter(5));
        say(new EngineAddress("d", 1), EngineRole.DECODER, counter(3));
        assertThat(text()).isEqualTo("""
                        # HELP vllm:prompt_tokens_total Number of prefill tokens processed.
                        # TYPE vllm:prompt_tokens_total counter
                        vllm:prompt_tokens_total{engine="0",model_name="m",role="decoder"} 3.0
                        vllm:prompt_tokens_total{engine="0",model_name="m",role="prefiller"} 15.0
                        """);
        say(A, EngineRole.PREFILLER, counter(11));
        assertThat(text()).contains("role=\"prefiller\"} 16.0").isEqualTo(text());
    }

    @Test
    void sumsNeverFallWhenEnginesStartAnewLeaveOrComeBack() {
        say(A, EngineRole.DECODER, counter(10));
        say(B, EngineRole.DECODER, counter(100));
        fleet.scraped(A, EngineRole.DECODER, counter(2), true);
        await().untilAsserted(() -> assertThat(text()).contains("} 112.0"));
        fleet.gone(B);
        assertThat(text()).contains("} 112.0");
        say(B, EngineRole.DECODER, counter(101));
        assertThat(text()).contains("} 113.0");
        fleet.forgotten(B);
        await().untilAsserted(() -> {
            say(B, EngineRole.DECODER, counter(1));
            assertThat(text()).contains("} 114.0");
        });
    }

    @Test
    void changedRoleCountsOnFromWhereItWas() {
        say(A, EngineRole.DECODER, counter(10));
        say(A, EngineRole.PREFILLER, counter(12));
        await().untilAsserted(() ->
                assertThat(text()).contains("role=\"decoder\"} 10.0").contains("role=\"prefiller\"} 2.0"));
    }

    @Test
    void histogramsKeepTheBoundsThatAllHave() {
        String name = "vllm:iteration_tokens_total";
        say(A, EngineRole.BOTH, histogram(name, List.of("1", "2", "4", "+Inf"), List.of(1, 2, 3, 4), 9.5));
        say(B, EngineRole.BOTH, histogram(name, List.of("1.0", "4.0", "8.0", "+Inf"), List.of(10, 20, 30, 40), 1));
        assertThat(text()).isEqualTo("""
                        # TYPE vllm:iteration_tokens_total histogram
                        vllm:iteration_tokens_total_bucket{model_name="m",role="both",le="1.0"} 11.0
                        vllm:iteration_tokens_total_bucket{model_name="m",role="both",le="4.0"} 23.0
                        vllm:iteration_tokens_total_bucket{model_name="m",role="both",le="+Inf"} 44.0
                        vllm:iteration_tokens_total_count{model_name="m",role="both"} 44.0
                        vllm:iteration_tokens_total_sum{model_name="m",role="both"} 10.5
                        """);
    }

    @Test
    void gaugesOfRequestsAreSummedOthersStandByEngine() {
        String gauges = """
                # TYPE vllm:num_requests_running gauge
                vllm:num_requests_running{role="x"} 3
                # TYPE vllm:kv_cache_usage_perc gauge
                vllm:kv_cache_usage_perc 0.25
                """;
        say(A, EngineRole.DECODER, gauges);
        say(B, EngineRole.DECODER, gauges);
        assertThat(text())
                .contains("vllm:num_requests_running{exported_role=\"x\",role=\"decoder\"} 6.0\n")
                .contains("vllm:kv_cache_usage_perc{address=\"a:1\",role=\"decoder\"} 0.25\n")
                .contains("vllm:kv_cache_usage_perc{address=\"b:1\",role=\"decoder\"} 0.25\n");
        fleet.gone(A);
        assertThat(text()).contains("exported_role=\"x\",role=\"decoder\"} 3.0").doesNotContain("a:1");
    }

    @Test
    void gaugesOfEnginesThatFellSilentAreLeftOutAndTheirCountersStay() throws Exception {
        FleetMetrics soonStale = new FleetMetrics(Duration.ofMillis(1));
        soonStale.scraped(
                A,
                EngineRole.DECODER,
                counter(4) + "# TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc 0.25\n",
                false);
        Thread.sleep(5);
        assertThat(new String(soonStale.text(), StandardCharsets.UTF_8))
                .contains("} 4.0")
                .doesNotContain("kv_cache_usage");
    }

    @Test
    void tooManySeriesAreDroppedAndCounted() {
        FleetMetrics small = new FleetMetrics(Duration.ofMinutes(1), 2);
        StringBuilder text = new StringBuilder("# TYPE vllm:x_total counter\n");
        for (int i = 0; i < 5; i++) {
            text.append("vllm:x_total{n=\"").append(i).append("\"} 1\n");
        }
        small.scraped(A, EngineRole.DECODER, text.toString(), false);
        assertThat(new String(small.text(), StandardCharsets.UTF_8).lines()).hasSize(3);
        assertThat(small.droppedSeries()).isEqualTo(3);
    }

    @Test
    void linesThatAreNoneCostNothingElse() {
        String text = "# TYPE\n#\n{} 1\nvllm:x_total{a=\"\n vllm:y 1\nvllm:z{le=\"x\"} y\n\n"
                + "# TYPE vllm:h histogram\nvllm:h_bucket{le=\"wide\"} 1\nvllm:h_bucket 1\n" + counter(7)
                + "vllm:prompt_tokens_total{model_name=\"a\\\"}b\\\\\"} 1 1700000000\n"
                + "vllm:prompt_tokens_total{model_name=\"n\"} NaN\nvllm:prompt_tokens_total";
        say(A, EngineRole.DECODER, text);
        assertThat(text())
                .contains("{engine=\"0\",model_name=\"m\",role=\"decoder\"} 7.0")
                .contains("{model_name=\"a\\\"}b\\\\\",role=\"decoder\"} 1.0")
                .doesNotContain("model_name=\"n\"");
    }
}
