package dev.baton.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Ways to speak HTTP that are right but not usual: the h2c upgrade that the JDK's client asks for, chunked bodies
/// in small pieces, `Expect: 100-continue`, pipelining, HTTP/1.0; and that the limits hold there too.
@Timeout(60)
class OddClientsTest {
    private static final HttpServerConfig ANY_PORT = HttpServerConfig.of("127.0.0.1", 0);
    /// What the JDK's client sends with its first request to a server unless it is told to speak HTTP/1.1 only.
    private static final String UPGRADE =
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAA\r\n";

    private HttpRuntime runtime;

    @BeforeEach
    void startRuntime() {
        runtime = HttpRuntime.start(1);
    }

    @AfterEach
    void closeRuntime() {
        runtime.close();
    }

    private HttpServer echo(HttpServerConfig config) {
        return runtime.serve(config, e -> e.respond(200, HttpHeaders.of("x-uri", e.uri()), e.body()));
    }

    /// Three pieces, with a moment between them, the first of which has to be seen before the others come.
    private HttpServer streaming(CountDownLatch firstSeen) {
        return runtime.serve(ANY_PORT, e -> {
            HttpStream stream = e.startStream(200, HttpHeaders.of("content-type", "text/event-stream"));
            Thread.ofVirtual().start(() -> {
                for (int i = 0; i < 3; i++) {
                    stream.write(("data: " + i + "\n\n").getBytes(StandardCharsets.UTF_8));
                    pause(100);
                    awaitQuietly(firstSeen);
                }
                stream.end();
            });
        });
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            assertThat(latch.await(20, TimeUnit.SECONDS)).isTrue();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static void pause(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static Socket connect(HttpServer server) throws IOException {
        Socket socket = new Socket(InetAddress.getLoopbackAddress(), server.port());
        socket.setTcpNoDelay(true);
        socket.setSoTimeout(20_000);
        return socket;
    }

    private static void send(Socket socket, String text) throws IOException {
        socket.getOutputStream().write(text.getBytes(StandardCharsets.ISO_8859_1));
    }

    private static String readAll(Socket socket) throws IOException {
        return new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    }

    private static String head(Socket socket) throws IOException {
        ByteArrayOutputStream head = new ByteArrayOutputStream();
        while (!head.toString(StandardCharsets.ISO_8859_1).endsWith("\r\n\r\n")) {
            int next = socket.getInputStream().read();
            if (next < 0) {
                break;
            }
            head.write(next);
        }
        return head.toString(StandardCharsets.ISO_8859_1);
    }

    /// A response with a declared length.
    private static String response(Socket socket) throws IOException {
        String head = head(socket);
        String length = head.lines()
                .filter(line -> line.toLowerCase(java.util.Locale.ROOT).startsWith("content-length:"))
                .findFirst()
                .orElseThrow(() -> new AssertionError("no content-length in: " + head))
                .substring("content-length:".length())
                .strip();
        return head
                + new String(socket.getInputStream().readNBytes(Integer.parseInt(length)), StandardCharsets.ISO_8859_1);
    }

    @Test
    void upgradeToH2cIsIgnoredAndTheRequestAnsweredWithItsBody() throws Exception {
        try (HttpServer server = echo(ANY_PORT);
                Socket socket = connect(server)) {
            for (int i = 0; i < 3; i++) {
                send(socket, "POST /" + i + " HTTP/1.1\r\nHost: x\r\n" + UPGRADE + "Content-Length: 5\r\n\r\nhello");
                assertThat(response(socket))
                        .startsWith("HTTP/1.1 200 ")
                        .contains("x-uri: /" + i)
                        .endsWith("\r\n\r\nhello");
                send(socket, "POST /c HTTP/1.1\r\nHost: x\r\n" + UPGRADE + "Transfer-Encoding: chunked\r\n\r\n");
                send(socket, "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n");
                assertThat(response(socket)).startsWith("HTTP/1.1 200 ").endsWith("\r\n\r\nabcdefg");
            }
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void defaultClientOfTheJdkIsServed(boolean chunked) throws Exception {
        byte[] body = new byte[1 << 20];
        new Random(3).nextBytes(body);
        try (HttpServer server = echo(ANY_PORT);
                HttpClient client = HttpClient.newHttpClient()) {
            assertThat(client.version()).isEqualTo(HttpClient.Version.HTTP_2);
            for (int i = 0; i < 3; i++) {
                HttpResponse<byte[]> answer = client.send(
                        HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + "/x"))
                                .POST(
                                        chunked
                                                ? HttpRequest.BodyPublishers.ofInputStream(
                                                        () -> new ByteArrayInputStream(body))
                                                : HttpRequest.BodyPublishers.ofByteArray(body))
                                .build(),
                        HttpResponse.BodyHandlers.ofByteArray());
                assertThat(answer.statusCode()).isEqualTo(200);
                assertThat(answer.version()).isEqualTo(HttpClient.Version.HTTP_1_1);
                assertThat(answer.body()).isEqualTo(body);
            }
        }
    }

    @Test
    void defaultClientOfTheJdkGetsAStreamAsItIsWritten() throws Exception {
        CountDownLatch firstSeen = new CountDownLatch(1);
        try (HttpServer server = streaming(firstSeen);
                HttpClient client = HttpClient.newHttpClient()) {
            HttpResponse<InputStream> answer = client.send(
                    HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + "/"))
                            .POST(HttpRequest.BodyPublishers.ofString("{}"))
                            .build(),
                    HttpResponse.BodyHandlers.ofInputStream());
            try (InputStream in = answer.body()) {
                assertThat(new String(in.readNBytes(9), StandardCharsets.UTF_8)).isEqualTo("data: 0\n\n");
                assertThat(in.available()).as("the second event comes later").isZero();
                firstSeen.countDown();
                assertThat(new String(in.readAllBytes(), StandardCharsets.UTF_8))
                        .isEqualTo("data: 1\n\ndata: 2\n\n");
            }
        }
    }

