package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.wire.FreePorts;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/// Instances that register themselves at a router without a list, as processes of their own, and end in every way.
@Timeout(240)
class RegistrationProcessTest {
    private static final Path MODEL = Baton.repository().resolve("models/baton-tiny");
    private static final Pattern INSTANCE = Pattern.compile("\"address\":\"([^\"]+)\",\"role\":\"([a-z]+)\"");

    @TempDir
    Path folder;

    private final HttpClient client = HttpClient.newHttpClient();
    private final List<Baton> processes = new ArrayList<>();
    private String router = "";

    @BeforeEach
    void theModelIsThere() {
        Assumptions.assumeTrue(Files.exists(MODEL.resolve("model.safetensors")), "the embedded model is not there");
    }

    @AfterEach
    void end() {
        processes.forEach(Baton::close);
        client.close();
    }

    private Baton start(String name, String... arguments) throws IOException {
        Baton process = Baton.start(Files.createDirectory(folder.resolve(name)), arguments);
        processes.add(process);
        return process;
    }

    private Baton serve(String name, String target, String kvConfig) throws IOException {
        return start(
                name,
                "serve",
                MODEL.toString(),
                "--port=0",
                "--host=127.0.0.1",
                "--register=" + target,
                "--register-ttl=6",
                "--num-gpu-blocks-override=256",
                "--kv-transfer-config=" + kvConfig);
    }

    private static String kv(String role) {
        return "{\"kv_connector\":\"TcpConnector\",\"kv_role\":\"" + role + "\",\"kv_ip\":\"127.0.0.1\",\"kv_port\":0}";
    }

    private HttpResponse<String> get(String path) throws IOException, InterruptedException {
        return client.send(
                HttpRequest.newBuilder(URI.create(router + path))
                        .timeout(Duration.ofSeconds(30))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    private int complete() throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(router + "/v1/completions"))
                .timeout(Duration.ofSeconds(60))
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString("{\"prompt\":\"Once upon a time\",\"max_tokens\":4}"))
                .build();
        return client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode();
    }

    private List<String> roles() throws IOException, InterruptedException {
        Matcher found = INSTANCE.matcher(get("/instances").body());
        List<String> roles = new ArrayList<>();
        while (found.find()) {
            roles.add(found.group(2));
        }
        return roles.stream().sorted().toList();
    }

    private void awaitRoles(String... roles) {
        await().atMost(Duration.ofSeconds(90))
                .pollInterval(Duration.ofMillis(50))
                .until(() -> roles().equals(List.of(roles)));
    }

    @Test
    void instancesJoinAndLeaveWithoutAnErrorToClients() throws Exception {
        int zmqPort = FreePorts.next();
        Baton routing = start(
                "router",
                "router",
                "--host=127.0.0.1",
                "--port=0",
                "--registration",
                "--discovery=zmq://127.0.0.1:" + zmqPort);
        await().atMost(Duration.ofSeconds(60)).until(() -> routing.output().contains("Router on "));
        Matcher address = Pattern.compile("http://127.0.0.1:\\d+").matcher(routing.output());
        assertThat(address.find()).isTrue();
        router = address.group();
        assertThat(complete()).as("with nobody there").isEqualTo(503);

        String zmq = "zmq://127.0.0.1:" + zmqPort;
        Baton prefiller = serve("prefiller", router, kv("kv_producer"));
        Baton decoder = serve("decoder", zmq, kv("kv_consumer"));
        Baton both = serve("both", router, kv("kv_both"));
        awaitRoles("both", "decoder", "prefiller");
        for (int i = 0; i < 6; i++) {
            assertThat(complete()).isEqualTo(200);
        }

        both.signal("KILL");
        long killed = System.nanoTime();
        while (roles().size() == 3) {
            assertThat(complete()).as("while a dead instance is registered").isEqualTo(200);
            assertThat(Duration.ofNanos(System.nanoTime() - killed)).isLessThan(Duration.ofSeconds(60));
        }
        assertThat(roles()).containsExactly("decoder", "prefiller");
        assertThat(complete()).isEqualTo(200);

        prefiller.signal("TERM");
        assertThat(prefiller.awaitExit()).isZero();
        assertThat(prefiller.output()).contains("registered as prefiller at " + router, "deregistered from " + router);
        assertThat(roles()).containsExactly("decoder");
        assertThat(complete()).as("by the decoder alone").isEqualTo(200);

        decoder.signal("TERM");
        assertThat(decoder.awaitExit()).isZero();
        awaitRoles();
        assertThat(complete()).isEqualTo(503);
        routing.signal("TERM");
        assertThat(routing.awaitExit()).isZero();
        assertThat(routing.output()).contains("has left: it said so").doesNotContain("ERROR");
    }
}
