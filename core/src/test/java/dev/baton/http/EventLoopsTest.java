package dev.baton.http;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class EventLoopsTest {
    private static final int LOOPS = 4;

    private final HttpRuntime runtime = HttpRuntime.start(LOOPS);

    @AfterEach
    void close() {
        runtime.close();
    }

    private static HttpServerConfig anyPort() {
        return HttpServerConfig.of("127.0.0.1", 0);
    }

    private static URI uri(HttpServer server) {
        return URI.create("http://127.0.0.1:" + server.port() + "/");
    }

    private static void onEachConnection(URI target, int connections) throws Exception {
        List<CompletableFuture<HttpClientResponse>> answers = new ArrayList<>();
        try (HttpRuntime clients = HttpRuntime.start(1);
                HttpClient client = clients.client(HttpClientConfig.defaults())) {
            for (int i = 0; i < connections; i++) {
                answers.add(client.exchange(HttpClientRequest.get(target, Duration.ofSeconds(30)), 1000));
            }
            for (CompletableFuture<HttpClientResponse> answer : answers) {
                assertThat(answer.get(30, TimeUnit.SECONDS).status()).isEqualTo(200);
            }
        }
    }

    @Test
    void connectionsAreDealtOutToAllLoopsInTurn() throws Exception {
        Map<Thread, AtomicInteger> served = new ConcurrentHashMap<>();
        List<HttpExchange> waiting = new CopyOnWriteArrayList<>();
        try (HttpServer server = runtime.serve(anyPort(), exchange -> {
            served.computeIfAbsent(Thread.currentThread(), loop -> new AtomicInteger())
                    .incrementAndGet();
            // Answered when all are there, so that every request needs a connection of its own.
            waiting.add(exchange);
            if (waiting.size() == 4 * LOOPS) {
                waiting.forEach(one -> one.respondEmpty(200));
            }
        })) {
            onEachConnection(uri(server), 4 * LOOPS);
            assertThat(served.values())
                    .hasSize(LOOPS)
                    .allSatisfy(count -> assertThat(count.get()).isEqualTo(4));
            assertThat(server.port()).isPositive();
        }
    }

    @Test
    void serversOnFreePortsDoNotShareOne() {
        try (HttpServer one = runtime.serve(anyPort(), exchange -> exchange.respondText(200, "one"));
                HttpServer other = runtime.serve(anyPort(), exchange -> exchange.respondText(200, "other"))) {
            assertThat(one.port()).isNotEqualTo(other.port());
        }
    }

    @Test
    void callOfARequestStaysOnItsLoopAlsoOnAConnectionThatIsKept() throws Exception {
        Map<String, AtomicInteger> moved = new ConcurrentHashMap<>();
        try (HttpClient client = runtime.client(HttpClientConfig.defaults());
                HttpServer engine = runtime.serve(anyPort(), exchange -> exchange.respondText(200, "from afar"));
                HttpServer front = runtime.serve(anyPort(), exchange -> {
                    Thread loop = Thread.currentThread();
                    client.send(
                            HttpClientRequest.get(uri(engine), Duration.ofSeconds(30)),
                            new WholeResponse(
                                    1000,
                                    answer -> {
                                        String where = Thread.currentThread().equals(loop) ? "stayed" : "moved";
                                        moved.computeIfAbsent(where, none -> new AtomicInteger())
                                                .incrementAndGet();
                                        exchange.respond(200, HttpHeaders.none(), answer.body());
                                    },
                                    failure -> exchange.respondEmpty(502)));
                })) {
            for (int round = 0; round < 5; round++) {
                onEachConnection(uri(front), 3 * LOOPS);
            }
            assertThat(moved).containsOnlyKeys("stayed");
            assertThat(moved.get("stayed").get()).isEqualTo(5 * 3 * LOOPS);
        }
    }
}
