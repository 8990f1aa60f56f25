package dev.baton.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Random;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class HttpServerTest {
    private static final HttpServerConfig ANY_PORT = HttpServerConfig.of("127.0.0.1", 0);

    private HttpRuntime runtime;
    private final java.net.http.HttpClient client = java.net.http.HttpClient.newHttpClient();

    @BeforeEach
    void startRuntime() {
        runtime = HttpRuntime.start(1);
    }

    @AfterEach
    void closeRuntime() {
        client.close();
        runtime.close();
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

    private static String readSome(Socket socket) throws IOException {
        byte[] bytes = new byte[4096];
        int n = socket.getInputStream().read(bytes);
        return n < 0 ? "" : new String(bytes, 0, n, StandardCharsets.UTF_8);
    }

    @Test
    void answersWithTheBodyItWasSent() throws Exception {
        HttpServer server = runtime.serve(
                ANY_PORT, e -> e.respond(200, HttpHeaders.of("x-path", e.method() + " " + e.uri()), e.body()));
        byte[] body = new byte[1 << 20];
        new Random(1).nextBytes(body);
        HttpResponse<byte[]> answer = client.send(
                HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + "/a/b?c=d"))
                        .POST(HttpRequest.BodyPublishers.ofByteArray(body))
                        .build(),
                HttpResponse.BodyHandlers.ofByteArray());
        assertThat(answer.statusCode()).isEqualTo(200);
        assertThat(answer.body()).isEqualTo(body);
        assertThat(answer.headers().firstValue("x-path")).contains("POST /a/b?c=d");
    }

    @Test
    void portInUseIsOneSentence() throws Exception {
        try (ServerSocket taken = new ServerSocket(0, 1, InetAddress.getByName("127.0.0.1"))) {
            assertThatThrownBy(() -> runtime.serve(
                            HttpServerConfig.of("127.0.0.1", taken.getLocalPort()), e -> e.respondEmpty(200)))
                    .isInstanceOf(HttpException.class)
                    .hasMessageContaining("port " + taken.getLocalPort())
                    .hasMessageContaining("in use")
                    .extracting(e -> ((HttpException) e).kind())
                    .isEqualTo(HttpException.Kind.BIND);
        }
    }

    @Test
    void headerFloodIsAnswered431() throws Exception {
        HttpServer server = runtime.serve(ANY_PORT, e -> e.respondEmpty(200));
        try (Socket socket = connect(server)) {
            send(socket, "GET / HTTP/1.1\r\nhost: x\r\n");
            try {
                for (int i = 0; i < 40; i++) {
                    send(socket, "x-flood-" + i + ": " + "y".repeat(1000) + "\r\n");
                }
            } catch (IOException e) {
                // the server may have closed by now
            }
            assertThat(readSome(socket)).startsWith("HTTP/1.1 431 ");
        }
        try (Socket socket = connect(server)) {
            send(
                    socket,
                    "GET / HTTP/1.1\r\nhost: x\r\nx-large: " + "y".repeat(15_000) + "\r\nconnection: close\r\n\r\n");
            assertThat(readAll(socket)).startsWith("HTTP/1.1 200 ");
        }
    }

    @Test
    void endlessChunkedBodyIsAnswered413WithFlatMemory() throws Exception {
        AtomicInteger handled = new AtomicInteger();
        HttpServer server =
                runtime.serve(ANY_PORT.toBuilder().maxBodyBytes(1 << 20).build(), e -> {
                    handled.incrementAndGet();
                    e.respondEmpty(200);
                });
        byte[] piece = ("10000\r\n" + "z".repeat(0x10000) + "\r\n").getBytes(StandardCharsets.US_ASCII);
        System.gc();
        long before = usedBytes();
        try (Socket socket = connect(server)) {
            send(socket, "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
            long sent = 0;
            try {
                while (sent < 1L << 30) { // 1 GiB, unless the server closes before
                    socket.getOutputStream().write(piece);
                    sent += piece.length;
                    if (socket.getInputStream().available() > 0) {
                        break;
                    }
                }
            } catch (IOException e) {
                // closed by the server
            }
            assertThat(readSome(socket)).startsWith("HTTP/1.1 413 ");
            assertThat(sent).isLessThan(1L << 30);
        }
        System.gc();
        assertThat(usedBytes() - before).isLessThan(40L << 20);
        assertThat(handled).hasValue(0);
        await().until(() -> server.numConnections() == 0);
    }

    @Test
    void declaredLengthOverTheLimitIsRefusedBeforeTheBody() throws Exception {
        HttpServer server =
                runtime.serve(ANY_PORT.toBuilder().maxBodyBytes(1000).build(), e -> e.respondEmpty(200));
        try (Socket socket = connect(server)) {
            send(socket, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n\r\n");
            assertThat(readSome(socket)).startsWith("HTTP/1.1 413 ");
        }
    }

    @Test
    void bodyOfExactlyTheLimitIsTaken() throws Exception {
        HttpServer server =
                runtime.serve(ANY_PORT.toBuilder().maxBodyBytes(1000).build(), e -> e.respondEmpty(200));
        try (Socket socket = connect(server)) {
            send(socket, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n" + "a".repeat(1000));
            assertThat(readSome(socket)).startsWith("HTTP/1.1 200 ");
        }
    }

    private static long usedBytes() {
        return Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory();
    }

    @Test
    void dribbledHeadIsCutOffAtTheDeadline() throws Exception {
        HttpServer server = runtime.serve(
                ANY_PORT.toBuilder()
                        .headerDeadline(Duration.ofMillis(300))
                        .idleTimeout(Duration.ofMillis(300))
                        .build(),
                e -> e.respondEmpty(200));
        try (Socket socket = connect(server)) {
            long start = System.nanoTime();
            assertThatThrownBy(() -> {
                        while (System.nanoTime() - start
                                < Duration.ofSeconds(20).toNanos()) {
                            send(socket, "G");
                            Thread.sleep(30);
                        }
                    })
                    .as("the connection is cut off")
                    .isInstanceOf(IOException.class);
        }
    }

    @Test
    void dribbledBodyIsAnswered408() throws Exception {
        HttpServer server = runtime.serve(
                ANY_PORT.toBuilder().bodyDeadline(Duration.ofMillis(300)).build(), e -> e.respondEmpty(200));
        try (Socket socket = connect(server)) {
            send(socket, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc");
            assertThat(readSome(socket)).startsWith("HTTP/1.1 408 ");
        }
    }

    @Test
    void idleConnectionIsClosedAlsoAfterAnAnswerWhoseEndWasAwaited() throws Exception {
        ConcurrentLinkedQueue<HttpExchange.Ended> ends = new ConcurrentLinkedQueue<>();
        HttpServer server = runtime.serve(
                ANY_PORT.toBuilder().idleTimeout(Duration.ofMillis(300)).build(), e -> {
                    e.onEnd(ends::add);
                    e.onEnd(ends::add);
                    e.respondText(200, "four");
                });
        try (Socket socket = connect(server)) {
            socket.setSoTimeout(20_000);
            send(socket, "GET / HTTP/1.1\r\nhost: x\r\n\r\n");
            assertThat(readAll(socket)).startsWith("HTTP/1.1 200 ").endsWith("four");
        }
        await().until(() -> ends.size() == 2);
        assertThat(ends).containsOnly(new HttpExchange.Ended(200, 4));
    }

    @Test
    void connectionsOverTheLimitAreClosedAndOthersGoOn() throws Exception {
        HttpServer server = runtime.serve(ANY_PORT.toBuilder().maxConnections(2).build(), e -> e.respondEmpty(200));
        try (Socket first = connect(server);
                Socket second = connect(server)) {
            await().until(() -> server.numConnections() == 2);
            try (Socket third = connect(server)) {
                assertThat(third.getInputStream().read()).isEqualTo(-1);
            }
            for (Socket socket : new Socket[] {first, second}) {
                send(socket, "GET / HTTP/1.1\r\nhost: x\r\n\r\n");
                assertThat(readSome(socket)).startsWith("HTTP/1.1 200 ");
            }
        }
        await().until(() -> server.numConnections() == 0);
    }

    @Test
    void connectionsOfOneAddressAreLimitedApartFromOthers() throws Exception {
        HttpServer server =
                runtime.serve(ANY_PORT.toBuilder().maxConnectionsPerIp(2).build(), e -> e.respondEmpty(200));
        try (Socket first = connect(server)) {
            try (Socket second = connect(server);
                    Socket third = connect(server);
                    Socket elsewhere = new Socket()) {
                assertThat(third.getInputStream().read()).isEqualTo(-1);
                elsewhere.bind(new InetSocketAddress("127.0.0.2", 0));
                elsewhere.connect(new InetSocketAddress("127.0.0.1", server.port()));
                elsewhere.setSoTimeout(20_000);
                for (Socket socket : new Socket[] {first, second, elsewhere}) {
                    send(socket, "GET / HTTP/1.1\r\nhost: x\r\n\r\n");
                    assertThat(readSome(socket)).startsWith("HTTP/1.1 200 ");
                }
            }
            await().until(() -> server.numConnections() == 1);
            try (Socket again = connect(server)) {
                send(again, "GET / HTTP/1.1\r\nhost: x\r\n\r\n");
                assertThat(readSome(again)).startsWith("HTTP/1.1 200 ");
            }
        }
    }

    @Test
    void bodyThatKeepsItsPaceMayTakeLongerThanTheDeadlineAndADribbledOneMayNot() throws Exception {
        HttpServerConfig config = ANY_PORT.toBuilder()
                .bodyDeadline(Duration.ofSeconds(1))
                .minBodyBytesPerSecond(100)
                .build();
        HttpServer server = runtime.serve(config, e -> e.respondText(200, "got " + e.body().length));
        try (Socket steady = connect(server);
                Socket dribbling = connect(server)) {
            send(steady, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 800\r\n\r\n");
            send(dribbling, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 400\r\n\r\n");
            for (int i = 0; i < 20; i++) {
                send(steady, "x".repeat(40));
                if (i < 5) {
                    send(dribbling, "x");
                }
                Thread.sleep(100);
            }
            assertThat(readSome(steady)).startsWith("HTTP/1.1 200 ").endsWith("got 800");
            assertThat(readSome(dribbling)).startsWith("HTTP/1.1 408 ");
        }
    }

    @Test
    void writesOfOneTurnGoOutAtOnceAndInOrder() throws Exception {
        HttpServer server = runtime.serve(ANY_PORT, e -> {
            HttpStream stream = e.startStream(200, HttpHeaders.of("content-type", "text/event-stream"));
            Thread.ofVirtual().start(() -> {
                for (int i = 0; i < 1000; i++) {
                    stream.write(("data: " + i + "\n\n").getBytes(StandardCharsets.UTF_8));
                }
                stream.end();
            });
        });
        HttpResponse<String> answer = client.send(
                HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + "/"))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
        StringBuilder expected = new StringBuilder();
        for (int i = 0; i < 1000; i++) {
            expected.append("data: ").append(i).append("\n\n");
        }
        assertThat(answer.body()).isEqualTo(expected.toString());
    }

    @Test
    void clientThatGoesAwayIsNoticed() throws Exception {
        ConcurrentLinkedQueue<HttpExchange.Gone> gone = new ConcurrentLinkedQueue<>();
        HttpServer server = runtime.serve(ANY_PORT, e -> {
            e.onGone(gone::add);
            e.startStream(200, HttpHeaders.none()).write("first".getBytes(StandardCharsets.UTF_8));
        });
        try (Socket socket = connect(server)) {
            send(socket, "GET / HTTP/1.1\r\nhost: x\r\n\r\n");
            assertThat(readSome(socket)).contains("first");
            assertThat(gone).isEmpty();
        }
        await().atMost(Duration.ofSeconds(20)).until(() -> !gone.isEmpty());
        assertThat(gone).containsExactly(HttpExchange.Gone.CLIENT_CLOSED);
    }

    @Test
    void clientThatGoesAwayBeforeAnyAnswerIsNoticed() throws Exception {
        ConcurrentLinkedQueue<HttpExchange.Gone> gone = new ConcurrentLinkedQueue<>();
        HttpServer server = runtime.serve(ANY_PORT, e -> e.onGone(gone::add));
        try (Socket socket = connect(server)) {
            send(socket, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}");
            Thread.sleep(50);
        }
        await().atMost(Duration.ofSeconds(20)).until(() -> !gone.isEmpty());
    }

    @Test
    void completedResponseIsNotReportedAsGone() throws Exception {
        ConcurrentLinkedQueue<HttpExchange.Gone> gone = new ConcurrentLinkedQueue<>();
        HttpServer server = runtime.serve(ANY_PORT, e -> {
            e.onGone(gone::add);
            e.respondText(200, "done");
        });
        try (Socket socket = connect(server)) {
            send(socket, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            assertThat(readAll(socket)).endsWith("done");
        }
        await().until(() -> server.numConnections() == 0);
        assertThat(gone).isEmpty();
    }

    @Test
    void slowReaderIsCutOffByItsBufferWithoutHarmToOthers() throws Exception {
        ConcurrentLinkedQueue<HttpExchange.Gone> gone = new ConcurrentLinkedQueue<>();
        HttpServer server = runtime.serve(
                ANY_PORT.toBuilder().maxStreamBufferBytes(256 << 10).build(), e -> {
                    if (e.path().equals("/quick")) {
                        e.respondText(200, "quick");
                        return;
                    }
                    e.onGone(gone::add);
                    HttpStream stream = e.startStream(200, HttpHeaders.none());
                    Thread.ofVirtual().start(() -> {
                        for (int i = 0; i < 100_000 && gone.isEmpty(); i++) {
                            stream.write(new byte[1024]);
                            if (i % 64 == 0) {
                                Thread.yield();
                            }
                        }
                        stream.end();
                    });
                });
        try (Socket socket = connect(server)) {
            socket.setReceiveBufferSize(4096);
            send(socket, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n");
            await().atMost(Duration.ofSeconds(20)).until(() -> !gone.isEmpty());
            assertThat(gone).containsExactly(HttpExchange.Gone.TOO_SLOW);
            HttpResponse<String> other = client.send(
                    HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + "/quick"))
                            .build(),
                    HttpResponse.BodyHandlers.ofString());
            assertThat(other.body()).isEqualTo("quick");
        }
    }

    @Test
    void readerThatNeverReadsIsCutOffAtTheWriteDeadline() throws Exception {
        ConcurrentLinkedQueue<HttpExchange.Gone> gone = new ConcurrentLinkedQueue<>();
        HttpServer server = runtime.serve(
                ANY_PORT.toBuilder()
                        .maxStreamBufferBytes(1 << 30)
                        .writeDeadline(Duration.ofMillis(300))
                        .build(),
                e -> {
                    e.onGone(gone::add);
                    HttpStream stream = e.startStream(200, HttpHeaders.none());
                    for (int i = 0; i < 16; i++) {
                        stream.write(new byte[1 << 20]);
                    }
                    e.executeLater(() -> stream.write(new byte[1 << 20]));
                });
        try (Socket socket = connect(server)) {
            send(socket, "GET / HTTP/1.1\r\nhost: x\r\n\r\n");
            await().atMost(Duration.ofSeconds(10)).until(() -> !gone.isEmpty());
            assertThat(gone).containsExactly(HttpExchange.Gone.TOO_SLOW);
        }
    }

    @Test
    void slowReaderWithinTheLimitGetsEveryByte() throws Exception {
        byte[] body = new byte[8 << 20];
        new Random(2).nextBytes(body);
        HttpServer server = runtime.serve(
                ANY_PORT.toBuilder().maxStreamBufferBytes(16 << 20).build(), e -> {
                    HttpStream stream = e.startStream(200, HttpHeaders.none());
                    Thread.ofVirtual().start(() -> {
                        for (int at = 0; at < body.length; at += 1 << 15) {
                            byte[] piece = new byte[1 << 15];
                            System.arraycopy(body, at, piece, 0, piece.length);
                            stream.write(piece);
                        }
                        stream.end();
                    });
                });
        HttpResponse<InputStream> answer = client.send(
                HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + "/"))
                        .build(),
                HttpResponse.BodyHandlers.ofInputStream());
        try (InputStream in = answer.body()) {
            byte[] head = in.readNBytes(1000);
            Thread.sleep(300);
            byte[] rest = in.readAllBytes();
            assertThat(head.length + rest.length).isEqualTo(body.length);
            assertThat(rest).isEqualTo(java.util.Arrays.copyOfRange(body, 1000, body.length));
        }
    }

    @Test
    void stopLetsARequestInFlightEnd() throws Exception {
        ConcurrentLinkedQueue<HttpExchange> held = new ConcurrentLinkedQueue<>();
        HttpServer server = runtime.serve(ANY_PORT, held::add);
        try (Socket socket = connect(server)) {
            send(socket, "GET / HTTP/1.1\r\nhost: x\r\n\r\n");
            await().until(() -> !held.isEmpty());
            Thread stopping = Thread.ofVirtual().start(() -> server.stop(Duration.ofSeconds(10)));
            Thread.sleep(100);
            held.element().respondText(200, "late");
            assertThat(readAll(socket)).endsWith("late");
            stopping.join();
            assertThatThrownBy(() -> connect(server).close()).isInstanceOf(IOException.class);
        }
    }

    @Test
    void handlerThatThrowsIsAnswered500() throws Exception {
        HttpServer server = runtime.serve(ANY_PORT, e -> {
            throw new IllegalStateException("boom");
        });
        try (Socket socket = connect(server)) {
            OutputStream out = socket.getOutputStream();
            out.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
            assertThat(readAll(socket)).startsWith("HTTP/1.1 500 ").doesNotContain("boom");
        }
    }
}
