package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.serving.Instance.Answer;
import java.io.IOException;
import java.io.InputStream;
import java.net.http.HttpRequest;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// The same requests that a vLLM 0.32 was asked, and answers of the same shape. The recording was made with a
/// random model; what decides a case there (a stop text that comes, a JSON that does not end) is what
/// [FavouritesLm] likes.
@Timeout(120)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class VllmAnswersTest {
    /// Names of vLLM's that mean nothing here; DECISIONS.md says why.
    private static final List<String> WITHOUT_MEANING = List.of(
            "vllm:estimated_flops_per_gpu_total",
            "vllm:estimated_read_bytes_per_gpu_total",
            "vllm:estimated_write_bytes_per_gpu_total",
            "vllm:mm_cache_hits_total",
            "vllm:mm_cache_queries_total");

    @TempDir
    static Path directory;

    private FavouritesInstance instance;

    @BeforeAll
    void start() {
        instance = new FavouritesInstance(
                directory, config -> config.enableAutoToolChoice(true).toolCallParser(Optional.of("hermes")));
    }

    @AfterAll
    void stop() {
        if (instance != null) {
            instance.close();
        }
    }

    private static JsonNode recording() throws IOException {
        try (InputStream in = VllmAnswersTest.class.getResourceAsStream("vllm-0.32-answers.json")) {
            return Instance.JSON.readTree(Objects.requireNonNull(in));
        }
    }

    static Stream<JsonNode> cases() throws IOException {
        List<JsonNode> cases = StreamSupport.stream(recording().path("cases").spliterator(), false)
                .toList();
        assertThat(cases).hasSize(72);
        return cases.stream();
    }

    @ParameterizedTest
    @MethodSource("cases")
    void answerHasVllmsShape(JsonNode recorded) {
        Answer answer = ask(recorded);
        String name = recorded.path("name").stringValue();
        assertThat(answer.status())
                .as("%s: %s", name, answer.body())
                .isEqualTo(recorded.path("status").intValue());
        String type = answer.header("content-type").split(";", 2)[0];
        assertThat(type).isEqualTo(recorded.path("answerType").stringValue());
        if (type.equals("text/event-stream")) {
            List<String> lines =
                    answer.body().lines().filter(line -> !line.isEmpty()).toList();
            JsonNode expected = recorded.path("answer");
            assertSameShape(name, frame(expected.get(0).stringValue()), frame(lines.getFirst()));
            assertSameShape(name, frame(expected.get(1).stringValue()), frame(lines.get(lines.size() - 2)));
            assertThat(lines.getLast()).isEqualTo(expected.get(2).stringValue());
        } else if (recorded.path("answer").isString()) {
            assertThat(answer.body()).isEqualTo(recorded.path("answer").stringValue());
        } else {
            assertSameShape(name, recorded.path("answer"), Instance.JSON.readTree(answer.body()));
        }
    }

    private static void assertSameShape(String name, JsonNode expected, JsonNode actual) {
        assertThat(ShapeComparison.differences(expected, actual))
                .as("%s: %s", name, actual)
                .isEmpty();
    }

    private static JsonNode frame(String line) {
        assertThat(line).startsWith("data: ");
        return Instance.JSON.readTree(line.substring("data: ".length()));
    }

    private Answer ask(JsonNode recorded) {
        HttpRequest.Builder request =
                HttpRequest.newBuilder(instance.uri(recorded.path("path").stringValue()));
        if (recorded.path("method").stringValue().equals("POST")) {
            JsonNode body = expanded(recorded.path("body"));
            request.header("content-type", recorded.path("contentType").stringValue())
                    .POST(HttpRequest.BodyPublishers.ofString(body.isString() ? body.stringValue() : body.toString()));
        }
        return instance.send(request);
    }

    /// Long lists stand in the recording as `{"repeat": item, "times": n}` or `{"from": first, "times": n}`.
    private static JsonNode expanded(JsonNode node) {
        if (!(node instanceof ObjectNode object)) {
            return node;
        }
        int times = object.path("times").asInt(0);
        if (times > 0) {
            ArrayNode list = Instance.JSON.createArrayNode();
            for (int i = 0; i < times; i++) {
                list.add(
                        object.has("repeat")
                                ? object.path("repeat").intValue()
                                : object.path("from").intValue() + i);
            }
            return list;
        }
        ObjectNode copy = Instance.JSON.createObjectNode();
        for (Map.Entry<String, JsonNode> field : object.properties()) {
            copy.set(field.getKey(), expanded(field.getValue()));
        }
        return copy;
    }

    private List<String> metrics() {
        return instance.get("/metrics").body().lines().toList();
    }

    @Test
    void everyMetricOfVllmsThatMeansSomethingIsThere() throws Exception {
        TreeSet<String> there = new TreeSet<>();
        metrics().stream().filter(line -> line.startsWith("# TYPE ")).forEach(line -> there.add(line.split(" ")[2]));
        List<String> missing = new ArrayList<>();
        recording().path("metrics").forEach(name -> {
            if (!there.contains(name.stringValue())) {
                missing.add(name.stringValue());
            }
        });
        assertThat(missing).containsExactlyInAnyOrderElementsOf(WITHOUT_MEANING);
        assertThat(there).contains("http_requests_total", "http_request_duration_seconds", "process_cpu_seconds_total");
    }

    /// The queries of vLLM's public Grafana dashboard find their series and the labels that they ask for.
    @Test
    void grafanaDashboardFindsItsSeries() throws Exception {
        instance.post("/v1/completions", "{\"prompt\": \"a\", \"max_tokens\": 3}");
        List<String> series = metrics();
        Pattern selector = Pattern.compile("(vllm:\\w+)\\{(\\w+)=");
        Pattern grouping = Pattern.compile("by\\((\\w+)\\)");
        try (InputStream in = VllmAnswersTest.class.getResourceAsStream("vllm-grafana-queries.txt")) {
            String queries = new String(Objects.requireNonNull(in).readAllBytes(), StandardCharsets.UTF_8);
            assertThat(queries.lines()).hasSize(18);
            for (String query : queries.lines().toList()) {
                Matcher used = selector.matcher(query);
                assertThat(used.find()).isTrue();
                do {
                    List<String> labels = new ArrayList<>(List.of(used.group(2) + "=\"tiny\""));
                    Matcher group = grouping.matcher(query);
                    if (group.find()) {
                        labels.add(group.group(1) + "=\"");
                    }
                    String name = used.group(1) + "{";
                    assertThat(series)
                            .as(query)
                            .anyMatch(line ->
                                    line.startsWith(name) && labels.stream().allMatch(line::contains));
                } while (used.find());
            }
        }
    }

    @Test
    void httpRequestsAreCountedByHandlerAndStatus() {
        instance.get("/v1/models");
        instance.get("/v1/secret");
        assertThat(metrics())
                .anyMatch(line -> line.startsWith("http_requests_total{")
                        && line.contains("handler=\"/v1/models\"")
                        && line.contains("status=\"2xx\""))
                .anyMatch(line -> line.startsWith("http_requests_total{")
                        && line.contains("handler=\"none\"")
                        && line.contains("status=\"4xx\""))
                .noneMatch(line -> line.contains("/v1/secret") || line.contains("handler=\"/metrics\""));
    }
}
