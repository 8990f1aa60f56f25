package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.engine.Engine;
import dev.baton.engine.EngineConfig;
import dev.baton.http.HttpServerConfig;
import dev.baton.tokenizer.Tokenizer;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;

/// How a constrained output ends over a model whose configuration names no end-of-sequence token.
@Timeout(60)
class EndOfSequenceTest {
    private static final String REGEX = """
            {"prompt": "ab", "max_tokens": 9, "structured_outputs": {"regex": "[ab]{3}"}}""";

    @TempDir
    Path directory;

    @Test
    void constrainedOutputEndsWithTheTokenizersToken() throws IOException, InterruptedException {
        JsonNode answer = answer(List.of(ByteTokenizer.END));
        assertThat(answer.at("/choices/0/text").asString()).isEqualTo("aaa");
        assertThat(answer.at("/choices/0/finish_reason").asString()).isEqualTo("stop");
        assertThat(answer.at("/usage/completion_tokens").intValue()).isEqualTo(4);
    }

    @Test
    void fulfilledConstraintEndsTheOutputWhereNoTokenCan() throws IOException, InterruptedException {
        JsonNode answer = answer(List.of());
        assertThat(answer.at("/choices/0/text").asString()).isEqualTo("aaa");
        assertThat(answer.at("/choices/0/finish_reason").asString()).isEqualTo("stop");
        assertThat(answer.at("/choices/0/stop_reason").isNull()).isTrue();
        assertThat(answer.at("/usage/completion_tokens").intValue()).isEqualTo(3);
    }

    private JsonNode answer(List<Integer> further) throws IOException, InterruptedException {
        EngineConfig config = EngineConfig.builder("echo", 64)
                .numBlocks(64)
                .eosTokenIds(further)
                .build();
        EngineServerConfig served = EngineServerConfig.builder(
                        HttpServerConfig.of("127.0.0.1", 0), "tiny", ByteTokenizer.VOCAB)
                .build();
        try (Tokenizer tokenizer = ByteTokenizer.load(directory);
                Engine engine = Engine.start(config, new EchoLm(List.of()));
                EngineServer server = EngineServer.start(served, engine, tokenizer);
                HttpClient client = HttpClient.newHttpClient()) {
            HttpRequest request = HttpRequest.newBuilder(
                            URI.create("http://127.0.0.1:" + server.port() + "/v1/completions"))
                    .header("content-type", "application/json")
                    .POST(HttpRequest.BodyPublishers.ofString(REGEX))
                    .build();
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            return Instance.JSON.readTree(response.body());
        }
    }
}
