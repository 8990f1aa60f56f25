package dev.baton.discovery;

import dev.baton.wire.FreePorts;
import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Base64;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Assumptions;

/// A real etcd of the machine's, with a folder of its own: that of `ETCD`, or the one on the path.
final class Etcd implements AutoCloseable {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();

    private final Path binary;
    private final Path log;
    private final int port;
    private final int peerPort;
    private Process process;

    /// Skips the test where there is none.
    Etcd(Path folder) throws IOException {
        Optional<Path> found = Stream.concat(
                        Stream.ofNullable(System.getenv("ETCD")).map(Path::of),
                        Arrays.stream(System.getenv("PATH").split(File.pathSeparator))
                                .map(path -> Path.of(path, "etcd")))
                .filter(Files::isExecutable)
                .findFirst();
        Assumptions.assumeTrue(found.isPresent(), "there is no etcd on this machine (Debian: etcd-server)");
        binary = found.orElseThrow();
        log = folder.resolve("etcd.log");
        port = FreePorts.next();
        peerPort = FreePorts.next();
    }

    String target() {
        return "etcd://127.0.0.1:" + port + "/test";
    }

    void start(Path data) throws IOException {
        String client = "http://127.0.0.1:" + port;
        String peer = "http://127.0.0.1:" + peerPort;
        process = new ProcessBuilder(
                        binary.toString(),
                        "--data-dir=" + data,
                        "--listen-client-urls=" + client,
                        "--advertise-client-urls=" + client,
                        "--listen-peer-urls=" + peer,
                        "--initial-advertise-peer-urls=" + peer,
                        "--initial-cluster=default=" + peer)
                .redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(log.toFile()))
                .start();
        Awaitility.await("etcd answers").atMost(Duration.ofSeconds(30)).until(() -> isUp(client));
    }

    private static boolean isUp(String client) throws InterruptedException {
        try {
            HttpRequest health = HttpRequest.newBuilder(URI.create(client + "/health"))
                    .timeout(Duration.ofSeconds(2))
                    .build();
            return CLIENT.send(health, HttpResponse.BodyHandlers.ofString())
                    .body()
                    .contains("true");
        } catch (IOException e) {
            return false;
        }
    }

    /// By kill -9.
    void kill() {
        Process running = process;
        if (running == null) {
            return;
        }
        running.destroyForcibly();
        try {
            if (!running.waitFor(10, TimeUnit.SECONDS)) {
                throw new AssertionError("etcd did not end");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    String post(String path, String singleQuoted) throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + path))
                .timeout(Duration.ofSeconds(10))
                .POST(HttpRequest.BodyPublishers.ofString(singleQuoted.replace('\'', '"')))
                .build();
        HttpResponse<String> answer = CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw new AssertionError(path + " answers " + answer.body());
        }
        return answer.body();
    }

    void put(String key, String value) throws IOException, InterruptedException {
        post("/v3/kv/put", "{'key':'" + base64("/test/" + key) + "','value':'" + base64(value) + "'}");
    }

    void delete(String key) throws IOException, InterruptedException {
        post("/v3/kv/deleterange", "{'key':'" + base64("/test/" + key) + "'}");
    }

    private static String base64(String text) {
        return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }

    @Override
    public void close() {
        kill();
    }
}