    @Test
    void limitsHoldForRequestsThatAskForAnUpgrade() throws Exception {
        HttpServerConfig config = ANY_PORT.toBuilder()
                .maxBodyBytes(1000)
                .headerDeadline(Duration.ofSeconds(5))
                .bodyDeadline(Duration.ofSeconds(5))
                .idleTimeout(Duration.ofSeconds(5))
                .writeDeadline(Duration.ofSeconds(5))
                .build();
        HttpServerConfig hasty =
                config.toBuilder().bodyDeadline(Duration.ofMillis(300)).build();
        try (HttpServer server = echo(config);
                HttpServer hastyServer = echo(hasty)) {
            try (Socket socket = connect(server)) {
                send(socket, "POST / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + "Content-Length: 1001\r\n\r\n");
                assertThat(head(socket)).startsWith("HTTP/1.1 413 ");
            }
            try (Socket socket = connect(server)) {
                send(socket, "POST / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + "Transfer-Encoding: chunked\r\n\r\n");
                send(socket, ("64\r\n" + "z".repeat(100) + "\r\n").repeat(11));
                assertThat(head(socket)).startsWith("HTTP/1.1 413 ");
            }
            try (Socket socket = connect(hastyServer)) {
                send(socket, "POST / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + "Content-Length: 10\r\n\r\nabc");
                assertThat(head(socket)).startsWith("HTTP/1.1 408 ");
            }
            try (Socket socket = connect(server)) {
                send(socket, "GET / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + "X-Large: " + "y".repeat(20_000) + "\r\n\r\n");
                assertThat(head(socket)).startsWith("HTTP/1.1 431 ");
            }
            await().until(() -> server.numConnections() + hastyServer.numConnections() == 0);
        }
    }

    @Test
    void http2WithoutAskingIsRefusedAtOnce() throws Exception {
        AtomicInteger handled = new AtomicInteger();
        try (HttpServer server = runtime.serve(ANY_PORT, e -> {
                    handled.incrementAndGet();
                    e.respondEmpty(200);
                });
                Socket socket = connect(server)) {
            // with an empty SETTINGS frame, in one piece: what comes behind the answer would cut it off
            send(socket, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0");
            assertThat(readAll(socket)).startsWith("HTTP/2.0 501 ");
            await().until(() -> server.numConnections() == 0);
            assertThat(handled).hasValue(0);
        }
    }

    @Test
    void bodyInOneByteChunksIsTaken() throws Exception {
        StringBuilder chunks = new StringBuilder();
        StringBuilder body = new StringBuilder();
        for (int i = 0; i < 5000; i++) {
            char next = (char) ('a' + i % 26);
            chunks.append("1\r\n").append(next).append("\r\n");
            body.append(next);
        }
        chunks.append("0\r\n\r\n");
        try (HttpServer server = echo(ANY_PORT);
                Socket socket = connect(server)) {
            send(socket, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
            Random random = new Random(5);
            for (int at = 0; at < chunks.length(); ) { // wherever the network cuts
                int end = Math.min(chunks.length(), at + random.nextInt(1, 200));
                send(socket, chunks.substring(at, end));
                at = end;
            }
            assertThat(response(socket)).startsWith("HTTP/1.1 200 ").endsWith("\r\n\r\n" + body);
        }
    }

    @Test
    void malformedChunkEndsTheConnectionAndIsNoRequest() throws Exception {
        AtomicInteger handled = new AtomicInteger();
        try (HttpServer server = runtime.serve(ANY_PORT, e -> {
                    handled.incrementAndGet();
                    e.respondEmpty(200);
                });
                Socket socket = connect(server)) {
            send(socket, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n");
            assertThat(readAll(socket)).isEmpty();
            await().until(() -> server.numConnections() == 0);
            assertThat(handled).hasValue(0);
        }
    }

    @Test
    void lengthBesideChunkedIsNoWayToSmuggleARequest() throws Exception {
        ConcurrentLinkedQueue<String> paths = new ConcurrentLinkedQueue<>();
        try (HttpServer server = runtime.serve(ANY_PORT, e -> {
                    paths.add(e.path());
                    e.respondEmpty(200);
                });
                Socket socket = connect(server)) {
            send(
                    socket,
                    "POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
                            + "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
            readAll(socket);
            assertThat(paths).doesNotContain("/smuggled");
        }
    }

    @Test
    void clientThatExpects100GetsItBeforeItSendsTheBody() throws Exception {
        try (HttpServer server = echo(ANY_PORT);
                Socket socket = connect(server)) {
            send(socket, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
            assertThat(head(socket)).startsWith("HTTP/1.1 100 Continue");
            send(socket, "hello");
            assertThat(response(socket)).startsWith("HTTP/1.1 200 ").endsWith("\r\n\r\nhello");
        }
    }

    @Test
    void clientThatExpects100IsToldOfABodyTooLargeInsteadOfSendingIt() throws Exception {
        try (HttpServer server = echo(ANY_PORT.toBuilder().maxBodyBytes(1000).build());
                Socket socket = connect(server)) {
            send(socket, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n");
            assertThat(head(socket)).startsWith("HTTP/1.1 413 ");
        }
    }

    @Test
    void jdkClientThatExpects100IsServed() throws Exception {
        try (HttpServer server = echo(ANY_PORT);
                HttpClient client = HttpClient.newHttpClient()) {
            HttpResponse<String> answer = client.send(
                    HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + "/"))
                            .expectContinue(true)
                            .POST(HttpRequest.BodyPublishers.ofString("hello"))
                            .build(),
                    HttpResponse.BodyHandlers.ofString());
            assertThat(answer.body()).isEqualTo("hello");
        }
    }

    @Test
    void pipelinedRequestsAreAnsweredInTheirOrder() throws Exception {
        List<CompletableFuture<HttpExchange>> arrived = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            arrived.add(new CompletableFuture<>());
        }
        try (HttpServer server = runtime.serve(
                        ANY_PORT,
                        e -> arrived.get(Integer.parseInt(e.path().substring(1)))
                                .complete(e));
                Socket socket = connect(server)) {
            StringBuilder requests = new StringBuilder();
            for (int i = 0; i < 3; i++) {
                requests.append("POST /" + i + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n" + i + i);
            }
            send(socket, requests.toString());
            for (int i = 0; i < 3; i++) {
                HttpExchange exchange = arrived.get(i).get(10, TimeUnit.SECONDS);
                assertThat(new String(exchange.body(), StandardCharsets.UTF_8)).isEqualTo("" + i + i);
                if (i == 1) { // a streamed answer between two whole ones
                    HttpStream stream = exchange.startStream(200, HttpHeaders.none());
                    stream.write("one".getBytes(StandardCharsets.UTF_8));
                    stream.end();
                    assertThat(head(socket)).contains("transfer-encoding: chunked");
                    assertThat(new String(socket.getInputStream().readNBytes(13), StandardCharsets.UTF_8))
                            .isEqualTo("3\r\none\r\n0\r\n\r\n");
                } else {
                    exchange.respondText(200, "answer " + i);
                    assertThat(response(socket)).endsWith("answer " + i);
                }
            }
        }
    }

    @Test
    void http10ClientGetsAStreamAsItIsWrittenAndThenTheEnd() throws Exception {
        CountDownLatch firstSeen = new CountDownLatch(1);
        try (HttpServer server = runtime.serve(ANY_PORT, e -> {
                    HttpStream stream = e.startStream(200, HttpHeaders.of("content-type", "text/event-stream"));
                    Thread.ofVirtual().start(() -> {
                        stream.write("data: 0\n\n".getBytes(StandardCharsets.UTF_8));
                        try {
                            if (firstSeen.await(10, TimeUnit.SECONDS)) {
                                stream.write("data: 1\n\n".getBytes(StandardCharsets.UTF_8));
                            }
                        } catch (InterruptedException interrupted) {
                            Thread.currentThread().interrupt();
                        }
                        stream.end();
                    });
                });
                Socket socket = connect(server)) {
            send(socket, "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}");
            assertThat(head(socket))
                    .startsWith("HTTP/1.0 200 ")
                    .doesNotContain("chunked")
                    .doesNotContain("content-length");
            assertThat(new String(socket.getInputStream().readNBytes(9), StandardCharsets.UTF_8))
                    .isEqualTo("data: 0\n\n");
            firstSeen.countDown();
            assertThat(readAll(socket)).isEqualTo("data: 1\n\n");
        }
    }

    /// Without a length, the connection's end is the stream's: it must not be kept, whatever the client asked.
    @Test
    void http10StreamEndsTheConnectionAlsoIfTheClientWouldKeepIt() throws Exception {
        try (HttpServer server = streaming(new CountDownLatch(0));
                Socket socket = connect(server)) {
            send(socket, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
            assertThat(head(socket)).startsWith("HTTP/1.0 200 ").doesNotContain("keep-alive");
            assertThat(readAll(socket)).isEqualTo("data: 0\n\ndata: 1\n\ndata: 2\n\n");
        }
    }

    @Test
    void http10ClientMayKeepItsConnectionForWholeAnswers() throws Exception {
        try (HttpServer server = echo(ANY_PORT);
                Socket socket = connect(server)) {
            for (int i = 0; i < 2; i++) {
                send(socket, "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}");
                assertThat(response(socket)).startsWith("HTTP/1.0 200 ").endsWith("{}");
            }
            socket.setSoTimeout(200);
            assertThatThrownBy(() -> socket.getInputStream().read())
                    .as("still open")
                    .isInstanceOf(SocketTimeoutException.class);
        }
    }
}
