package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.discovery.StaticEngines;
import dev.baton.router.policy.RoundRobinPolicy;
import dev.baton.router.policy.RoutingPolicy;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.IntSupplier;
import java.util.function.UnaryOperator;

/// Stub engines with a router before them. Closing it checks what must hold after every test: no request and no
/// leg in flight, no connection left, and no engine got anything that it must not get.
final class Fleet implements AutoCloseable {
    /// Nothing but what a test is about ends because its machine has other work.
    static final RouterDeadlines PATIENT = new RouterDeadlines(
            Duration.ofSeconds(20),
            Duration.ofMinutes(5),
            Duration.ofMinutes(1),
            Duration.ofMinutes(30),
            Duration.ofMinutes(2),
            Duration.ofMinutes(1),
            Duration.ofSeconds(20),
            Duration.ofSeconds(20));

    final List<StubEngine> prefillers = new ArrayList<>();
    final List<StubEngine> decoders = new ArrayList<>();
    final Queue<String> reports = new ConcurrentLinkedQueue<>();
    final Router router;
    final HttpClient client = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(Duration.ofSeconds(20))
            .build();

    Fleet(int numPrefillers, int numDecoders) throws IOException {
        this(numPrefillers, numDecoders, config -> config);
    }

    Fleet(int numPrefillers, int numDecoders, UnaryOperator<RouterConfig.Builder> settings) throws IOException {
        this(numPrefillers, numDecoders, settings, new RoundRobinPolicy());
    }

    Fleet(int numPrefillers, int numDecoders, UnaryOperator<RouterConfig.Builder> settings, RoutingPolicy policy)
            throws IOException {
        for (int i = 0; i < numPrefillers; i++) {
            prefillers.add(StubEngine.prefiller());
        }
        for (int i = 0; i < numDecoders; i++) {
            decoders.add(StubEngine.decoder());
        }
        StaticEngines engines = new StaticEngines(
                prefillers.stream().map(StubEngine::address).toList(),
                decoders.stream().map(StubEngine::address).toList());
        router = Router.start(
                settings.apply(RouterConfig.builder("127.0.0.1", 0, engines)
                                .accessLog(false)
                                .deadlines(PATIENT)
                                .probeInterval(Duration.ofMillis(100)))
                        .build(),
                policy,
                reports::add);
    }

    StubEngine prefiller(int index) {
        return prefillers.get(index);
    }

    StubEngine decoder(int index) {
        return decoders.get(index);
    }

    List<StubEngine> engines() {
        List<StubEngine> all = new ArrayList<>(prefillers);
        all.addAll(decoders);
        return all;
    }

    HttpResponse<String> complete(String body) throws IOException, InterruptedException {
        return post("/v1/completions", body);
    }

    HttpResponse<String> post(String path, String body) throws IOException, InterruptedException {
        return send(request(path)
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body)));
    }

    HttpResponse<String> get(String path) throws IOException, InterruptedException {
        return send(request(path));
    }

    HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + router.port() + path))
                .timeout(Duration.ofSeconds(20));
    }

    HttpResponse<String> send(HttpRequest.Builder request) throws IOException, InterruptedException {
        return client.send(request.build(), HttpResponse.BodyHandlers.ofString());
    }

    Socket connect() throws IOException {
        Socket socket = new Socket(InetAddress.getLoopbackAddress(), router.port());
        socket.setTcpNoDelay(true);
        socket.setSoTimeout(20_000);
        return socket;
    }

    /// A client that sends a request and holds its connection.
    Socket startRaw(String body) throws IOException {
        Socket socket = connect();
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        String head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "
                + bytes.length + "\r\n\r\n";
        socket.getOutputStream().write(head.getBytes(StandardCharsets.US_ASCII));
        socket.getOutputStream().write(bytes);
        return socket;
    }

    /// Waits in an engine's script.
    static void awaitEvent(CountDownLatch event) {
        try {
            assertThat(event.await(20, TimeUnit.SECONDS)).isTrue();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /// Lets time pass in an engine's script.
    static void pause(Duration time) {
        try {
            Thread.sleep(time);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public void close() throws IOException {
        try {
            assertBecomesZero(router::numInFlight, "requests in flight");
            assertBecomesZero(router::numLegs, "legs in flight");
            assertBecomesZero(router::numReserved, "places held on engines");
            client.close();
            assertBecomesZero(router::numConnections, "connections of clients");
            assertThat(StubEngine.allViolations(engines())).isEmpty();
        } finally {
            router.close();
            for (StubEngine engine : engines()) {
                engine.close();
            }
        }
    }

    private static void assertBecomesZero(IntSupplier number, String what) {
        await().atMost(Duration.ofSeconds(20))
                .pollDelay(Duration.ZERO)
                .pollInterval(Duration.ofMillis(5))
                .untilAsserted(() -> assertThat(number.getAsInt()).as(what).isZero());
    }
}
