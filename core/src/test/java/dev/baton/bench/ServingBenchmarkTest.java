package dev.baton.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Against a small server of the JDK's on a real socket, which streams what each test tells it.
class ServingBenchmarkTest {
    private static final JsonMapper JSON = new JsonMapper();
    private static final int CHUNK_MILLIS = 120; // of which a busy machine may take some

    private final List<JsonNode> bodies = Collections.synchronizedList(new ArrayList<>());
    private final List<String> requestIds = Collections.synchronizedList(new ArrayList<>());
    private final AtomicInteger underWay = new AtomicInteger();
    private final AtomicInteger mostUnderWay = new AtomicInteger();
    private final AtomicInteger progress = new AtomicInteger();
    private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
    private ServingBenchmark benchmark;
    private HttpServer server;
    private String base;

    @BeforeEach
    void start() throws IOException {
        System.setProperty("sun.net.httpserver.nodelay", "true");
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(threads);
        server.start();
        base = "http://127.0.0.1:" + server.getAddress().getPort();
        benchmark = new ServingBenchmark();
    }

    @AfterEach
    void stop() {
        benchmark.close();
        server.stop(0);
        threads.close();
    }

    @Test
    void chunksAreTimedAndUsageIsTakenFromTheServer() throws Exception {
        serve("/v1/completions", (exchange, out) -> {
            for (int i = 0; i < 4; i++) {
                Thread.sleep(CHUNK_MILLIS);
                event(out, "{\"choices\":[{\"index\":0,\"text\":\"t%d\"}]}".formatted(i));
            }
            event(out, "{\"choices\":[],\"usage\":{\"prompt_tokens\":31,\"completion_tokens\":8}}");
            event(out, "[DONE]");
        });
        ServingBenchmark.Run run = run(Endpoint.COMPLETIONS, 3, Double.POSITIVE_INFINITY, OptionalInt.empty());
        assertThat(run.results()).hasSize(3).allSatisfy(result -> {
            assertThat(result.error()).isEmpty();
            assertThat(result.success()).isTrue();
            assertThat(result.text()).isEqualTo("t0t1t2t3");
            assertThat(result.promptTokens()).isEqualTo(31);
            assertThat(result.outputTokens()).isEqualTo(8);
            assertThat(result.ttftSeconds()).isBetween(0.119, 0.5);
            assertThat(result.itlSeconds())
                    .hasSize(3)
                    .allSatisfy(itl -> assertThat(itl).isBetween(0.06, 0.5));
            assertThat(result.latencySeconds())
                    .isEqualTo(
                            result.ttftSeconds()
                                    + result.itlSeconds().stream()
                                            .mapToDouble(x -> x)
                                            .sum(),
                            within(1e-6));
        });
        assertThat(progress).hasValue(3);
        assertThat(requestIds).containsExactlyInAnyOrder("bench-0", "bench-1", "bench-2");
    }

    @Test
    void bodyIsWhatVllmSends() throws Exception {
        serve("/v1/completions", (exchange, out) -> answer(out));
        run(Endpoint.COMPLETIONS, 1, Double.POSITIVE_INFINITY, OptionalInt.empty());
        assertThat(bodies.getFirst()).isEqualTo(JSON.readTree("""
                                {"model": "tiny", "prompt": "hello 0", "repetition_penalty": 1.0, "max_tokens": 4,
                                 "logprobs": null, "stream": true, "stream_options": {"include_usage": true},
                                 "ignore_eos": true, "temperature": 0.0}
                                """));
    }

    @Test
    void chatBodyIsWhatVllmSendsAndItsDeltasAreRead() throws Exception {
        serve("/v1/chat/completions", (exchange, out) -> {
            event(out, "{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}");
            event(out, "{\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}");
            event(out, "[DONE]");
        });
        ServingBenchmark.Run run = run(Endpoint.CHAT, 1, Double.POSITIVE_INFINITY, OptionalInt.empty());
        assertThat(bodies.getFirst()).isEqualTo(JSON.readTree("""
                                {"model": "tiny",
                                 "messages": [{"role": "user", "content": [{"type": "text", "text": "hello 0"}]}],
                                 "max_completion_tokens": 4, "stream": true, "stream_options": {"include_usage": true},
                                 "ignore_eos": true, "temperature": 0.0}
                                """));
        assertThat(run.results().getFirst().text()).isEqualTo("hi");
        assertThat(run.results().getFirst().outputTokens())
                .as("tokens of the text, for want of usage")
                .isEqualTo(2);
    }

    @Test
    void promptOfTokensIsSentAsTokens() throws Exception {
        serve("/v1/completions", (exchange, out) -> answer(out));
        BenchRequest request = new BenchRequest(new Prompt.Tokens(new int[] {5, 6, 7}), 3, 2);
        benchmark.run(
                plan(Endpoint.COMPLETIONS, Double.POSITIVE_INFINITY, OptionalInt.empty()),
                List.of(request),
                0,
                () -> {});
        assertThat(bodies.getFirst().path("prompt").toString()).isEqualTo("[5,6,7]");
    }

