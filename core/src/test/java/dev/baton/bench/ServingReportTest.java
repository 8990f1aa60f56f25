package dev.baton.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Compares with a block and a file that vLLM 0.32 wrote (their lists are cut to one item).
class ServingReportTest {
    private static final JsonMapper JSON = new JsonMapper();

    private final JsonNode recorded = JSON.readTree(resource("vllm-bench-serve.json"));

    @Test
    void textEqualsVllmsCharacterForCharacter() {
        assertThat(report(5, OptionalInt.empty(), true, List.of(Metric.values()))
                                .text() + "\n")
                .isEqualTo(resource("vllm-bench-serve.txt"));
    }

    @Test
    void jsonEqualsVllmsKeyForKeyInItsOrder() {
        JsonNode json =
                report(5, OptionalInt.empty(), true, List.of(Metric.values())).json("20261121-084828", true);
        assertThat(json.propertyNames()).containsExactlyElementsOf(recorded.propertyNames());
        assertThat(JSON.readTree(json.toString())).isEqualTo(recorded);
    }

    @Test
    void withoutDetailsTheFileHasNoListsButLatenciesAndQueueTimes() {
        JsonNode json =
                report(5, OptionalInt.empty(), true, List.of(Metric.values())).json("20261121-084828", false);
        assertThat(json.propertyNames())
                .contains("latencies", "queue_times")
                .doesNotContain(
                        "input_lens", "output_lens", "ttfts", "itls", "start_times", "generated_texts", "errors");
    }

    @Test
    void concurrencyHasALineAndInfiniteRateAndMissingObjectivesHaveNone() {
        ServingReport report = report(Double.POSITIVE_INFINITY, OptionalInt.of(8), false, List.of(Metric.TTFT));
        assertThat(report.text())
                .contains("Maximum request concurrency:             8         \n")
                .doesNotContain("Request rate configured")
                .doesNotContain("goodput")
                .doesNotContain("TPOT");
        JsonNode json = report.json("20261121-084828", false);
        assertThat(json.path("request_rate").asString()).isEqualTo("inf");
        assertThat(json.path("request_goodput").isNull()).isTrue();
        assertThat(json.path("max_concurrency").asInt()).isEqualTo(8);
        assertThat(report.fileName("20261121-084828")).isEqualTo("vllm-infqps-concurrency8-tiny-20261121-084828.json");
    }

    @Test
    void fileNameTakesRateAndTheLastPartOfTheModel() {
        assertThat(report(5, OptionalInt.empty(), true, List.of()).fileName("20261121-084828"))
                .isEqualTo("vllm-5.0qps-tiny-20261121-084828.json");
    }

    private ServingReport report(double rate, OptionalInt maxConcurrency, boolean hasGoodput, List<Metric> selected) {
        Map<Metric, Distribution> latencies = new EnumMap<>(Metric.class);
        for (Metric metric : Metric.values()) {
            latencies.put(
                    metric,
                    new Distribution(
                            number("mean_" + metric.key() + "_ms"),
                            number("median_" + metric.key() + "_ms"),
                            number("std_" + metric.key() + "_ms"),
                            List.of(new Distribution.Percentile(99, number("p99_" + metric.key() + "_ms")))));
        }
        ServingMetrics metrics = new ServingMetrics(
                number("duration"),
                (int) number("completed"),
                (int) number("failed"),
                (long) number("total_input_tokens"),
                (long) number("total_output_tokens"),
                number("request_throughput"),
                number("request_goodput"),
                number("output_throughput"),
                number("total_token_throughput"),
                number("max_output_tokens_per_s"),
                (int) number("max_concurrent_requests"),
                latencies);
        List<Double> itls = recorded.path("itls")
                .path(0)
                .valueStream()
                .map(JsonNode::doubleValue)
                .toList();
        RequestResult result = new RequestResult(
                true,
                recorded.path("input_lens").path(0).intValue(),
                recorded.path("output_lens").path(0).intValue(),
                recorded.path("ttfts").path(0).doubleValue(),
                itls,
                recorded.path("latencies").path(0).doubleValue(),
                recorded.path("start_times").path(0).doubleValue(),
                recorded.path("queue_times").path(0).doubleValue(),
                "",
                "");
        return new ServingReport(
                "vllm",
                Optional.empty(),
                "tiny",
                "MODEL_FOLDER",
                10,
                Map.of(),
                new ArrivalProcess(rate, 100),
                maxConcurrency,
                selected,
                hasGoodput,
                metrics,
                List.of(result));
    }

    private double number(String key) {
        return recorded.get(key).doubleValue();
    }

    private static String resource(String name) {
        try (InputStream in = ServingReportTest.class.getResourceAsStream(name)) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }
}
