package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.http.HttpExchange;
import dev.baton.http.HttpRuntime;
import dev.baton.http.HttpServer;
import dev.baton.http.HttpServerConfig;
import dev.baton.http.Json;
import dev.baton.openai.ApiError;
import dev.baton.openai.CompletionRequest;
import dev.baton.openai.ResponseHead;
import dev.baton.transfer.KvTransferParams;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// A bug on the way of a request: a `null` where none may be stands for it, as the types allow no other. The client
/// must hear of it, and nothing may stay behind.
@Timeout(60)
class RequestStreamTest {
    @TempDir
    Path directory;

    private final AtomicInteger over = new AtomicInteger();
    private Instance instance;
    private RequestRegistry registry;

    @BeforeEach
    void start() {
        instance = Instance.start(directory);
        registry = new RequestRegistry(instance.engine::isKnown);
    }

    @AfterEach
    void stop() {
        instance.close(); // fails if a sequence still runs or a block is lost
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void failureOnTheEventLoopIsAnsweredAndEndsTheRequest(boolean stream) throws Exception {
        HttpResponse<String> answer = post(stream, null, KvTransferParams.NONE);
        if (stream) {
            assertThat(answer.statusCode()).isEqualTo(200);
            assertThat(answer.body())
                    .startsWith("data: {\"error\"")
                    .contains("500")
                    .doesNotContain("[DONE]");
        } else {
            assertThat(answer.statusCode()).isEqualTo(500);
            assertThat(answer.body()).contains("InternalServerError");
        }
        assertNothingIsLeft();
    }

    @Test
    void failureWhileSubmittingGivesTheRoomBack() throws Exception {
        HttpResponse<String> answer = post(false, new ResponseFormat.Completion(), null);
        assertThat(answer.statusCode()).isEqualTo(500);
        assertNothingIsLeft();
    }

    private void assertNothingIsLeft() {
        await().untilAsserted(() -> assertThat(over).hasValue(1));
        instance.awaitIdle(Duration.ofSeconds(20));
        assertThat(registry.size()).isZero();
    }

    private HttpResponse<String> post(boolean stream, ResponseFormat format, KvTransferParams kv) throws Exception {
        String body = "{\"prompt\":\"go on\\n\",\"max_tokens\":90,\"n\":2,\"stream\":" + stream + "}";
        try (HttpRuntime runtime = HttpRuntime.start(1);
                HttpClient client = HttpClient.newHttpClient()) {
            HttpServer server = runtime.serve(
                    HttpServerConfig.of("127.0.0.1", 0),
                    exchange -> Thread.ofVirtual().start(() -> submit(exchange, format, kv)));
            return client.send(
                    HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port()))
                            .timeout(Duration.ofSeconds(10))
                            .POST(HttpRequest.BodyPublishers.ofString(body))
                            .build(),
                    HttpResponse.BodyHandlers.ofString());
        }
    }

    /// As [EngineServer] does it.
    private void submit(HttpExchange exchange, ResponseFormat format, KvTransferParams kv) {
        try {
            CompletionRequest request = CompletionRequest.parse(Json.parse(exchange.body()));
            Prompts prompts = new Prompts(instance.tokenizer, Instance.CONTEXT, ByteTokenizer.VOCAB);
            Sampling sampling = new Sampling(
                    instance.tokenizer,
                    Instance.CONTEXT,
                    ByteTokenizer.VOCAB,
                    DefaultSampling.VLLM,
                    new Constraints(instance.tokenizer, ByteTokenizer.VOCAB, List.of()));
            ServingContext context = new ServingContext(
                    instance.engine,
                    instance.tokenizer,
                    prompts,
                    sampling,
                    registry,
                    new ServingMetrics("tiny", instance.engine),
                    new UsageCounter(false, 0),
                    new Streaming(false, Optional.empty()));
            Generation generation = new Generation(
                    "r",
                    request.options(),
                    format,
                    0,
                    new ResponseHead("cmpl-r", 0, "tiny", "test"),
                    List.of(prompts.encode(request.prompts().getFirst(), request.options())),
                    Continuity.NONE);
            new RequestStream(context, exchange, generation, over::incrementAndGet).submit(kv);
        } catch (RuntimeException e) {
            ErrorAnswers.send(exchange, ApiError.internal(e.toString()));
        }
    }
}