    @Test
    void refusalErrorEventEmptyStreamAndCutConnectionAllCountAsFailed() throws Exception {
        AtomicInteger number = new AtomicInteger();
        server.createContext("/v1/completions", exchange -> {
            exchange.getRequestBody().readAllBytes();
            switch (number.getAndIncrement()) {
                case 0 -> {
                    byte[] body = "{\"error\":{\"message\":\"too long\"}}".getBytes(StandardCharsets.UTF_8);
                    exchange.sendResponseHeaders(400, body.length);
                    exchange.getResponseBody().write(body);
                    exchange.close();
                }
                case 1 -> {
                    exchange.sendResponseHeaders(200, 0);
                    event(exchange.getResponseBody(), "{\"choices\":[{\"text\":\"a\"}]}");
                    event(exchange.getResponseBody(), "{\"error\":{\"message\":\"decoder died\"}}");
                    exchange.close();
                }
                case 2 -> {
                    exchange.sendResponseHeaders(200, 0);
                    event(exchange.getResponseBody(), "[DONE]");
                    exchange.close();
                }
                default -> {
                    exchange.sendResponseHeaders(200, 1000);
                    event(exchange.getResponseBody(), "{\"choices\":[{\"text\":\"a\"}]}");
                    exchange.getResponseBody().flush();
                    throw new IOException("cut");
                }
            }
        });
        ServingBenchmark.Run run = run(Endpoint.COMPLETIONS, 4, Double.POSITIVE_INFINITY, OptionalInt.of(1));
        assertThat(run.results()).noneMatch(RequestResult::success);
        List<String> errors =
                run.results().stream().map(RequestResult::error).sorted().toList();
        assertThat(errors).anyMatch(error -> error.contains("HTTP 400") && error.contains("too long"));
        assertThat(errors).anyMatch(error -> error.contains("decoder died"));
        assertThat(errors).anyMatch(error -> error.contains("no chunk"));
        assertThat(errors).anyMatch(error -> error.contains("connection"));
        assertThat(ServingMetrics.of(run.results(), 1, List.of(99.0), Goodput.none())
                        .failed())
                .isEqualTo(4);
    }

    @Test
    void noMoreRequestsAreUnderWayThanAllowedAndTheirWaitIsNotLatency() throws Exception {
        serve("/v1/completions", (exchange, out) -> {
            Thread.sleep(100);
            answer(out);
        });
        ServingBenchmark.Run run = run(Endpoint.COMPLETIONS, 6, Double.POSITIVE_INFINITY, OptionalInt.of(2));
        assertThat(mostUnderWay).hasValue(2);
        assertThat(run.results())
                .allSatisfy(result -> assertThat(result.success()).isTrue());
        assertThat(run.results().stream()
                        .mapToDouble(RequestResult::queueSeconds)
                        .max()
                        .orElseThrow())
                .isGreaterThan(0.15);
        assertThat(run.durationSeconds()).isGreaterThan(0.29);
    }

    @Test
    void requestsAreSentAtTheirTimes() throws Exception {
        serve("/v1/completions", (exchange, out) -> answer(out));
        run(Endpoint.COMPLETIONS, 1, Double.POSITIVE_INFINITY, OptionalInt.empty()); // classes are loaded by it
        ServingBenchmark.Run run = run(Endpoint.COMPLETIONS, 10, 20, OptionalInt.empty());
        double first = run.results().getFirst().startSeconds();
        double last = run.results().getLast().startSeconds();
        assertThat(last - first).isEqualTo(0.45, within(0.1));
        assertThat(run.durationSeconds()).isGreaterThan(0.49);
    }

    @Test
    void firstModelIsAskedForAndAServerThatIsNotThereIsNamed() {
        server.createContext("/v1/models", exchange -> {
            byte[] body = "{\"data\":[{\"id\":\"tiny\",\"root\":\"/models/tiny\"}]}".getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        assertThat(benchmark.firstModel(base, Optional.empty()))
                .isEqualTo(new ServingBenchmark.ServedModel("tiny", "/models/tiny"));
        assertThatThrownBy(() -> benchmark.firstModel("http://127.0.0.1:1", Optional.empty()))
                .isInstanceOf(BenchException.class)
                .hasMessageContaining("http://127.0.0.1:1")
                .hasMessageContaining("--port");
    }

    private interface Stream {
        void write(HttpExchange exchange, OutputStream out) throws IOException, InterruptedException;
    }

    private void serve(String path, Stream stream) {
        server.createContext(path, exchange -> {
            int now = underWay.incrementAndGet();
            mostUnderWay.accumulateAndGet(now, Math::max);
            bodies.add(JSON.readTree(exchange.getRequestBody().readAllBytes()));
            requestIds.add(exchange.getRequestHeaders().getFirst("x-request-id"));
            exchange.getResponseHeaders().add("content-type", "text/event-stream");
            exchange.sendResponseHeaders(200, 0);
            try {
                stream.write(exchange, exchange.getResponseBody());
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            underWay.decrementAndGet();
            exchange.close();
        });
    }

    private static void answer(OutputStream out) throws IOException {
        event(out, "{\"choices\":[{\"text\":\"a\"}]}");
        event(out, "{\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":1}}");
        event(out, "[DONE]");
    }

    private static void event(OutputStream out, String data) throws IOException {
        out.write(("data: " + data + "\n\n").getBytes(StandardCharsets.UTF_8));
        out.flush();
    }

    private ServingBenchmark.Run run(Endpoint endpoint, int count, double rate, OptionalInt maxConcurrency)
            throws InterruptedException {
        List<BenchRequest> requests = IntStream.range(0, count)
                .mapToObj(i -> new BenchRequest(new Prompt.Text("hello " + i), 2, 4))
                .toList();
        return benchmark.run(plan(endpoint, rate, maxConcurrency), requests, 0, progress::incrementAndGet);
    }

    private ServingBenchmark.Plan plan(Endpoint endpoint, double rate, OptionalInt maxConcurrency) {
        return new ServingBenchmark.Plan(
                URI.create(base + endpoint.path()),
                endpoint,
                "tiny",
                true,
                Map.of("temperature", 0.0),
                "bench-",
                Optional.empty(),
                new ArrivalProcess(rate, 100),
                maxConcurrency,
                String::length);
    }
}
