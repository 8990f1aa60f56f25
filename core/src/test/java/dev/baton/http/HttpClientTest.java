package dev.baton.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import java.io.ByteArrayOutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class HttpClientTest {
    private HttpRuntime runtime;
    private HttpClient client;

    @BeforeEach
    void start() {
        runtime = HttpRuntime.start(1);
        client = runtime.client(HttpClientConfig.defaults());
    }

    @AfterEach
    void close() {
        client.close();
        runtime.close();
    }

    /// A client that may have one connection.
    private HttpClient narrow() {
        return runtime.client(
                new HttpClientConfig(Duration.ofSeconds(20), Duration.ofSeconds(20), 1, ClientTls.defaults()));
    }

    private static URI at(int port) {
        return URI.create("http://127.0.0.1:" + port + "/x?y=z");
    }

    private static class Recorder implements HttpResponseListener {
        private final ByteArrayOutputStream body = new ByteArrayOutputStream();
        private final AtomicReference<String> end = new AtomicReference<>("");
        private volatile int status;

        @Override
        public void onHead(int status, HttpHeaders headers) {
            this.status = status;
        }

        @Override
        public synchronized void onBytes(byte[] bytes) {
            body.writeBytes(bytes);
        }

        @Override
        public void onEnd() {
            end.updateAndGet(s -> s + "end");
        }

        @Override
        public void onFailure(HttpException failure) {
            end.updateAndGet(s -> s + failure.kind());
        }

        private synchronized int size() {
            return body.size();
        }
    }

    @Test
    void collectedCallThatIsGivenUpClosesItsConnection() throws Exception {
        AtomicReference<String> gone = new AtomicReference<>("");
        HttpServer server = runtime.serve(
                HttpServerConfig.of("127.0.0.1", 0), exchange -> exchange.onGone(why -> gone.set(why.name())));
        CompletableFuture<HttpClientResponse> result =
                client.exchange(HttpClientRequest.get(at(server.port()), Duration.ofSeconds(20)), 1000);
        await().until(() -> server.numConnections() == 1);
        result.cancel(true);
        await().untilAsserted(() -> assertThat(gone).hasValue("CLIENT_CLOSED"));
    }

    @Test
    void callsThatWaitGetTheOneConnectionThereMayBeInTurn() {
        HttpServer server =
                runtime.serve(HttpServerConfig.of("127.0.0.1", 0), e -> e.respond(200, HttpHeaders.none(), e.body()));
        try (HttpClient narrow = narrow()) {
            List<CompletableFuture<HttpClientResponse>> answers = IntStream.range(0, 50)
                    .mapToObj(i -> narrow.exchange(
                            HttpClientRequest.postJson(
                                    at(server.port()),
                                    Integer.toString(i).getBytes(StandardCharsets.UTF_8),
                                    Duration.ofSeconds(20)),
                            1000))
                    .toList();
            for (int i = 0; i < answers.size(); i++) {
                assertThat(answers.get(i).join().text()).isEqualTo(Integer.toString(i));
                assertThat(server.numConnections()).isLessThanOrEqualTo(1);
            }
        }
    }

    @Test
    void connectionWhoseBodyWasNotReadBeforeTheAnswerIsNotUsedAgain() throws Exception {
        byte[] body = new byte[32 << 20]; // more than the sockets hold
        byte[] answer = "HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n".getBytes(StandardCharsets.US_ASCII);
        try (ServerSocket server = new ServerSocket(0, 5, InetAddress.getLoopbackAddress())) {
            HttpClientRequest large =
                    HttpClientRequest.postJson(at(server.getLocalPort()), body, Duration.ofSeconds(20));
            CompletableFuture<HttpClientResponse> first = client.exchange(large, 1000);
            try (Socket unread = server.accept()) {
                unread.getOutputStream().write(answer);
                assertThat(first.get().status()).isEqualTo(413);
                CompletableFuture<HttpClientResponse> second =
                        client.exchange(HttpClientRequest.get(at(server.getLocalPort()), Duration.ofSeconds(20)), 1000);
                server.setSoTimeout(10_000);
                try (Socket other = server.accept()) {
                    other.getOutputStream().write(answer);
                    assertThat(second.get().status()).isEqualTo(413);
                }
                assertThat(unread.getInputStream().skip(body.length)).isLessThan(body.length);
            }
        }
    }

    @Test
    void connectionIsUsedAgainAfterALargeBodyThatWasRead() throws Exception {
        HttpServer server = runtime.serve(HttpServerConfig.of("127.0.0.1", 0), e -> e.respondEmpty(200));
        for (int i = 0; i < 5; i++) {
            client.exchange(
                            HttpClientRequest.postJson(at(server.port()), new byte[4 << 20], Duration.ofSeconds(20)),
                            1000)
                    .get();
            assertThat(server.numConnections()).isEqualTo(1);
        }
    }

    /// Both in the callback of the head, with the body in the same read.
    @Test
    void callThatIsPausedAndGivenUpAtOnceGetsNothingMore() throws Exception {
        HttpServer server = runtime.serve(
                HttpServerConfig.of("127.0.0.1", 0), e -> e.respond(200, HttpHeaders.none(), new byte[10_000]));
        CompletableFuture<HttpCall> call = new CompletableFuture<>();
        Recorder recorder = new Recorder() {
            @Override
            public void onHead(int status, HttpHeaders headers) {
                call.join().pause();
                call.join().cancel();
            }
        };
        call.complete(client.send(HttpClientRequest.get(at(server.port()), Duration.ofSeconds(20)), recorder));
        await().untilAsserted(() -> assertThat(recorder.end).hasValue("CANCELLED"));
        await().until(() -> server.numConnections() == 0);
        assertThat(recorder.size()).isZero();
    }

    @Test
    void callThatWaitsForAConnectionEndsByItsDeadlineOrWithTheClient() {
        HttpServer silent = runtime.serve(HttpServerConfig.of("127.0.0.1", 0), exchange -> {});
        Recorder first = new Recorder();
        Recorder second = new Recorder();
        Recorder third = new Recorder();
        try (HttpClient narrow = narrow()) {
            HttpClientRequest patient = HttpClientRequest.get(at(silent.port()), Duration.ofMinutes(5));
            narrow.send(patient, first);
            await().until(() -> silent.numConnections() == 1);
            narrow.send(HttpClientRequest.get(at(silent.port()), Duration.ofMillis(50)), second);
            await().untilAsserted(() -> assertThat(second.end).hasValue("TIMEOUT"));
            narrow.send(patient, third);
        }
        await().untilAsserted(() -> assertThat(third.end).hasValue("CONNECT"));
        await().untilAsserted(() -> assertThat(first.end).hasValue("CLOSED"));
    }

    @Test
    void sendsBodyAndHeadersAndCollectsTheAnswer() throws Exception {
        HttpServer server = runtime.serve(
                HttpServerConfig.of("127.0.0.1", 0),
                e -> e.respond(
                        e.method().equals("POST") ? 201 : 204,
                        HttpHeaders.of("x-was", e.header("x-mine").orElse("") + e.uri()),
                        e.body()));
        HttpClientResponse answer = client.exchange(
                        HttpClientRequest.postJson(
                                        at(server.port()),
                                        "{}".getBytes(StandardCharsets.UTF_8),
                                        Duration.ofSeconds(20))
                                .withHeader("x-mine", "1"),
                        1000)
                .get();
        assertThat(answer.status()).isEqualTo(201);
        assertThat(answer.text()).isEqualTo("{}");
        assertThat(answer.headers().first("X-WAS")).contains("1/x?y=z");
        assertThat(client.exchange(HttpClientRequest.get(at(server.port()), Duration.ofSeconds(20)), 1000)
                        .get()
                        .status())
                .isEqualTo(204);
        assertThat(server.numConnections()).as("kept alive").isEqualTo(1);
    }

    @Test
    void refusedConnectionIsAConnectFailure() throws Exception {
        int port;
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = socket.getLocalPort();
        }
        assertThatThrownBy(() -> client.exchange(HttpClientRequest.get(at(port), Duration.ofSeconds(20)), 1000)
                        .get())
                .isInstanceOf(ExecutionException.class)
                .cause()
                .isInstanceOf(HttpException.class)
                .extracting(e -> ((HttpException) e).kind())
                .isEqualTo(HttpException.Kind.CONNECT);
    }

    @Test
    void silentServerIsATimeout() throws Exception {
        ConcurrentLinkedQueue<HttpExchange.Gone> gone = new ConcurrentLinkedQueue<>();
        HttpServer server = runtime.serve(HttpServerConfig.of("127.0.0.1", 0), e -> e.onGone(gone::add));
        Recorder recorder = new Recorder();
        client.send(HttpClientRequest.get(at(server.port()), Duration.ofMillis(1_500)), recorder);
        await().atMost(Duration.ofSeconds(20)).until(() -> recorder.end.get().equals("TIMEOUT"));
        await().atMost(Duration.ofSeconds(20)).until(() -> !gone.isEmpty());
    }

    @Test
    void streamThatFallsSilentIsATimeout() throws Exception {
        HttpServer server = runtime.serve(
                HttpServerConfig.of("127.0.0.1", 0),
                e -> e.startStream(200, HttpHeaders.none()).write(new byte[10]));
        Recorder recorder = new Recorder();
        client.send(HttpClientRequest.get(at(server.port()), Duration.ofMillis(1_500)), recorder);
        await().atMost(Duration.ofSeconds(20)).until(() -> recorder.end.get().equals("TIMEOUT"));
        assertThat(recorder.size()).isEqualTo(10);
        assertThat(recorder.status).isEqualTo(200);
    }

    @Test
    void cutStreamIsAFailureNotAnEnd() throws Exception {
        HttpServer server = runtime.serve(HttpServerConfig.of("127.0.0.1", 0), e -> {
            e.startStream(200, HttpHeaders.none()).write(new byte[10]);
            Thread.ofVirtual().start(() -> {
                sleep(100);
                e.reset();
            });
        });
        Recorder recorder = new Recorder();
        client.send(HttpClientRequest.get(at(server.port()), Duration.ofSeconds(20)), recorder);
        await().atMost(Duration.ofSeconds(20)).until(() -> !recorder.end.get().isEmpty());
        assertThat(recorder.end).hasValue("CLOSED");
    }

    @Test
    void cancelReachesTheServer() throws Exception {
        ConcurrentLinkedQueue<HttpExchange.Gone> gone = new ConcurrentLinkedQueue<>();
        HttpServer server = runtime.serve(HttpServerConfig.of("127.0.0.1", 0), e -> {
            e.onGone(gone::add);
            e.startStream(200, HttpHeaders.none()).write(new byte[10]);
        });
        Recorder recorder = new Recorder();
        HttpCall call = client.send(HttpClientRequest.get(at(server.port()), Duration.ofSeconds(20)), recorder);
        await().until(() -> recorder.size() == 10);
        call.cancel();
        await().atMost(Duration.ofSeconds(20)).until(() -> !gone.isEmpty());
        assertThat(recorder.end).hasValue("CANCELLED");
    }

    @Test
    void cancelBeforeTheConnectionStandsEndsTheCallOnce() {
        // It never answers: an answer could be here before this thread comes to cancel.
        HttpServer server = runtime.serve(HttpServerConfig.of("127.0.0.1", 0), e -> {});
        Recorder recorder = new Recorder();
        client.send(HttpClientRequest.get(at(server.port()), Duration.ofSeconds(20)), recorder)
                .cancel();
        await().atMost(Duration.ofSeconds(20)).until(() -> !recorder.end.get().isEmpty());
        sleep(100);
        assertThat(recorder.end).hasValue("CANCELLED");
    }

    @Test
    void pausedReaderSlowsTheServerDownAndThenGetsEverything() throws Exception {
        byte[] body = new byte[24 << 20];
        new Random(3).nextBytes(body);
        HttpServer server =
                runtime.serve(HttpServerConfig.of("127.0.0.1", 0), e -> e.respond(200, HttpHeaders.none(), body));
        CompletableFuture<HttpCall> sent = new CompletableFuture<>();
        Recorder recorder = new Recorder() {
            @Override
            public void onHead(int status, HttpHeaders headers) {
                sent.join().pause(); // at once: all of it is here within moments
                super.onHead(status, headers);
            }
        };
        HttpClientRequest request = new HttpClientRequest(
                "GET",
                at(server.port()),
                HttpHeaders.none(),
                new byte[0],
                Duration.ofSeconds(20),
                Duration.ofSeconds(1));
        HttpCall call = client.send(request, recorder);
        sent.complete(call);
        await().until(() -> recorder.status == 200);
        int held;
        do { // what is on its way
            held = recorder.size();
            sleep(300);
        } while (recorder.size() != held);
        sleep(1200);
        assertThat(recorder.size()).isEqualTo(held).isLessThan(body.length);
        call.resume();
        await().atMost(Duration.ofSeconds(20)).until(() -> recorder.end.get().equals("end"));
        assertThat(recorder.body.toByteArray()).isEqualTo(body);
    }

    @Test
    void answerOverTheLimitIsRefused() {
        HttpServer server = runtime.serve(
                HttpServerConfig.of("127.0.0.1", 0), e -> e.respond(200, HttpHeaders.none(), new byte[2000]));
        assertThatThrownBy(() -> client.exchange(HttpClientRequest.get(at(server.port()), Duration.ofSeconds(20)), 1000)
                        .get())
                .cause()
                .hasMessageContaining("larger than 1000");
    }

    private static void sleep(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
