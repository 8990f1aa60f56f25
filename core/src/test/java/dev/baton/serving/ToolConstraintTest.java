package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.engine.Engine;
import dev.baton.engine.EngineConfig;
import dev.baton.http.HttpServerConfig;
import dev.baton.model.LoadOptions;
import dev.baton.model.ModelLoader;
import dev.baton.tokenizer.Tokenizer;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;

/// The embedded model was never shown a tool: what it writes when it must call one obeys the schema by the grammar
/// alone, in every format, at temperature 1.
@Timeout(300)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class ToolConstraintTest {
    private static final Path MODEL = model();
    private static final String TOOLS = """
            [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object",
              "properties": {"city": {"type": "string", "maxLength": 8}, "unit": {"enum": ["C", "F"]},
                             "days": {"type": "integer", "minimum": 1, "maximum": 9}},
              "required": ["city", "unit", "days"], "additionalProperties": false}}},
             {"type": "function", "function": {"name": "now"}}]""";

    private final HttpClient client = HttpClient.newHttpClient();
    private Tokenizer tokenizer;
    private Engine engine;

    private static Path model() {
        Path here = Path.of("").toAbsolutePath();
        while (here.getParent() != null && !Files.exists(here.resolve("models/baton-tiny"))) {
            here = here.getParent();
        }
        return here.resolve("models/baton-tiny");
    }

    @BeforeAll
    void start() {
        Assumptions.assumeTrue(Files.exists(MODEL.resolve("model.safetensors")), "the embedded model is not there");
        tokenizer = Tokenizer.load(MODEL);
        engine = Engine.start(
                EngineConfig.builder("baton-tiny", 1024)
                        .blockTokens(16)
                        .numBlocks(256)
                        .maxNumSeqs(8)
                        .maxNumBatchedTokens(512)
                        .maxWaiting(16)
                        .stepDeadline(Duration.ofSeconds(60))
                        .build(),
                ModelLoader.load(MODEL, LoadOptions.defaults()));
    }

    @AfterAll
    void stop() {
        client.close();
        if (engine != null) {
            engine.close();
            tokenizer.close();
        }
    }

    @ParameterizedTest
    @CsvSource({"hermes", "llama3_json", "mistral", "pythonic", "granite", "deepseek_v3", "deepseek_v31", "qwen3_coder"
    })
    void callsObeyTheSchema(String parser) throws IOException, InterruptedException {
        EngineServerConfig config = EngineServerConfig.builder(
                        HttpServerConfig.of("127.0.0.1", 0),
                        "tiny",
                        ModelLoader.config(MODEL).vocabSize())
                .toolCallParser(Optional.of(parser))
                .enableAutoToolChoice(true)
                .build();
        EngineServer server = EngineServer.start(config, engine, tokenizer);
        try {
            for (int seed = 0; seed < 4; seed++) {
                JsonNode named = choice(
                        server.port(), seed, "{\"type\": \"function\", \"function\": {\"name\": \"weather\"}}", true);
                assertThat(named.path("finish_reason").stringValue())
                        .as(named.toString())
                        .isEqualTo("stop");
                JsonNode calls = named.path("message").path("tool_calls");
                assertThat(calls).hasSize(1);
                requireValid(calls.path(0));
                assertThat(calls.path(0).path("function").path("name").stringValue())
                        .isEqualTo("weather");

                JsonNode required = choice(server.port(), seed, "\"required\"", false);
                assertThat(required.path("finish_reason").stringValue())
                        .as(required.toString())
                        .isEqualTo("tool_calls");
                assertThat(required.path("message").path("tool_calls"))
                        .hasSize(1)
                        .allSatisfy(this::requireValid);
            }
        } finally {
            server.close();
        }
    }

    private void requireValid(JsonNode call) {
        JsonNode function = call.path("function");
        JsonNode arguments = Instance.JSON.readTree(function.path("arguments").stringValue());
        if (function.path("name").stringValue().equals("now")) {
            assertThat(arguments).isEmpty();
            return;
        }
        assertThat(function.path("name").stringValue()).isEqualTo("weather");
        String city = arguments.path("city").stringValue();
        assertThat(city.codePointCount(0, city.length())).isLessThanOrEqualTo(8);
        assertThat(arguments.path("unit").stringValue()).isIn(List.of("C", "F"));
        assertThat(arguments.path("days").intValue()).isBetween(1, 9);
        assertThat(arguments).hasSize(3);
    }

    private JsonNode choice(int port, int seed, String toolChoice, boolean parallel)
            throws IOException, InterruptedException {
        String body =
                "{\"model\": \"tiny\", \"seed\": " + seed + ", \"temperature\": 1, \"max_tokens\": 900, \"tools\": "
                        + TOOLS + ", \"tool_choice\": " + toolChoice + ", \"parallel_tool_calls\": " + parallel
                        + ", \"messages\": [{\"role\": \"user\", \"content\": \"What is the weather in Ulm?\"}]}";
        HttpResponse<String> answer = client.send(
                HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + "/v1/chat/completions"))
                        .header("content-type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString(body))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
        assertThat(answer.statusCode()).as(answer.body()).isEqualTo(200);
        return Instance.JSON.readTree(answer.body()).path("choices").path(0);
    }
}
