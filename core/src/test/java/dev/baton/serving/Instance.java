package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.engine.BlockUsage;
import dev.baton.engine.Engine;
import dev.baton.engine.EngineConfig;
import dev.baton.http.HttpServerConfig;
import dev.baton.tokenizer.Tokenizer;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.function.UnaryOperator;
import org.awaitility.Awaitility;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;

/// A whole instance inside the test: the real engine over [EchoLm], the real tokenizer, the real server on a
/// real port. Closing it checks that no block is lost and that nothing is running.
final class Instance implements AutoCloseable {
    static final ObjectMapper JSON = new ObjectMapper();
    static final int CONTEXT = 1024;

    final EchoLm model = new EchoLm();
    final Tokenizer tokenizer;
    final Engine engine;
    final EngineServer server;
    final HttpClient client =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private boolean dead;

    record Answer(int status, String body, HttpResponse<?> response) {
        JsonNode json() {
            return JSON.readTree(body);
        }

        String text() {
            return json().path("choices").path(0).path("text").asString();
        }

        String header(String name) {
            return response.headers().firstValue(name).orElse("");
        }

        List<JsonNode> events() {
            List<JsonNode> events = new ArrayList<>();
            for (String line : body.split("\n")) {
                if (line.startsWith("data: {")) {
                    events.add(JSON.readTree(line.substring(6)));
                }
            }
            return events;
        }
    }

    static Instance start(Path directory) {
        return new Instance(directory, Optional.empty(), UnaryOperator.identity(), 64);
    }

    static Instance start(Path directory, UnaryOperator<EngineServerConfig.Builder> change) {
        return new Instance(directory, Optional.empty(), change, 64);
    }

    static Instance startWithQueue(Path directory, int maxWaiting) {
        return new Instance(directory, Optional.empty(), UnaryOperator.identity(), maxWaiting);
    }

    static Instance startWithConnector(Path directory, KvRole role) {
        return startWithConnector(directory, role, UnaryOperator.identity());
    }

    static Instance startWithConnector(Path directory, KvRole role, UnaryOperator<EngineServerConfig.Builder> change) {
        KvTransferConfig transfer = new KvTransferConfig(
                "TcpConnector",
                role,
                UUID.randomUUID().toString(),
                "127.0.0.1",
                0,
                KvLoadFailurePolicy.RECOMPUTE,
                Map.of());
        return new Instance(directory, Optional.of(transfer), change, 64);
    }

    private Instance(
            Path directory,
            Optional<KvTransferConfig> transfer,
            UnaryOperator<EngineServerConfig.Builder> change,
            int maxWaiting) {
        tokenizer = ByteTokenizer.load(directory);
        engine = Engine.start(
                EngineConfig.builder("echo", CONTEXT)
                        .blockTokens(16)
                        .numBlocks(512)
                        .maxNumSeqs(8)
                        .maxNumBatchedTokens(256)
                        .maxWaiting(maxWaiting)
                        .stepDeadline(Duration.ofSeconds(30))
                        .kvTransfer(transfer)
                        .build(),
                model);
        EngineServerConfig.Builder config = EngineServerConfig.builder(
                        HttpServerConfig.of("127.0.0.1", 0), "tiny", ByteTokenizer.VOCAB)
                .enablePromptTokensDetails(true)
                .devMode(true);
        server = EngineServer.start(change.apply(config).build(), engine, tokenizer);
    }

    URI uri(String path) {
        return URI.create("http://127.0.0.1:" + server.port() + path);
    }

    Answer get(String path) {
        return send(HttpRequest.newBuilder(uri(path)));
    }

    Answer post(String path, Map<String, ?> body) {
        return post(path, JSON.writeValueAsString(body));
    }

    Answer post(String path, String body) {
        return send(request(path, body));
    }

    HttpRequest.Builder request(String path, String body) {
        return HttpRequest.newBuilder(uri(path))
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body));
    }

    Answer send(HttpRequest.Builder request) {
        try {
            HttpResponse<String> response =
                    client.send(request.timeout(Duration.ofSeconds(30)).build(), HttpResponse.BodyHandlers.ofString());
            return new Answer(response.statusCode(), response.body(), response);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    void awaitIdle(Duration limit) {
        Awaitility.await().atMost(limit).pollInterval(Duration.ofMillis(5)).untilAsserted(() -> {
            BlockUsage usage = engine.checkIntegrity().join();
            assertThat(usage.inUse()).isZero();
            assertThat(engine.stats().numRunning()).isZero();
            assertThat(engine.stats().numWaiting()).isZero();
        });
    }

    /// The engine of this instance is meant to die; nothing is checked at the end.
    void expectDeath() {
        dead = true;
    }

    @Override
    public void close() {
        try {
            if (!dead) {
                awaitIdle(Duration.ofSeconds(10));
                assertThat(get("/load").json().path("server_load").intValue()).isZero();
            }
        } finally {
            client.close();
            server.close();
            engine.close();
            tokenizer.close();
        }
    }
}
